"""What produced a result: versions, host and processor, and the files that it was made from."""

import contextlib
import hashlib
import os
import platform
import socket
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from wm_mpi import __version__

PACKAGES = ("numpy", "gymnasium", "box2d", "cma", "onnxruntime", "h5py", "mpi4py", "keras", "tensorflow")


def environment() -> dict[str, Any]:
    """Versions, host and processor, for the record of what produced a result."""
    versions: dict[str, str] = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"wm_mpi": __version__, "python": platform.python_version(), "packages": versions,
            "host": socket.gethostname(), "platform": platform.platform(), "cpu": cpu_model(),
            "cpus": os.cpu_count(), "command": sys.argv}


def cpu_model() -> str:
    """The processor, in its maker's words."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def digest(path: Path) -> str | None:
    """A file's SHA-256, None if there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def origins(result: Path, command: Sequence[str]) -> list[Path]:
    """Where what a result was made from may lie: directories in the command line that made it, and those beside it."""
    named = [Path(word) for word in command if Path(word).is_dir()]
    return named + sorted(each for each in result.resolve().parent.iterdir() if each.is_dir())


def holder(directories: Sequence[Path], name: str, sha256: str) -> Path | None:
    """The first directory in which the file ``name`` is this one."""
    return next((each for each in directories if digest(each / name) == sha256), None)
