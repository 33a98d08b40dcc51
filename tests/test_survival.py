"""Ranks die, fail, fall silent or lie at exact and at random moments: files come out as if nothing had happened."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import FEW, ROOT, metrics, once, refuse, same, succeed
from skips import NO_ROOT
from striking import Job

CHAOS = ROOT / "tests" / "programs" / "chaos_program.py"
OPTIONS = ("--env", "toy", "--popsize", 32, "--episodes", 8, "--eval-every", 3, "--eval-episodes", 6, "--seed", 5)
GENERATIONS = 30
FULL = (*OPTIONS, "--generations", GENERATIONS)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that all others must equal, played by one process."""
    return once(tmp_path_factory, "undisturbed", lambda out: succeed("es", *FULL, "--out", out / "run")) / "run"


def finish(run: Path, undisturbed: Path, ranks: int = 3) -> None:
    """Start again; the run must go on and end as the undisturbed one."""
    assert "resuming" in succeed("es", *FULL, "--out", run, ranks=ranks)
    same(undisturbed, run)


@pytest.mark.parametrize("victims", [(1,), (1, 3), (2, 3)], ids=str)
def test_workers_killed_at_random_moments(victims: tuple[int, ...], undisturbed: Path, tmp_path: Path) -> None:
    """kill -9 of 1 of 3 and of 2 of 3, one after the other."""
    moments = random.Random(repr(victims))
    run = tmp_path / "run"
    with Job("es", *FULL, "--out", run, ranks=4) as job:
        for number, victim in enumerate(victims):
            job.wait_for(run / "episodes.jsonl", 300 + 1500 * number)
            time.sleep(moments.uniform(0.0, 0.2))
            job.strike(victim)
        status, said = job.end()
    assert status == 0, said
    assert all(f"lost rank {victim} on" in said for victim in victims)
    same(undisturbed, run)


@pytest.mark.alone
def test_a_stopped_worker_is_played_around(undisturbed: Path, tmp_path: Path) -> None:
    """SIGSTOP: the run goes on at once, and ends although that rank never will."""
    run = tmp_path / "run"
    with Job("es", *FULL, "--out", run, ranks=4) as job:
        job.wait_for(run / "episodes.jsonl", 600)
        job.strike(2, with_signal=signal.SIGSTOP)
        began = time.monotonic()
        status, said = job.end()
    assert status == 0, said
    assert time.monotonic() - began < 60
    same(undisturbed, run)


def test_a_stopped_worker_comes_back(undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Job(CHAOS, "hasty", "-", "--", *OPTIONS, "--generations", 4000, "--out", run, ranks=3) as job:
        job.wait_for(run / "metrics.jsonl", 2)
        job.strike(2, with_signal=signal.SIGSTOP)
        said = ""
        assert job.process.stdout is not None
        while "rank 2 on" not in said or "has said nothing" not in said:
            said += job.process.stdout.readline()
        job.strike(2, with_signal=signal.SIGCONT)
        while "speaks again" not in said:
            said += job.process.stdout.readline()
        job.wait_for(run / "metrics.jsonl", max(6, len(metrics(run)) + 2))
        job.process.send_signal(signal.SIGUSR1)
        assert job.end()[0] == 75
    rows = metrics(run)
    together = min(len(rows), GENERATIONS)
    assert together > 4 and rows[:together] == metrics(undisturbed)[:together]


@pytest.mark.parametrize("ranks", [3, 4])
def test_a_worker_killed_during_the_broadcast(ranks: int, undisturbed: Path, tmp_path: Path) -> None:
    with Job(CHAOS, "broadcast", 2, "--", *FULL, "--out", tmp_path / "run", ranks=ranks) as job:
        status, said = job.end()
    assert status == 0 and "lost rank 2 on" in said, said
    same(undisturbed, tmp_path / "run")


@pytest.mark.parametrize("ranks", [0, 3])
def test_everything_killed_while_a_checkpoint_is_written(ranks: int, undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for generation in (1, 7):
        with Job(CHAOS, "checkpoint", generation, "--", *FULL, "--out", run, ranks=ranks) as job:
            status, said = job.end()
        assert status == (75 if ranks else -signal.SIGKILL), said
        assert len(metrics(run) if (run / "metrics.jsonl").exists() else []) == generation - 1
    finish(run, undisturbed)


def test_rank_0_killed_at_random_moments(undisturbed: Path, tmp_path: Path) -> None:
    """The workers end by themselves, and the next start goes on."""
    moments, run = random.Random(0), tmp_path / "run"
    for number in range(4):
        with Job("es", *FULL, "--out", run, ranks=3) as job:
            job.wait_for(run / "episodes.jsonl", 200 + 1200 * number)
            time.sleep(moments.uniform(0.0, 0.2))
            job.strike(0)
            status, said = job.end(timeout=20)
            assert status == 75 and "run the same command again" in said, said
            deadline = time.monotonic() + 10
            while job.ranks() and time.monotonic() < deadline:
                time.sleep(0.1)
            assert not job.ranks(), "workers were left behind"
    finish(run, undisturbed)


@pytest.mark.parametrize("env", ["dream", "doom"])
def test_dreams_and_doom_are_killed_and_go_on(env: str, doom: Path, tmp_path: Path) -> None:
    """kill -9 of a worker, then of rank 0; the next start ends with the digits of a run that nobody disturbed."""
    line = ("es", "--preset", "smoke", "--env", env, "--world", doom / "world", "--popsize", 6, "--episodes", 4, "--seed", 5,
            "--max-frames", 80, "--generations", 3, *FEW, *(("--temperature", 1.15) if env == "dream" else ()))
    run = tmp_path / "run"
    succeed(*line, "--out", tmp_path / "undisturbed")
    with Job(*line, "--out", run, ranks=4) as job:
        job.wait_for(run / "episodes.jsonl", 10)
        job.strike(1)
        job.wait_for(run / "episodes.jsonl", 40)
        job.strike(0)
        status, said = job.end(timeout=30)
    assert status == 75, said
    succeed(*line, "--out", run, ranks=3)
    same(tmp_path / "undisturbed", run)


def test_without_workers_rank_0_ends_with_a_status_of_its_own(undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Job("es", *FULL, "--out", run, ranks=3) as job:
        job.wait_for(run / "metrics.jsonl", 2)
        job.strike(1, 2)
        status, said = job.end(timeout=20)
    assert status == 69 and "error: no worker rank is left" in said and "Traceback" not in said
    finish(run, undisturbed)


@pytest.mark.alone
def test_without_fault_tolerance_a_dead_worker_ends_the_job(undisturbed: Path, tmp_path: Path) -> None:
    """Plain mpirun: non-zero within 10 seconds, and nothing is lost."""
    run = tmp_path / "run"
    with Job("es", *FULL, "--out", run, ranks=3, launcher=("mpirun", "--oversubscribe")) as job:
        job.wait_for(run / "metrics.jsonl", 3)
        job.strike(1)
        assert job.end(timeout=10)[0] != 0
    assert len(metrics(run)) >= 3
    finish(run, undisturbed)


@pytest.mark.parametrize("launcher", [("bash", "jobs/mpirun.bash"), ("mpirun", "--oversubscribe")], ids=("ulfm", "plain"))
def test_a_raising_rank_is_reported_and_replaced(launcher: tuple[str, ...], undisturbed: Path, tmp_path: Path) -> None:
    with Job(CHAOS, "raise", 2, "--", *FULL, "--out", tmp_path / "run", ranks=3, launcher=launcher) as job:
        status, said = job.end()
    assert status == 0 and "lost rank 2 on" in said and "RuntimeError: a fault of one rank" in said, said
    assert "lost 1: rank 2 on" in (tmp_path / "run" / "log.txt").read_text()
    same(undisturbed, tmp_path / "run")


def test_a_task_that_kills_whoever_plays_it_is_named(tmp_path: Path) -> None:
    with Job(CHAOS, "poison", 59, "--", *FULL, "--out", tmp_path / "run", ranks=6) as job:
        status, said = job.end()
    assert status == 1, said
    assert "Task(candidate=7, seed=EpisodeSeed(" in said and "has ended 3 ranks" in said


def test_two_answers_that_differ_stop_the_run(tmp_path: Path) -> None:
    """A rank stands still while its tasks are played by others, then comes back with other numbers."""
    with Job(CHAOS, "lie", 2, "--", *OPTIONS, "--popsize", 3, "--generations", 100_000, "--out", tmp_path / "run",
             ranks=3) as job:
        deadline = time.monotonic() + 60
        while job.process.poll() is None and time.monotonic() < deadline:
            for blow in (signal.SIGSTOP, signal.SIGCONT):
                try:
                    job.strike(2, with_signal=blow)
                except (KeyError, ProcessLookupError):
                    break
                time.sleep(0.05)
        status, said = job.end(timeout=10)
    assert status == 2 and "although both compute alike to the last bit" in said, said


@pytest.mark.alone
@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGUSR1], ids=lambda blow: blow.name)
@pytest.mark.parametrize("ranks,target", [(0, "process"), (3, "launcher"), (3, "rank 0")])
def test_signals_stop_in_order(blow: signal.Signals, ranks: int, target: str, undisturbed: Path, tmp_path: Path) -> None:
    """Status 75 within 10 seconds, and the next start goes on."""
    run = tmp_path / "run"
    with Job("es", *FULL, "--out", run, ranks=ranks) as job:
        job.wait_for(run / "metrics.jsonl", 4)
        if target == "rank 0":
            job.strike(0, with_signal=blow)
        else:
            job.process.send_signal(blow)
        status, said = job.end(timeout=10)
    assert status == 75 and "stopped by SIG" in said and "run the same command again" in said, said
    finish(run, undisturbed, ranks=3 - ranks)


def test_two_runs_in_one_directory(undisturbed: Path, tmp_path: Path) -> None:
    """The second is refused; the lock dies with its holder, even by kill -9."""
    run = tmp_path / "run"
    with Job("es", *FULL, "--out", run, ranks=0) as job:
        job.wait_for(run / "metrics.jsonl", 1)
        job.process.send_signal(signal.SIGSTOP)
        assert f"{run} is in use by process {job.process.pid} on" in refuse("es", *FULL, "--out", run, ranks=3)
        job.process.send_signal(signal.SIGKILL)
    finish(run, undisturbed)


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long shift(void) {  /* seconds, from the file that $CLOCK names */
    long seconds = 0;
    FILE *file = fopen(getenv("CLOCK"), "r");
    if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
    return seconds;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += shift();
    return status;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    int status = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return status;
}
time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
"""


def test_the_clock_jumps_back(undisturbed: Path, tmp_path: Path) -> None:
    """Ten days back in the middle of a run, and forth again when it resumes."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc to make a clock that jumps with: apt-get install gcc libc6-dev")
    library, clock, run = tmp_path / "clock.so", tmp_path / "clock", tmp_path / "run"
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-o", library, "-"], input=CLOCK, text=True, check=True)
    clock.write_text("0")
    with Job("es", *FULL, "--out", run, ranks=3, env={"LD_PRELOAD": str(library), "CLOCK": str(clock)}) as job:
        job.wait_for(run / "metrics.jsonl", 3)
        clock.write_text("-864000")
        job.wait_for(run / "metrics.jsonl", 6)
        job.strike(0)
        job.end()
    finish(run, undisturbed)
    days = [line[:10] for line in (run / "log.txt").read_text().splitlines()]
    assert min(days) < days[0], "the clock did not jump"
    assert days[-1] >= days[0]


def test_a_reader_that_goes_away_does_not_stop_the_run(undisturbed: Path, tmp_path: Path) -> None:
    """A closed terminal, a killed tee: the run says the rest to its log only."""
    run = tmp_path / "run"
    with Job("es", *FULL, "--out", run, ranks=0) as job:
        job.wait_for(run / "metrics.jsonl", 1)
        assert job.process.stdout is not None
        job.process.stdout.close()
        assert job.process.wait(timeout=60) == 0
    assert len((run / "log.txt").read_text().splitlines()) >= GENERATIONS
    same(undisturbed, run)


def mounted(place: Path, *options: str) -> None:
    """Mount a small tmpfs; needs root."""
    place.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", place], capture_output=True).returncode:
        pytest.skip(NO_ROOT)


def test_a_full_disk_and_a_read_only_one(undisturbed: Path, tmp_path: Path) -> None:
    """Each a sentence; with room again, the run goes on."""
    disk = tmp_path / "disk"
    mounted(disk, "-o", "size=300k")
    try:
        run = disk / "run"
        said = refuse("es", *FULL, "--out", run, ranks=3)
        assert "the disk is full" in said and str(disk) in said
        subprocess.run(["mount", "-o", "remount,size=300k,ro", disk], check=True)
        said = refuse("es", *FULL, "--out", run, ranks=3)
        assert "cannot be written" in said and "Read-only" in said
        subprocess.run(["mount", "-o", "remount,size=50m,rw", disk], check=True)
        finish(run, undisturbed)
        shutil.copytree(run, tmp_path / "kept")
    finally:
        subprocess.run(["umount", disk], check=True)
    same(undisturbed, tmp_path / "kept")
