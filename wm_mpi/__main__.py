"""``python -m wm_mpi``: the commands in the order of the data."""

import sys

from wm_mpi import __version__
from wm_mpi.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_NO_WORKERS, EXIT_STOPPED

COMMANDS = (
    ("collect", "play episodes for first data (MPI)", "frames.h5"),
    ("train_vae", "train V, the VAE, on the frames (GPU)", "weights.h5"),
    ("encode", "encode the frames with V (GPU)", "latents.h5"),
    ("train_rnn", "train M, the MDN-RNN, on the latents (GPU)", "weights.h5"),
    ("freeze", "join V and M into a world that ranks can run", "world/"),
    ("es", "train the controller with CMA-ES (MPI)", "champion.h5"),
    ("refit", "carry a champion over to another world", "start.h5"),
    ("evaluate", "score the champion on unseen tracks (MPI)", "evaluations.jsonl"),
    ("watch", "see it drive: a film, a page or a window", "watch.mp4"),
    ("report", "one HTML file about a run, to keep and show", "report.html"),
    ("export", "a run and its world, small, to share", "a directory"),
    ("doctor", "find out what will go wrong here (MPI)", "a verdict"),
)


STATUSES = ((0, "done, also when there was nothing left to do"),
            (1, "a bug, with traceback; a task that ended three ranks; doctor found what will fail"),
            (EXIT_BAD_INPUT, "bad input or environment, said in one sentence"),
            (EXIT_NO_WORKERS, "no worker rank is left: the same command goes on"),
            (EXIT_STOPPED, "stopped by SIGTERM or SIGUSR1, or rank 0 was killed: the same command goes on"),
            (EXIT_INTERRUPTED, "interrupted (Ctrl-C): the same command goes on"))


def main(arguments: list[str]) -> int:
    """List the commands, with --help also what they have in common; gives the exit status."""
    if arguments[:1] == ["--version"]:
        print(f"wm_mpi {__version__}")
        return 0
    if arguments and arguments[0] not in ("--help", "-h"):
        known = arguments[0] in [name for name, *_ in COMMANDS]
        fix = f"python -m wm_mpi.{arguments[0]} (with a dot)" if known else "python -m wm_mpi lists all"
        print(f"error: {arguments[0]} is not started like this: {fix}", file=sys.stderr)
        return EXIT_BAD_INPUT
    print("World Models over MPI. Commands, in the order of the data; python -m wm_mpi.X starts X:\n")
    for name, purpose, product in COMMANDS:
        print(f"  {name:<9}  {purpose:<44} -> {product}")
    print("\n(MPI): with bash jobs/mpirun.bash -np N before the line, or without for one process.\n"
          "Each has --help, --quiet and --verbose. What their exit statuses mean: python -m wm_mpi --help")
    if arguments:
        print("\nExit statuses:\n")
        for status, meaning in STATUSES:
            print(f"  {status:>3}  {meaning}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
