"""Whether two convex polygons overlap: Box2D's GJK, ``b2Distance.cpp``, in float32."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .car import POLYGON_RADIUS

F32 = np.float32

_ZERO, _ONE = F32(0), F32(1)
_EPSILON = F32(np.finfo(np.float32).eps)
_EPSILON2 = _EPSILON * _EPSILON
_RADII = POLYGON_RADIUS + POLYGON_RADIUS
_TOUCH = F32(10) * _EPSILON
_MAX_ITERATIONS = 20

# Columns of a simplex vertex.
_AX, _AY, _BX, _BY, _X, _Y, _WEIGHT = 0, 1, 2, 3, 4, 5, 6


@njit(cache=True, error_model="numpy")
def _solve2(simplex, index):
    """``b2Simplex::Solve2``: the new vertex count."""
    w1x, w1y, w2x, w2y = simplex[0, _X], simplex[0, _Y], simplex[1, _X], simplex[1, _Y]
    ex, ey = w2x - w1x, w2y - w1y
    d2 = -(w1x * ex + w1y * ey)
    if d2 <= _ZERO:
        simplex[0, _WEIGHT] = _ONE
        return 1
    d1 = w2x * ex + w2y * ey
    if d1 <= _ZERO:
        simplex[1, _WEIGHT] = _ONE
        _copy_vertex(simplex, index, 1, 0)
        return 1
    inv = _ONE / (d1 + d2)
    simplex[0, _WEIGHT] = d1 * inv
    simplex[1, _WEIGHT] = d2 * inv
    return 2


@njit(cache=True, error_model="numpy")
def _copy_vertex(simplex, index, source, target):
    for k in range(7):
        simplex[target, k] = simplex[source, k]
    index[target, 0] = index[source, 0]
    index[target, 1] = index[source, 1]


@njit(cache=True, error_model="numpy")
def _solve3(simplex, index):
    """``b2Simplex::Solve3``: the new vertex count."""
    w1x, w1y, w2x, w2y = simplex[0, _X], simplex[0, _Y], simplex[1, _X], simplex[1, _Y]
    w3x, w3y = simplex[2, _X], simplex[2, _Y]
    e12x, e12y = w2x - w1x, w2y - w1y
    d12_1 = w2x * e12x + w2y * e12y
    d12_2 = -(w1x * e12x + w1y * e12y)
    e13x, e13y = w3x - w1x, w3y - w1y
    d13_1 = w3x * e13x + w3y * e13y
    d13_2 = -(w1x * e13x + w1y * e13y)
    e23x, e23y = w3x - w2x, w3y - w2y
    d23_1 = w3x * e23x + w3y * e23y
    d23_2 = -(w2x * e23x + w2y * e23y)
    n = e12x * e13y - e12y * e13x
    d123_1 = n * (w2x * w3y - w2y * w3x)
    d123_2 = n * (w3x * w1y - w3y * w1x)
    d123_3 = n * (w1x * w2y - w1y * w2x)

    if d12_2 <= _ZERO and d13_2 <= _ZERO:
        simplex[0, _WEIGHT] = _ONE
        return 1
    if d12_1 > _ZERO and d12_2 > _ZERO and d123_3 <= _ZERO:
        inv = _ONE / (d12_1 + d12_2)
        simplex[0, _WEIGHT] = d12_1 * inv
        simplex[1, _WEIGHT] = d12_2 * inv
        return 2
    if d13_1 > _ZERO and d13_2 > _ZERO and d123_2 <= _ZERO:
        inv = _ONE / (d13_1 + d13_2)
        simplex[0, _WEIGHT] = d13_1 * inv
        simplex[2, _WEIGHT] = d13_2 * inv
        _copy_vertex(simplex, index, 2, 1)
        return 2
    if d12_1 <= _ZERO and d23_2 <= _ZERO:
        simplex[1, _WEIGHT] = _ONE
        _copy_vertex(simplex, index, 1, 0)
        return 1
    if d13_1 <= _ZERO and d23_1 <= _ZERO:
        simplex[2, _WEIGHT] = _ONE
        _copy_vertex(simplex, index, 2, 0)
        return 1
    if d23_1 > _ZERO and d23_2 > _ZERO and d123_1 <= _ZERO:
        inv = _ONE / (d23_1 + d23_2)
        simplex[1, _WEIGHT] = d23_1 * inv
        simplex[2, _WEIGHT] = d23_2 * inv
        _copy_vertex(simplex, index, 2, 0)
        return 2
    return 3


@njit(cache=True, error_model="numpy")
def _set_vertex(simplex, index, at, tile, a, shape, b, px, py, sin, cos):
    """Fill simplex vertex ``at`` with vertex ``a`` of the tile and ``b`` of the shape."""
    index[at, 0] = a
    index[at, 1] = b
    ax, ay = tile[a, 0], tile[a, 1]
    bx = (cos * shape[b, 0] - sin * shape[b, 1]) + px
    by = (sin * shape[b, 0] + cos * shape[b, 1]) + py
    simplex[at, _AX], simplex[at, _AY] = ax, ay
    simplex[at, _BX], simplex[at, _BY] = bx, by
    simplex[at, _X], simplex[at, _Y] = bx - ax, by - ay


@njit(cache=True, error_model="numpy")
def _support(vertices, count, dx, dy):
    """``b2DistanceProxy::GetSupport``."""
    best = 0
    best_value = vertices[0, 0] * dx + vertices[0, 1] * dy
    for i in range(1, count):
        value = vertices[i, 0] * dx + vertices[i, 1] * dy
        if value > best_value:
            best = i
            best_value = value
    return best


@njit(cache=True, error_model="numpy")
def gjk_overlap(tile, tile_size, shape, shape_size, px, py, sin, cos, simplex, index):
    """``b2TestOverlap`` of a tile (A, untransformed) and a shape of the car (B).

    Args:
        tile, shape: float32 [>= size, 2] vertices in Box2D's order.
        px, py, sin, cos: the shape's float32 transform.
        simplex, index: scratch, float32 [3, 7] and int64 [3, 2].
    """
    _set_vertex(simplex, index, 0, tile, 0, shape, 0, px, py, sin, cos)
    simplex[0, _WEIGHT] = _ONE
    count = 1
    for _ in range(_MAX_ITERATIONS):
        saved = count
        a0, b0, a1, b1 = index[0, 0], index[0, 1], index[1, 0], index[1, 1]
        a2, b2 = index[2, 0], index[2, 1]
        if count == 2:
            count = _solve2(simplex, index)
        elif count == 3:
            count = _solve3(simplex, index)
        if count == 3:
            return True  # the origin lies in the triangle
        if count == 1:
            dx, dy = -simplex[0, _X], -simplex[0, _Y]
        else:
            ex = simplex[1, _X] - simplex[0, _X]
            ey = simplex[1, _Y] - simplex[0, _Y]
            if ex * -simplex[0, _Y] - ey * -simplex[0, _X] > _ZERO:
                dx, dy = -ey, ex
            else:
                dx, dy = ey, -ex
        if dx * dx + dy * dy < _EPSILON2:
            break
        a = _support(tile, tile_size, -dx, -dy)
        b = _support(shape, shape_size, cos * dx + sin * dy, -sin * dx + cos * dy)
        _set_vertex(simplex, index, count, tile, a, shape, b, px, py, sin, cos)
        if a == a0 and b == b0:
            break
        if saved > 1 and a == a1 and b == b1:
            break
        if saved > 2 and a == a2 and b == b2:
            break
        count += 1
    distance = _distance(simplex, count)
    return distance <= _RADII or distance - _RADII < _TOUCH


@njit(cache=True, error_model="numpy")
def _distance(simplex, count):
    """Distance of the witness points."""
    if count == 3:
        return _ZERO
    if count == 1:
        dx = simplex[0, _AX] - simplex[0, _BX]
        dy = simplex[0, _AY] - simplex[0, _BY]
    else:
        u, v = simplex[0, _WEIGHT], simplex[1, _WEIGHT]
        dx = (u * simplex[0, _AX] + v * simplex[1, _AX]) - (
            u * simplex[0, _BX] + v * simplex[1, _BX]
        )
        dy = (u * simplex[0, _AY] + v * simplex[1, _AY]) - (
            u * simplex[0, _BY] + v * simplex[1, _BY]
        )
    return F32(math.sqrt(dx * dx + dy * dy))
