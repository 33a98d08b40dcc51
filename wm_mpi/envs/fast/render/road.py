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
    # A zero-width kerb lies in the middle of the road.
    strip = -road_word * sign if side != 0.0 else 0
    add_edge(buf, rows, cols, ix - ux, iy - uy, jx - vx, jy - vy, w + strip)
    add_edge(buf, rows, cols, jx - vx, jy - vy, px, py, w)
    add_edge(buf, rows, cols, px, py, ox, oy, w)
    add_edge(buf, rows, cols, ox, oy, ix - ux, iy - uy, w)
    if strip != 0:
        add_edge(buf, rows, cols, jx - vx, jy - vy, jx + vx, jy + vy, strip)
        add_edge(buf, rows, cols, jx + vx, jy + vy, ix + ux, iy + uy, strip)
        add_edge(buf, rows, cols, ix + ux, iy + uy, ix - ux, iy - uy, strip)


@njit(cache=True, error_model="numpy")
def _across(cam: tuple, ax: float, ay: float, bx: float, by: float) -> tuple[float, float, float, float]:
    """A cross edge of the road, from its left end a to its right one b, grown outwards (output pixels)."""
    ux, uy = _growth(cam, ax, ay, bx, by)
    return _px(cam, ax, ay) - ux, _py(cam, ax, ay) - uy, _px(cam, bx, by) + ux, _py(cam, bx, by) + uy


@njit(cache=True, error_model="numpy")
def _paint(i: int, touched: bool) -> int:
    """The word of a tile: new ones come in three shades."""
    if touched or i % 3 == 0:
        return W_ROAD
    return W_ROAD + (W_SHADE1 if i % 3 == 1 else W_SHADE2)


@njit(cache=True, error_model="numpy")
def _add_tile(
    buf: np.ndarray,
    rows: int,
    cols: int,
    near: tuple[float, float, float, float],
    far: tuple[float, float, float, float],
    before: int,
    word: int,
) -> None:
    """Add a tile between two cross edges; ``before`` is the word of the tile on the near side."""
    if word != before:
        add_edge(buf, rows, cols, near[0], near[1], near[2], near[3], word - before)
    add_edge(buf, rows, cols, far[0], far[1], near[0], near[1], word)
    add_edge(buf, rows, cols, near[2], near[3], far[2], far[3], word)


@njit(cache=True, error_model="numpy")
def _end_stretch(
    buf: np.ndarray,
    pixels: np.ndarray,
    rows: int,
    cols: int,
    runs: tuple,
    edge: tuple[float, float, float, float],
    word: int,
    pal: np.ndarray,
    loss: int,
    layered: bool,
) -> None:
    """Close a stretch of road at its last cross edge, and paint it if it may lie over another one."""
    add_edge(buf, rows, cols, edge[0], edge[1], edge[2], edge[3], -word)
    if layered:
        compose_over(buf, pixels, rows, cols, runs, pal, loss)


@njit(cache=True, error_model="numpy", forceinline=True)
def _seen(cam: tuple, reach: float, x: float, y: float) -> bool:
    """Whether a world point is within ``reach`` of the window (pixels of the 1000x800 picture)."""
    gx = x * cam[0] - y * cam[1] + cam[2]
    gy = x * cam[1] + y * cam[0] + cam[3]
    return -reach < gx < WINDOW_W + reach and WINDOW_H - BAR_TOP - reach < gy < WINDOW_H + reach


@njit(cache=True, error_model="numpy")
def draw_road(
    buf: np.ndarray,
    pixels: np.ndarray,
    rows: int,
    cols: int,
    runs: tuple,
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
    composed onto ``pixels`` by itself, in Gymnasium's order; a stretch that must
    be cut begins one tile early, so the cut shows no seam.
    """
    reach = TILE_REACH * cam[6]
    joined, word, edge = False, 0, (0.0, 0.0, 0.0, 0.0)
    hx = hy = wx = wy = 0.0
    i = 0
    while i < count:
        ax, ay = tile_xy[i, 0, 0], tile_xy[i, 0, 1]
        seen = _seen(cam, reach, ax, ay)
        if not (seen or joined):  # most tiles
            i += 1
            continue
        if joined and not (seen and tile_xy[i, 3, 0] == wx and tile_xy[i, 3, 1] == wy):
            # Out of sight, or not the neighbour of the tile before.
            _end_stretch(buf, pixels, rows, cols, runs, edge, word, pal, loss, layered)
            joined = False
        bx, by = tile_xy[i, 1, 0], tile_xy[i, 1, 1]
        dx, dy = bx - ax, by - ay
        if joined and layered and dx * hx + dy * hy < -0.5 * (hx * hx + hy * hy):
            # The road has turned right round: what follows may lie over it.
            _end_stretch(buf, pixels, rows, cols, runs, edge, word, pal, loss, layered)
            joined = False
            i -= 1
        elif seen:
            if not joined:
                edge = _across(cam, tile_xy[i, 3, 0], tile_xy[i, 3, 1], tile_xy[i, 2, 0], tile_xy[i, 2, 1])
                word, hx, hy = 0, dx, dy
            new, far = _paint(i, touched[i]), _across(cam, ax, ay, bx, by)
            _add_tile(buf, rows, cols, edge, far, word, new)
            if kerb[i] != 0:
                _add_kerb(buf, rows, cols, cam, tile_xy[i], kerb_xy[i], kerb[i], new)
            joined, word, edge, wx, wy = True, new, far, ax, ay
            i += 1
        else:
            i += 1
    if joined:
        _end_stretch(buf, pixels, rows, cols, runs, edge, word, pal, loss, layered)
