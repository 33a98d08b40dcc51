"""What is drawn, and where: camera, field, grass, road, kerbs and car.

Geometry and painting order follow ``CarRacing._render`` / ``_render_road``
and ``Car.draw`` of Gymnasium (box2d).  Points are first placed in Gymnasium's
1000x800 picture and cut to whole pixels as its drawing calls do; the outline
is then grown by about half such a pixel, which is what ``gfxdraw`` and
``pygame.draw`` add; only then is it scaled to the output.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .compose import compose_outside
from .raster import W_GRASS, W_ROAD, add_quad

WINDOW_W = 1000.0
WINDOW_H = 800.0
BAR_TOP = 700.0
PLAYFIELD = 2000.0 / 6.0
GRASS_DIM = PLAYFIELD / 20.0
GROW_GFX = 0.6
"""Growth of gfxdraw polygons, in pixels of the 1000x800 picture."""
GROW_CAR = 0.5
"""Growth of ``pygame.draw.polygon`` polygons."""
TILE_REACH = 15.5
"""No point of a tile is farther than this from its first corner (world units)."""

SIZE = 0.02
WHEEL_W = 14 * SIZE
WHEEL_R = 27 * SIZE
# Outline of the union of HULL_POLY1..4, in hull units.  Where the nose beam
# (HULL_POLY2) meets the front wing, its own corner (15, 120) is listed; the
# outline's point lies HULL_MEET of the way to the beam's next corner.
HULL = SIZE * np.array(
    [
        (-60, 130), (-60, 110), (-15, 120), (-20, 20), (-25, 20), (-50, -10), (-50, -40),
        (-20, -90), (-50, -90), (-50, -120), (50, -120), (50, -90), (20, -90), (50, -40),
        (50, -10), (25, 20), (20, 20), (15, 120), (60, 110), (60, 130),
    ]
)  # fmt: skip
HULL_MEET = 0.1
# How each corner moves when the outline grows by one pixel (x right, y up).
HULL_GROW = np.array(
    [
        (-1, 1), (-1, -1), (-1, -1), (-1, 0.4), (-1, 0.6), (-1, 0.4), (-1, -0.4),
        (-1, 1), (-1, 1), (-1, -1), (1, -1), (1, 1), (1, 1), (1, -0.4),
        (1, 0.4), (1, 0.6), (1, 0.4), (1, -1), (1, -1), (1, 1),
    ]
)  # fmt: skip
# Part of each rear wheel that the hull covers when the wheel is straight.
REAR_OVERLAP = SIZE * np.array([41.0, 50.0, -109.0, -90.0])


@njit(cache=True, error_model="numpy")
def camera(
    hull_x: float, hull_y: float, hull_angle: float, t: float, sx: float, sy: float
) -> tuple[float, float, float, float, float, float, float]:
    """The view of ``CarRacing._render``: ``(c, s, tx, ty, sx, sy, zoom)``.

    A world point maps to ``(x c - y s + tx, x s + y c + ty)`` in Gymnasium's
    picture before its vertical flip; ``sx`` and ``sy`` are output pixels per
    pixel of that picture.
    """
    zoom = 0.1 * 6.0 * max(1.0 - t, 0.0) + 2.7 * 6.0 * min(t, 1.0)
    c = math.cos(-hull_angle) * zoom
    s = math.sin(-hull_angle) * zoom
    tx = WINDOW_W / 2 - (hull_x * c - hull_y * s)
    ty = WINDOW_H / 4 - (hull_x * s + hull_y * c)
    return c, s, tx, ty, sx, sy, zoom


@njit(cache=True, error_model="numpy")
def _px(cam: tuple, x: float, y: float) -> float:
    """Output column of a world point, cut to whole pixels as Gymnasium does."""
    return (int(x * cam[0] - y * cam[1] + cam[2]) + 0.5) * cam[4]


@njit(cache=True, error_model="numpy")
def _py(cam: tuple, x: float, y: float) -> float:
    """Output row of a world point, cut to whole pixels as Gymnasium does."""
    return (799.5 - int(x * cam[1] + y * cam[0] + cam[3])) * cam[5]


@njit(cache=True, error_model="numpy")
def world_box(cam: tuple) -> tuple[float, float, float, float]:
    """World bounds ``x0, x1, y0, y1`` of what the camera sees above the bar."""
    inv = 1.0 / (cam[6] * cam[6])
    x0 = y0 = 1e30
    x1 = y1 = -1e30
    for k in range(4):
        dx = (WINDOW_W if k & 1 else 0.0) - cam[2]
        dy = (WINDOW_H if k & 2 else WINDOW_H - BAR_TOP) - cam[3]
        x = (dx * cam[0] + dy * cam[1]) * inv
        y = (dy * cam[0] - dx * cam[1]) * inv
        x0 = min(x0, x)
        x1 = max(x1, x)
        y0 = min(y0, y)
        y1 = max(y1, y)
    return x0, x1, y0, y1


@njit(cache=True, error_model="numpy")
def _add_square(
    buf: np.ndarray,
    rows: int,
    cols: int,
    cam: tuple,
    x0: float,
    x1: float,
    y0: float,
    y1: float,
    w: int,
) -> None:
    """Add a world-aligned rectangle, grown as gfxdraw does."""
    k = GROW_GFX * max(abs(cam[0]), abs(cam[1])) / (cam[6] * cam[6])
    # (ux, uy): world x axis on screen, one unit of growth long.
    ux = cam[0] * k * cam[4]
    uy = cam[1] * k * cam[5]
    vx = cam[1] * k * cam[4]
    vy = cam[0] * k * cam[5]
    ax = _px(cam, x0, y0) - ux + vx
    bx = _px(cam, x1, y0) + ux + vx
    cx = _px(cam, x1, y1) + ux - vx
    dx = _px(cam, x0, y1) - ux - vx
    if min(min(ax, bx), min(cx, dx)) >= cols or max(max(ax, bx), max(cx, dx)) <= 0.0:
        return
    ay = _py(cam, x0, y0) + uy + vy
    by = _py(cam, x1, y0) - uy + vy
    cy = _py(cam, x1, y1) - uy - vy
    dy = _py(cam, x0, y1) + uy - vy
    if min(min(ay, by), min(cy, dy)) >= rows or max(max(ay, by), max(cy, dy)) <= 0.0:
        return
    add_quad(buf, rows, cols, ax, ay, bx, by, cx, cy, dx, dy, w)


@njit(cache=True, error_model="numpy")
def add_grass(buf: np.ndarray, rows: int, cols: int, cam: tuple, box: tuple) -> None:
    """Add the grass squares in sight (every second one of a 40x40 grid)."""
    i0 = max(-20, 2 * int(math.floor((box[0] / GRASS_DIM - 1.1) / 2.0)))
    i1 = min(18, int(math.floor(box[1] / GRASS_DIM + 0.1)))
    j0 = max(-20, 2 * int(math.floor((box[2] / GRASS_DIM - 1.1) / 2.0)))
    j1 = min(18, int(math.floor(box[3] / GRASS_DIM + 0.1)))
    for i in range(i0, i1 + 1, 2):
        for j in range(j0, j1 + 1, 2):
            x = GRASS_DIM * i
            y = GRASS_DIM * j
            _add_square(buf, rows, cols, cam, x, x + GRASS_DIM, y, y + GRASS_DIM, W_GRASS)


@njit(cache=True, error_model="numpy")
def draw_outside(
    buf: np.ndarray, pixels: np.ndarray, rows: int, cols: int, cam: tuple, box: tuple, runs: tuple, loss: int
) -> None:
    """Blacken what lies outside the playing field, if any of it is in sight."""
    b = PLAYFIELD
    if box[0] > -b and box[1] < b and box[2] > -b and box[3] < b:
        return
    _add_square(buf, rows, cols, cam, -b, b, -b, b, W_ROAD)
    compose_outside(buf, pixels, rows, cols, runs, loss)
