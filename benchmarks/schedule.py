"""What each rule of the pool's schedule buys, played through on a clock of its own: no MPI, seconds on one core.

python -m benchmarks.schedule       time over the ideal, and hand-outs per task, with each rule left out in turn
"""

import contextlib
import heapq
import random
import statistics
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from wm_mpi.pool import schedule as rules
from wm_mpi.pool.manager import COPY_CHECK_SECONDS
from wm_mpi.pool.schedule import Pace, Schedule

STUCK = float("inf")


def play(lengths: list[float], paces: list[float], capacity: int = 1, pace: Pace | None = None,
         dies: dict[int, float] | None = None) -> tuple[float, int]:
    """(time, hand-outs) of a run on ranks 1, 2, ... of given paces; rank r stands still forever from ``dies[r]`` on."""
    schedule = Schedule(len(lengths), pace or Pace())
    playing: dict[int, int] = {rank: 0 for rank in range(1, len(paces) + 1)}
    events: list[tuple[float, int, int]] = []
    now, handed = 0.0, 0
    answered: set[int] = set()

    def begin(rank: int, index: int) -> None:
        nonlocal handed
        handed += 1
        playing[rank] += 1
        end = now + lengths[index] * paces[rank - 1]
        if end < (dies or {}).get(rank, STUCK):
            heapq.heappush(events, (end, rank, index))

    def fill(rank: int) -> None:
        while playing[rank] < capacity and (index := schedule.next(rank, now)) is not None:
            begin(rank, index)

    def copy() -> None:
        free = {rank: capacity - busy for rank, busy in playing.items() if busy < capacity}
        for rank, index in list(schedule.copies(free, now)):
            assert playing[rank] < capacity  # a copy is for an idle rank
            begin(rank, index)

    for rank in playing:
        fill(rank)
    looked = 0.0
    while not schedule.done:
        if events and (events[0][0] < looked + COPY_CHECK_SECONDS or schedule.waiting):
            now, rank, index = heapq.heappop(events)
            playing[rank] -= 1
            assert schedule.finish(rank, index, now) == (index not in answered)
            answered.add(index)
            fill(rank)
        else:
            now = looked = max(now, looked + COPY_CHECK_SECONDS)
            if now > 1e4:
                raise RuntimeError("the run stands still")
            copy()
    assert answered == set(range(len(lengths)))
    return now, handed


CASES: dict[str, dict[str, Any]] = {
    "8 ranks, one 5x slower": {"ranks": 8, "tasks": 256, "slow": 5.0},
    "64 ranks, one 5x slower": {"ranks": 64, "tasks": 1024, "slow": 5.0},
    "64 ranks of 16 places, one 5x slower": {"ranks": 64, "tasks": 4096, "slow": 5.0, "capacity": 16},
    "64 ranks alike, lengths vary": {"ranks": 64, "tasks": 1024, "vary": True},
    "8 ranks, one stops": {"ranks": 8, "tasks": 256, "dies": {2: 20.0}},
}


def measure(ranks: int, tasks: int, slow: float = 1.0, capacity: int = 1, vary: bool = False,
            dies: dict[int, float] | None = None) -> tuple[float, float]:
    """(time over the ideal, hand-outs per task), the mean of three seeds of five runs."""
    found = []
    for seed in range(3):
        lengths, pace = random.Random(seed), Pace()
        for _ in range(5):
            each = [min(4.0, lengths.lognormvariate(-0.3, 0.8)) if vary else lengths.uniform(0.5, 1.5) for _ in range(tasks)]
            pace.fade()
            seconds, handed = play(each, [slow] + [1.0] * (ranks - 1), capacity, pace, dies)
            found.append((seconds / (sum(each) / capacity / (ranks - 1 + 1 / slow - len(dies or ()))), handed / tasks))
    return statistics.mean(time for time, _ in found), statistics.mean(handed for _, handed in found)


def worth(rule: Callable[[Schedule, float, float, float], bool]) -> Any:
    """The schedule with another rule for when a copy is worth it."""
    return mock.patch.object(Schedule, "_worth", lambda self, *about: bool(self._pace.mean) and rule(self, *about))


def overdue(schedule: Schedule, age: float, holder: float, copier: float) -> bool:
    """Copy only what is taken to be stuck."""
    return age / holder > rules.OVERDUE_FACTOR * schedule._pace.longest


def slower(schedule: Schedule, age: float, holder: float, copier: float) -> bool:
    """Copy only what a faster rank would finish first."""
    return age < (holder - copier) * max(schedule._pace.mean, rules.GROWTH_FACTOR * age / holder)


VARIANTS: dict[str, Callable[[], Any]] = {
    "as it is": contextlib.nullcontext,
    "no copies": lambda: worth(lambda *_: False),
    "copies of stuck tasks only": lambda: worth(overdue),
    "copies from slower ranks only": lambda: worth(slower),
    "copies of everything at once": lambda: worth(lambda *_: True),
    "a task is not expected to grow": lambda: mock.patch.object(rules, "GROWTH_FACTOR", 0.0),
    "what came before counts in full": lambda: mock.patch.object(Pace, "fade", lambda self: None),
}


def rows() -> Iterator[tuple[str, list[str]]]:
    """Each variant's figures for all cases."""
    for name, vary in VARIANTS.items():
        with vary():
            yield name, [figures(case) for case in CASES.values()]


def figures(case: dict[str, Any]) -> str:
    """Time and hand-outs of a case; a run that would never end says so."""
    try:
        return "{:.3f}, {:.3f}".format(*measure(**case))
    except RuntimeError:
        return "never ends"


if __name__ == "__main__":
    print("| rule |", " | ".join(CASES), "|")
    print("|---|", "---:|" * len(CASES), sep="")
    for name, cells in rows():
        print("|", name, "|", " | ".join(cells), "|", flush=True)
