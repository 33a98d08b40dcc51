"""The runs of es that lie below a directory."""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from wm_mpi.core.rundir import RunDir

DEPTH, MOST_DIRECTORIES = 4, 5_000
"""How far below the root runs are looked for, and in how many directories at most."""
MOST_RUNS = 500
"""Runs that are listed, the newest (count)."""


def run_directories(root: Path) -> list[Path]:
    """The directories of es runs under ``root``, the newest first; links are not followed, nor are hidden ones."""
    found = sorted(_walk(root), reverse=True)
    return [path for _, path in found[:MOST_RUNS]]


def newest_run(root: Path) -> Path | None:
    """The run under ``root`` whose last generation is the newest, of those with a champion."""
    return next((path for path in run_directories(root) if RunDir(path).champion.exists()), None)


def _walk(root: Path) -> Iterator[tuple[float, Path]]:
    waiting, seen = deque([(root, 0)]), 0
    while waiting and seen < MOST_DIRECTORIES:
        directory, depth = waiting.popleft()
        seen += 1
        try:
            with os.scandir(directory) as entries:
                here = {entry.name: entry for entry in entries}
            if "metrics.jsonl" in here and "config.json" in here:
                yield here["metrics.jsonl"].stat().st_mtime, directory
            elif depth < DEPTH and "shards" not in here:
                waiting.extend((directory / name, depth + 1) for name, entry in sorted(here.items())
                               if not name.startswith(".") and entry.is_dir(follow_symlinks=False))
        except OSError:
            continue  # not ours to read, or gone
