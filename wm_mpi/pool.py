"""Hand tasks to workers and gather results in task order: serially, or over MPI. The only file that imports mpi4py.

Rank 0 sends what a run shares (a generation's candidates) to every worker, then single tasks as workers free up. All of
it is point-to-point and polled with a growing pause: a blocking receive would burn a core, and a collective would hang
with the first dead rank.
"""

import contextlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from wm_mpi.errors import UserError

EXIT_BAD_INPUT = 2
EXIT_RAISED = 1
EXIT_INTERRUPTED = 130

_LAUNCHER_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
_BEGIN, _TASK, _END, _STOP, _RESULT, _READY = range(6)
_SHORTEST, _LONGEST = 0.0002, 0.005
"""Pauses between two looks at the mailbox (seconds)."""

Indexed = tuple[int, Any]


class Tasks(Protocol):
    """Where a worker takes its tasks from."""

    def take(self, wait: bool) -> Indexed | None:
        """The next (index, task); None when there is none now (``wait`` false) or no more in this run (``wait`` true)."""


class Worker(Protocol):
    """What plays tasks; one is built on each working rank."""

    capacity: int
    """Tasks worked on at once."""

    def run(self, shared: Any, tasks: Tasks) -> Iterator[Indexed]:
        """Take tasks until there are no more and yield (index, result) as each finishes."""


@dataclass(frozen=True)
class Outcome:
    """Results of ``run`` in task order, and the workers' busy time over workers x wall time."""

    results: list[Any]
    busy_share: float


class Pool(Protocol):
    """Runs lists of tasks."""

    workers: int

    def run(self, shared: Any, tasks: Sequence[Any], on_result: Callable[[int, Any], None] | None = None) -> Outcome:
        """Play all tasks; ``on_result(index, result)`` is called as each arrives, in any order."""


def launched_size() -> int:
    """How many processes the launcher says it started; 1 without a launcher. Needs no MPI."""
    for name in _LAUNCHER_SIZES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))


@contextlib.contextmanager
def open_pool(build: Callable[[], Worker]) -> Iterator[Pool | None]:
    """The pool on rank 0; None on a worker rank, once it has served to the end.

    ``build`` makes a rank's worker. On rank 0 it runs first, as a check (its error is then said once, by rank 0) and, when
    there is one rank alone, as the worker.

    Raises:
        UserError: the launcher started several processes but MPI joined only this one.
    """
    if launched_size() == 1:
        yield SerialPool(build())
        return
    from mpi4py import MPI

    if MPI.COMM_WORLD.Get_size() == 1:
        library = MPI.Get_library_version().split(",")[0].split("\n")[0]
        raise UserError(f"the launcher started {launched_size()} processes, but each sees itself alone: mpi4py uses "
                        f"{library}, which is not the launcher's MPI; use the mpirun of that MPI, or reinstall mpi4py "
                        "for the launcher's")
    comm = MPI.COMM_WORLD.Dup()
    if comm.Get_rank() > 0:
        _serve(comm, build)
        yield None
        return
    with MpiPool(comm) as pool:
        build()
        pool.begin()
        yield pool


class SerialPool:
    """One process does everything."""

    def __init__(self, worker: Worker) -> None:
        """Play tasks with ``worker``."""
        self._worker = worker
        self.workers = 1

    def run(self, shared: Any, tasks: Sequence[Any], on_result: Callable[[int, Any], None] | None = None) -> Outcome:
        """Play all tasks here."""
        results: list[Any] = [None] * len(tasks)
        for index, result in self._worker.run(shared, _Listed(tasks)):
            results[index] = result
            if on_result:
                on_result(index, result)
        return Outcome(results, 1.0)


class _Listed:
    """Tasks from a list."""

    def __init__(self, tasks: Sequence[Any]) -> None:
        self._left = iter(enumerate(tasks))

    def take(self, wait: bool) -> Indexed | None:
        return next(self._left, None)


class MpiPool:
    """Rank 0's side: it hands out tasks and plays none itself. As a context manager it lets the workers go at the end."""

    def __init__(self, comm: Any) -> None:
        """Every other rank of ``comm`` is a worker, in ``_serve``."""
        self._comm = comm
        self.workers = comm.Get_size() - 1
        self._capacity: dict[int, int] = {}
        self._running = False

    def begin(self) -> None:
        """Have every worker build its part, and wait until all have: only now, when rank 0 has found no fault."""
        for rank in range(1, self.workers + 1):
            self._comm.send(None, rank, _BEGIN)
        while len(self._capacity) < self.workers:
            rank, _, capacity = _receive(self._comm)
            self._capacity[rank] = capacity

    def run(self, shared: Any, tasks: Sequence[Any], on_result: Callable[[int, Any], None] | None = None) -> Outcome:
        """Play all tasks on the workers."""
        began = time.perf_counter()
        self._running = True
        for request in [self._comm.isend(shared, rank, _BEGIN) for rank in self._capacity]:
            request.wait()
        left = iter(enumerate(tasks))
        for held in range(max(self._capacity.values())):  # one each in turn: few tasks spread over many workers
            for rank, capacity in self._capacity.items():
                if held < capacity:
                    self._hand_out(rank, left)
        results: list[Any] = [None] * len(tasks)
        busy = 0.0
        for _ in range(len(tasks)):
            rank, _, (index, result, seconds) = _receive(self._comm)
            self._hand_out(rank, left)
            results[index] = result
            busy += seconds
            if on_result:
                on_result(index, result)
        for rank in self._capacity:
            self._comm.send(None, rank, _END)
        self._running = False
        return Outcome(results, min(1.0, busy / (self.workers * (time.perf_counter() - began))))

    def _hand_out(self, rank: int, left: Iterator[Indexed]) -> None:
        task = next(left, None)
        if task is not None:
            self._comm.send(task, rank, _TASK)

    def __enter__(self) -> "MpiPool":
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Send the workers home; a fault while they play ends the job at once."""
        if error is None or isinstance(error, UserError) and not self._running:
            for rank in range(1, self.workers + 1):
                self._comm.send(None, rank, _STOP)
        elif isinstance(error, UserError):
            _abort(self._comm, f"error: {error}", EXIT_BAD_INPUT)
        elif isinstance(error, KeyboardInterrupt):
            _abort(self._comm, "interrupted: run the same command again to go on", EXIT_INTERRUPTED)
        else:
            where = f"rank 0 on {socket.gethostname()}"
            _abort(self._comm, f"{where} raised, the job ends:\n{''.join(traceback.format_exception(error))}", EXIT_RAISED)


class _Mailbox:
    """A worker's tasks as they arrive from rank 0, and the time spent waiting for them."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self._since = time.perf_counter()
        self._ended = False

    def take(self, wait: bool) -> Indexed | None:
        if self._ended or not (wait or self._comm.iprobe(source=0)):
            return None
        began = time.perf_counter()
        _, tag, task = _receive(self._comm)
        if wait:
            self._since += time.perf_counter() - began
        self._ended = tag == _END
        return None if self._ended else task

    def busy(self) -> float:
        """Seconds not spent waiting since the last call."""
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        return seconds


def _serve(comm: Any, build: Callable[[], Worker]) -> None:
    """A worker rank's life: build, then play runs until told to stop; any exception ends the whole job."""
    rank, host = comm.Get_rank(), socket.gethostname()
    try:
        if _receive(comm)[1] == _STOP:
            sys.exit(EXIT_BAD_INPUT)
        worker = build()
        comm.send(worker.capacity, 0, _READY)
        while True:
            _, tag, shared = _receive(comm)
            if tag == _STOP:
                return
            mailbox = _Mailbox(comm)
            for index, result in worker.run(shared, mailbox):
                comm.send((index, result, mailbox.busy()), 0, _RESULT)
    except UserError as error:
        _abort(comm, f"error: rank {rank} on {host}: {error}", EXIT_BAD_INPUT)
    except Exception:
        _abort(comm, f"rank {rank} on {host} raised, the job ends:\n{traceback.format_exc()}", EXIT_RAISED)


def _abort(comm: Any, message: str, status: int) -> None:
    print(message, file=sys.stderr, flush=True)
    comm.Abort(status)


def _receive(comm: Any) -> tuple[int, int, Any]:
    """(sender, tag, message) of the next message, sleeping while there is none."""
    from mpi4py import MPI

    status = MPI.Status()
    pause = _SHORTEST
    while not comm.iprobe(MPI.ANY_SOURCE, MPI.ANY_TAG, status):
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST)
    message = comm.recv(source=status.Get_source(), tag=status.Get_tag())
    return status.Get_source(), status.Get_tag(), message
