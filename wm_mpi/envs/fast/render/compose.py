"""Turns coverage words into pixels.

Follows what ``pygame.transform.smoothscale`` does to the 1000x800 picture: a
box filter whose fixed-point arithmetic always rounds down, so that a flat
level ``v`` reads ``v - 2`` after shrinking to 96x96, and a mixed pixel reads
about ``floor(mean - 0.75)``.

Five of six pixels repeat their left neighbour. So the words at which something
changes are gathered first, then turned into colours all at once, in SIMD lanes
and without a branch, and then each colour is painted as far as it goes.  Pixels
are uint32 (see ``wide``), a picture is flat; its rows follow one another.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.cpython.unsafe.numbers import trailing_zeros

from .raster import (
    BIAS,
    BLOCK,
    FIELD_MASK,
    SHIFT_GRASS,
    SHIFT_RED,
    SHIFT_ROAD,
    SHIFT_SHADE1,
    SHIFT_SHADE2,
    SHIFT_WHITE,
    UNIT,
    stride,
)
from .wide import RUN, changes, fill

PALETTE = 15
"""Length of a palette: bg, grass - bg, road, shade 1 - road, shade 2 - road,
three channels each."""

LOSS_96 = np.int32(192)
"""What smoothscale loses on mixed pixels at 96x96, in 1/256 level."""
LOSS_64 = np.int32(260)
"""The same after the further area mean to 64x64 (which rounds half up)."""
LOSS_OTHER = np.int32(150)
"""The same for larger pictures, where fewer source pixels meet."""

CROSSED = 16
"""Coverage (in 1/256 pixel) by which stretches of road may overlap where they only meet."""

SPARE = 2 * RUN
"""Pixels that painting may spill beyond the end of a picture."""


@njit(cache=True, error_model="numpy")
def fill_palette(pal: np.ndarray, bg: np.ndarray, grass: np.ndarray, road: np.ndarray) -> None:
    """Write the palette int32 ``[15]`` from float64 ``[3]`` colours.

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


@njit(cache=True, error_model="numpy", forceinline=True)
def to_level(value: int, loss: int) -> np.int32:
    """The 8-bit level of ``value`` (1/256 level), rounded down as smoothscale."""
    # A whole number is (nearly always) a flat area, which loses two levels
    # at 96x96 and 64x64 and one in larger pictures.
    lost = loss + 80 if value & 255 == 0 else loss
    return np.int32(max(np.int32(value - lost), np.int32(0)) >> 8)


@njit(cache=True, error_model="numpy", forceinline=True)
def _pixel(r: int, g: int, b: int) -> np.uint32:
    return np.uint32((r & 255) | (g & 255) << 8 | (b & 255) << 16)


@njit(cache=True, error_model="numpy", forceinline=True)
def _under(pixel: int, shift: int) -> np.int32:
    """A channel of a pixel that something is painted over, in levels."""
    return np.int32(np.int32(np.uint32(pixel) >> np.uint32(shift) & np.uint32(255)) + 2)


@njit(cache=True, error_model="numpy", forceinline=True)
def _field(half: int, shift: int) -> np.int32:
    """A coverage out of half a word, in 1/256 pixel."""
    return np.int32(np.int32((half >> (shift & 31)) & FIELD_MASK) - UNIT)


@njit(cache=True, error_model="numpy", forceinline=True)
def _share(part: int, of: int, whole: int) -> np.int32:
    """``part * of // whole``, for ``whole > 0`` and products below 2**24, where float32 is exact."""
    return np.int32(np.floor(np.float32(np.int32(part * of)) / np.float32(whole)))


@njit(cache=True, error_model="numpy", forceinline=True)
def _channel(
    under: int, rest: int, cover: int, s1: int, s2: int, kerb: int, colours: tuple, loss: int
) -> np.int32:
    """One channel's level of road and kerbs over a background (in 1/256 level)."""
    road, shade1, shade2 = colours
    value = np.int32(np.int32(under * rest) >> 8) + np.int32(cover * road) + np.int32(s1 * shade1)
    value = np.int32(value) + np.int32(s2 * shade2) + np.int32(kerb * 255)
    return to_level(np.int32(value), loss)


@njit(cache=True, error_model="numpy", forceinline=True)
def _blend(low: int, high: int, under: tuple, pal: tuple, loss: int) -> tuple[np.uint32, np.int32]:
    """The pixel of road and kerbs, given as the halves of their word, over a background (in 1/256 level).

    The last value is the coverage by road beyond the room that there is: above
    ``CROSSED`` road lies over road.  All numbers are int32 and nothing branches,
    so that a loop over words runs in SIMD lanes.
    """
    unit = np.int32(UNIT)
    cover = _field(low, SHIFT_ROAD)
    s1 = _field(low, SHIFT_SHADE1)
    s2 = _field(high, SHIFT_SHADE2)
    white = _field(high, SHIFT_WHITE)
    red = _field(high, SHIFT_RED)
    kerb = np.int32(white + red)
    most = _share(white, unit, max(kerb, np.int32(1)))
    if kerb > unit:
        white = most
        red = np.int32(unit - most)
        kerb = unit
    # Within a stretch of road kerb and road lie side by side: their coverages
    # add up instead of multiplying, else the grass would shine through.
    room = np.int32(unit - kerb)
    excess = np.int32(cover - room)
    over = max(cover, np.int32(1))
    less1, less2 = _share(s1, room, over), _share(s2, room, over)
    if cover > room:
        s1 = less1
        s2 = less2
        cover = room
    rest = np.int32(room - cover)
    both = np.int32(white + red)
    r = _channel(under[0], rest, cover, s1, s2, both, pal[0], loss)
    g = _channel(under[1], rest, cover, s1, s2, white, pal[1], loss)
    b = _channel(under[2], rest, cover, s1, s2, white, pal[2], loss)
    return _pixel(r, g, b), excess


@njit(cache=True, error_model="numpy")
def _paints(pal: np.ndarray) -> tuple:
    """Road, shade 1 and shade 2 of the three channels."""
    return (pal[6], pal[9], pal[12]), (pal[7], pal[10], pal[13]), (pal[8], pal[11], pal[14])


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


@njit(cache=True, error_model="numpy", forceinline=True)
def _mix(field: int, grass: int, keep: int) -> np.int32:
    """A channel of grass (less what is the field's) over the field, in 1/256 level."""
    return np.int32(np.int32(field << 8) + np.int32(grass * keep))


@njit(cache=True, error_model="numpy")
def _colour(words: np.ndarray, n: int, pal: np.ndarray, loss: int, colours: np.ndarray) -> bool:
    """Colours of the first ``n`` words, road over grass over field; whether road lies over road in any."""
    bg0, bg1, bg2, gr0, gr1, gr2 = pal[0], pal[1], pal[2], pal[3], pal[4], pal[5]
    paints, halves = _paints(pal), words.view(np.int32)
    most = np.int32(0)
    for i in range(n):
        low, high = halves[2 * i], halves[2 * i + 1]
        keep = min(max(_field(low, SHIFT_GRASS), np.int32(0)), np.int32(UNIT))
        under = _mix(bg0, gr0, keep), _mix(bg1, gr1, keep), _mix(bg2, gr2, keep)
        colours[i], excess = _blend(low, high, under, paints, loss)
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
    paints, halves = _paints(pal), words.view(np.int32)
    for i in range(_gather(buf, rows, cols, words, places)):
        if words[i] == BIAS:
            continue
        for at in range(places[i], places[i + 1]):
            under = _under(pixels[at], 0) << 8, _under(pixels[at], 8) << 8, _under(pixels[at], 16) << 8
            pixels[at], _ = _blend(halves[2 * i], halves[2 * i + 1], under, paints, loss)


@njit(cache=True, error_model="numpy", forceinline=True)
def _car_over(low: int, high: int, pixel: int, loss: int) -> np.uint32:
    """The pixel of the car, given as the halves of its word, over another one."""
    unit, zero = np.int32(UNIT), np.int32(0)
    hull = max(min(_field(high, SHIFT_RED), unit), zero)
    tyre = max(min(_field(low, SHIFT_ROAD), np.int32(unit - hull)), zero)
    rest = np.int32(unit - hull - tyre)
    grey = np.int32(_field(low, SHIFT_SHADE1) * 77)
    r = np.int32(_under(pixel, 0) * rest) + grey + np.int32(hull * 204)
    g = np.int32(_under(pixel, 8) * rest) + grey
    b = np.int32(_under(pixel, 16) * rest) + grey
    return _pixel(to_level(np.int32(r), loss), to_level(np.int32(g), loss), to_level(np.int32(b), loss))


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
        colours[i] = _car_over(halves[2 * i], halves[2 * i + 1], colours[i], loss)
    for i in range(n):
        pixels[places[i]] = colours[i]


@njit(cache=True, error_model="numpy")
def _darken(pixels: np.ndarray, first: int, end: int, inside: int, loss: int) -> None:
    """Let so much of some pixels' light (1/256) remain."""
    for at in range(first, end):
        pixels[at] = _pixel(
            to_level(_under(pixels[at], 0) * inside, loss),
            to_level(_under(pixels[at], 8) * inside, loss),
            to_level(_under(pixels[at], 16) * inside, loss),
        )


@njit(cache=True, error_model="numpy")
def compose_outside(buf: np.ndarray, pixels: np.ndarray, rows: int, cols: int, runs: tuple, loss: int) -> None:
    """Blacken what lies outside the playing field (its coverage in ``road``)."""
    words, places, _ = runs
    for i in range(_gather(buf, rows, cols, words, places)):
        inside = max(_field(words[i], SHIFT_ROAD), 0)
        first, end = np.uint64(places[i]), np.uint64(places[i + 1])
        if inside == 0:
            for at in range(first, end):
                pixels[at] = 0
        elif inside < UNIT:
            _darken(pixels, first, end, inside, loss)
