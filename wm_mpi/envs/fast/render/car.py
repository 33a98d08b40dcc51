"""The car: four wheels with their turning stripe, and the hull."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .compose import compose_car
from .raster import W_RED, W_ROAD, W_SHADE1, add_edge, add_quad
from .scene import (
    GROW_CAR,
    HULL,
    HULL_GROW,
    HULL_MEET,
    REAR_OVERLAP,
    WHEEL_R,
    WHEEL_W,
    _px,
    _py,
)


@njit(cache=True, error_model="numpy")
def _body(x: float, y: float, angle: float) -> tuple:
    """What the parts of a body share: its place, and the cosine and sine of its angle."""
    return x, y, math.cos(angle), math.sin(angle)


@njit(cache=True, error_model="numpy")
def _add_local_box(
    buf: np.ndarray,
    rows: int,
    cols: int,
    cam: tuple,
    body: tuple,
    x0: float,
    x1: float,
    y0: float,
    y1: float,
    grow: float,
    w: int,
) -> None:
    """Add the box ``x0..x1, y0..y1`` of a body, given as its place and the cosine and sine of its angle."""
    ox, oy, c, s = body
    # The body's axes on screen, one growth step long.
    ux = (c * cam[0] - s * cam[1]) / cam[6]
    uy = (c * cam[1] + s * cam[0]) / cam[6]
    k = grow * max(abs(ux), abs(uy))
    gx, gy = ux * k * cam[4], -uy * k * cam[5]
    hx, hy = -uy * k * cam[4], -ux * k * cam[5]
    wx0, wy0 = ox + c * x0 - s * y0, oy + s * x0 + c * y0
    wx1, wy1 = ox + c * x1 - s * y0, oy + s * x1 + c * y0
    wx2, wy2 = ox + c * x1 - s * y1, oy + s * x1 + c * y1
    wx3, wy3 = ox + c * x0 - s * y1, oy + s * x0 + c * y1
    add_quad(
        buf, rows, cols,
        _px(cam, wx0, wy0) - gx - hx, _py(cam, wx0, wy0) - gy - hy,
        _px(cam, wx1, wy1) + gx - hx, _py(cam, wx1, wy1) + gy - hy,
        _px(cam, wx2, wy2) + gx + hx, _py(cam, wx2, wy2) + gy + hy,
        _px(cam, wx3, wy3) - gx + hx, _py(cam, wx3, wy3) - gy + hy,
        w,
    )  # fmt: skip


@njit(cache=True, error_model="numpy")
def _add_wheel(
    buf: np.ndarray,
    rows: int,
    cols: int,
    cam: tuple,
    body: tuple,
    phase: float,
) -> None:
    """Add a tyre and, when it faces up, its grey stripe (``Car.draw``)."""
    _add_local_box(buf, rows, cols, cam, body, -WHEEL_W, WHEEL_W, -WHEEL_R, WHEEL_R, GROW_CAR, W_ROAD)
    s1 = math.sin(phase)
    s2 = math.sin(phase + 1.2)
    if s1 > 0 and s2 > 0:
        return
    c1 = math.cos(phase)
    c2 = math.cos(phase + 1.2)
    if s1 > 0:
        c1 = 1.0 if c1 > 0 else -1.0
    if s2 > 0:
        c2 = 1.0 if c2 > 0 else -1.0
    lo, hi = min(c1, c2) * WHEEL_R, max(c1, c2) * WHEEL_R
    _add_local_box(buf, rows, cols, cam, body, -WHEEL_W, WHEEL_W, lo, hi, GROW_CAR, W_SHADE1)


@njit(cache=True, error_model="numpy")
def _add_hull(
    buf: np.ndarray,
    rows: int,
    cols: int,
    cam: tuple,
    body: tuple,
) -> None:
    """Add the hull's outline, grown outwards as far as Gymnasium's smoothing spreads it."""
    hull_x, hull_y, ca, sa = body
    # On screen the hull always points up: the camera turns with it.
    n = HULL.shape[0]
    kx = GROW_CAR * cam[4]
    ky = GROW_CAR * cam[5]
    px = py = 0.0
    for k in range(n + 1):
        j = k % n
        wx = hull_x + ca * HULL[j, 0] - sa * HULL[j, 1]
        wy = hull_y + sa * HULL[j, 0] + ca * HULL[j, 1]
        qx = _px(cam, wx, wy)
        qy = _py(cam, wx, wy)
        if j == 2 or j == n - 3:
            m = j + 1 if j == 2 else j - 1
            wx = hull_x + ca * HULL[m, 0] - sa * HULL[m, 1]
            wy = hull_y + sa * HULL[m, 0] + ca * HULL[m, 1]
            qx += HULL_MEET * (_px(cam, wx, wy) - qx)
            qy += HULL_MEET * (_py(cam, wx, wy) - qy)
        qx += HULL_GROW[j, 0] * kx
        qy -= HULL_GROW[j, 1] * ky
        if k > 0:
            add_edge(buf, rows, cols, px, py, qx, qy, W_RED)
        px, py = qx, qy


@njit(cache=True, error_model="numpy")
def draw_car(
    buf: np.ndarray,
    pixels: np.ndarray,
    rows: int,
    cols: int,
    runs: tuple,
    cam: tuple,
    hull: tuple,
    wheels: tuple,
    loss: int,
) -> None:
    """Draw the car over ``pixels``.

    ``hull`` is its place and its angle; ``wheels`` holds positions float32
    ``[4, 2]``, angles float32 ``[4]`` and phases float64 ``[4]`` in Gymnasium's
    order (two front, two rear).
    """
    wheel_xy, wheel_angle, wheel_phase = wheels
    for k in range(4):
        _add_wheel(buf, rows, cols, cam, _body(wheel_xy[k, 0], wheel_xy[k, 1], wheel_angle[k]), wheel_phase[k])
    body = _body(hull[0], hull[1], hull[2])
    # The hull is painted last and hides a corner of each rear tyre.
    a, b, y0, y1 = REAR_OVERLAP[0], REAR_OVERLAP[1], REAR_OVERLAP[2], REAR_OVERLAP[3]
    _add_local_box(buf, rows, cols, cam, body, a, b, y0, y1, GROW_CAR, -W_ROAD)
    _add_local_box(buf, rows, cols, cam, body, -b, -a, y0, y1, GROW_CAR, -W_ROAD)
    _add_hull(buf, rows, cols, cam, body)
    # The car reaches 1.7 x 2.6 units from its centre; some room is left.
    half_w = 2.6 * cam[6]
    half_h = 3.8 * cam[6]
    row0 = max(0, int((600.0 - half_h) * cam[5]) - 1)
    row1 = min(rows, int((600.0 + half_h) * cam[5]) + 2)
    col0 = max(0, int((500.0 - half_w) * cam[4]) - 1)
    col1 = min(cols, int((500.0 + half_w) * cam[4]) + 2)
    compose_car(buf, pixels, cols, (row0, row1, col0, col1), runs, loss)
