"""Who is there: what rank 0 knows about the worker ranks, and how it lets them go."""

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from wm_mpi.core.errors import NoWorkersLeft, UserError
from wm_mpi.core.launch import PLAYING, leave_status
from wm_mpi.pool.interface import FAR_APART, Arithmetic
from wm_mpi.pool.transport import Mail, Message, end_launcher, here, kill, leave_within

SILENT_SECONDS = 20.0
"""A rank that has said nothing for this long is given up until it speaks again (seconds; workers speak every 2)."""
ATTENTION_SECONDS = 1.0
"""Time between looks for silent ranks; away for longer, rank 0 was not listening (seconds)."""
DESERTED_SECONDS = 120.0
"""With every rank silent for this long, none is left (seconds)."""
LATECOMER_SECONDS = 10.0
"""How long a run waits for ranks that are still starting, once one is ready (seconds)."""
STRAGGLER_SECONDS = 0.2
"""How long it waits for ranks that are still finishing the previous run (seconds)."""
REMINDER_SECONDS = 30.0
"""Time between reminders that ranks are being waited for (seconds)."""
HEARTBEAT_SECONDS = 60.0
"""Longest silence of rank 0 towards its ranks while it waits (seconds)."""
GOODBYE_SECONDS = 5.0
"""How long ranks have to leave at the end before they are killed (seconds)."""


@dataclass
class Rank:
    """What is known about a worker."""

    number: int
    heard: float
    """When it last said something."""
    host: str = "a host not yet known"
    pid: int = 0
    capacity: int = 0
    """0 until it has built its part."""
    arithmetic: Arithmetic | None = None
    ready: bool = False
    """It waits for a run."""
    silent: bool = False
    lost: str = ""
    """Why it is gone for good."""

    def __str__(self) -> str:
        return f"rank {self.number} on {self.host}"


class Members:
    """The worker ranks."""

    def __init__(self, mail: Mail) -> None:
        """Every rank but 0 is a worker."""
        self.mail = mail
        self.say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)
        """Tells people what happened to ranks."""
        self.ranks = {number: Rank(number, time.monotonic()) for number in range(1, mail.size)}
        self._gone: list[tuple[int, bool]] = []
        self._said: set[str] = set()
        self._spoke = self._listened = self._listening = self._looked = time.monotonic()

    @property
    def present(self) -> list[Rank]:
        """Ranks not lost."""
        return [rank for rank in self.ranks.values() if not rank.lost]

    @property
    def ready(self) -> list[Rank]:
        """Ranks that wait for a run."""
        return [rank for rank in self.present if rank.ready and not rank.silent]

    def begin(self) -> None:
        """Have every rank build its part."""
        leave_status(PLAYING)
        self.mail.send(self.ranks, "build")

    def next(self, timeout: float) -> Message | None:
        """The next message, noted here; None after ``timeout`` seconds without one.

        Raises:
            NoWorkersLeft: all ranks are lost, or have long been silent.
        """
        began = time.monotonic()
        message = self.mail.receive(timeout)
        ended = time.monotonic()
        if max(began - self._listened, ended - began - timeout) > ATTENTION_SECONDS:  # away, or stopped with all the others
            self._listening = ended
        self._listened = ended
        if time.monotonic() - self._spoke > HEARTBEAT_SECONDS:
            self._spoke = time.monotonic()
            self.mail.send((rank.number for rank in self.present), "beat")
        for number in self.mail.dead:
            self._lose(self.ranks[number], "it died")
        if message is not None:
            self._note(self.ranks[message.sender], message)
        if self._listened - self._looked > ATTENTION_SECONDS:
            self._looked = self._listened
            self._look_for_silence()
        return message

    def say_once(self, about: str, text: str) -> None:
        """Tell people, unless something was told them ``about`` the same already."""
        if about not in self._said:
            self._said.add(about)
            self.say(text)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What ranks compute on, with their number, where not all compute alike."""
        counted = Counter(rank.arithmetic for rank in self.present if rank.arithmetic is not None)
        return tuple(f"{each.on} ({count} ranks)" for each, count in counted.items()) if len(counted) > 1 else ()

    def gone(self) -> list[tuple[int, bool]]:
        """Ranks lost (True) or fallen silent (False) since the last call."""
        gone, self._gone = self._gone, []
        return gone

    def assemble(self) -> None:
        """Hear out who is there, so that few tasks spread over all; latecomers are not waited for long."""
        began = asked = time.monotonic()
        while True:
            missing = [rank for rank in self.present if not rank.ready and not rank.silent]
            starting = [rank for rank in missing if not rank.capacity]
            now = time.monotonic()
            if not missing or self.ready and now - began > (LATECOMER_SECONDS if starting else STRAGGLER_SECONDS):
                return
            if now - asked > REMINDER_SECONDS:
                asked = now
                self.say(f"waiting for {len(missing)} ranks to be ready: {', '.join(map(str, missing[:8]))}")
            for _ in missing:  # hear so many before looking over all of them again: of a thousand, that takes a while
                if self.next(STRAGGLER_SECONDS / 4) is None or time.monotonic() - now > STRAGGLER_SECONDS:
                    break

    def drill(self) -> float | None:
        """Kill the last rank, in the open; seconds until its death is noticed, None if it is not."""
        rank, began = self.present[-1], time.monotonic()
        self.say(f"a drill: killing {rank} to see whether the job outlives it")
        self._kill([rank])
        while not rank.lost and time.monotonic() - began < 2 * GOODBYE_SECONDS:
            self.next(STRAGGLER_SECONDS)
        return time.monotonic() - began if rank.lost else None

    def dismiss(self, status: int, text: str = "", orderly: bool = True) -> None:
        """Let all ranks go at the end of the job, also those that stand still.

        Without fault tolerance in the launcher, a rank that stands still needs an abort, from which nobody returns, so
        ``text``, why the job ends, is said before. An end that is not ``orderly``, a bug, needs it too.
        """
        leave_status(str(status))
        still = [rank for rank in self.present if rank.silent]
        if not self.mail.survives:
            if still or not orderly:
                print(text, file=sys.stderr, flush=True)
                self.mail.abort(status)
            self.mail.send(self.ranks, "stop")
            self.mail.flush(GOODBYE_SECONDS)
            if status:
                leave_within(2 * GOODBYE_SECONDS)
            return
        self._kill(still)
        self.mail.send(self.ranks, "stop")
        for last in (False, True):
            until = time.monotonic() + GOODBYE_SECONDS
            while self._alive() and time.monotonic() < until:
                self.mail.receive(STRAGGLER_SECONDS)
            if not last:
                self._kill(self._alive())
        if self._alive():
            end_launcher()

    def _alive(self) -> list[Rank]:
        return [rank for rank in self.ranks.values() if rank.number not in self.mail.dead]

    def _kill(self, ranks: list[Rank]) -> None:
        """Kill processes: here directly, elsewhere through a rank of their host."""
        for rank in ranks:
            host, _ = here()
            sibling = next((other.number for other in self.present if other.host == rank.host and not other.silent), None)
            if rank.host == host:
                kill([rank.pid])
            elif sibling is not None:
                self.mail.send([sibling], "kill", [rank.pid])

    def _note(self, rank: Rank, message: Message) -> None:
        rank.heard = time.monotonic()
        if rank.silent and not rank.lost:
            rank.silent = False
            self.say(f"{rank} speaks again and plays on")
        if message.kind == "hello":
            rank.host, rank.pid = message.content
        elif message.kind == "ready":
            capacity, arithmetic = message.content
            if not rank.capacity and arithmetic is not None:
                rank.arithmetic = arithmetic
                self._compare(rank, arithmetic)
            rank.capacity, rank.ready = capacity, True
        elif message.kind == "failed":
            self._lose(rank, "it failed", f":\n{message.content}")

    def _compare(self, rank: Rank, its: Arithmetic) -> None:
        """Does a new rank compute as those before it? A new kind is told once.

        Raises:
            UserError: it computes something else.
        """
        others = {each.arithmetic: each for each in self.ranks.values() if each is not rank and each.arithmetic is not None}
        if not others or its in others:
            return
        first, other = next(iter(others.items()))
        off = first.apart(its)
        if not off <= FAR_APART:
            raise UserError(f"{rank} ({its.on}) computes something else than {other} ({first.on}): the same calculation is "
                            f"{off:.2g} off, more than {FAR_APART:g}: use the same packages and the same world on all hosts")
        self.say(f"{rank} computes on {its.on}, {other} on {first.on}: the same calculation differs by {off:.2g}. The run "
                 "goes on; but who plays an episode decides its last digits, so that another start may give others")

    def _look_for_silence(self) -> None:
        """Who should have said something by now? Only time in which rank 0 has listened counts."""
        now = time.monotonic()
        for rank in self.present:
            if rank.capacity and not rank.silent and now - max(rank.heard, self._listening) > SILENT_SECONDS:
                rank.silent = True
                self._gone.append((rank.number, False))
                self.say(f"{rank} has said nothing for {now - rank.heard:.0f} s: others play its episodes")
        if self.present and all(rank.silent and now - max(rank.heard, self._listening) > DESERTED_SECONDS
                                for rank in self.present):
            raise NoWorkersLeft(f"no worker rank has said anything for {DESERTED_SECONDS:.0f} s: see what holds the hosts "
                                "up, then run the same command again to continue")

    def _lose(self, rank: Rank, why: str, detail: str = "") -> None:
        if rank.lost:
            return
        rank.lost, rank.ready = why, False
        self._gone.append((rank.number, True))
        self.say(f"lost {rank}, {why}: others play its episodes{detail}")
        if not self.present:
            raise NoWorkersLeft(f"no worker rank is left, the last was {rank}: run the same command again to continue")
