"""Messages between rank 0 and the worker ranks. The only file that imports mpi4py.

Everything is point-to-point and polled with a growing pause: a blocking receive would burn a core, and a collective would
hang with the first dead rank. Sends never wait: a rank that stands still must not hold up rank 0.

Where the launcher has fault tolerance (ULFM: ``mpirun --with-ft ulfm`` of Open MPI 5) the death of a rank is an error of
the next receive, and the others go on. Elsewhere the launcher ends the whole job when a rank dies.
"""

import atexit
import contextlib
import os
import pickle
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wm_mpi.core.errors import UserError
from wm_mpi.core.launch import survives
from wm_mpi.core.launched import launched_size

SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.0002, 0.02
"""Pauses between two looks at the mailbox (seconds)."""
JOIN_SECONDS = 300
"""Ranks that have not joined MPI within this time give up, by SIGALRM (seconds)."""
SENDS_PER_LOOK = 16
"""Pending sends tested per look: a broadcast to a thousand ranks must not slow down what follows (count)."""


class Message(NamedTuple):
    """What a rank has sent; ``sender`` is its rank."""

    sender: int
    kind: str
    content: Any


class ManagerLost(Exception):
    """Rank 0 has died."""


def mpi_library() -> str:
    """The MPI that mpi4py has loaded, such as 'Open MPI v5.0.11'."""
    _without_finalize()
    from mpi4py import MPI

    return MPI.Get_library_version().split(",")[0].split("\n")[0].strip()


def _without_finalize() -> None:
    """Where ranks may be lost, nobody calls MPI_Finalize: a rank that stands still would hang all the others in it."""
    import mpi4py

    mpi4py.rc.finalize = not survives()


class Mail:
    """This rank's mailbox."""

    def __init__(self) -> None:
        """Join MPI.

        Raises:
            UserError: the launcher started several processes but MPI joined only this one.
        """
        _without_finalize()
        # A rank that ends before it joins leaves the others waiting in MPI forever under ULFM; no Python code runs there.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(JOIN_SECONDS)
        from mpi4py import MPI

        signal.alarm(0)
        if MPI.COMM_WORLD.Get_size() == 1 < launched_size():
            raise UserError(f"the launcher started {launched_size()} processes, but each sees itself alone: mpi4py uses "
                            f"{mpi_library()}, which is not the launcher's MPI; use the mpirun of that MPI, or reinstall "
                            "mpi4py for the launcher's")
        self._mpi = MPI
        self._comm = MPI.COMM_WORLD.Dup()
        self._comm.Set_errhandler(MPI.ERRORS_RETURN)
        self._sending: deque[tuple[int, Any, bytes]] = deque()
        self._pause = SHORTEST_PAUSE_SECONDS  # grows while nothing comes, from one call to the next
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        self.survives = survives()
        self.dead: set[int] = set()
        """Ranks known to have died."""

    def send(self, ranks: Iterable[int], kind: str, content: Any = None) -> None:
        """Begin to send to each of ``ranks``, without waiting; what goes to dead ranks is dropped."""
        data = pickle.dumps((kind, content), pickle.HIGHEST_PROTOCOL)
        self._pause = SHORTEST_PAUSE_SECONDS
        for rank in ranks:
            if rank not in self.dead:
                with self._noticing(rank):
                    self._sending.append((rank, self._comm.Isend([data, self._mpi.BYTE], rank), data))
        self._progress()

    def receive(self, timeout: float, source: int | None = None) -> Message | None:
        """The next message; None after ``timeout`` seconds without one, or as soon as a rank was found dead."""
        until = time.monotonic() + timeout
        status = self._mpi.Status()
        while True:
            dead = len(self.dead)
            with self._noticing(source):
                if self._comm.Iprobe(self._mpi.ANY_SOURCE if source is None else source, self._mpi.ANY_TAG, status):
                    self._pause = SHORTEST_PAUSE_SECONDS
                    data = bytearray(status.Get_count(self._mpi.BYTE))
                    self._comm.Recv([data, self._mpi.BYTE], status.Get_source(), status.Get_tag())
                    return Message(status.Get_source(), *pickle.loads(data))
            left = until - time.monotonic()
            if left <= 0 or len(self.dead) > dead:
                return None
            self._progress()
            time.sleep(min(self._pause, left))
            self._pause = min(self._pause * 1.5, LONGEST_PAUSE_SECONDS)

    def flush(self, timeout: float) -> None:
        """Wait until everything has been sent, or ``timeout`` seconds are over."""
        until = time.monotonic() + timeout
        while self._sending and time.monotonic() < until:
            self._progress()
            time.sleep(SHORTEST_PAUSE_SECONDS)

    def abort(self, status: int) -> None:
        """End the whole job at once. Only where the launcher has no fault tolerance: with it, Open MPI's mpirun hangs."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._comm.Abort(status)

    def _progress(self) -> None:
        """Forget what has been delivered, some at a time; the buffers of what has not must stay."""
        for _ in range(min(SENDS_PER_LOOK, len(self._sending))):
            rank, request, data = self._sending.popleft()
            with self._noticing(rank):
                if not request.Test():
                    self._sending.append((rank, request, data))

    @contextlib.contextmanager
    def _noticing(self, rank: int | None) -> Iterator[None]:
        """Around an MPI call about ``rank``: take the error that says that a rank died; nobody goes on without rank 0."""
        try:
            yield
        except self._mpi.Exception as error:
            if not self._note_dead(error):
                raise
            if rank == 0:
                raise ManagerLost from None

    def _note_dead(self, error: Any) -> bool:
        """Add ranks that have died to ``dead``; whether ``error`` is of that kind."""
        if error.Get_error_class() not in (self._mpi.ERR_PROC_FAILED, self._mpi.ERR_PROC_FAILED_PENDING):
            return False
        self._comm.Ack_failed()
        failed = self._comm.Get_failed()
        self.dead.update(self._mpi.Group.Translate_ranks(failed, list(range(failed.Get_size())), self._comm.Get_group()))
        failed.Free()
        return True


def kill(pids: Iterable[int]) -> None:
    """End processes of this host that stand still."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def here() -> tuple[str, int]:
    """(host, process id) of this rank."""
    return socket.gethostname(), os.getpid()


def leave_within(seconds: float) -> None:
    """Have the kernel end this process if a rank that does not leave holds it up in MPI_Finalize, where no Python runs."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def end_launcher() -> None:
    """At the very end, have mpirun give up ranks that nobody can reach: it would wait for them forever.

    It takes three SIGTERMs for that, and exits with 1. It kills this process too, which must have nothing left to do.
    """

    def terminate() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # mpirun passes the first one on to this process
        for _ in range(3):
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(0.2)  # mpirun kills this process about a second after the first

    parent = (Path("/proc") / str(os.getppid()) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    if parent in ("mpirun", "prterun", "mpiexec", "prte", "prted"):
        atexit.register(terminate)
