"""What produced a result: versions, host and processor."""

import contextlib
import os
import platform
import socket
import sys
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
