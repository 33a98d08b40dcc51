"""``wm-mpi``, ``python -m wm_mpi``: the commands in the order of the data, and their start."""

import runpy
import sys

from wm_mpi import __version__
from wm_mpi.core.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_NO_WORKERS, EXIT_STOPPED
from wm_mpi.core.launch import launch, unknown
from wm_mpi.core.terminal import spell_streams

COMMANDS = (
    ("collect", "play episodes for first data (MPI)", "frames.h5"),
    ("train_vae", "train V, the VAE, on the frames (GPU)", "weights.h5"),
    ("encode", "encode the frames with V (GPU)", "latents.h5"),
    ("train_rnn", "train M, the MDN-RNN, on the latents (GPU)", "weights.h5"),
    ("freeze", "join V and M into a world for ranks", "world/"),
    ("es", "train the controller by evolution (MPI)", "champion.h5"),
    ("temperatures", "train C in dreams, from cold to hot (MPI)", "a table"),
    ("refit", "carry a champion over to another world", "start.h5"),
    ("evaluate", "score the champion on unseen tracks (MPI)", "evaluations.jsonl"),
    ("watch", "see it drive: a film, a page or a window", "watch.mp4"),
    ("report", "one HTML file about a run, to keep and show", "report.html"),
    ("export", "a run and its world, small, to share", "a directory"),
    ("adopt", "a world and champion of the paper's authors", "a directory"),
    ("doctor", "find out what will go wrong here (MPI)", "a verdict"),
)
RANKED = {name: "(MPI)" in purpose for name, purpose, _ in COMMANDS}
"""Whether a command takes ranks, by name."""

STATUSES = ((0, "done, also when there was nothing left to do"),
            (1, "a bug, with traceback; a task that ended three ranks; doctor found what will fail"),
            (EXIT_BAD_INPUT, "bad input or environment, said in one sentence"),
            (EXIT_NO_WORKERS, "no worker rank is left: the same command continues"),
            (EXIT_STOPPED, "stopped by SIGTERM, SIGUSR1 or a closed terminal; rank 0 was killed: the same command "
                           "continues"),
            (EXIT_INTERRUPTED, "interrupted (Ctrl-C): the same command continues"))


def main(arguments: list[str]) -> int:
    """Start a command, or list them, with --help also what they have in common; gives the exit status."""
    spell_streams()
    first = arguments[0] if arguments else ""
    if first == "--version":
        print(f"wm_mpi {__version__}")
    elif first == "launch":
        return launch(arguments[1:], RANKED)
    elif first in RANKED:
        sys.argv[1:] = arguments[1:]
        runpy.run_module(f"wm_mpi.{first}", run_name="__main__", alter_sys=True)
    elif first not in ("", "--help", "-h"):
        print(f"error: {unknown(first, [*RANKED, 'launch'])}", file=sys.stderr)
        return EXIT_BAD_INPUT
    else:
        show(explained=bool(first))
    return 0


def show(explained: bool) -> None:
    """Print the list of commands, and what their exit statuses mean."""
    print("World Models over MPI. Commands, in the order of the data: wm-mpi X,\nwhich is python -m wm_mpi.X, starts X.\n")
    for name, purpose, product in COMMANDS:
        print(f"  {name:<12}  {purpose:<43} -> {product}")
    print("\n(MPI): wm-mpi launch -np N X starts it on N ranks, wm-mpi X in one process.\n"
          "Each has --help, --quiet and --verbose. What their exit statuses mean: wm-mpi --help")
    if explained:
        print("\nExit statuses:\n")
        for status, meaning in STATUSES:
            print(f"  {status:>3}  {meaning}")


def console() -> None:
    """``wm-mpi``."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    console()
