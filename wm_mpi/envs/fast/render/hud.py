"""The black bar with its indicators and the score."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .colour import to_level
from .digits import place_glyphs, score_glyphs
from .scene import BAR_TOP, WINDOW_H, WINDOW_W

UNIT_X = 25.0  # W / 40 of CarRacing._render_indicators
UNIT_Y = 20.0  # H / 40
# Colours as 0xRRGGBB.
BLACK = np.int64(0)
WHITE = np.int64(0xFFFFFF)
FRONT_BLUE = np.int64(0x0000FF)
REAR_BLUE = np.int64(0x3300FF)
GREEN = np.int64(0x00FF00)
RED = np.int64(0xFF0000)


@njit(cache=True, error_model="numpy")
def _fill_rect(
    out: np.ndarray,
    rows: int,
    sx: float,
    sy: float,
    ax: float,
    ay: float,
    bx: float,
    by: float,
    colour: int,
    loss: int,
) -> None:
    """Paint a rectangle given by two corners in the 1000x800 picture.

    Corners are cut to whole pixels and both end pixels belong to the shape,
    as in ``pygame.draw.polygon``.
    """
    x0 = min(int(ax), int(bx)) * sx
    x1 = (max(int(ax), int(bx)) + 1) * sx
    y0 = min(int(ay), int(by)) * sy
    y1 = (max(int(ay), int(by)) + 1) * sy
    r0, r1 = max(0, int(y0)), min(rows, int(math.ceil(y1 - 1e-9)))
    c0, c1 = max(0, int(x0)), min(out.shape[1], int(math.ceil(x1 - 1e-9)))
    for y in range(r0, r1):
        high = min(y + 1.0, y1) - max(float(y), y0)
        # On the black bar neighbouring indicators share pixels side by side,
        # so they add up; above it they lie over the picture.
        on_bar = y + 1e-6 >= BAR_TOP * sy
        for x in range(c0, c1):
            cover = int(256.0 * high * (min(x + 1.0, x1) - max(float(x), x0)) + 0.5)
            rest = 256 if on_bar else 256 - cover
            for ch in range(3):
                old = int(out[y, x, ch])
                if old > 0:
                    old += 2
                new = (colour >> (16 - 8 * ch)) & 255
                out[y, x, ch] = min(to_level(old * rest + new * cover, loss), 255)


@njit(cache=True, error_model="numpy")
def _vertical(
    out: np.ndarray,
    rows: int,
    sx: float,
    sy: float,
    place: float,
    value: float,
    colour: int,
    loss: int,
) -> None:
    """An upright indicator (speed and wheels)."""
    x = place * UNIT_X
    top = WINDOW_H - (UNIT_Y + UNIT_Y * value)
    # Wheel indicators touch; the next one hides the last column of this one.
    end = x + UNIT_X - (1.0 if 7.0 <= place < 10.0 else 0.0)
    _fill_rect(out, rows, sx, sy, x, top, end, 780.0, colour, loss)


@njit(cache=True, error_model="numpy")
def _horizontal(
    out: np.ndarray,
    rows: int,
    sx: float,
    sy: float,
    place: float,
    value: float,
    colour: int,
    loss: int,
) -> None:
    """A lying indicator (steering and gyro)."""
    end = (place + value) * UNIT_X
    _fill_rect(out, rows, sx, sy, place * UNIT_X, 720.0, end, 760.0, colour, loss)


@njit(cache=True, error_model="numpy")
def draw_indicators(
    out: np.ndarray,
    rows: int,
    sx: float,
    sy: float,
    velocity: np.ndarray,
    angular_velocity: float,
    wheel_omega: np.ndarray,
    joint_angle: float,
    loss: int,
) -> None:
    """Speed, wheel, steering and gyro bars (``CarRacing._render_indicators``).

    Bars may grow out of the black bar into the picture above; ``rows`` says
    how far down ``out`` reaches.
    """
    vx = float(velocity[0])
    vy = float(velocity[1])
    speed = math.sqrt(vx * vx + vy * vy)
    if speed > 1e-4:
        _vertical(out, rows, sx, sy, 5.0, 0.02 * speed, WHITE, loss)
    for k in range(4):
        omega = wheel_omega[k]
        if abs(omega) > 1e-4:
            colour = FRONT_BLUE if k < 2 else REAR_BLUE
            _vertical(out, rows, sx, sy, 7.0 + k, 0.01 * omega, colour, loss)
    if abs(joint_angle) > 1e-4:
        _horizontal(out, rows, sx, sy, 20.0, -10.0 * joint_angle, GREEN, loss)
    if abs(angular_velocity) > 1e-4:
        _horizontal(out, rows, sx, sy, 30.0, -0.8 * angular_velocity, RED, loss)


@njit(cache=True, error_model="numpy")
def clear_bar(out: np.ndarray, sx: float, sy: float, loss: int) -> None:
    """Paint the black bar: the lowest eighth of the window."""
    first = int(math.ceil(BAR_TOP * sy - 1e-9))
    out[first:] = 0
    if first > BAR_TOP * sy + 1e-9:
        # The bar begins inside the row above: darken that one in part.
        _fill_rect(out, first, sx, sy, 0.0, BAR_TOP, WINDOW_W, WINDOW_H - 1.0, BLACK, loss)


@njit(cache=True, error_model="numpy")
def draw_score(
    out: np.ndarray,
    sx: float,
    reward: float,
    table: np.ndarray,
    first_row: int,
    text: np.ndarray,
    left: np.ndarray,
    loss: int,
) -> None:
    """Write the score into the black bar.

    ``table`` and ``first_row`` come from :func:`digits.shrink_rows`; ``text``
    and ``left`` are int64 ``[8]`` scratch.
    """
    n = score_glyphs(reward, text)
    place_glyphs(text, n, left)
    width = table.shape[2] - 1
    end = left[n - 1] + width
    c0 = max(0, int(left[0] * sx))
    c1 = min(out.shape[1], int(math.ceil(end * sx)))
    step = 1.0 / sx
    for y in range(table.shape[1]):
        k0 = 0
        for x in range(c0, c1):
            a = x * step
            b = a + step
            while k0 < n - 1 and left[k0] + width <= a:
                k0 += 1
            total = 0.0
            for k in range(k0, n):
                if left[k] >= b:
                    break
                total += _upto(table, text[k], y, b - left[k]) - _upto(
                    table, text[k], y, a - left[k]
                )
            level = to_level(int(total * sx * 256.0), loss)
            for ch in range(3):
                out[first_row + y, x, ch] = level


@njit(cache=True, error_model="numpy")
def _upto(table: np.ndarray, glyph: int, row: int, x: float) -> float:
    """Sum of a glyph row up to column ``x`` (a fraction counts in part)."""
    last = table.shape[2] - 1
    if x <= 0.0:
        return 0.0
    if x >= last:
        return table[glyph, row, last]
    k = int(x)
    a = table[glyph, row, k]
    return a + (table[glyph, row, k + 1] - a) * (x - k)
