"""Where Numba keeps the compiled engine, and how ranks that start together share one compilation."""

import contextlib
import fcntl
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba

from wm_mpi.progress import log

_READY = "compiled"


def _directory() -> Path:
    """A directory for this version of the compiled sources.

    Numba itself notices changes of the file that a function stands in, but not of the files it calls; a directory named
    after all sources cannot be stale. Their times count too, since Numba compares these: an installed package and a clone of
    the same version would take turns at replacing each other's code. WM_MPI_CACHE overrides where it is made.
    """
    config: Any = numba.config  # a target set there (NUMBA_CPU_NAME) makes one cache good for many processors
    cpu = config.CPU_NAME or llvmlite.binding.get_host_cpu_name()
    python = sys.implementation.cache_tag
    digest = hashlib.sha256(f"{python} {numba.__version__} {cpu} {config.CPU_FEATURES}".encode())
    for path in sorted(Path(__file__).parent.glob("*/*.py")):
        digest.update(path.read_bytes() + str(path.stat().st_mtime).encode())
    base = Path(os.environ.get("WM_MPI_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for place in (base / "wm_mpi", Path(tempfile.gettempdir()) / f"wm_mpi-{os.getuid()}"):
        directory = place / digest.hexdigest()[:16]
        with contextlib.suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True)
            if os.access(directory, os.W_OK):
                return directory
    return Path(tempfile.mkdtemp(prefix="wm_mpi-"))


DIRECTORY = _directory()


@contextlib.contextmanager
def used() -> Iterator[None]:
    """Functions decorated with ``njit(cache=True)`` inside the block are cached in ``DIRECTORY``."""
    config: Any = numba.config
    before = config.CACHE_DIR
    config.CACHE_DIR = str(DIRECTORY)
    try:
        yield
    finally:
        config.CACHE_DIR = before


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Around the first use: one process a machine compiles and says so, the others wait and load what it made."""
    ready = DIRECTORY / _READY
    if ready.exists():
        yield
        return
    with open(DIRECTORY / "lock", "w", encoding="utf-8") as lock:
        with contextlib.suppress(OSError):  # file systems without locks: each compiles for itself, no harm
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            log.warning("compiling the CarRacing engine, once on this machine (about a minute)")
        yield
        ready.touch()
