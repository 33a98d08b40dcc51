"""The files of a run: one class names them all, and every write is whole or absent."""

import errno
import fcntl
import os
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

from wm_mpi.core.errors import UserError
from wm_mpi.core.files import TORN, atomic_path, explained, read_json, write_json
from wm_mpi.core.provenance import environment

FLOCK = "hhqqi"
"""Linux's ``struct flock`` on 64-bit machines: type, whence, start, length, process."""
KEPT_CHECKPOINTS = 2
"""Checkpoints: the newest, and one to fall back on if that is damaged."""
LATER: dict[str, Any] = {"strategy": "cma"}
"""Options that came later, and what runs from before did."""
LOCK_SECONDS = 5.0
"""How long a start waits for the lock of a command that is just ending (seconds)."""


def lock_directory(path: Path) -> None:
    """Keep every other process from writing results to ``path``, as long as this process lives, however it ends.

    A POSIX record lock on the file ``lock``: it holds across hosts on NFS, and dies with its holder.

    Raises:
        UserError: another process holds it.
    """
    lock, patience = path / "lock", time.monotonic() + LOCK_SECONDS
    with explained(lock, "written"):
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)  # never closed: closing would give the lock up
    while True:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                print(f"{path} is on a file system without locks ({error.strerror}): take care that no second command "
                      "writes to it", file=sys.stderr)
                return
            if time.monotonic() > patience:
                holder = lock.read_text(encoding="utf-8", errors="replace").strip() or "another process"
                raise UserError(f"{path} is in use by {holder}: wait until that has ended, or give another --out") from None
            time.sleep(0.1)
    os.ftruncate(handle, 0)
    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def in_use(path: Path) -> bool:
    """Whether a process, on whatever host, holds the lock of a directory. Not for the process that holds it: POSIX drops a
    process's locks on a file that it closes.
    """
    try:
        with open(path / "lock", "rb") as file:
            asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            return bool(struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK)
    except OSError:  # none, or a file system without locks
        return False


def begin_directory(path: Path, config: dict[str, Any], changeable: frozenset[str]) -> None:
    """Create and lock an output directory with ``config.json`` and ``environment.json``, or check that it is this one's.

    Args:
        path: the directory.
        config: the configuration as JSON values.
        changeable: fields that a later start may change, such as how long to run.

    Raises:
        UserError: the directory holds results of another configuration, is in use, or cannot be written.
    """
    recorded = path / "config.json"
    with explained(path, "written"):
        path.mkdir(parents=True, exist_ok=True)
    lock_directory(path)
    if recorded.exists():
        _same(recorded, read_json(recorded, dict[str, Any], "delete the directory or restore the file"), config, changeable)
        for torn in path.rglob(TORN):
            torn.unlink(missing_ok=True)
    write_json(recorded, config)
    write_json(path / "environment.json", environment())


class RunDir:
    """Names of everything that an ``es`` run writes; nothing else builds such a path."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.environment = self.path / "environment.json"
        self.metrics = self.path / "metrics.jsonl"
        self.earlier = self.path / "earlier.jsonl"
        self.episodes = self.path / "episodes.jsonl"
        self.checkpoints = self.path / "checkpoint"
        self.champion = self.path / "champion.h5"
        self.means = self.path / "means"
        self.lock = self.path / "lock"
        self.evaluations = self.path / "evaluations.jsonl"
        self.log = self.path / "log.txt"
        self.board = self.path / "tensorboard"
        self.loggers = self.path / "loggers.json"

    def begin(self, config: dict[str, Any], changeable: frozenset[str]) -> None:
        """``begin_directory`` for a run."""
        begin_directory(self.path, config, changeable)
        self.checkpoints.mkdir(exist_ok=True)

    def save_checkpoint(self, generation: int, data: bytes) -> None:
        """Write ``checkpoint/NNNNNN.ckpt`` atomically and remove all but the newest ``KEPT_CHECKPOINTS``."""
        with atomic_path(self.checkpoints / f"{generation:06d}.ckpt") as temporary:
            temporary.write_bytes(data)
        for old in self.checkpoint_files()[:-KEPT_CHECKPOINTS]:
            old.unlink(missing_ok=True)

    def checkpoint_files(self) -> list[Path]:
        """Checkpoints on disk, oldest first."""
        return sorted(self.checkpoints.glob("*.ckpt"))


def _same(path: Path, old: dict[str, Any], new: dict[str, Any], changeable: frozenset[str]) -> None:
    old = {**{name: value for name, value in LATER.items() if name in new}, **old}
    different = [f"{name}: {old.get(name)!r} there, {new.get(name)!r} now"
                 for name in sorted(old.keys() | new.keys())
                 if name not in changeable and old.get(name) != new.get(name)]
    if different:
        raise UserError(f"{path.parent} holds results of another configuration ({'; '.join(different)}): "
                        "give another --out, or the same flags to go on with it")
