"""The road: visible tiles, kerbs and their painting order."""

from __future__ import annotations

import numpy as np
from numba import njit

from .compose import compose_over
from .raster import W_RED, W_ROAD, W_SHADE1, W_SHADE2, W_WHITE, add_edge
from .scene import BAR_TOP, GROW_GFX, TILE_REACH, WINDOW_H, WINDOW_W, _px, _py

PLAIN = np.bool_(False)
LAYERED = np.bool_(True)
"""Painting modes of :func:`draw_road`."""


@njit(cache=True, error_model="numpy")
def _growth(cam: tuple, ax: float, ay: float, bx: float, by: float) -> tuple[float, float]:
    """Output-pixel offset that grows an outline along the world vector a->b."""
    dx = bx - ax
    dy = by - ay
    gx = dx * cam[0] - dy * cam[1]
    gy = dx * cam[1] + dy * cam[0]
    k = GROW_GFX * max(abs(gx), abs(gy)) / (gx * gx + gy * gy)
    return gx * k * cam[4], -gy * k * cam[5]


@njit(cache=True, error_model="numpy")
def _add_kerb(
    buf: np.ndarray,
    rows: int,
    cols: int,
    cam: tuple,
    tile: np.ndarray,
    kerb: np.ndarray,
    colour: int,
    road_word: int,
) -> None:
    """Add one kerb and take away the strip of road it is painted over."""
    side = (kerb[1, 0] - kerb[0, 0]) * (tile[1, 0] - tile[0, 0])
    side += (kerb[1, 1] - kerb[0, 1]) * (tile[1, 1] - tile[0, 1])
    sign = -1 if side < 0.0 else 1
    ux, uy = _growth(cam, tile[0, 0], tile[0, 1], tile[1, 0], tile[1, 1])
    vx, vy = _growth(cam, tile[3, 0], tile[3, 1], tile[2, 0], tile[2, 1])
    ux, uy, vx, vy = ux * sign, uy * sign, vx * sign, vy * sign
    w = (W_WHITE if colour == 1 else W_RED) * sign
    ix = _px(cam, kerb[0, 0], kerb[0, 1])
    iy = _py(cam, kerb[0, 0], kerb[0, 1])
    ox = _px(cam, kerb[1, 0], kerb[1, 1]) + ux
    oy = _py(cam, kerb[1, 0], kerb[1, 1]) + uy
    px = _px(cam, kerb[2, 0], kerb[2, 1]) + vx
    py = _py(cam, kerb[2, 0], kerb[2, 1]) + vy
    jx = _px(cam, kerb[3, 0], kerb[3, 1])
    jy = _py(cam, kerb[3, 0], kerb[3, 1])
    add_edge(buf, rows, cols, ix - ux, iy - uy, jx - vx, jy - vy, w)
    add_edge(buf, rows, cols, jx - vx, jy - vy, px, py, w)
    add_edge(buf, rows, cols, px, py, ox, oy, w)
    add_edge(buf, rows, cols, ox, oy, ix - ux, iy - uy, w)
    if side == 0.0:
        return  # a zero-width kerb lies in the middle of the road
    w = -road_word * sign
    add_edge(buf, rows, cols, ix - ux, iy - uy, jx - vx, jy - vy, w)
    add_edge(buf, rows, cols, jx - vx, jy - vy, jx + vx, jy + vy, w)
    add_edge(buf, rows, cols, jx + vx, jy + vy, ix + ux, iy + uy, w)
    add_edge(buf, rows, cols, ix + ux, iy + uy, ix - ux, iy - uy, w)


@njit(cache=True, error_model="numpy")
def draw_road(
    buf: np.ndarray,
    out: np.ndarray,
    rows: int,
    cam: tuple,
    tile_xy: np.ndarray,
    count: int,
    touched: np.ndarray,
    kerb_xy: np.ndarray,
    kerb: np.ndarray,
    pal: np.ndarray,
    loss: int,
    layered: bool,
) -> None:
    """Add the tiles in sight to ``buf``.

    Neighbouring tiles share their cross edge, which is added once with the
    difference of their words (nothing at all when both have one shade).

    With ``layered`` every stretch of road that may lie over another one is
    composed onto ``out`` by itself, in Gymnasium's order; a stretch that must
    be cut begins one tile early, so the cut shows no seam.
    """
    cols = out.shape[1]
    c, s, tx, ty, sx, sy, zoom = cam
    reach = TILE_REACH * zoom
    xmax = WINDOW_W + reach
    ymin = WINDOW_H - BAR_TOP - reach
    ymax = WINDOW_H + reach
    joined = False
    word = 0
    lx = ly = rx = ry = 0.0
    hx = hy = wx = wy = 0.0
    i = 0
    while i < count:
        ax = tile_xy[i, 0, 0]
        ay = tile_xy[i, 0, 1]
        gx = ax * c - ay * s + tx
        gy = ax * s + ay * c + ty
        seen = -reach < gx < xmax and ymin < gy < ymax
        if seen:
            bx = tile_xy[i, 1, 0]
            by = tile_xy[i, 1, 1]
            if joined and (tile_xy[i, 3, 0] != wx or tile_xy[i, 3, 1] != wy):
                # Not the neighbour of the tile before: a new stretch.
                add_edge(buf, rows, cols, lx, ly, rx, ry, -word)
                joined = False
                if layered:
                    compose_over(buf, out, rows, pal, loss)
            if not joined:
                px, py = tile_xy[i, 3, 0], tile_xy[i, 3, 1]
                qx, qy = tile_xy[i, 2, 0], tile_xy[i, 2, 1]
                ux, uy = _growth(cam, px, py, qx, qy)
                lx = _px(cam, px, py) - ux
                ly = _py(cam, px, py) - uy
                rx = _px(cam, qx, qy) + ux
                ry = _py(cam, qx, qy) + uy
                word = 0
                hx, hy = bx - ax, by - ay
            elif layered and (bx - ax) * hx + (by - ay) * hy < -0.5 * (hx * hx + hy * hy):
                # The road has turned right round: what follows may lie over it.
                add_edge(buf, rows, cols, lx, ly, rx, ry, -word)
                compose_over(buf, out, rows, pal, loss)
                joined = False
                i -= 1
                continue
            ux, uy = _growth(cam, ax, ay, bx, by)
            nlx = _px(cam, ax, ay) - ux
            nly = _py(cam, ax, ay) - uy
            nrx = _px(cam, bx, by) + ux
            nry = _py(cam, bx, by) + uy
            new = W_ROAD
            if not touched[i]:
                if i % 3 == 1:
                    new += W_SHADE1
                elif i % 3 == 2:
                    new += W_SHADE2
            if new != word:
                add_edge(buf, rows, cols, lx, ly, rx, ry, new - word)
            add_edge(buf, rows, cols, nlx, nly, lx, ly, new)
            add_edge(buf, rows, cols, rx, ry, nrx, nry, new)
            if kerb[i] != 0:
                _add_kerb(buf, rows, cols, cam, tile_xy[i], kerb_xy[i], kerb[i], new)
            lx, ly, rx, ry, word = nlx, nly, nrx, nry, new
            wx, wy = ax, ay
            joined = True
        elif joined:
            add_edge(buf, rows, cols, lx, ly, rx, ry, -word)
            joined = False
            if layered:
                compose_over(buf, out, rows, pal, loss)
        i += 1
    if joined:
        add_edge(buf, rows, cols, lx, ly, rx, ry, -word)
        if layered:
            compose_over(buf, out, rows, pal, loss)
