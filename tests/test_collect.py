"""Collecting: the same bytes on any number of ranks, killed or not; full disks."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, command, refuse, succeed, wm
from test_es import TOY, same

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
        pytest.skip("mounting a tmpfs needs root")
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
