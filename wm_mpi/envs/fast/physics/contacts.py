"""Which tiles the car's shapes overlap: ``b2TestOverlap`` with ``b2Distance``.

Tiles are sensors, so a contact is a question of the transforms alone: Box2D
asks it in ``b2ContactManager::Collide`` for every pair whose fattened boxes
meet, and these boxes always hold the shapes. Here a car keeps a list of the
tiles near it, and a cheap test with a margin settles most pairs; the rest go
through the port of ``b2Distance`` in ``gjk.py``, so the answers are Box2D's.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .car import HULL_SHAPES, POLYGON_RADIUS, WHEEL_SHAPE
from .gjk import gjk_overlap
from .layout import (
    CAR_COS,
    CAR_SIN,
    CENTRE_X,
    CENTRE_Y,
    HINT,
    HULL_X,
    HULL_Y,
    NEAR,
    NEW_LAP,
    ON_ROAD,
    REWARD,
    TILES,
    VISITED,
)

F32 = np.float32

_RADII = POLYGON_RADIUS + POLYGON_RADIUS
_MARGIN = F32(2e-3)
"""Far above the rounding of coordinates up to 400 in float32, so the cheap tests never err."""
_ZERO = F32(0)

WHEEL = 4
"""The wheels' row of ``SHAPES``; rows 0 to 3 are the hull's polygons."""
_ALL_SHAPES = [*HULL_SHAPES, WHEEL_SHAPE]
SHAPE_SIZES = np.array([len(shape) for shape in _ALL_SHAPES], np.int64)
SHAPES = np.stack([np.pad(shape, ((0, 8 - len(shape)), (0, 0))) for shape in _ALL_SHAPES])
SHAPE_CENTRES = np.stack([shape.mean(axis=0) for shape in _ALL_SHAPES])
SHAPE_RADII = np.array(
    [
        np.hypot(*(shape - centre).T).max()
        for shape, centre in zip(_ALL_SHAPES, SHAPE_CENTRES, strict=True)
    ],
    F32,
)

_HULL_REACH = F32(max(np.hypot(*shape.T).max() for shape in HULL_SHAPES)) + F32(0.05)
_WHEEL_REACH = F32(np.hypot(*WHEEL_SHAPE.T).max()) + F32(0.05)
_SLACK = F32(6.0)
"""How far a car may go before its list of near tiles is made anew."""


@njit(cache=True, error_model="numpy")
def prepare_tiles(tile_xy, vertices, sizes, edges, boxes):
    """Box2D's form of a track's tiles, in the first N rows of the car's tile arrays.

    Args:
        tile_xy: float64 [N, 4, 2].
        vertices: float32 [>= N, 4, 2], filled with the hulls of ``b2PolygonShape::Set``.
        sizes: int8 [>= N], their vertex counts.
        edges: float32 [>= N, 4, 3], outward edge lines: distance = x * e0 + y * e1 - e2.
        boxes: float32 [>= N, 4], (x low, y low, x high, y high) with the skin and a margin.
    """
    points = np.empty((4, 2), np.float32)
    for i in range(len(tile_xy)):
        for k in range(4):
            points[k, 0] = tile_xy[i, k, 0]
            points[k, 1] = tile_xy[i, k, 1]
        sizes[i] = _hull(points, vertices[i])
        for k in range(4):
            k0 = k % sizes[i]
            k1 = (k0 + 1) % sizes[i]
            nx = np.float64(vertices[i, k1, 1]) - np.float64(vertices[i, k0, 1])
            ny = np.float64(vertices[i, k0, 0]) - np.float64(vertices[i, k1, 0])
            length = math.sqrt(nx * nx + ny * ny)
            nx /= length
            ny /= length
            edges[i, k, 0] = nx
            edges[i, k, 1] = ny
            edges[i, k, 2] = nx * vertices[i, k0, 0] + ny * vertices[i, k0, 1]
        grow = _RADII + _MARGIN
        boxes[i, 0] = points[:, 0].min() - grow
        boxes[i, 1] = points[:, 1].min() - grow
        boxes[i, 2] = points[:, 0].max() + grow
        boxes[i, 3] = points[:, 1].max() + grow


@njit(cache=True, error_model="numpy")
def _hull(points, hull):
    """``b2PolygonShape::Set`` for four points: writes the hull, returns its size."""
    start = 0
    for i in range(1, 4):
        if points[i, 0] > points[start, 0] or (
            points[i, 0] == points[start, 0] and points[i, 1] < points[start, 1]
        ):
            start = i
    size = 0
    at = start
    while size < 4:
        hull[size] = points[at]
        size += 1
        to = 0
        for j in range(1, 4):
            if to == at:
                to = j
                continue
            rx, ry = points[to, 0] - points[at, 0], points[to, 1] - points[at, 1]
            vx, vy = points[j, 0] - points[at, 0], points[j, 1] - points[at, 1]
            cross = rx * vy - ry * vx
            if cross < _ZERO or (cross == _ZERO and vx * vx + vy * vy > rx * rx + ry * ry):
                to = j
        at = to
        if at == start:
            break
    return size


@njit(cache=True, error_model="numpy")
def overlaps(tiles, tile, which, px, py, sin, cos, simplex, index):
    """Whether shape ``which`` (a row of ``SHAPES``) at a transform touches a tile.

    ``tiles`` is the car's (vertices, sizes, edges), as ``prepare_tiles`` fills them.
    """
    vertices, sizes, edges = tiles
    lx, ly = SHAPE_CENTRES[which, 0], SHAPE_CENTRES[which, 1]
    x = cos * lx - sin * ly + px
    y = sin * lx + cos * ly + py
    outside = edges[tile, 0, 0] * x + edges[tile, 0, 1] * y - edges[tile, 0, 2]
    for k in range(1, 4):
        outside = max(outside, edges[tile, k, 0] * x + edges[tile, k, 1] * y - edges[tile, k, 2])
    if outside < -_MARGIN:
        return True  # the shape's middle lies in the tile
    if outside > SHAPE_RADII[which] + _RADII + _MARGIN:
        return False  # an edge of the tile parts them
    return gjk_overlap(
        vertices[tile],
        sizes[tile],
        SHAPES[which],
        SHAPE_SIZES[which],
        px,
        py,
        sin,
        cos,
        simplex,
        index,
    )


@njit(cache=True, error_model="numpy")
def refresh_near(near, box, boxes, tile_count, poses):
    """Keep ``near`` a list of all tiles that the car could touch; returns its new length.

    -1 where the list still holds: the car is within the ``box`` that it was made for.

    Args:
        near: int32 [MAX_TILES], tile indices, largest first (the order of Box2D's
            contact list for contacts that begin at once).
        box: float32 [4], the region that ``near`` covers.
        poses: float32 [5, 4], x, y, sin and cos of the hull and the wheels.
    """
    x0, y0 = poses[0, 0] - _HULL_REACH, poses[0, 1] - _HULL_REACH
    x1, y1 = poses[0, 0] + _HULL_REACH, poses[0, 1] + _HULL_REACH
    for w in range(1, 5):
        x0, y0 = min(x0, poses[w, 0] - _WHEEL_REACH), min(y0, poses[w, 1] - _WHEEL_REACH)
        x1, y1 = max(x1, poses[w, 0] + _WHEEL_REACH), max(y1, poses[w, 1] + _WHEEL_REACH)
    if x0 >= box[0] and y0 >= box[1] and x1 <= box[2] and y1 <= box[3]:
        return -1
    x0, y0, x1, y1 = x0 - _SLACK, y0 - _SLACK, x1 + _SLACK, y1 + _SLACK
    box[0], box[1], box[2], box[3] = x0, y0, x1, y1
    count = 0
    for i in range(tile_count - 1, -1, -1):
        if boxes[i, 0] <= x1 and boxes[i, 1] <= y1 and boxes[i, 2] >= x0 and boxes[i, 3] >= y0:
            near[count] = i
            count += 1
    return count


@njit(cache=True, error_model="numpy")
def collide(f32, f64, ints, tiles, near, region, boxes, visited, touched, lap_percent, scratch):
    """``b2ContactManager::Collide`` and ``FrictionDetector``: tiles, reward and new lap."""
    poses, simplex, index = scratch
    poses[0, 0], poses[0, 1] = f32[HULL_X], f32[HULL_Y]
    for body in range(5):
        if body > 0:
            poses[body, 0], poses[body, 1] = f32[CENTRE_X + body], f32[CENTRE_Y + body]
        poses[body, 2], poses[body, 3] = f32[CAR_SIN + body], f32[CAR_COS + body]
    count = refresh_near(near, region, boxes, ints[TILES], poses)
    if count >= 0:
        ints[NEAR] = count
    for k in range(ints[NEAR]):
        tile = near[k]
        if not visited[tile]:
            _meet_tile(f64, ints, tiles, tile, visited, touched, lap_percent, poses, simplex, index)
    for w in range(4):
        x, y, sin, cos = poses[w + 1, 0], poses[w + 1, 1], poses[w + 1, 2], poses[w + 1, 3]
        ints[ON_ROAD + w] = 0
        if overlaps(tiles, ints[HINT + w], WHEEL, x, y, sin, cos, simplex, index):
            ints[ON_ROAD + w] = 1
            continue
        for k in range(ints[NEAR]):
            if overlaps(tiles, near[k], WHEEL, x, y, sin, cos, simplex, index):
                ints[ON_ROAD + w] = 1
                ints[HINT + w] = near[k]
                break


@njit(cache=True, error_model="numpy")
def _meet_tile(f64, ints, tiles, tile, visited, touched, lap_percent, poses, simplex, index):
    """A tile that no wheel has touched yet: does one now, or the hull?"""
    for w in range(1, 5):
        x, y, sin, cos = poses[w, 0], poses[w, 1], poses[w, 2], poses[w, 3]
        if overlaps(tiles, tile, WHEEL, x, y, sin, cos, simplex, index):
            visited[tile] = True
            touched[tile] = True
            f64[REWARD] += 1000.0 / ints[TILES]
            ints[VISITED] += 1
            if tile == 0 and ints[VISITED] / ints[TILES] > lap_percent:
                ints[NEW_LAP] = 1
            return
    if touched[tile]:
        return
    x, y, sin, cos = poses[0, 0], poses[0, 1], poses[0, 2], poses[0, 3]
    for part in range(4):
        if overlaps(tiles, tile, part, x, y, sin, cos, simplex, index):
            touched[tile] = True
            return
