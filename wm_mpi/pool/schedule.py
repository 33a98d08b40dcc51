"""Which rank plays which task: hand-out, what to do when ranks are lost, and copies of what a slow rank still holds.

Pure bookkeeping: no MPI and no clock of its own, so that a thousand ranks can be played through in a test.
"""

import contextlib
from collections import Counter, deque
from collections.abc import Iterator

DEADLY_RANKS = 3
"""A task that has ended this many ranks is not tried again (count)."""
OVERDUE_FACTOR = 1.5
"""A task held for this many times the longest one known is taken to be stuck."""
GROWTH_FACTOR = 1.5
"""A task is expected to take this many times what it has run for so far: lengths vary widely."""


class Pace:
    """How long tasks take, and how long on each rank against the mean of all: 5 is five times slower. Kept between runs."""

    def __init__(self) -> None:
        """Every rank is ordinary until it has shown otherwise."""
        self._ranks: dict[int, tuple[float, float]] = {}  # (seconds, tasks)
        self._seconds = self._tasks = 0.0
        self.longest = 0.0
        """The longest task lately, at pace 1 (seconds)."""

    def note(self, rank: int, seconds: float) -> None:
        """``rank`` has finished a task in ``seconds``."""
        before, tasks = self._ranks.get(rank, (0.0, 0.0))
        self._ranks[rank] = before + seconds, tasks + 1.0
        self._seconds += seconds
        self._tasks += 1.0
        self.longest = max(self.longest, seconds / self.of(rank))

    def fade(self) -> None:
        """A new run begins: what came before counts half."""
        self._ranks = {rank: (seconds / 2, tasks / 2) for rank, (seconds, tasks) in self._ranks.items()}
        self._seconds, self._tasks, self.longest = self._seconds / 2, self._tasks / 2, self.longest / 2

    @property
    def mean(self) -> float:
        """Mean time per task (seconds); 0 before the first."""
        return self._seconds / self._tasks if self._tasks else 0.0

    def of(self, rank: int) -> float:
        """The rank's pace."""
        seconds, tasks = self._ranks.get(rank, (0.0, 0.0))
        return seconds / (tasks * self.mean) if seconds else 1.0


class Schedule:
    """The tasks of one run, by index."""

    def __init__(self, tasks: int, pace: Pace) -> None:
        """Tasks 0 to ``tasks`` - 1 wait in order."""
        self._waiting = deque(range(tasks))
        self._suspects: deque[int] = deque()  # their rank died: each goes to a rank that holds no other suspect
        self._deaths: Counter[int] = Counter()
        self._holders: dict[int, dict[int, float]] = {}  # unfinished task -> rank -> since when
        self._held: dict[int, dict[int, float]] = {}  # rank -> its unfinished tasks -> since when, the oldest first
        self._open = set(range(tasks))
        self._pace = pace

    @property
    def done(self) -> bool:
        """Whether every task has been answered."""
        return not self._open

    @property
    def unfinished(self) -> int:
        """Tasks that nobody has answered."""
        return len(self._open)

    @property
    def waiting(self) -> int:
        """Tasks that wait to be handed out; with 0 copies may still be worth it."""
        return len(self._waiting) + len(self._suspects)

    @property
    def suspect(self) -> int | None:
        """The task that has ended most ranks, if more than one."""
        index, deaths = max(self._deaths.items(), key=lambda item: item[1], default=(0, 0))
        return index if deaths > 1 else None

    def held(self, rank: int) -> frozenset[int]:
        """What ``rank`` plays."""
        return frozenset(self._held.get(rank, ()))

    def next(self, rank: int, now: float) -> int | None:
        """The waiting task that ``rank`` plays next, None when there is none for it."""
        if self._suspects and not any(self._deaths[index] for index in self._held.get(rank, ())):
            return self._give(self._suspects.popleft(), rank, now)
        return self._give(self._waiting.popleft(), rank, now) if self._waiting else None

    def copies(self, idle: dict[int, int], now: float) -> Iterator[tuple[int, int]]:
        """(rank, task) pairs of tasks that an idle rank is likely to finish before their holder does.

        Either the holder is so much slower that starting anew wins, or the task is overdue. A task has one copy at most.

        Args:
            idle: free places of each idle rank.
            now: the time (seconds).
        """
        free = dict(sorted(idle.items(), key=lambda item: self._pace.of(item[0]), reverse=True))
        if not free:
            return
        for since, index, holder in sorted(self._overtaken(self._pace.of(next(reversed(free))), now)):
            while free and not free[next(reversed(free))]:
                free.popitem()
            if not free:
                return
            fastest = next((rank for rank in reversed(free) if rank != holder), None)
            if fastest is not None and self._worth(now - since, self._pace.of(holder), self._pace.of(fastest)):
                free[fastest] -= 1
                self._give(index, fastest, now)
                yield fastest, index
                if not free[fastest]:
                    del free[fastest]

    def _overtaken(self, copier: float, now: float) -> Iterator[tuple[float, int, int]]:
        """(since, task, rank) of all that ranks hold of which one task may be worth a copy on a rank of pace ``copier``.

        A thousand ranks hold sixteen thousand tasks, so whole ranks are passed over: of tasks on one rank, the youngest is
        the first that another one would finish sooner, the oldest the first that is overdue.
        """
        for rank, held in self._held.items():
            if held:
                pace, oldest, youngest = self._pace.of(rank), next(iter(held.values())), next(reversed(held.values()))
                if self._worth(now - youngest, pace, copier) or self._worth(now - oldest, pace, copier):
                    yield from ((since, index, rank) for index, since in held.items() if len(self._holders[index]) == 1)

    def _worth(self, age: float, holder: float, copier: float) -> bool:
        """Whether a copy on a rank of pace ``copier`` likely ends first, given the ``age`` on one of pace ``holder``."""
        if not self._pace.mean:
            return False
        length = max(self._pace.mean, GROWTH_FACTOR * age / holder)  # expected, at pace 1
        return age < (holder - copier) * length or age / holder > OVERDUE_FACTOR * self._pace.longest

    def finish(self, rank: int, index: int, now: float) -> bool:
        """``rank`` has answered; whether it is the first to do so."""
        self._held.get(rank, {}).pop(index, None)
        if index not in self._open:
            return False
        self._open.remove(index)
        holders = self._holders.pop(index, {})
        for holder, since in holders.items():
            self._held[holder].pop(index, None)
            self._pace.note(holder, now - since)  # for a rank that was overtaken, at least so long
        if not holders:  # a rank given up as silent has answered after all
            for queue in (self._waiting, self._suspects):
                with contextlib.suppress(ValueError):
                    queue.remove(index)
        return True

    def lose(self, rank: int, died: bool) -> int | None:
        """``rank`` is gone (``died``) or silent: others play what it held. Returns a task that has ended too many ranks."""
        deadly = None
        for index in sorted(self._held.pop(rank, ()), reverse=True):
            holders = self._holders[index]
            del holders[rank]
            if died:
                self._deaths[index] += 1
                if self._deaths[index] >= DEADLY_RANKS:
                    deadly = index
            if not holders:
                del self._holders[index]
                (self._suspects if self._deaths[index] else self._waiting).appendleft(index)
        return deadly

    def _give(self, index: int, rank: int, now: float) -> int:
        self._holders.setdefault(index, {})[rank] = now
        self._held.setdefault(rank, {})[index] = now
        return index
