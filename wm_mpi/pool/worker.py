"""A worker rank's life: build, then play runs until told to stop."""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any

from wm_mpi.core.errors import EXIT_NO_WORKERS, account
from wm_mpi.pool.interface import Indexed, Worker
from wm_mpi.pool.transport import Mail, ManagerLost, Message, here, kill

ORPHANED_SECONDS = 900.0
"""A rank that has not heard from rank 0 for this long exits; rank 0 speaks once per minute (seconds)."""
FAULT_CHARACTERS = 10_000
"""A fault's text is cut to its last characters: rank 0 must never wait for half of a long message (count)."""
AWAY_SECONDS = 60.0
"""A rank that has not listened for this long was stopped, perhaps with all others, and gives rank 0 time (seconds)."""
BEAT_SECONDS = 2.0
"""Longest silence of a rank that plays; it then says that it lives (seconds)."""


def serve(mail: Mail, build: Callable[[], Worker], within: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
    """Serve rank 0 until it says stop.

    A fault is told to rank 0, and the rank then waits for the end without playing: its tasks go to others.
    """
    orders = _Orders(mail)
    try:
        mail.send([0], "hello", here())
        if orders.wait("build") is None:
            return
        try:
            with within():
                _play(orders, build())
        except ManagerLost:
            raise
        except Exception as error:
            mail.send([0], "failed", account(error)[0][-FAULT_CHARACTERS:])
            orders.wait("stop")
    except ManagerLost:
        if mail.rank == min(set(range(mail.size)) - mail.dead):  # one voice
            print("rank 0 has died, the job ends: run the same command again to continue", file=sys.stderr, flush=True)
        sys.exit(EXIT_NO_WORKERS)


def _play(orders: "_Orders", worker: Worker) -> None:
    """Play one run after the other."""
    while True:
        orders.say("ready", (worker.capacity, worker.arithmetic))
        begin = orders.wait("begin")
        if begin is None:
            return
        number, shared = begin.content
        mailbox = _Mailbox(orders, number)
        for index, result in worker.run(shared, mailbox):
            mailbox.deliver(index, result)
        mailbox.flush()


class _Orders:
    """What rank 0 wants of this rank."""

    def __init__(self, mail: Mail) -> None:
        self.mail = mail
        self.stopped = False
        self._said = self._heard = self._listened = time.monotonic()

    def next(self, timeout: float) -> Message | None:
        """The next message that is not about the whole job."""
        began = time.monotonic()
        message = self.mail.receive(timeout, source=0)
        ended = time.monotonic()
        if message is not None or max(began - self._listened, ended - began - timeout) > AWAY_SECONDS:
            self._heard = ended
        self._listened = ended
        if ended - self._heard > ORPHANED_SECONDS:
            raise ManagerLost
        if message is not None and message.kind == "kill":
            kill(message.content)
            return None
        self.stopped |= message is not None and message.kind == "stop"
        return message

    def wait(self, kind: str) -> Message | None:
        """The next message of a kind, skipping what is left of a run before; None once rank 0 says stop."""
        while not self.stopped:
            message = self.next(timeout=BEAT_SECONDS)
            self.beat()
            if message is not None and message.kind == kind:
                return message
        return None

    def say(self, kind: str, content: Any) -> None:
        """Tell rank 0."""
        self.mail.send([0], kind, content)
        self._said = time.monotonic()

    def beat(self) -> None:
        """Say that this rank lives, if it has long been silent."""
        if time.monotonic() - self._said > BEAT_SECONDS:
            self.say("beat", None)


class _Mailbox:
    """A run's tasks as they arrive from rank 0, and the results on their way back."""

    def __init__(self, orders: _Orders, run: int) -> None:
        self._orders, self._run = orders, run
        self._tasks: list[Indexed] = []
        self._results: list[tuple[int, Any]] = []
        self._since = time.perf_counter()
        self._ended = False

    def take(self, wait: bool) -> Indexed | None:
        self.flush()
        self._look(0.0)
        began = time.perf_counter()
        while wait and not self._tasks and not self._ended:
            self._look(BEAT_SECONDS)
            self._orders.beat()
        if wait:
            self._since += time.perf_counter() - began
        return self._tasks.pop(0) if self._tasks and not self._ended else None

    def wanted(self) -> bool:
        self.flush()
        self._look(0.0)
        self._orders.beat()
        return not self._ended

    def deliver(self, index: int, result: Any) -> None:
        """Keep a result, to be sent with the others of this moment."""
        self._results.append((index, result))

    def flush(self) -> None:
        """Send results, and how long this rank was busy since the last ones (seconds)."""
        if self._results:
            now = time.perf_counter()
            self._orders.say("results", (self._run, self._results, now - self._since))
            self._since, self._results = now, []

    def _look(self, timeout: float) -> None:
        if self._ended or self._orders.stopped:
            self._ended = True
            return
        message = self._orders.next(timeout)
        if message is not None and message.kind == "tasks":
            self._tasks.extend(message.content)
        elif message is not None and message.kind in ("end", "stop"):
            self._ended = True
