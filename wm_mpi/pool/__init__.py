"""Hand tasks to workers and gather results in task order: serially, or over MPI.

``schedule`` decides who plays what, ``transport`` carries messages, ``membership`` knows who is there, ``manager`` is rank
0's side and ``worker`` everybody else's.
"""

import contextlib
from collections.abc import Callable, Iterator

from wm_mpi.core.launch import survives
from wm_mpi.core.launched import launched_size
from wm_mpi.pool.calls import Calls
from wm_mpi.pool.interface import FAR_APART, Arithmetic, Indexed, Outcome, Pool, Tasks, Worker
from wm_mpi.pool.manager import MpiPool
from wm_mpi.pool.serial import Listed, SerialPool
from wm_mpi.pool.several import Several
from wm_mpi.pool.transport import Mail, mpi_library
from wm_mpi.pool.worker import serve

Within = contextlib.AbstractContextManager[None]

__all__ = ["FAR_APART", "Arithmetic", "Calls", "Indexed", "Listed", "MpiPool", "Outcome", "Pool", "SerialPool", "Several",
           "Tasks", "Worker", "launched_size", "mpi_library", "open_pool", "survives"]


@contextlib.contextmanager
def open_pool(build: Callable[[], Worker], within: Callable[[], Within] = contextlib.nullcontext) -> Iterator[Pool | None]:
    """The pool on rank 0; None on a worker rank, once it has served to the end.

    ``build`` makes a rank's worker, which then lives ``within`` a context, a display say. On rank 0 both are tried first, as
    a check (an error is then said once, by rank 0) and, when there is one rank alone, used.

    Raises:
        UserError: the launcher started several processes but MPI joined only this one.
    """
    if launched_size() == 1:
        with within():
            yield SerialPool(build())
        return
    mail = Mail()
    if mail.rank > 0:
        serve(mail, build, within)
        yield None
        return
    with MpiPool(mail) as pool, within():
        build()
        pool.begin()
        yield pool
