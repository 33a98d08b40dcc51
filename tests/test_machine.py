"""Cores and memory are what control groups leave of the machine's."""

import os
from pathlib import Path

import pytest

from wm_mpi.core import machine
from wm_mpi.core.launch import command_line

GB = 2**30


def files(root: Path, **contents: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (root / name.replace("__", ".")).write_text(text)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 8 cores and 16 GB available, without control groups."""
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    files(tmp_path / "proc" / "self")
    files(tmp_path / "proc", meminfo=f"MemTotal: {32 * 2**20} kB\nMemAvailable: {16 * 2**20} kB\n")
    return tmp_path


def test_without_control_groups(host: Path) -> None:
    assert machine.cores() == machine.whole_cores() == 8 and machine.available_memory() == 16 * GB


@pytest.mark.parametrize("path", ["/", "/user.slice/job", "/docker/0123456789"], ids=["root", "inner", "not shown inside"])
def test_version_2(path: str, host: Path) -> None:
    """The limits of the group, or of one above it, count."""
    files(host / "proc" / "self", cgroup=f"0::{path}\n")
    files(host / "cgroup" / "user.slice" / "job", cpu__max="max 100000\n", memory__max="max\n", memory__current="5\n")
    files(host / "cgroup", cpu__max="50000 100000\n", memory__max=f"{4 * GB}\n", memory__current=f"{3 * GB}\n",
          memory__stat=f"anon 1\ninactive_file {GB // 2}\n")
    assert machine.cores() == 0.5 and machine.whole_cores() == 1
    assert machine.available_memory() == 1.5 * GB, "cached files are given back"


@pytest.mark.parametrize("path", ["/", "/docker/0123456789"], ids=["inner", "not shown inside"])
def test_version_1(path: str, host: Path) -> None:
    files(host / "proc" / "self", cgroup=f"9:name=systemd:/\n4:memory:{path}\n1:cpu,cpuacct:{path}\n0::/\n")
    files(host / "cgroup" / "cpu", cpu__cfs_quota_us="350000\n", cpu__cfs_period_us="100000\n")
    files(host / "cgroup" / "memory", memory__limit_in_bytes=f"{GB}\n", memory__usage_in_bytes=f"{2 * GB}\n",
          memory__stat="total_inactive_file 0\n")
    assert machine.cores() == 3.5 and machine.whole_cores() == 3 and machine.available_memory() == 0


def test_version_1_without_limits(host: Path) -> None:
    files(host / "proc" / "self", cgroup="4:memory:/\n1:cpu:/\n")
    files(host / "cgroup" / "cpu", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    files(host / "cgroup" / "memory", memory__limit_in_bytes="9223372036854771712\n", memory__usage_in_bytes="5\n")
    assert machine.cores() == 8 and machine.available_memory() == 16 * GB


def test_launch_starts_as_many_as_the_quota_allows(host: Path, tmp_path: Path) -> None:
    files(host / "proc" / "self", cgroup="0::/\n")
    files(host / "cgroup", cpu__max="250000 100000\n")
    mpirun = tmp_path / "mpirun"
    mpirun.write_text("#!/bin/sh\necho HYDRA\n")
    mpirun.chmod(0o755)
    line = command_line(["es"], {"es": True}, {"WM_MPIRUN": str(mpirun)})
    assert line[line.index("-np") + 1] == "3", "two that play, and rank 0"


def test_training_starts_as_many_threads_as_the_quota_allows(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wm_mpi.models import heed_quota

    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    heed_quota()
    assert "TF_NUM_INTRAOP_THREADS" not in os.environ, "without a quota it is the backend's affair"
    files(host / "proc" / "self", cgroup="0::/\n")
    files(host / "cgroup", cpu__max="250000 100000\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    heed_quota()
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == "2" and os.environ["OMP_NUM_THREADS"] == "1"
