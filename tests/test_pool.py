import json
import subprocess
import time
from pathlib import Path

import pytest
from conftest import command, refuse, succeed, wm

PROGRAM = Path(__file__).parent / "programs" / "pool_program.py"


@pytest.mark.parametrize("ranks", [0, 2, 4])
def test_results_come_in_task_order(ranks: int) -> None:
    said = json.loads(succeed(PROGRAM, "square", ranks=ranks))
    assert said["results"] == [[7 * number**2 for number in range(50)], [9 * number**2 for number in range(3)], []]
    assert said["arrived"] == 53


@pytest.mark.alone
def test_waiting_costs_rank_0_nothing() -> None:
    """Under 5 % of a core over a generation of 4 s in which the workers are busy (here: asleep)."""
    said = json.loads(succeed(PROGRAM, "sleep", ranks=3))
    assert said["wall"] > 3.5
    assert said["cpu"] / said["wall"] < 0.05, said


@pytest.mark.alone
def test_a_raising_worker_ends_the_job_in_10_seconds_with_its_traceback() -> None:
    began = time.monotonic()
    done = wm(PROGRAM, "raise", ranks=3)
    assert time.monotonic() - began < 10
    assert done.returncode != 0
    assert "rank " in done.stderr and " on " in done.stderr and "ZeroDivisionError" in done.stderr


@pytest.mark.alone
def test_a_raising_rank_0_ends_the_job() -> None:
    began = time.monotonic()
    done = wm(PROGRAM, "raise0", ranks=3)
    assert time.monotonic() - began < 10
    assert done.returncode != 0 and "rank 0 on" in done.stderr and "KeyError" in done.stderr


def test_a_fault_that_rank_0_sees_first_is_said_once() -> None:
    assert refuse("es", "--preset", "smoke", "--world", "/nowhere", "--out", "/tmp/never", ranks=3).startswith(
        "error: /nowhere is not a world")


def test_alone_under_a_launcher_that_started_several(tmp_path: Path) -> None:
    """A launcher of another MPI leaves each process alone; its environment still tells how many it started."""
    said = refuse("es", "--env", "toy", "--out", tmp_path / "run", env={"PMI_SIZE": "3", "PMI_RANK": "0"})
    assert "started 3 processes, but each sees itself alone" in said
    assert not (tmp_path / "run").exists()


def test_help_and_bad_flags_need_no_mpi() -> None:
    block = ("import sys, runpy; sys.modules['mpi4py'] = None; sys.argv = {}; "
             "runpy.run_module('wm_mpi.es', run_name='__main__')")
    python = command("x")[0]
    for arguments, status in ((["es", "--help"], 0), (["es", "--out", "x", "--popsize", "many"], 2)):
        done = subprocess.run([python, "-c", block.format(arguments)], capture_output=True, text=True)
        assert done.returncode == status and "popsize" in done.stdout + done.stderr
