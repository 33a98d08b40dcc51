"""The one function from what CarRacing shows (96x96) to what V sees (64x64)."""

from typing import Any, get_args

import gymnasium
import numpy as np
import numpy.typing as npt

from wm_mpi.core.schema import Frame

FRAMES: tuple[Frame, ...] = get_args(Frame)
ROWS: dict[Frame, int] = {"road": 84, "whole": 96}
"""The first rows of 96 that V sees: the indicator bar begins at row 84."""


def bar_row(frame: Frame) -> int:
    """The row of a policy frame in which the indicator bar begins; 64 where there is none."""
    return 64 * ROWS["road"] // ROWS[frame]


def _area_weights(source: int, target: int) -> npt.NDArray[np.float32]:
    """Integer weights [target, source] of exact area averaging; each row sums to ``source / gcd(source, target)``."""
    unit = np.gcd(source, target)
    grain = np.repeat(np.eye(source, dtype=np.float32), target // unit, axis=0)  # each row in target/unit equal parts
    return grain.reshape(target, source // unit, source).sum(axis=1)


_VERTICAL = {frame: _area_weights(rows, 64) for frame, rows in ROWS.items()}
_HORIZONTAL = _area_weights(96, 64)


def policy_frame(observation: npt.NDArray, frame: Frame = "road") -> npt.NDArray:
    """CarRacing frames, or their rows above the bar, area-averaged to the policy's size.

    Args:
        observation: uint8 [B, 96, 96, 3].
        frame: which rows count.

    Returns:
        uint8 [B, 64, 64, 3]: the exact weighted mean of the pixels that each new pixel covers, rounded to nearest.
        The sums are whole numbers below 2**24, so float32 products are exact and the result is the same everywhere.
    """
    vertical = _VERTICAL[frame]
    rows = observation[:, :ROWS[frame]].astype(np.float32).reshape(-1, ROWS[frame], 96 * 3)
    narrow = (vertical @ rows).reshape(-1, 64, 96, 3)
    sums = np.einsum("xw,byws->byxs", _HORIZONTAL, narrow, optimize=True)
    total = int(vertical[0].sum() * _HORIZONTAL[0].sum())
    return ((sums.astype(np.int32) + total // 2) // total).astype(np.uint8)


class PolicyFrames(gymnasium.ObservationWrapper):
    """CarRacing that shows policy frames."""

    def __init__(self, env: gymnasium.Env, frame: Frame) -> None:
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
        self._frame = frame

    def observation(self, observation: Any) -> npt.NDArray[np.uint8]:
        """The policy's frame, uint8 [64, 64, 3]."""
        return policy_frame(observation[None], self._frame)[0]
