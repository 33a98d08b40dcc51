"""A rank's worker that is several, of which one works at a time."""

from collections.abc import Iterator, Sequence
from typing import Any

from wm_mpi.pool.interface import Arithmetic, Indexed, Tasks, Worker


class Several:
    """Workers that take turns: what a run shares is the number of one of them, and what that one is given."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        """Have ``workers`` on this rank, in the order of their numbers."""
        self._workers = workers
        self.capacity = max(each.capacity for each in workers)
        known = [each.arithmetic for each in workers if each.arithmetic is not None]
        self.arithmetic = Arithmetic(known[0].on, sum((each.sample for each in known), start=())) if known else None

    def run(self, shared: tuple[int, Any], tasks: Tasks) -> Iterator[Indexed]:
        """Have the worker of that number do the tasks."""
        number, its_own = shared
        yield from self._workers[number].run(its_own, tasks)
