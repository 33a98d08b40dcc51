"""What a pool, its workers and their tasks promise one another."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

Indexed = tuple[int, Any]
OnResult = Callable[[int, Any], None]
"""Called with (index, result) as each result arrives, in any order."""


FAR_APART = 0.1
"""Samples that differ by more than this do not come from the same calculation (absolute; samples are around 1)."""


class Tasks(Protocol):
    """Where a worker takes its tasks from."""

    def take(self, wait: bool) -> Indexed | None:
        """The next (index, task); None when there is none now (``wait`` false) or no more in this run (``wait`` true)."""

    def wanted(self) -> bool:
        """Whether unfinished tasks are still wanted; a worker asks between two steps of a task, which shows it is alive."""


class Arithmetic(NamedTuple):
    """What a rank computes with. Ranks of which both parts are equal give equal results, to the last bit."""

    on: str
    """The processor and whatever else decides how sums round, in words."""
    sample: tuple[float, ...]
    """What came out of a fixed calculation, of numbers around 1."""

    def apart(self, other: "Arithmetic") -> float:
        """The largest difference between the samples; infinite if they are of different lengths."""
        if len(self.sample) != len(other.sample):
            return math.inf
        return max((abs(one - two) for one, two in zip(self.sample, other.sample, strict=True)), default=0.0)


class Worker(Protocol):
    """What plays tasks; one is built on each working rank."""

    capacity: int
    """Tasks worked on at once."""

    @property
    def arithmetic(self) -> Arithmetic | None:
        """None where results differ by nature: copies are then not compared."""

    def run(self, shared: Any, tasks: Tasks) -> Iterator[Indexed]:
        """Take tasks until there are no more and yield (index, result) as each finishes.

        A result must depend on the task and on ``shared`` alone, up to rounding on processors of different kinds: any rank
        may play it, and two may play the same one.
        """


@dataclass(frozen=True)
class Outcome:
    """Results of ``Pool.run`` in task order, and how the ranks did."""

    results: list[Any]
    busy_share: float
    """The workers' busy time over workers x wall time."""
    workers: int
    """Ranks at work at the end."""
    slowest: str
    """The slowest rank with its host and its time per task against the mean; empty with fewer than two workers."""
    lost: tuple[str, ...] = ()
    """Ranks lost since the start of the job, with their hosts."""
    unlike: tuple[str, ...] = ()
    """What ranks compute on, with their number, where not all compute alike."""


class Pool(Protocol):
    """Runs lists of tasks."""

    @property
    def workers(self) -> int:
        """Ranks at work."""

    def report_to(self, say: Callable[[str], None]) -> None:
        """Use ``say`` to tell people what happened to ranks; before, it goes to standard error."""

    def drill(self) -> float | None:
        """Kill a worker rank to see whether it is noticed: after how many seconds, None if not within 10."""

    def run(self, shared: Any, tasks: Sequence[Any], on_result: OnResult | None = None) -> Outcome:
        """Play all tasks.

        Raises:
            NoWorkersLeft: all workers are gone.
            FaultyTask: a task has ended three ranks.
            UserError: ranks differ by more than rounding explains.
        """
