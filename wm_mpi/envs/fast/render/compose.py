"""Turns the buffer of coverage words into a picture.

Five of six pixels repeat their left neighbour. So the words at which something
changes are gathered first, then turned into colours all at once, in SIMD lanes
and without a branch, and then each colour is painted as far as it goes.  Pixels
are uint32 (see ``wide``); a picture is flat, its rows follow one another.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.cpython.unsafe.numbers import trailing_zeros

from .colour import CROSSED, blend, car_over, coverage, level_under, over_field, paints_of, pixel_of, to_level
from .raster import BIAS, BLOCK, SHIFT_GRASS, SHIFT_ROAD, UNIT, stride
from .wide import RUN, changes, fill

SPARE = 2 * RUN
"""Pixels that painting may spill beyond the end of a picture."""


@njit(cache=True, error_model="numpy")
def _gather(buf: np.ndarray, rows: int, cols: int, words: np.ndarray, places: np.ndarray) -> int:
    """Take the runs of equal coverage out of ``buf``, which is all zero then; return how many.

    Run ``i`` reaches from pixel ``places[i]`` to ``places[i + 1]`` and has the
    coverages ``words[i]``, ``BIAS`` added.  Every row begins with one.
    """
    n = 0
    for y in range(rows):
        word, start, place = np.int64(BIAS), y * stride(cols), y * cols
        for first in range(0, cols, BLOCK):
            changed = changes(buf, start + first) | np.uint64(first == 0)
            if cols - first < BLOCK:
                changed &= (np.uint64(1) << np.uint64(cols - first)) - np.uint64(1)
            while changed != 0:
                x = first + np.int64(trailing_zeros(changed))
                changed &= changed - np.uint64(1)
                at = np.uint64(start + x)
                word += buf[at]
                buf[at] = 0
                words[np.uint64(n)] = word
                places[np.uint64(n)] = place + x
                n += 1
        buf[start + cols] = 0
        buf[start + cols + 1] = 0
    places[n] = rows * cols
    return n


@njit(cache=True, error_model="numpy")
def _colour(words: np.ndarray, n: int, pal: np.ndarray, loss: int, colours: np.ndarray) -> bool:
    """Colours of the first ``n`` words, road over grass over field; whether road lies over road in any."""
    bg0, bg1, bg2, gr0, gr1, gr2 = pal[0], pal[1], pal[2], pal[3], pal[4], pal[5]
    paints, halves = paints_of(pal), words.view(np.int32)
    most = np.int32(0)
    for i in range(n):
        low, high = halves[2 * i], halves[2 * i + 1]
        keep = min(max(coverage(low, SHIFT_GRASS), np.int32(0)), np.int32(UNIT))
        under = over_field(bg0, gr0, keep), over_field(bg1, gr1, keep), over_field(bg2, gr2, keep)
        colours[i], excess = blend(low, high, under, paints, loss)
        most = max(most, excess)
    return most > CROSSED


@njit(cache=True, error_model="numpy")
def _paint(pixels: np.ndarray, places: np.ndarray, colours: np.ndarray, n: int) -> None:
    """Paint ``n`` runs from left to right; where one has spilled over, the next ones paint again."""
    for i in range(n):
        at, end, colour = np.int64(places[i]), np.int64(places[i + 1]), colours[i]
        fill(pixels, at, colour)
        fill(pixels, at + RUN, colour)
        at += 2 * RUN
        while at < end:
            fill(pixels, at, colour)
            at += RUN


@njit(cache=True, error_model="numpy")
def compose_base(buf: np.ndarray, pixels: np.ndarray, rows: int, cols: int, runs: tuple, pal: np.ndarray, loss: int) -> bool:
    """Paint field, grass and road into ``rows`` rows of ``pixels``; clear ``buf``.

    Returns whether road clearly lies over road in some pixel, which means that
    the painting order matters.
    """
    words, places, colours = runs
    n = _gather(buf, rows, cols, words, places)
    crossed = _colour(words, n, pal, loss, colours)
    _paint(pixels, places, colours, n)
    return crossed


@njit(cache=True, error_model="numpy")
def compose_over(buf: np.ndarray, pixels: np.ndarray, rows: int, cols: int, runs: tuple, pal: np.ndarray, loss: int) -> None:
    """Paint the road in ``buf`` over the picture in ``pixels``; clear ``buf``."""
    words, places, _ = runs
    paints, halves = paints_of(pal), words.view(np.int32)
    for i in range(_gather(buf, rows, cols, words, places)):
        if words[i] == BIAS:
            continue
        for at in range(places[i], places[i + 1]):
            under = level_under(pixels[at], 0) << 8, level_under(pixels[at], 8) << 8, level_under(pixels[at], 16) << 8
            pixels[at], _ = blend(halves[2 * i], halves[2 * i + 1], under, paints, loss)


@njit(cache=True, error_model="numpy")
def compose_car(buf: np.ndarray, pixels: np.ndarray, cols: int, box: tuple, runs: tuple, loss: int) -> None:
    """Paint the car over ``pixels`` inside the given box and clear ``buf``.

    Field meanings here: road = black tyre, shade 1 = grey stripe of a tyre,
    red = hull.  Tyres and hull do not overlap (see ``scene``), so their
    coverages add up.
    """
    words, places, colours = runs
    row0, row1, col0, col1 = box
    n = 0
    for y in range(row0, row1):
        word, start, place = np.int64(BIAS), y * stride(cols), y * cols
        for x in range(col0, col1):
            at = np.uint64(start + x)
            word += buf[at]
            buf[at] = 0
            words[np.uint64(n)] = word
            places[np.uint64(n)] = place + x
            colours[np.uint64(n)] = pixels[np.uint64(place + x)]
            n += word != BIAS
        for at in range(np.uint64(start + col1), np.uint64(start + cols + 2)):
            buf[at] = 0
    halves = words.view(np.int32)
    for i in range(n):
        colours[i] = car_over(halves[2 * i], halves[2 * i + 1], colours[i], loss)
    for i in range(n):
        pixels[places[i]] = colours[i]


@njit(cache=True, error_model="numpy")
def _darken(pixels: np.ndarray, first: int, end: int, inside: int, loss: int) -> None:
    """Let so much of some pixels' light (1/256) remain."""
    for at in range(first, end):
        pixels[at] = pixel_of(
            to_level(level_under(pixels[at], 0) * inside, loss),
            to_level(level_under(pixels[at], 8) * inside, loss),
            to_level(level_under(pixels[at], 16) * inside, loss),
        )


@njit(cache=True, error_model="numpy")
def compose_outside(buf: np.ndarray, pixels: np.ndarray, rows: int, cols: int, runs: tuple, loss: int) -> None:
    """Blacken what lies outside the playing field (its coverage in ``road``)."""
    words, places, _ = runs
    for i in range(_gather(buf, rows, cols, words, places)):
        inside = max(coverage(words[i], SHIFT_ROAD), 0)
        first, end = np.uint64(places[i]), np.uint64(places[i + 1])
        if inside == 0:
            for at in range(first, end):
                pixels[at] = 0
        elif inside < UNIT:
            _darken(pixels, first, end, inside, loss)
