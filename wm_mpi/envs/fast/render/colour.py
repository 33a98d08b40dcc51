"""The colours of coverages, to the last bit those of Gymnasium's shrunken picture.

Follows what ``pygame.transform.smoothscale`` does to the 1000x800 picture: a
box filter whose fixed-point arithmetic always rounds down, so that a flat
level ``v`` reads ``v - 2`` after shrinking to 96x96, and a mixed pixel reads
about ``floor(mean - 0.75)``.

All numbers are int32 and nothing branches, so that loops over these functions
run in SIMD lanes; Numba makes 64-bit numbers of whatever is not cast back.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .raster import (
    FIELD_MASK,
    SHIFT_RED,
    SHIFT_ROAD,
    SHIFT_SHADE1,
    SHIFT_SHADE2,
    SHIFT_WHITE,
    UNIT,
)

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
def pixel_of(r: int, g: int, b: int) -> np.uint32:
    """A pixel of three levels."""
    return np.uint32((r & 255) | (g & 255) << 8 | (b & 255) << 16)


@njit(cache=True, error_model="numpy", forceinline=True)
def level_under(pixel: int, shift: int) -> np.int32:
    """A channel of a pixel that something is painted over, in levels."""
    return np.int32(np.int32(np.uint32(pixel) >> np.uint32(shift) & np.uint32(255)) + 2)


@njit(cache=True, error_model="numpy", forceinline=True)
def coverage(half: int, shift: int) -> np.int32:
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
def over_field(field: int, grass: int, keep: int) -> np.int32:
    """A channel of grass (less what is the field's) over the field, in 1/256 level."""
    return np.int32(np.int32(field << 8) + np.int32(grass * keep))


@njit(cache=True, error_model="numpy", forceinline=True)
def blend(low: int, high: int, under: tuple, pal: tuple, loss: int) -> tuple[np.uint32, np.int32]:
    """The pixel of road and kerbs, given as the halves of their word, over a background (in 1/256 level).

    The last value is the coverage by road beyond the room that there is: above
    ``CROSSED`` road lies over road.
    """
    unit = np.int32(UNIT)
    cover = coverage(low, SHIFT_ROAD)
    s1 = coverage(low, SHIFT_SHADE1)
    s2 = coverage(high, SHIFT_SHADE2)
    white = coverage(high, SHIFT_WHITE)
    red = coverage(high, SHIFT_RED)
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
    return pixel_of(r, g, b), excess


@njit(cache=True, error_model="numpy", forceinline=True)
def car_over(low: int, high: int, pixel: int, loss: int) -> np.uint32:
    """The pixel of the car, given as the halves of its word, over another one."""
    unit, zero = np.int32(UNIT), np.int32(0)
    hull = max(min(coverage(high, SHIFT_RED), unit), zero)
    tyre = max(min(coverage(low, SHIFT_ROAD), np.int32(unit - hull)), zero)
    rest = np.int32(unit - hull - tyre)
    grey = np.int32(coverage(low, SHIFT_SHADE1) * 77)
    r = np.int32(level_under(pixel, 0) * rest) + grey + np.int32(hull * 204)
    g = np.int32(level_under(pixel, 8) * rest) + grey
    b = np.int32(level_under(pixel, 16) * rest) + grey
    return pixel_of(to_level(np.int32(r), loss), to_level(np.int32(g), loss), to_level(np.int32(b), loss))


@njit(cache=True, error_model="numpy")
def paints_of(pal: np.ndarray) -> tuple:
    """Road, shade 1 and shade 2 of the three channels."""
    return (pal[6], pal[9], pal[12]), (pal[7], pal[10], pal[13]), (pal[8], pal[11], pal[14])
