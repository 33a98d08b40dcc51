"""Peak memory of train_vae on a large data set.

    python -m benchmarks.train_memory --gigabytes 10

Makes a data set of the given size by showing a few small shards again and again through the index (virtual datasets cost no
disk), trains V on it for a while, and prints the peak resident memory of the training process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from wm_mpi.data.datasets import open_frames, write_index
from wm_mpi.data.episodes import Episode, write_episode, write_shard

FRAME_BYTES = 64 * 64 * 3


def make_data(directory: Path, gigabytes: float, episode_frames: int = 1000, shard_episodes: int = 10) -> int:
    """Write one shard of smooth noise and as many links to it as needed; gives the number of frames."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(shard_episodes):
        coarse = rng.integers(0, 256, (episode_frames, 8, 8, 3), dtype=np.uint8)
        frames = np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2)
        episode = Episode(number, number, frames, np.zeros((episode_frames, 3), np.float32),
                          np.zeros(episode_frames, np.float32), np.zeros(episode_frames, np.bool_))
        paths.append(directory / "episodes" / f"{number}.h5")
        write_episode(paths[-1], episode)
    first = directory / "shards" / "00000.h5"
    write_shard(first, paths)
    shards = [first]
    for number in range(1, round(gigabytes * 1e9 / FRAME_BYTES / episode_frames / shard_episodes)):
        shards.append(directory / "shards" / f"{number:05d}.h5")
        os.link(first, shards[-1])
    write_index(directory, shards, {"env": "benchmark"})
    with open_frames(directory) as data:
        return len(data)


def peak_megabytes(command: list[str], seconds: float) -> float:
    """Run a command for at most ``seconds`` and give the largest resident memory that the kernel saw, in MB."""
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline:
            for line in Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines():
                if line.startswith("VmHWM:"):
                    peak = max(peak, int(line.split()[1]))
            time.sleep(0.2)
        process.kill()
    return peak / 1000


def main() -> None:
    """Measure and print a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=10, help="size of the data set, uncompressed (GB, default 10)")
    parser.add_argument("--seconds", type=float, default=120, help="how long to train (s, default 120)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        frames = make_data(Path(place) / "frames", options.gigabytes)
        command = [sys.executable, "-m", "wm_mpi.train_vae", "--data", f"{place}/frames", "--out", f"{place}/vae"]
        peak = peak_megabytes(command, options.seconds)
    print(json.dumps({"frames": frames, "gigabytes": frames * FRAME_BYTES / 1e9, "seconds": options.seconds,
                      "peak_resident_megabytes": round(peak)}))


if __name__ == "__main__":
    main()
