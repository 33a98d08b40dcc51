"""Where Numba keeps the compiled engine, and how ranks that start together share one compilation."""

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numba.core.caching
import numba.core.dispatcher

from wm_mpi.core.progress import log

HERE = Path(__file__).parent
_READY = "compiled"
"""A file that says that everything has been compiled."""
_NOWHERE = Path(os.devnull)

_config: Any = numba.config
_dispatcher: Any = numba.core.dispatcher
_Results: Any = numba.core.caching.CompileResultCacheImpl
_Locator: Any = _Results._locator_classes[0]  # the one that heeds config.CACHE_DIR


def _processor() -> str:
    """The processor that is compiled for; one set by NUMBA_CPU_NAME makes a cache good for many."""
    return _config.CPU_NAME or llvmlite.binding.get_host_cpu_name()


def target() -> str:
    """What the engine is compiled by and for, in words."""
    return f"Numba {numba.__version__} for {_processor()}"


def _name() -> str:
    """What the directory is called that is for this version of the compiled sources, this Python and this processor.

    Numba itself notices changes of the file that a function stands in, but not of the files it calls; a directory named
    after all sources cannot be stale. Their times count too, since Numba compares these: an installed package and a clone of
    the same version would take turns at replacing each other's code.
    """
    digest = hashlib.sha256(f"{sys.implementation.cache_tag} {target()} {_config.CPU_FEATURES}".encode())
    for path in [HERE / "area.py", *sorted(HERE.glob("fast/*/*.py"))]:
        digest.update(path.read_bytes() + str(path.stat().st_mtime).encode())
    return digest.hexdigest()[:16]


def _places() -> Iterator[Path]:
    """Where caches may be: below WM_MPI_CACHE or the user's own cache directory, or else among temporary files."""
    base = os.path.expanduser(os.environ.get("WM_MPI_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if not base.startswith("~"):  # a user without a home
        yield Path(base) / "wm_mpi"
    with contextlib.suppress(OSError):  # there may be no directory for temporary files either
        temporary = Path(tempfile.gettempdir()) / f"wm_mpi-{os.getuid()}"
        if not temporary.exists() or temporary.stat().st_uid == os.getuid():  # a cache is code: nobody else's is run
            yield temporary


def _directory() -> tuple[Path, bool]:
    """The directory to use, and whether it can be written, which a complete one need not be."""
    name = _name()
    for directory in (place / name for place in _places()):
        with contextlib.suppress(OSError):
            complete = (directory / _READY).exists()
            if not complete:
                directory.mkdir(parents=True, exist_ok=True)
            writable = os.access(directory, os.W_OK)
            if complete or writable:
                return directory, writable
    log.warning("the CarRacing engine is compiled each time (about a minute), since there is no directory to keep it in: "
                "set WM_MPI_CACHE to one that can be written")
    return _NOWHERE, False


DIRECTORY, _WRITABLE = _directory()


class _ReadOnly(numba.core.caching.FunctionCache):
    """Numba's cache of a function, in a directory that cannot be written; Numba's own would not even read it."""

    class _impl_class(_Results):
        class _Unwritten(_Locator):
            def ensure_cache_path(self) -> None:
                pass

        _locator_classes = [_Unwritten]

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with contextlib.suppress(OSError):
            return super().load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        pass


@contextlib.contextmanager
def used() -> Iterator[None]:
    """Functions decorated with ``njit(cache=True)`` inside the block are cached in ``DIRECTORY``."""
    before = _config.CACHE_DIR, _dispatcher.FunctionCache
    _config.CACHE_DIR = str(DIRECTORY)
    if not _WRITABLE:
        _dispatcher.FunctionCache = _ReadOnly
    try:
        yield
    finally:
        _config.CACHE_DIR, _dispatcher.FunctionCache = before


def fill(here: Callable[[], None], beside: Callable[[], None]) -> None:
    """Have one process a machine compile what both use, and say so; the others wait and load what it made.

    What ``beside`` uses, a function of a module, is compiled in a process of its own meanwhile: half the time.
    """
    ready = DIRECTORY / _READY
    if not _WRITABLE or ready.exists():
        return
    with open(DIRECTORY / "lock", "w", encoding="utf-8") as lock:
        with contextlib.suppress(OSError):  # file systems without locks: each compiles for itself, no harm
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            log.warning("compiling the CarRacing engine, once on this machine (about a minute)")
            code = f"from {beside.__module__} import {beside.__name__} as use; use()"
            with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
                here()
            beside()  # loads it; compiles it where that process could not
            ready.touch()
