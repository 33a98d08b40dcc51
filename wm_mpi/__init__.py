"""World Models (Ha and Schmidhuber, 2018) trained over MPI: CarRacing, a VAE, an MDN-RNN and CMA-ES.

``load`` a champion and let it play, ``load_world`` to look through V and M, ``train`` a controller, ``open_pool`` to play
whatever you like over MPI; each is loaded when it is first used. Commands do the same from the shell: ``wm-mpi --help``.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wm_mpi.api import Champion as Champion
    from wm_mpi.api import Episode as Episode
    from wm_mpi.api import World as World
    from wm_mpi.api import load as load
    from wm_mpi.api import load_world as load_world
    from wm_mpi.api import train as train
    from wm_mpi.core.errors import UserError as UserError
    from wm_mpi.pool import Calls as Calls
    from wm_mpi.pool import open_pool as open_pool

__version__ = "0.1.0"
_HOMES = {**dict.fromkeys(("Champion", "Episode", "World", "load", "load_world", "train"), "wm_mpi.api"),
          **dict.fromkeys(("Calls", "open_pool"), "wm_mpi.pool"), "UserError": "wm_mpi.core.errors"}
__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(importlib.import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# A command (python -m wm_mpi.X, wm-mpi X) sets its thread count, which NumPy reads when it loads; so does a program that a
# launcher has started. Whoever else imports the package finds its engine in Gymnasium, which has no way of its own to look.
if os.path.basename((sys.argv or [""])[0]) not in ("-m", "wm-mpi"):
    from wm_mpi.core.launched import launched_size

    if launched_size() > 1:
        from wm_mpi.core import single_thread as single_thread
    from wm_mpi.envs import registration as registration
