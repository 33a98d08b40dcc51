"""Memory of a worker over many episodes.

    python -m benchmarks.soak --episodes 10000

Plays short episodes and prints the resident memory along the way: it must not grow.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import wm_mpi.core.single_thread  # noqa: F401  isort: split
from wm_mpi.core.seeding import Stream, episode_seed
from wm_mpi.core.shipped import found
from wm_mpi.envs import EnvSpec
from wm_mpi.pool import Listed
from wm_mpi.rollout.worker import Task, make_rollout


def resident_megabytes() -> float:
    """Resident memory of this process, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


def counted(episodes: range) -> Listed:
    """So many episodes."""
    return Listed((number, Task(0, episode_seed(0, Stream.TEST, 0, number))) for number in episodes)


def main() -> None:
    """Play, and print a JSON object: resident MB after each tenth of the episodes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=found, default="carracing", help="a world (default: the one in the package)")
    parser.add_argument("--episodes", type=int, default=10_000, help="episodes in all (default 10000)")
    parser.add_argument("--max-frames", type=int, default=50, help="frames per episode (default 50)")
    parser.add_argument("--width", type=int, default=16, help="episodes in lock-step (default 16)")
    options = parser.parse_args()
    rollout = make_rollout(EnvSpec("fast", options.max_frames), options.world, options.width, deterministic=False)
    parameters = np.random.default_rng(0).normal(0, 0.1, (1, 867))
    sizes, tenth = [], options.episodes // 10
    for part in range(10):
        for _ in rollout.run(parameters, counted(range(part * tenth, (part + 1) * tenth))):
            pass
        sizes.append(round(resident_megabytes(), 1))
    print(json.dumps({"episodes": 10 * tenth, "resident_megabytes": sizes}))


if __name__ == "__main__":
    main()
