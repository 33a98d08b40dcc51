"""A rank's worker that calls a function: what a program of one's own plays over MPI need not be an episode."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from wm_mpi.pool.interface import Indexed, Tasks

LOOK_SECONDS = 0.5
"""How often a rank that calculates looks whether it is still wanted, which shows that it is alive (seconds)."""


class Calls:
    """Makes ``function(shared, task)`` of every task.

    The function must depend on the two alone, since a lost rank's tasks go to others. It runs in a thread of its own, and
    may take as long as it wants to.
    """

    capacity = 1
    arithmetic = None

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        """Call ``function``; arguments and results travel by pickle."""
        self._function = function

    def run(self, shared: Any, tasks: Tasks) -> Iterator[Indexed]:
        """Take tasks until there are no more. What the function raises ends the rank's work, and is told with its place."""
        with ThreadPoolExecutor(1) as aside:
            while (indexed := tasks.take(wait=True)) is not None:
                index, task = indexed
                call = aside.submit(self._function, shared, task)
                while not wait([call], LOOK_SECONDS).done:
                    tasks.wanted()  # an unwanted call is finished all the same: a thread cannot be stopped
                yield index, call.result()
