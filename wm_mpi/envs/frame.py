"""The one function from what a game shows to what V sees (64x64)."""

import functools
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

SIZE = 64
"""Height and width of what V sees."""
ROWS = {"road": 84, "whole": 96}
"""CarRacing's frames: how many of the 96 rows V sees. The bar of instruments, which tells the speed, begins at row 84; the
paper's code cuts it off."""


def bar_row(frame: str) -> int:
    """The row of a CarRacing frame in which the bar of instruments begins; 64 where there is none."""
    return SIZE * ROWS["road"] // ROWS.get(frame, ROWS["road"])


def shrink(pictures: npt.NDArray, rows: int) -> npt.NDArray[np.uint8]:
    """The first ``rows`` rows of pictures, area-averaged to what V sees.

    Args:
        pictures: uint8 [B, H, W, 3].
        rows: up to H.

    Returns:
        uint8 [B, 64, 64, 3]: the exact weighted mean of the pixels that each new pixel covers, rounded half up.
    """
    area_mean = _area_mean()
    shrunk = np.empty((len(pictures), SIZE, SIZE, 3), np.uint8)
    sums = np.empty(3 * pictures.shape[2], np.uint32)
    for picture, out in zip(np.ascontiguousarray(pictures, np.uint8), shrunk, strict=True):
        area_mean(picture, rows, sums, out)
    return shrunk


@functools.cache
def _area_mean() -> Callable:
    """Compiled when it is first needed: Numba takes a second to load."""
    from wm_mpi.envs import cache

    with cache.used():
        from wm_mpi.envs.area import area_mean
    return area_mean


def policy_frame(observation: npt.NDArray, frame: str = "road") -> npt.NDArray[np.uint8]:
    """CarRacing's pictures, uint8 [B, 96, 96, 3], as V sees them, uint8 [B, 64, 64, 3]."""
    return shrink(observation, ROWS[frame])


class PolicyFrames(gymnasium.ObservationWrapper):
    """A game that shows what V sees of it."""

    def __init__(self, env: gymnasium.Env, rows: int) -> None:
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self._rows = rows

    def observation(self, observation: Any) -> npt.NDArray[np.uint8]:
        """What V sees, uint8 [64, 64, 3]."""
        return shrink(observation[None], self._rows)[0]
