"""A pool of one process."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from wm_mpi.pool.interface import Indexed, OnResult, Outcome, Worker


class SerialPool:
    """One process does everything."""

    workers = 1

    def __init__(self, worker: Worker) -> None:
        """Play tasks with ``worker``."""
        self._worker = worker

    def report_to(self, say: Callable[[str], None]) -> None:
        """Nothing ever happens to the only rank."""

    def drill(self) -> float | None:
        """There is nobody to kill."""
        return None

    def run(self, shared: Any, tasks: Sequence[Any], on_result: OnResult | None = None) -> Outcome:
        """Play all tasks here."""
        results: list[Any] = [None] * len(tasks)
        for index, result in self._worker.run(shared, Listed(enumerate(tasks))):
            results[index] = result
            if on_result:
                on_result(index, result)
        return Outcome(results, busy_share=1.0, workers=1, slowest="")


class Listed:
    """``Tasks`` that are all there from the beginning."""

    def __init__(self, tasks: Iterable[Indexed]) -> None:
        """Hand out (index, task) pairs in order."""
        self._left = iter(tasks)

    def take(self, wait: bool) -> Indexed | None:
        """The next one."""
        return next(self._left, None)

    def wanted(self) -> bool:
        """Always."""
        return True
