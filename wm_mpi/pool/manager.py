"""Rank 0's side of a run: hand out tasks, gather results, and go on when ranks are lost."""

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from wm_mpi.core.errors import FaultyTask, NoWorkersLeft, Stopped, UserError, account
from wm_mpi.pool.interface import OnResult, Outcome
from wm_mpi.pool.membership import Members, Rank
from wm_mpi.pool.schedule import DEADLY_RANKS, Pace, Schedule
from wm_mpi.pool.transport import Mail

COPY_CHECK_SECONDS = 0.02
"""Time between decisions about copies, once no task waits (seconds)."""


class MpiPool:
    """Rank 0 of several; it plays nothing itself. As a context manager it lets the workers go at the end."""

    def __init__(self, mail: Mail) -> None:
        """Every other rank is a worker, in ``worker.serve``."""
        self._members = Members(mail)
        self._pace = Pace()
        self._runs = 0

    @property
    def workers(self) -> int:
        """Ranks not lost."""
        return len(self._members.present)

    def report_to(self, say: Callable[[str], None]) -> None:
        """Use ``say`` from now on."""
        self._members.say = say

    def drill(self) -> float | None:
        """See ``Pool.drill``."""
        return self._members.drill()

    def begin(self) -> None:
        """Have every worker build its part: only now, when rank 0 has found no fault."""
        self._members.begin()

    def run(self, shared: Any, tasks: Sequence[Any], on_result: OnResult | None = None) -> Outcome:
        """Play all tasks on the workers, see ``Pool.run``."""
        began = time.perf_counter()
        self._runs += 1
        self._pace.fade()
        run = _Run(self._members, self._runs, self._pace, shared, tasks, on_result)
        run.play()
        lost = tuple(f"{rank} ({rank.lost})" for rank in self._members.ranks.values() if rank.lost)
        busy = run.busy / (max(1, self.workers) * (time.perf_counter() - began))
        return Outcome(run.results, min(1.0, busy), self.workers, self._slowest(), lost, self._members.kinds)

    def _slowest(self) -> str:
        if self.workers < 2:
            return ""
        rank = max(self._members.present, key=lambda rank: self._pace.of(rank.number))
        return f"{rank} ({self._pace.of(rank.number):.1f}x the mean time)"

    def __enter__(self) -> "MpiPool":
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Send the workers home."""
        if error is None:
            self._members.dismiss(0)
        else:
            text, status = account(error, f"rank 0 on {socket.gethostname()} raised, the job ends:\n")
            bug = not isinstance(error, UserError | Stopped | KeyboardInterrupt)
            self._members.dismiss(status, text, orderly=not bug)


class _Run:
    """One list of tasks being played."""

    def __init__(self, members: Members, number: int, pace: Pace, shared: Any, tasks: Sequence[Any],
                 on_result: OnResult | None) -> None:
        self._members, self._number, self._pace, self._tasks, self._on_result = members, number, pace, tasks, on_result
        self._begin = (number, shared)
        self._schedule = Schedule(len(tasks), pace)
        self._playing: dict[int, int] = {}  # ranks in this run -> tasks sent and not answered
        self._capacity = 0
        self._looked = 0.0
        self.results: list[Any] = [None] * len(tasks)
        self._by: list[Rank | None] = [None] * len(tasks)  # whose results these are
        self.busy = 0.0

    def play(self) -> None:
        """Until every task is answered."""
        if not self._tasks:
            return
        try:
            self._play()
        except NoWorkersLeft as error:
            suspect = self._schedule.suspect
            if suspect is None:
                raise
            raise NoWorkersLeft(f"{error} (several of them were lost with {self._tasks[suspect]} among others)") from None

    def _play(self) -> None:
        self._members.assemble()
        self._join(sorted(self._members.ready, key=lambda rank: self._pace.of(rank.number)))
        while not self._schedule.done:
            message = self._members.next(COPY_CHECK_SECONDS)
            for number, died in self._members.gone():
                self._lose(number, died)
            if message is not None:
                rank = self._members.ranks[message.sender]
                if message.kind == "results":
                    self._take(rank, *message.content)
                if rank.ready and rank.number not in self._playing:
                    self._join([rank])
                elif self._schedule.waiting and not rank.lost:
                    self._deal([rank])
            if not self._schedule.waiting:
                self._copy()
        self._members.mail.send(self._playing, "end")

    def _join(self, ranks: list[Rank]) -> None:
        """Tell ranks what the run shares, then give them tasks."""
        for rank in ranks:
            rank.ready = False
            self._playing[rank.number] = 0
            self._capacity += rank.capacity
        self._members.mail.send((rank.number for rank in ranks), "begin", self._begin)
        self._deal(ranks)

    def _deal(self, ranks: list[Rank]) -> None:
        """Fill free places, in turn: few tasks spread over many ranks, and of many each rank gets some that follow one
        another, which have much in common.
        """
        dealt: dict[int, list[int]] = {rank.number: [] for rank in ranks}
        now = time.monotonic()
        places = {rank.number: self._places(rank) - self._playing.get(rank.number, 0) for rank in ranks
                  if rank.number in self._playing}
        given = True
        while given and places:
            given, share = False, max(1, self._schedule.waiting // len(places))
            for number, most in places.items():
                for _ in range(min(share, most - len(dealt[number]))):
                    index = self._schedule.next(number, now)
                    if index is not None:
                        dealt[number].append(index)
                        given = True
        self._send({number: indexes for number, indexes in dealt.items() if indexes})

    def _places(self, rank: Rank) -> int:
        """Tasks that a rank may hold: some more than it plays at once, to lie ready, as long as there are plenty."""
        return rank.capacity + (max(1, rank.capacity // 8) if self._schedule.waiting > self._capacity else 0)

    def _copy(self) -> None:
        """Give ranks with nothing left to play copies of what stragglers hold; elsewhere they would hold up the rest."""
        now = time.monotonic()
        if now - self._looked < COPY_CHECK_SECONDS:
            return
        self._looked = now
        idle = [number for number, playing in self._playing.items() if not playing and self._listening(number)]
        share = -(-self._schedule.unfinished // max(1, len(idle)))
        dealt: dict[int, list[int]] = {}
        for number, index in self._schedule.copies(
                {number: min(share, self._members.ranks[number].capacity) for number in idle}, now):
            dealt.setdefault(number, []).append(index)
        self._send(dealt)

    def _send(self, dealt: dict[int, list[int]]) -> None:
        for number, indexes in dealt.items():
            self._playing[number] += len(indexes)
            self._members.mail.send([number], "tasks", [(index, self._tasks[index]) for index in indexes])

    def _listening(self, number: int) -> bool:
        return not self._members.ranks[number].silent

    def _take(self, rank: Rank, run: int, results: list[tuple[int, Any]], busy: float) -> None:
        """Results have come; those of an earlier run are nobody's any more.

        Raises:
            UserError: a copy gave another answer.
        """
        if run != self._number:
            return
        self.busy += busy
        self._playing[rank.number] -= len(results)
        now = time.monotonic()
        for index, result in results:
            if self._schedule.finish(rank.number, index, now):
                self.results[index], self._by[index] = result, rank
                if self._on_result:
                    self._on_result(index, result)
            elif rank.arithmetic is not None and result != self.results[index]:
                self._differ(index, rank, result)

    def _differ(self, index: int, rank: Rank, result: Any) -> None:
        """A copy gave another answer; the first one counts.

        Raises:
            UserError: the two ranks compute alike, so that it is not rounding.
        """
        first = self._by[index]
        assert first is not None
        text = f"{self._tasks[index]} gave {self.results[index]} on {first} and {result} on {rank}"
        if first.arithmetic == rank.arithmetic:
            raise UserError(f"{text}, although both compute alike to the last bit: one of them has a fault, in its memory "
                            "or in its files; leave its host out and run the same command again")
        self._members.say_once("differ", f"{text}, which compute unlike: the first answer counts, here and from now on")

    def _lose(self, number: int, died: bool) -> None:
        """Others play what a rank held.

        Raises:
            FaultyTask: one of its tasks has ended too many ranks.
        """
        deadly = self._schedule.lose(number, died)
        if died:
            self._playing.pop(number, None)
        if deadly is not None:
            last = self._members.ranks[number]
            raise FaultyTask(f"{self._tasks[deadly]} has ended {DEADLY_RANKS} ranks, the last was {last} ({last.lost}): "
                             "the fault is in this task, see what they said above")
        idle = [rank for rank in self._members.present if rank.number in self._playing and not rank.silent]
        self._deal(sorted(idle, key=lambda rank: self._pace.of(rank.number)))
