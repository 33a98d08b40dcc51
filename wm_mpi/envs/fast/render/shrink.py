"""From pixels of four bytes to what leaves the engine: the observation, and the policy frames made of it.

Rows 0..83 of the observation are averaged down to 64x64 by exact area: 84/64
= 21/16 rows and 96/64 = 3/2 columns make one pixel, so the weights are whole
numbers that sum to 21 * 3 = 63.  Of all 96 rows, 3/2 make one: the weights sum
to 3 * 3 = 9.  Results are rounded half up.

All sums fit 16 bits, and four of them, a pixel's channels, fit a uint64 that is
doubled and added as one number: so columns are averaged without regard to
channels, and everything runs in wide registers.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .wide import RUN, drop_fourth, mean_columns

_BY_63 = np.uint16(33289), np.uint16(31), np.uint16(5)
_BY_9 = np.uint16(7282), np.uint16(4), np.uint16(0)
"""(reciprocal, half, shift): ``(v + half) * reciprocal >> 16 >> shift`` divides ``v`` up to 255 times 63 or 9, half up."""


@njit(cache=True, error_model="numpy")
def pack(pixels: np.ndarray, out: np.ndarray) -> None:
    """Write ``pixels`` uint32 ``[>= height * width]`` to ``out`` uint8 ``[height, width, 3]``."""
    source, target = pixels.view(np.uint8), out.reshape(-1)
    count = target.size // 3
    for at in range(0, count - RUN + 1, RUN):
        drop_fourth(source, 4 * at, target, 3 * at)
    for at in range(count // RUN * RUN, count):
        for ch in range(3):
            target[3 * at + ch] = source[4 * at + ch]


@njit(cache=True, error_model="numpy", forceinline=True)
def _times(weight: int, level: int) -> np.uint16:
    """A product of 16 bits: without the cast Numba would make it one of 64."""
    return np.uint16(weight * np.uint16(level))


@njit(cache=True, error_model="numpy")
def _mean_rows(source: np.ndarray, first: int, weights: tuple, line: np.ndarray) -> None:
    """The weighted sum of two or three rows of 384 bytes, from row ``first`` on, in ``line`` uint16 ``[384]``."""
    # Unsigned 16 bits hold 21 * 255 and let the compiler use wide registers.
    a, b, c = np.uint16(weights[0]), np.uint16(weights[1]), np.uint16(weights[2])
    top = np.uint64(384 * first)
    mid, low = top + np.uint64(384), top + np.uint64(768)
    if c > 0:
        for x in range(np.uint64(384)):
            two = _times(a, source[top + x]) + _times(b, source[mid + x])
            line[x] = np.uint16(two) + _times(c, source[low + x])
    else:
        for x in range(np.uint64(384)):
            line[x] = _times(a, source[top + x]) + _times(b, source[mid + x])


@njit(cache=True, error_model="numpy", forceinline=True)
def _average(pixels: np.ndarray, out: np.ndarray, line: np.ndarray, step: int, parts: int, by: tuple) -> None:
    """Average ``step / parts`` rows and 3/2 columns of ``pixels`` to each pixel of ``out`` uint8 ``[64, 64, 3]``."""
    line64 = line.view(np.uint64)
    source, target = pixels.view(np.uint8), out.reshape(-1)
    for j in range(64):
        first = step * j // parts
        top = parts * (first + 1) - step * j
        _mean_rows(source, first, (top, min(parts, step - top), max(0, step - parts - top)), line)
        for part in range(64 // RUN):
            mean_columns(line64, 24 * part, by, target, 192 * j + 3 * RUN * part)


@njit(cache=True, error_model="numpy")
def shrink_whole(pixels: np.ndarray, out: np.ndarray, line: np.ndarray) -> None:
    """Average all rows of ``pixels`` uint32 ``[>= 96 * 96]`` to ``out`` uint8 ``[64, 64, 3]``.

    ``line`` is scratch: uint16 ``[384]``.
    """
    _average(pixels, out, line, np.int64(3), np.int64(2), _BY_9)


@njit(cache=True, error_model="numpy")
def shrink_to_policy(pixels: np.ndarray, out: np.ndarray, line: np.ndarray) -> None:
    """Average rows 0..83 of ``pixels``, as :func:`shrink_whole` does all."""
    _average(pixels, out, line, np.int64(21), np.int64(16), _BY_63)
