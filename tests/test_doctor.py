"""doctor says what will go wrong, and how to put it right."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT, command, wm
from threadpoolctl import threadpool_limits

from wm_mpi.pool import Arithmetic
from wm_mpi.rollout.host_checks import Facts, check_hosts, threads

QUICK = ("doctor", "--preset", "smoke", "--env", "toy")
SAMPLE = Arithmetic("Some CPU", (0.5,))
FACTS = Facts(1, "node1", "Some CPU", frozenset({0, 1}), 2, 8.0, (), (("numpy", "2.4.6"),), True, SAMPLE, 1.0, 7000.0, 2**28,
              2**33)


def lines(said: str) -> dict[str, str]:
    """Status by subject."""
    return {" ".join(line[9:22].split()): line.split()[0] for line in said.splitlines()
            if line.startswith(("ok ", "warning ", "FAIL "))}


def test_all_is_well_under_the_launcher(tmp_path: Path) -> None:
    done = wm(*QUICK, "--out", tmp_path / "runs", ranks=3)
    found = lines(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"launcher", "stopping", "file locks", "disk", "cores", "threads", "memory", "speed", "versions", "shared files",
            "engine cache", "rate", "survival"} == set(found)
    assert found["survival"] == found["stopping"] == "warning" and "fix: wm-mpi launch" in done.stdout
    assert {found[name] for name in ("launcher", "file locks", "versions", "shared files")} == {"ok"}
    assert not list((tmp_path / "runs").iterdir()), "it leaves nothing behind"


def test_ulfm_is_proved_by_killing_a_rank(tmp_path: Path) -> None:
    done = wm(*QUICK, "--out", tmp_path, ranks=3, env={"PRTE_MCA_prte_enable_ft": "1", "OMPI_MCA_mpi_ft_enable": "1"})
    if done.returncode != 0:  # the launcher itself was not told, so the drill ends the job: that is what doctor is for
        assert "a drill: killing rank 2" in done.stderr
    else:
        assert lines(done.stdout)["survival"] == "ok"


def test_alone_it_says_what_plain_mpirun_would_refuse(tmp_path: Path) -> None:
    done = wm(*QUICK, "--out", tmp_path, env={"OMPI_ALLOW_RUN_AS_ROOT": "1"})
    assert f"plain mpirun would start {os.cpu_count()} ranks here at most" in done.stdout, done.stdout
    assert "none as root" not in done.stdout
    env = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("OMPI_ALLOW")}
    bare = subprocess.run(command(*QUICK, "--out", tmp_path), capture_output=True, text=True, env=env, cwd=ROOT, check=True)
    assert ("none as root" in bare.stdout) is (os.geteuid() == 0)


def test_one_core_for_all(tmp_path: Path) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("there is one core only: take a machine with two")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        done = wm(*QUICK, "--out", tmp_path, ranks=3)
    finally:
        os.sched_setaffinity(0, before)
    assert done.returncode == 1
    assert "ranks 1, 2 are bound to the same core" in done.stdout and "mpirun --bind-to none" in done.stdout


@pytest.mark.parametrize("arguments,env,text", [
    (("--out", "/proc/nowhere"), {}, "/proc/nowhere cannot be written"),
    (("--env", "fast", "--world", "/nowhere"), {}, "/nowhere is not a world"),
    (("--display", "screen"), {}, "$DISPLAY is not set"),
    ((), {"PMI_SIZE": "3", "PMI_RANK": "0"}, "each sees itself alone")], ids=lambda value: str(value)[:20])
def test_what_stops_a_run_is_one_failing_line(arguments: tuple[str, ...], env: dict[str, str], text: str,
                                              tmp_path: Path) -> None:
    done = wm(*QUICK, "--out", tmp_path, *arguments, ranks=0 if env else 2, env=env, timeout=60)
    assert done.returncode == 1
    failing = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert len(failing) == 1 and text in failing[0], done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("count", [1, 2])
def test_threads_are_those_that_libraries_use(count: int) -> None:
    """Not only those that variables ask for."""
    with threadpool_limits(count):
        assert any("with 2 threads" in each for each in threads()) is (count == 2)


@pytest.mark.parametrize("change,about,status", [
    ({}, "versions", "ok"),
    ({"packages": (("numpy", "2.3.0"),)}, "versions", "FAIL"),
    ({"arithmetic": SAMPLE._replace(on="Another CPU")}, "processors", "warning"),
    ({"arithmetic": SAMPLE._replace(sample=(0.5000001,))}, "processors", "warning"),
    ({"arithmetic": SAMPLE._replace(sample=(1.0,))}, "processors", "FAIL"),
    ({"quota": 0.5}, "cores", "warning"),
    ({"host": "node2", "probe_seen": False}, "shared files", "warning"),
    ({"threads": ("OMP_NUM_THREADS=8",)}, "threads", "warning"),
    ({"available": 2**20}, "memory", "FAIL"),
    ({"frames_per_second": 700.0}, "speed", "warning"),
    ({"start_seconds": 70.0}, "engine cache", "warning"),
    ({"cores": frozenset({0})}, "cores", "ok"),
], ids=str)
def test_judgement(change: dict, about: str, status: str) -> None:
    """Three ranks alike, and one that differs."""
    alike = [FACTS._replace(rank=rank, cores=frozenset(range(8)), host_cores=8) for rank in (1, 2, 3)]
    other = FACTS._replace(rank=4, cores=frozenset(range(8)), host_cores=8)._replace(**change)
    found = check_hosts([*alike, other], "node1")
    assert status in {finding.status for finding in found if finding.about == about}, found
    assert all(finding.fix for finding in found if finding.status != "ok")
    expected = {about} if status != "ok" else set()
    assert {finding.about for finding in found if finding.status != "ok"} == expected
