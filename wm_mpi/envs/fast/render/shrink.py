"""The project's 64x64 policy frames from the 96x96 observation.

Rows 0..83 of the observation are averaged down to 64x64 by exact area: 84/64
= 21/16 rows and 96/64 = 3/2 columns make one pixel, so the weights are whole
numbers that sum to 21 * 3 = 63.  Of all 96 rows, 3/2 make one: the weights sum
to 3 * 3 = 9.  Results are rounded half up.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# floor((v + 31) / 63) for 0 <= v <= 255 * 63, as a multiplication.
_RECIPROCAL = np.uint32(66577)
_RECIPROCAL_SHIFT = np.uint32(22)


@njit(cache=True, error_model="numpy")
def _mean_rows(src: np.ndarray, first: int, w0: int, line: np.ndarray) -> None:
    """Weighted sum of up to three source rows (weights sum to 21) in ``line``."""
    # Unsigned 16 bits hold 21 * 255 and let the compiler use wide registers.
    a, b, c = np.uint16(w0), np.uint16(min(16, 21 - w0)), np.uint16(max(0, 5 - w0))
    top, mid = src[first], src[first + 1]
    if c > 0:
        low = src[first + 2]
        for x in range(line.shape[0]):
            line[x] = a * np.uint16(top[x]) + b * np.uint16(mid[x]) + c * np.uint16(low[x])
    else:
        for x in range(line.shape[0]):
            line[x] = a * np.uint16(top[x]) + b * np.uint16(mid[x])


@njit(cache=True, error_model="numpy")
def _mean(twice: int, once: int) -> int:
    """``(2 * twice + once) / 63`` rounded half up."""
    total = np.uint32(2) * np.uint32(twice) + np.uint32(once) + np.uint32(31)
    return (total * _RECIPROCAL) >> _RECIPROCAL_SHIFT


@njit(cache=True, error_model="numpy")
def shrink_whole(frame: np.ndarray, out: np.ndarray, line: np.ndarray) -> None:
    """Average all rows of ``frame`` uint8 ``[96, 96, 3]`` to ``out``.

    ``out`` uint8 ``[64, 64, 3]``; ``line`` uint16 ``[288]`` is scratch.
    """
    src = frame.reshape(96, 288)
    dst = out.reshape(64, 192)
    for j in range(64):
        outer, middle = src[3 * (j // 2) + 2 * (j % 2)], src[3 * (j // 2) + 1]
        for x in range(288):
            line[x] = np.uint16(2) * np.uint16(outer[x]) + np.uint16(middle[x])
        row = dst[j]
        for t in range(32):
            s = 9 * t
            d = 6 * t
            for ch in range(3):
                middle_column = np.uint32(line[s + 3 + ch]) + np.uint32(4)  # half of 9, to round
                row[d + ch] = (np.uint32(2) * np.uint32(line[s + ch]) + middle_column) // np.uint32(9)
                row[d + 3 + ch] = (np.uint32(2) * np.uint32(line[s + 6 + ch]) + middle_column) // np.uint32(9)


@njit(cache=True, error_model="numpy")
def shrink_to_policy(frame: np.ndarray, out: np.ndarray, line: np.ndarray) -> None:
    """Average rows 0..83 of ``frame`` uint8 ``[>= 84, 96, 3]`` to ``out``.

    ``out`` uint8 ``[64, 64, 3]``; ``line`` uint16 ``[288]`` is scratch.
    """
    src = frame.reshape(frame.shape[0], 288)
    dst = out.reshape(64, 192)
    for j in range(64):
        start = 21 * j  # in 1/16 source rows
        first = start >> 4
        _mean_rows(src, first, 16 * (first + 1) - start, line)
        row = dst[j]
        for t in range(32):
            s = 9 * t
            d = 6 * t
            for ch in range(3):
                row[d + ch] = _mean(line[s + ch], line[s + 3 + ch])
                row[d + 3 + ch] = _mean(line[s + 6 + ch], line[s + 3 + ch])
