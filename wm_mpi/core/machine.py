"""How many cores and how much memory this process may use: what the machine has, less what cgroups (1 and 2) withhold.

Containers and batch systems set quotas that ``nproc`` and ``/proc/meminfo`` know nothing of. Standard library only.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def cores() -> float:
    """Cores' worth of time that this process and its children may use together; a quota may allow a fraction."""
    allowed = float(len(os.sched_getaffinity(0)))
    for group in _groups("cpu"):
        for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            match [number for name in names for number in _numbers(group / name)]:
                case [quota, period] if quota > 0:  # -1 stands for none
                    allowed = min(allowed, quota / period)
    return allowed


def whole_cores() -> int:
    """How many processes that each keep a core busy have one to themselves, at least 1."""
    return max(1, int(cores()))


def available_memory() -> int:
    """Memory that can still be taken (bytes): the kernel kills whoever takes more."""
    meminfo = (PROC / "meminfo").read_text(encoding="ascii").splitlines()
    available = next(int(line.split()[1]) * 1024 for line in meminfo if line.startswith("MemAvailable"))
    for group in _groups("memory"):
        for most, used, cached in (("memory.max", "memory.current", "inactive_file"),
                                   ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")):
            limit, usage = _numbers(group / most), _numbers(group / used)
            if limit and usage:
                available = min(available, max(0, limit[0] - usage[0] + _statistic(group / "memory.stat", cached)))
    return available


def _groups(controller: str) -> Iterator[Path]:
    """Directories of this process's control group and those above it.

    Inside a container the path that the kernel names may be the host's; the container's own group is then the root.
    """
    with contextlib.suppress(OSError):
        for line in (PROC / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            root = CGROUPS / controller if controllers else CGROUPS
            inner = Path(path.lstrip("/"))
            yield from (root / each for each in (inner, *inner.parents) if (root / each).is_dir())


def _numbers(path: Path) -> tuple[int, ...]:
    """The integers in a file, none if it is missing or says "max"."""
    with contextlib.suppress(OSError, ValueError):
        return tuple(int(word) for word in path.read_text(encoding="ascii").split())
    return ()


def _statistic(path: Path, name: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        return next((int(line.split()[1]) for line in path.read_text(encoding="ascii").splitlines()
                     if line.split()[0] == name), 0)
    return 0


if __name__ == "__main__":  # for scripts
    print(whole_cores())
