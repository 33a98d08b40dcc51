"""``python -m wm_mpi``: the commands in the order of the data."""

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
    ("report", "one HTML file about a run, to look at and show", "report.html"),
    ("doctor", "find out beforehand what will go wrong here (MPI)", "a verdict"),
)


def main() -> None:
    """List the commands."""
    print("World Models over MPI. Commands, in the order of the data (each has --help):\n")
    for name, purpose, product in COMMANDS:
        print(f"  python -m wm_mpi.{name:<10} {purpose:<46} -> {product}")


if __name__ == "__main__":
    main()
