"""The one function from what a game shows to what V sees (64x64)."""

import functools
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


@functools.cache
def _area_weights(source: int, target: int) -> npt.NDArray[np.float32]:
    """Integer weights [target, source] of exact area averaging; each row sums to ``source / gcd(source, target)``."""
    unit = np.gcd(source, target)
    grain = np.repeat(np.eye(source, dtype=np.float32), target // unit, axis=0)  # each row in target/unit equal parts
    return grain.reshape(target, source // unit, source).sum(axis=1)


def shrink(pictures: npt.NDArray, rows: int) -> npt.NDArray[np.uint8]:
    """The first ``rows`` rows of pictures, area-averaged to what V sees.

    Args:
        pictures: uint8 [B, H, W, 3].
        rows: up to H.

    Returns:
        uint8 [B, 64, 64, 3]: the exact weighted mean of the pixels that each new pixel covers, rounded to nearest.
        The sums are whole numbers below 2**24, so float32 products are exact and the result is the same everywhere.
    """
    width = pictures.shape[2]
    vertical, horizontal = _area_weights(rows, SIZE), _area_weights(width, SIZE)
    seen = pictures[:, :rows].astype(np.float32).reshape(-1, rows, width * 3)
    narrow = (vertical @ seen).reshape(-1, SIZE, width, 3)
    sums = np.einsum("xw,byws->byxs", horizontal, narrow, optimize=True)
    total = int(vertical[0].sum() * horizontal[0].sum())
    return ((sums.astype(np.int32) + total // 2) // total).astype(np.uint8)


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
