"""What the pool itself costs: tasks that sleep, tasks that do nothing, and a rank that is slower than the rest.

bash jobs/mpirun.bash -np 65 python -m benchmarks.pool sleep     64 workers, tasks of 100 ms: efficiency
bash jobs/mpirun.bash -np 3 python -m benchmarks.pool empty      tasks per second through rank 0
bash jobs/mpirun.bash -np 9 python -m benchmarks.pool slow       8 workers, one 5 times slower: time against the ideal
"""

import argparse
import json
import os
import random
import resource
import time
from collections.abc import Iterator
from typing import Any

from wm_mpi.pool import Pool, Tasks, open_pool

SLOWNESS = 5.0


class Sleeper:
    """Sleeps as long as a task says; with ``slow``, rank 1 takes five times as long."""

    capacity = 1
    arithmetic = None

    def __init__(self, slow: bool) -> None:
        """Sleeping needs nothing."""
        self._step = 0.02 if slow else 10.0
        self._pace = SLOWNESS if slow and os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK")) == "1" else 1.0

    def run(self, shared: Any, tasks: Tasks) -> Iterator[tuple[int, Any]]:
        """With ``slow`` in steps, as episodes are played in frames: between two, the rank listens."""
        while (indexed := tasks.take(wait=True)) is not None:
            index, seconds = indexed
            until = time.perf_counter() + seconds * self._pace
            while (left := until - time.perf_counter()) > 0 and tasks.wanted():
                time.sleep(min(left, self._step))
            if left <= 0:
                yield index, None


class Idler:
    """Answers at once, 16 tasks at a time as ``es`` does."""

    capacity = 16
    arithmetic = None

    def run(self, shared: Any, tasks: Tasks) -> Iterator[tuple[int, Any]]:
        """Nothing."""
        while (indexed := tasks.take(wait=True)) is not None:
            yield indexed[0], (0.0, 1000, False)


def measure(kind: str, pool: Pool) -> dict[str, Any]:
    """Play three runs; the median of what counts, and rank 0's share of a core."""
    lengths = random.Random(0)
    found = []
    for _ in range(3 if kind != "slow" else 5):
        if kind == "sleep":
            tasks = [0.1] * (pool.workers * 40)
        elif kind == "empty":
            tasks = [0.0] * 20_000
        else:  # as a generation of 64 x 4 episodes, which end early or late
            tasks = [lengths.uniform(0.05, 0.25) for _ in range(256)]
        speed = pool.workers - (1 - 1 / SLOWNESS if kind == "slow" else 0)
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        outcome = pool.run(None, tasks)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        ideal = sum(tasks) / speed
        found.append({"seconds": round(wall, 3), "ideal": round(ideal, 3), "efficiency": round(ideal / wall, 4),
                      "times_ideal": round(wall / ideal, 3) if ideal else None, "busy_share": round(outcome.busy_share, 3),
                      "tasks_per_second": round(len(tasks) / wall), "rank_0_core_share": round(cpu / wall, 3),
                      "rank_0_microseconds_a_task": round(cpu / len(tasks) * 1e6, 1), "slowest": outcome.slowest})
    return {"kind": kind, "workers": pool.workers, "runs": found,
            "median": sorted(found, key=lambda each: each["seconds"])[len(found) // 2]}


def main() -> None:
    """Measure what the command line asks for; rank 0 prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("sleep", "empty", "slow"))
    kind = parser.parse_args().kind
    with open_pool(lambda: Idler() if kind == "empty" else Sleeper(kind == "slow")) as pool:
        if pool is not None:
            print(json.dumps(measure(kind, pool), indent=1))


if __name__ == "__main__":
    main()
