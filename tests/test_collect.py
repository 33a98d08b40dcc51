"""Collecting: the same bytes on any number of ranks, killed or not; full disks."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ENVIRONMENT, command, refuse, succeed, wm
from skips import NO_ROOT
from test_es import TOY, same

from wm_mpi.data.datasets import open_frames

SMALL = ("collect", "--episodes", 6, "--max-frames", 60, "--shard-episodes", 2)


def shards(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "shards").iterdir())}


def everything_of(out: Path) -> list[int]:
    return [int(pid) for pid in subprocess.run(["pgrep", "-f", str(out)], capture_output=True, text=True).stdout.split()]


def test_ranks_kills_and_extensions_give_the_same_bytes(tmp_path: Path) -> None:
    succeed(*SMALL, "--out", tmp_path / "serial")
    killed = tmp_path / "killed"
    process = subprocess.Popen(command(*SMALL, "--out", killed, ranks=3), env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(killed.glob("episodes/[0-9]*.h5"))) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    for pid in everything_of(killed):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    kept = len(list(killed.glob("episodes/[0-9]*.h5")))
    said = succeed(*SMALL, "--out", killed, ranks=2)
    assert f"6 episodes wanted, {6 - kept} to play" in said and kept >= 2
    assert shards(killed) == shards(tmp_path / "serial")
    assert not (killed / "episodes").exists() and not list(killed.rglob("*.tmp"))
    succeed(*SMALL[:2], 3, *SMALL[3:], "--out", tmp_path / "grown")
    assert "6 episodes wanted, 4 to play" in succeed(*SMALL, "--out", tmp_path / "grown", ranks=3)
    assert shards(tmp_path / "grown") == shards(tmp_path / "serial")
    (tmp_path / "grown" / "shards" / "00001.h5").write_bytes(b"torn")
    assert "6 episodes wanted, 2 to play" in succeed(*SMALL, "--out", tmp_path / "grown")
    assert shards(tmp_path / "grown") == shards(tmp_path / "serial")


def test_a_data_set_never_shrinks(tmp_path: Path) -> None:
    succeed(*SMALL[:2], 3, *SMALL[3:], "--max-frames", 5, "--out", tmp_path / "frames")
    before = shards(tmp_path / "frames")
    assert "would throw some away" in refuse(*SMALL[:2], 2, *SMALL[3:], "--max-frames", 5, "--out", tmp_path / "frames")
    assert shards(tmp_path / "frames") == before


def test_linear_behaviour_and_the_toy(tmp_path: Path) -> None:
    said = succeed("collect", "--policy", "linear", "--episodes", 1, "--max-frames", 30, "--out", tmp_path / "linear")
    assert "1 episodes, 30 frames" in said
    assert "nothing to collect" in refuse("collect", "--env", "toy", "--out", tmp_path / "toy")


def test_a_champion_explores(pipeline: Path, tmp_path: Path) -> None:
    succeed("es", "--preset", "smoke", "--world", pipeline / "world", "--out", tmp_path / "es", ranks=3)
    flags = ("collect", "--policy", tmp_path / "es", "--episodes", 3, "--max-frames", 40, "--shard-episodes", 2)
    for out, more, ranks in (("plain", (), 0), ("far", ("--exploration", 1), 0), ("ranks", ("--exploration", 1), 3)):
        succeed(*flags, *more, "--out", tmp_path / out, ranks=ranks)
    assert shards(tmp_path / "far") == shards(tmp_path / "ranks")
    with open_frames(tmp_path / "plain") as plain, open_frames(tmp_path / "far") as far:
        assert (plain.table["seed"] == far.table["seed"]).all()
        straying = np.abs(plain.read("actions", 0, 40) - far.read("actions", 0, 40)).mean(axis=0)
        actions = far.read("actions", 0, len(far))
    assert (straying > 0.01).all()
    assert (actions >= [-1, 0, 0]).all() and (actions <= 1).all()
    assert "is all exploration" in refuse("collect", "--exploration", 1, "--out", tmp_path / "walk")


def test_old_and_new_data_are_mixed(tmp_path: Path) -> None:
    flags = ("collect", "--max-frames", 20, "--shard-episodes", 2)
    succeed(*flags, "--episodes", 8, "--seed", 1, "--out", tmp_path / "old")
    said = succeed(*flags, "--episodes", 6, "--out", tmp_path / "new", "--mix", tmp_path / "old", "--mix-share", 0.4)
    assert "6 episodes, 120 frames (120 of them now)" in said and "with 80 frames of" in said
    with open_frames(tmp_path / "old") as old, open_frames(tmp_path / "new") as new:
        assert len(new) == 200
        returns = new.table["return"][:6]  # of those collected, not of those mixed in
        assert f"returns {returns.mean():.1f} ± {returns.std():.1f}" in said
        assert (new.read("frames", 120, 200) == old.read("frames", 0, 80)).all()
        assert (new.table["seed"][6:] == old.table["seed"][:4]).all()
        assert (new.starts[6:] == old.starts[:4] + 120).all()
    alone = succeed(*flags, "--episodes", 6, "--out", tmp_path / "new")
    assert "0 to play" in alone and "with" not in alone
    message = refuse(*flags, "--episodes", 6, "--out", tmp_path / "new", "--mix", tmp_path / "old", "--mix-share", 0.9)
    assert "--mix-share 0.57" in message


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of its own that tests fill up; give it a size, then more."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size: str, *options: str) -> bool:
        flags = ["-o", ",".join([f"size={size}", *options])]
        kind = ["-t", "tmpfs", "tmpfs"] if not options else []
        return subprocess.run(["mount", *kind, *flags, str(place)], capture_output=True).returncode == 0

    if shutil.which("mount") is None or not mount("300k"):
        pytest.skip(NO_ROOT)
    yield place, mount
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_loses_nothing(small_disk, tmp_path: Path) -> None:
    place, mount = small_disk
    arguments = (*TOY, "--generations", 100)
    said = refuse(*arguments, "--out", place / "run")
    assert "the disk is full: free some space and run the same command again" in said
    finished = len((place / "run" / "metrics.jsonl").read_text().splitlines())
    assert 0 < finished < 100 and not list(place.rglob("*.tmp"))
    assert mount("50m", "remount")
    assert "resuming" in succeed(*arguments, "--out", place / "run")
    succeed(*arguments, "--out", tmp_path / "straight")
    same(place / "run", tmp_path / "straight")


def test_a_full_disk_while_collecting(small_disk, tmp_path: Path) -> None:
    place, mount = small_disk
    done = wm(*SMALL, "--out", place / "frames", ranks=3)
    assert done.returncode != 0 and "the disk is full" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert mount("50m", "remount")
    succeed(*SMALL, "--out", place / "frames", ranks=3)
    succeed(*SMALL, "--out", tmp_path / "serial")
    assert shards(place / "frames") == shards(tmp_path / "serial")
