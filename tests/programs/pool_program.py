"""Workers for the pool's tests: they square, sleep or raise."""

import json
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

from wm_mpi.pool import open_pool


class Worker:
    capacity = 2
    arithmetic = None

    def run(self, shared: Any, tasks: Any) -> Iterator[tuple[int, Any]]:
        while (indexed := tasks.take(wait=True)) is not None:
            index, task = indexed
            if sys.argv[1] == "sleep":
                time.sleep(task)
            if sys.argv[1] == "raise" and task == 20:
                print(1 // 0)
            yield index, shared * task**2


with open_pool(Worker) as pool:
    if pool is not None:
        if sys.argv[1] == "sleep":
            pool.run(1, [0.0] * 4)
            before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            pool.run(1, [0.5] * 16)
            after = resource.getrusage(resource.RUSAGE_SELF)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(json.dumps({"cpu": cpu, "wall": time.perf_counter() - began}))
        elif sys.argv[1] == "raise0":
            print({}["nothing"])
        else:
            arrived: list[int] = []
            results = [pool.run(factor, list(range(size)), lambda index, _: arrived.append(index)).results
                       for factor, size in ((7, 50), (9, 3), (1, 0))]
            print(json.dumps({"results": results, "arrived": len(arrived)}))
