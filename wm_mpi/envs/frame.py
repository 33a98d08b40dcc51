"""The one function from what CarRacing shows (96x96) to what V sees (64x64)."""

import numpy as np
import numpy.typing as npt

ROWS = 84
"""The indicator bar begins at row 84; V sees the rows above it, as in the paper's code."""


def _area_weights(source: int, target: int) -> npt.NDArray[np.float32]:
    """Integer weights [target, source] of exact area averaging; each row sums to ``source / gcd(source, target)``."""
    unit = np.gcd(source, target)
    grain = np.repeat(np.eye(source, dtype=np.float32), target // unit, axis=0)  # each row in target/unit equal parts
    return grain.reshape(target, source // unit, source).sum(axis=1)


_VERTICAL = _area_weights(ROWS, 64)
_HORIZONTAL = _area_weights(96, 64)
_TOTAL = int(_VERTICAL[0].sum() * _HORIZONTAL[0].sum())


def policy_frame(observation: npt.NDArray) -> npt.NDArray:
    """Rows 0..83 of CarRacing frames, area-averaged to the policy's size.

    Args:
        observation: uint8 [B, 96, 96, 3]. Anything of another shape (64x64 frames, the toy's vectors) passes unchanged.

    Returns:
        uint8 [B, 64, 64, 3]: the exact weighted mean of the pixels that each new pixel covers, rounded to nearest.
        The sums are whole numbers below 2**24, so float32 products are exact and the result is the same everywhere.
    """
    if observation.shape[1:] != (96, 96, 3):
        return observation
    rows = observation[:, :ROWS].astype(np.float32).reshape(-1, ROWS, 96 * 3)
    narrow = (_VERTICAL @ rows).reshape(-1, 64, 96, 3)
    sums = np.einsum("xw,byws->byxs", _HORIZONTAL, narrow, optimize=True)
    return ((sums.astype(np.int32) + _TOTAL // 2) // _TOTAL).astype(np.uint8)
