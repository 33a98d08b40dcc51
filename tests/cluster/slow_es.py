"""wm_mpi.es with a toy environment that takes its time: a run lasts about as long on any machine, and costs little CPU.

What is played stays the same to the last digit, so the files can be compared with those of wm_mpi.es itself.
"""

import runpy
import time
from typing import Any

from wm_mpi.envs.toy import Toy

PAUSE = 0.0004
"""Of each frame (seconds)."""
_step = Toy.step


def _slow_step(self: Toy, action: Any) -> Any:
    time.sleep(PAUSE)
    return _step(self, action)


Toy.step = _slow_step  # type: ignore[method-assign]
runpy.run_module("wm_mpi.es", run_name="__main__", alter_sys=True)
