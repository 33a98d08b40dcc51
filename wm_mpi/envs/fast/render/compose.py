"""Turns coverage words into 8-bit colours.

Follows what ``pygame.transform.smoothscale`` does to the 1000x800 picture: a
box filter whose fixed-point arithmetic always rounds down, so that a flat
level ``v`` reads ``v - 2`` after shrinking to 96x96, and a mixed pixel reads
about ``floor(mean - 0.75)``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .raster import (
    BIAS,
    FIELD_MASK,
    SHIFT_RED,
    SHIFT_ROAD,
    SHIFT_SHADE1,
    SHIFT_SHADE2,
    SHIFT_WHITE,
    UNIT,
)

NO_KERB = BIAS >> SHIFT_WHITE

PALETTE = 15
"""Length of a palette: bg, grass - bg, road, shade 1 - road, shade 2 - road,
three channels each."""

LOSS_96 = np.int64(192)
"""What smoothscale loses on mixed pixels at 96x96, in 1/256 level."""
LOSS_64 = np.int64(260)
"""The same after the further area mean to 64x64 (which rounds half up)."""
LOSS_OTHER = np.int64(150)
"""The same for larger pictures, where fewer source pixels meet."""


@njit(cache=True, error_model="numpy")
def fill_palette(pal: np.ndarray, bg: np.ndarray, grass: np.ndarray, road: np.ndarray) -> None:
    """Write the palette int64 ``[15]`` from float64 ``[3]`` colours.

    Gymnasium truncates each colour with ``int``; the shade of tile ``i`` is
    ``0.01 * (i % 3) * 255`` (``CarRacing._create_track``).
    """
    for ch in range(3):
        b = int(bg[ch])
        r = int(road[ch])
        pal[ch] = b
        pal[3 + ch] = int(grass[ch]) - b
        pal[6 + ch] = r
        pal[9 + ch] = int(road[ch] + 0.01 * 1 * 255) - r
        pal[12 + ch] = int(road[ch] + 0.01 * 2 * 255) - r


@njit(cache=True, error_model="numpy")
def to_level(value: int, loss: int) -> int:
    """The 8-bit level of ``value`` (1/256 level), rounded down as smoothscale."""
    if value & 255 == 0:
        # A whole number is (nearly always) a flat area, which loses two levels
        # at 96x96 and 64x64 and one in larger pictures.
        value -= loss + 80
    else:
        value -= loss
    return value >> 8 if value > 0 else 0


@njit(cache=True, error_model="numpy")
def _blend(
    word: int, under0: int, under1: int, under2: int, pal: np.ndarray, loss: int
) -> tuple[int, int, int, bool]:
    """Levels of road and kerbs over a background (in 1/256 level).

    The last value tells whether road lies over road in this pixel.
    """
    v = word + BIAS
    cover = ((v >> SHIFT_ROAD) & FIELD_MASK) - UNIT
    s1 = ((v >> SHIFT_SHADE1) & FIELD_MASK) - UNIT
    s2 = ((v >> SHIFT_SHADE2) & FIELD_MASK) - UNIT
    white = ((v >> SHIFT_WHITE) & FIELD_MASK) - UNIT
    red = ((v >> SHIFT_RED) & FIELD_MASK) - UNIT
    kerb = white + red
    if kerb > UNIT:
        white = white * UNIT // kerb
        red = UNIT - white
        kerb = UNIT
    # Within a stretch of road kerb and road lie side by side: their coverages
    # add up instead of multiplying, else the grass would shine through.
    room = UNIT - kerb
    crossed = cover > room + 16
    if cover > room:
        s1 = s1 * room // cover
        s2 = s2 * room // cover
        cover = room
    rest = room - cover
    k = white * 255
    c0 = ((under0 * rest) >> 8) + cover * pal[6] + s1 * pal[9] + s2 * pal[12]
    c1 = ((under1 * rest) >> 8) + cover * pal[7] + s1 * pal[10] + s2 * pal[13]
    c2 = ((under2 * rest) >> 8) + cover * pal[8] + s1 * pal[11] + s2 * pal[14]
    return (
        to_level(c0 + k + red * 255, loss),
        to_level(c1 + k, loss),
        to_level(c2 + k, loss),
        crossed,
    )


@njit(cache=True, error_model="numpy")
def compose_base(buf: np.ndarray, out: np.ndarray, rows: int, pal: np.ndarray, loss: int) -> bool:
    """Paint field, grass and road into rows ``0..rows`` of ``out``; clear ``buf``.

    ``out`` uint8 ``[>= rows, cols, 3]``.  Returns whether road clearly lies
    over road in some pixel, which means that the painting order matters.
    """
    cols = out.shape[1]
    crossed = False
    bg0, bg1, bg2 = pal[0] << 8, pal[1] << 8, pal[2] << 8
    gr0, gr1, gr2 = pal[3], pal[4], pal[5]
    flat0 = to_level(bg0, loss)
    flat1 = to_level(bg1, loss)
    flat2 = to_level(bg2, loss)
    for y in range(rows):
        word = 0
        r, g, b = flat0, flat1, flat2
        for x in range(cols):
            d = buf[y, x]
            if d != 0:
                # Most pixels repeat their left neighbour; of the others most
                # are grass edges or lie between two shades of road.
                buf[y, x] = 0
                word += d
                v = word + BIAS
                keep = (v & FIELD_MASK) - UNIT
                keep = min(max(keep, 0), UNIT)
                if v >> SHIFT_ROAD == BIAS >> SHIFT_ROAD:
                    r = to_level(bg0 + gr0 * keep, loss)
                    g = to_level(bg1 + gr1 * keep, loss)
                    b = to_level(bg2 + gr2 * keep, loss)
                elif v >> SHIFT_WHITE == NO_KERB and (v >> SHIFT_ROAD) & FIELD_MASK == 2 * UNIT:
                    s1 = ((v >> SHIFT_SHADE1) & FIELD_MASK) - UNIT
                    s2 = ((v >> SHIFT_SHADE2) & FIELD_MASK) - UNIT
                    r = to_level((pal[6] << 8) + s1 * pal[9] + s2 * pal[12], loss)
                    g = to_level((pal[7] << 8) + s1 * pal[10] + s2 * pal[13], loss)
                    b = to_level((pal[8] << 8) + s1 * pal[11] + s2 * pal[14], loss)
                else:
                    r, g, b, c = _blend(
                        word, bg0 + gr0 * keep, bg1 + gr1 * keep, bg2 + gr2 * keep, pal, loss
                    )
                    crossed |= c
            out[y, x, 0] = r
            out[y, x, 1] = g
            out[y, x, 2] = b
        buf[y, cols] = 0
        buf[y, cols + 1] = 0
    return crossed


@njit(cache=True, error_model="numpy")
def compose_over(buf: np.ndarray, out: np.ndarray, rows: int, pal: np.ndarray, loss: int) -> None:
    """Paint the road in ``buf`` over the picture in ``out``; clear ``buf``."""
    cols = out.shape[1]
    for y in range(rows):
        word = 0
        for x in range(cols):
            word += buf[y, x]
            buf[y, x] = 0
            if word != 0:
                r, g, b, _ = _blend(
                    word,
                    (out[y, x, 0] + 2) << 8,
                    (out[y, x, 1] + 2) << 8,
                    (out[y, x, 2] + 2) << 8,
                    pal,
                    loss,
                )
                out[y, x, 0] = r
                out[y, x, 1] = g
                out[y, x, 2] = b
        buf[y, cols] = 0
        buf[y, cols + 1] = 0


@njit(cache=True, error_model="numpy")
def compose_car(
    buf: np.ndarray, out: np.ndarray, row0: int, row1: int, col0: int, col1: int, loss: int
) -> None:
    """Paint the car over ``out`` inside the given box and clear ``buf``.

    Field meanings here: road = black tyre, shade 1 = grey stripe of a tyre,
    red = hull.  Tyres and hull do not overlap (see ``scene``), so their
    coverages add up.
    """
    for y in range(row0, row1):
        word = 0
        for x in range(col0, col1):
            word += buf[y, x]
            buf[y, x] = 0
            if word == 0:
                continue
            v = word + BIAS
            tyre = ((v >> SHIFT_ROAD) & FIELD_MASK) - UNIT
            stripe = ((v >> SHIFT_SHADE1) & FIELD_MASK) - UNIT
            hull = ((v >> SHIFT_RED) & FIELD_MASK) - UNIT
            hull = max(min(hull, UNIT), 0)
            tyre = max(min(tyre, UNIT - hull), 0)
            rest = UNIT - hull - tyre
            grey = stripe * 77
            out[y, x, 0] = to_level((out[y, x, 0] + 2) * rest + grey + hull * 204, loss)
            out[y, x, 1] = to_level((out[y, x, 1] + 2) * rest + grey, loss)
            out[y, x, 2] = to_level((out[y, x, 2] + 2) * rest + grey, loss)
        for x in range(col1, buf.shape[1]):
            buf[y, x] = 0


@njit(cache=True, error_model="numpy")
def compose_outside(buf: np.ndarray, out: np.ndarray, rows: int, loss: int) -> None:
    """Blacken what lies outside the playing field (its coverage in ``road``)."""
    cols = out.shape[1]
    for y in range(rows):
        word = 0
        for x in range(cols):
            word += buf[y, x]
            buf[y, x] = 0
            inside = ((word + BIAS) >> SHIFT_ROAD & FIELD_MASK) - UNIT
            if inside >= UNIT:
                continue
            if inside < 0:
                inside = 0
            for ch in range(3):
                out[y, x, ch] = to_level((out[y, x, ch] + 2) * inside, loss)
        buf[y, cols] = 0
        buf[y, cols + 1] = 0
