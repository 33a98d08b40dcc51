"""Exact-area polygon rasteriser on packed coverage words.

One int64 per pixel carries six coverages at once (grass, road, two road
shades, white kerb, red kerb), ten bits each, in units of 1/256 pixel, three in
either half.  An
edge adds *differences* along its row, as font rasterisers do; a running sum
along the row then gives the coverages.  Because neighbouring polygons share
their edges bit for bit and the sums are whole numbers, adjacent road tiles
join without any seam, whatever the camera angle.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

UNIT_BITS = 8
UNIT = 1 << UNIT_BITS
"""Coverage of one whole pixel, and the sub-pixel steps of a row."""

FIELD_BITS = 10
FIELD_MASK = (1 << FIELD_BITS) - 1
SHIFT_GRASS = 0
SHIFT_ROAD = 10
SHIFT_SHADE1 = 20
SHIFT_SHADE2 = 32
SHIFT_WHITE = 42
SHIFT_RED = 52

# The weight of each field.  NumPy whole numbers, here and elsewhere, because
# Numba compiles a function anew for every *Python* constant passed to it.
W_GRASS = np.int64(1 << SHIFT_GRASS)
W_ROAD = np.int64(1 << SHIFT_ROAD)
W_SHADE1 = np.int64(1 << SHIFT_SHADE1)
W_SHADE2 = np.int64(1 << SHIFT_SHADE2)
W_WHITE = np.int64(1 << SHIFT_WHITE)
W_RED = np.int64(1 << SHIFT_RED)

# Coverages may dip a little below zero (slivers with turned winding) or rise
# above one (overlaps).  A quarter of the range is kept for the negative side
# so that a field never borrows from its neighbour when it is read.
BIAS = int(UNIT * (W_GRASS + W_ROAD + W_SHADE1 + W_SHADE2 + W_WHITE + W_RED))


BLOCK = 64
"""Columns that are looked through at once for changes."""


@njit(cache=True, error_model="numpy", forceinline=True)
def stride(cols: int) -> int:
    """Words per row of a buffer for ``cols`` columns: two more, and a whole number of cache lines."""
    return (cols + 9) & -8


def cover_buffer(height: int, width: int) -> np.ndarray:
    """Scratch for :func:`add_edge`: int64, one row after the other, all zero.

    Every composing pass leaves it all zero again.
    """
    return np.zeros(height * ((width + 9) & -8) + BLOCK, np.int64)


@njit(cache=True, error_model="numpy")
def add_edge(
    buf: np.ndarray, rows: int, cols: int, x0: float, y0: float, x1: float, y1: float, w: int
) -> None:
    """Add one directed edge of weight ``w`` to the difference buffer.

    Coordinates are in output pixels (x right, y down); what lies to the right
    of a downward edge gains ``w`` per unit of coverage.  Parts above, below
    and right of the picture are dropped, parts to the left count in column 0.
    """
    ia = int(math.floor(y0 * 256.0 + 0.5))
    ib = int(math.floor(y1 * 256.0 + 0.5))
    if ia == ib:
        return
    if ia > ib:
        ia, ib = ib, ia
        x0, x1 = x1, x0
        w = -w
    bottom = rows << 8
    if ib <= 0 or ia >= bottom:
        return
    if x0 >= cols and x1 >= cols:
        return
    slope = (x1 - x0) / (ib - ia)
    xa = x0
    if ia < 0:
        xa -= slope * ia
        ia = 0
    ib = min(ib, bottom)
    row = ia >> 8
    start = row * stride(cols)
    while ia < ib:
        row += 1
        nxt = min(row << 8, ib)
        dy = nxt - ia
        xb = xa + slope * dy
        xl = min(xa, xb)
        xr = max(xa, xb)
        if xr <= 0.0:
            buf[np.uint64(start)] += w * dy
        elif xl < cols:
            _add_row(buf, start, cols, xl, xr, dy, w)
        xa = xb
        ia = nxt
        start += stride(cols)


@njit(cache=True, error_model="numpy", forceinline=True)
def _add_row(buf: np.ndarray, start: int, cols: int, xl: float, xr: float, dy: int, w: int) -> None:
    """The part of an edge inside one row, between ``xl`` and ``xr``."""
    cl = int(math.floor(xl))
    cr = int(xr)
    if cl == cr:
        a = int(dy * (cl + 1 - 0.5 * (xl + xr)) + 0.5)
        at = np.uint64(start + cl)
        buf[at] += w * a
        buf[at + np.uint64(1)] += w * (dy - a)
    else:
        _spread(buf, start, cols, xl, xr, cl, cr, dy, w)


@njit(cache=True, error_model="numpy")
def _spread(
    buf: np.ndarray, start: int, cols: int, xl: float, xr: float, cl: int, cr: int, dy: int, w: int
) -> None:
    """The same where it crosses several columns."""
    half = 0.5 * dy / (xr - xl)
    ink = 0.0  # area right of the edge and left of the present column
    if cl < 0:
        cl = 0
        ink = half * xl * xl
    prev = 0
    for c in range(cl, min(cr, cols)):
        e = c + 1 - xl
        area = half * e * e
        cover = int(area - ink + 0.5)
        ink = area
        buf[np.uint64(start + c)] += w * (cover - prev)
        prev = cover
    if cr < cols:
        e = xr - xl
        cover = int(half * e * e - ink + dy * (cr + 1 - xr) + 0.5)
        buf[np.uint64(start + cr)] += w * (cover - prev)
        prev = cover
    buf[np.uint64(start + min(cr + 1, cols))] += w * (dy - prev)


@njit(cache=True, error_model="numpy")
def add_quad(
    buf: np.ndarray,
    rows: int,
    cols: int,
    ax: float,
    ay: float,
    bx: float,
    by: float,
    cx: float,
    cy: float,
    dx: float,
    dy: float,
    w: int,
) -> None:
    """Add the quadrilateral a-b-c-d, given anticlockwise as seen on screen."""
    add_edge(buf, rows, cols, ax, ay, bx, by, w)
    add_edge(buf, rows, cols, bx, by, cx, cy, w)
    add_edge(buf, rows, cols, cx, cy, dx, dy, w)
    add_edge(buf, rows, cols, dx, dy, ax, ay, w)
