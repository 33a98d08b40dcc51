"""What each strategy makes of CarRacing with the same frames, in one world, with its own defaults.

python -m benchmarks.search --out runs/search                      all strategies, seeds 0 and 1, five million frames each
python -m benchmarks.search --out runs/search --ranks 3 --strategies cma openes

Runs are below OUT, a directory each; running it again goes on where it stopped. The table has the mean of 64 validation
tracks, which chose nothing but each run's champion.
"""

import argparse
import subprocess
from pathlib import Path

from wm_mpi.core.files import whole_lines
from wm_mpi.core.rundir import RunDir
from wm_mpi.core.schema import Generation
from wm_mpi.evolution.strategies import STRATEGIES

STEP = 5
"""Generations between two looks at the frames, and between validations (count)."""


def train(strategy: str, seed: int, options: argparse.Namespace) -> list[Generation]:
    """Train until the frames are played; gives the run's generations."""
    out = options.out / f"{strategy}{seed}"
    rows: list[Generation] = list(whole_lines(RunDir(out).metrics, Generation))
    while not rows or rows[-1]["frames_total"] < options.frames:
        generations = len(rows) // STEP * STEP + STEP
        flags = {"world": options.world, "strategy": strategy, "seed": seed, "generations": generations, "eval-every": STEP,
                 "out": out}
        subprocess.run(["wm-mpi", "launch", "-np", str(options.ranks), "es", "--quiet",
                        *(text for name, value in flags.items() for text in (f"--{name}", str(value)))], check=True)
        rows = list(whole_lines(RunDir(out).metrics, Generation))
    return rows


def at(validated: list[Generation], frames: float) -> float:
    """The validation nearest to so many frames of training."""
    return min(validated, key=lambda row: abs(row["frames_total"] - frames))["eval_mean"]


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory of the runs")
    parser.add_argument("--world", default="carracing", help="the world")
    parser.add_argument("--frames", type=float, default=5e6, help="training frames of each run")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--ranks", type=int, default=3, help="of each run")
    options = parser.parse_args()
    marks = [options.frames * share for share in (0.2, 0.4, 0.6, 0.8, 1.0)]
    print("| | seed |", " | ".join(f"{mark / 1e6:g} M" for mark in marks), "| best |", flush=True)
    print("|---|---:|", "---:|" * (len(marks) + 1), sep="", flush=True)
    for strategy in options.strategies:
        for seed in options.seeds:
            validated = [row for row in train(strategy, seed, options) if "eval_mean" in row]
            values = [*(at(validated, mark) for mark in marks), max(row["eval_mean"] for row in validated)]
            print(f"| {strategy} | {seed} |", " | ".join(f"{value:.0f}" for value in values), "|", flush=True)


if __name__ == "__main__":
    main()
