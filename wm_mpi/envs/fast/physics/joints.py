"""The car's revolute joints, 16 cars at a time: the port of ``b2RevoluteJoint.cpp``.

The wheels' centre of mass is their origin and their joint, so ``m_rB`` is zero
throughout; the terms that it would bring are zeros and are left out. Every
joint has its motor and its limit on.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .car import (
    HULL_INV_INERTIA,
    HULL_INV_MASS,
    JOINT_ANCHORS,
    PI32,
    SIZE,
    STEP32,
    WHEEL_INV_INERTIA,
    WHEEL_INV_MASS,
)
from .layout import (
    ANGLE,
    CENTRE_X,
    CENTRE_Y,
    COS,
    CROSS_X,
    CROSS_Y,
    CROSS_Z,
    IMPULSE_X,
    IMPULSE_Y,
    IMPULSE_Z,
    INV_DET2,
    INV_DET3,
    K11,
    K12,
    K13,
    K22,
    K23,
    LIMIT,
    MOTOR_IMPULSE,
    MOTOR_SPEED,
    R_X,
    R_Y,
    SIN,
    SPIN,
    TEMP_ANGLE,
    TEMP_COS,
    TEMP_SIN,
    VEL_X,
    VEL_Y,
)
from .simd import load, mask_bits, select, splat, sqrt, store

F32 = np.float32

_MAX_MOTOR_IMPULSE = STEP32 * F32(180 * 900 * SIZE * SIZE)
_LOWER, _UPPER = F32(-0.4), F32(0.4)
_LINEAR_SLOP = F32(0.005)
_ANGULAR_SLOP = F32(2) / F32(180) * PI32
_MAX_CORRECTION = F32(8) / F32(180) * PI32
_ZERO, _ONE = F32(0), F32(1)
_MA, _IA = HULL_INV_MASS, HULL_INV_INERTIA
_MB, _IB = WHEEL_INV_MASS, WHEEL_INV_INERTIA
_K33 = _IA + _IB
_MOTOR_MASS = _ONE / _K33
_MASSES = _MA + _MB


@njit(cache=True, error_model="numpy")
def rotate(rows, angle_row, sin_row, cos_row, bits):
    """``b2Rot::Set``: sines and cosines of an angle row, in the lanes set in ``bits``.

    One lane after the other, by the C library's sinf and cosf as in Box2D.
    """
    lane = 0
    while bits:
        if bits & np.uint64(1):
            angle = rows[angle_row, lane]
            rows[sin_row, lane] = math.sin(angle)
            rows[cos_row, lane] = math.cos(angle)
        bits >>= np.uint64(1)
        lane += 1


@njit(cache=True, error_model="numpy", forceinline=True)
def _clamp(value, low, high):
    """``b2Clamp``."""
    value = select(value < high, value, high)
    return select(low > value, low, value)


@njit(cache=True, error_model="numpy", forceinline=True)
def _update_limit(rows, j):
    """The limit's part of ``InitVelocityConstraints``."""
    angle = load(rows, ANGLE + j + 1) - load(rows, ANGLE)
    was = load(rows, LIMIT + j)
    lower = angle <= _LOWER
    upper = (angle >= _UPPER) & ~lower
    now = select(lower, splat(-_ONE), select(upper, splat(_ONE), splat(_ZERO)))
    keeps = (lower | upper) & (now == was)
    store(rows, IMPULSE_Z + j, select(keeps, load(rows, IMPULSE_Z + j), splat(_ZERO)))
    store(rows, LIMIT + j, now)


@njit(cache=True, error_model="numpy", forceinline=True)
def init_joint(rows, j):
    """``b2RevoluteJoint::InitVelocityConstraints`` with warm starting (dtRatio is 1)."""
    anchor_x, anchor_y = JOINT_ANCHORS[j, 0], JOINT_ANCHORS[j, 1]
    sin, cos = load(rows, SIN), load(rows, COS)
    rx = cos * anchor_x - sin * anchor_y
    ry = sin * anchor_x + cos * anchor_y
    k11 = _MASSES + ry * ry * _IA
    k12 = -ry * rx * _IA
    k22 = _MASSES + rx * rx * _IA
    k13 = -ry * _IA
    k23 = rx * _IA
    # The columns' cross product ey x ez and the two determinants are the same
    # in every iteration, so they are taken once.
    cross_x = k22 * _K33 - k23 * k23
    cross_y = k23 * k13 - k12 * _K33
    cross_z = k12 * k23 - k22 * k13
    det3 = k11 * cross_x + k12 * cross_y + k13 * cross_z
    det2 = k11 * k22 - k12 * k12
    store(rows, R_X + j, rx)
    store(rows, R_Y + j, ry)
    store(rows, K11 + j, k11)
    store(rows, K12 + j, k12)
    store(rows, K22 + j, k22)
    store(rows, K13 + j, k13)
    store(rows, K23 + j, k23)
    store(rows, CROSS_X + j, cross_x)
    store(rows, CROSS_Y + j, cross_y)
    store(rows, CROSS_Z + j, cross_z)
    store(rows, INV_DET2 + j, select(det2 != _ZERO, _ONE / det2, det2))
    store(rows, INV_DET3 + j, select(det3 != _ZERO, _ONE / det3, det3))
    _update_limit(rows, j)

    px, py = load(rows, IMPULSE_X + j), load(rows, IMPULSE_Y + j)
    pz, motor = load(rows, IMPULSE_Z + j), load(rows, MOTOR_IMPULSE + j)
    body = j + 1
    store(rows, VEL_X, load(rows, VEL_X) - _MA * px)
    store(rows, VEL_Y, load(rows, VEL_Y) - _MA * py)
    store(rows, SPIN, load(rows, SPIN) - _IA * (rx * py - ry * px + motor + pz))
    store(rows, VEL_X + body, load(rows, VEL_X + body) + _MB * px)
    store(rows, VEL_Y + body, load(rows, VEL_Y + body) + _MB * py)
    store(rows, SPIN + body, load(rows, SPIN + body) + _IB * (motor + pz))


@njit(cache=True, error_model="numpy", forceinline=True)
def _solve_limit(rows, j, limit, dx, dy, dw, pz):
    """The impulse of a joint at its limit: (full, z), where ``full`` is a triple.

    ``Solve33`` unless that would make the limit pull; then z only takes back
    what the limit has pushed so far.
    """
    k11, k12, k22 = load(rows, K11 + j), load(rows, K12 + j), load(rows, K22 + j)
    k13, k23 = load(rows, K13 + j), load(rows, K23 + j)
    inv_det = load(rows, INV_DET3 + j)
    ix = -(
        inv_det
        * (
            dx * load(rows, CROSS_X + j)
            + dy * load(rows, CROSS_Y + j)
            + dw * load(rows, CROSS_Z + j)
        )
    )
    # ex . (b x ez), then ex . (ey x b)
    iy = -(
        inv_det
        * (
            k11 * (dy * _K33 - dw * k23)
            + k12 * (dw * k13 - dx * _K33)
            + k13 * (dx * k23 - dy * k13)
        )
    )
    iz = -(
        inv_det
        * (k11 * (k22 * dw - k23 * dy) + k12 * (k23 * dx - k12 * dw) + k13 * (k12 * dy - k22 * dx))
    )
    total = pz + iz
    pulls = ((limit < _ZERO) & (total < _ZERO)) | ((limit > _ZERO) & (total > _ZERO))
    full = (limit != _ZERO) & ~pulls
    iz = select(full, iz, select(pulls, -pz, splat(_ZERO)))
    return full, pulls, ix, iy, iz


@njit(cache=True, error_model="numpy", forceinline=True)
def solve_joint(rows, j, any_limit, vx, vy, w):
    """``SolveVelocityConstraints`` of one joint; the hull's velocity goes through as values."""
    body = j + 1
    bx, by, bw = load(rows, VEL_X + body), load(rows, VEL_Y + body), load(rows, SPIN + body)
    rx, ry = load(rows, R_X + j), load(rows, R_Y + j)

    old = load(rows, MOTOR_IMPULSE + j)
    impulse = splat(-_MOTOR_MASS) * (bw - w - load(rows, MOTOR_SPEED + j))
    motor = _clamp(old + impulse, splat(-_MAX_MOTOR_IMPULSE), splat(_MAX_MOTOR_IMPULSE))
    impulse = motor - old
    w = w - _IA * impulse
    bw = bw + _IB * impulse
    store(rows, MOTOR_IMPULSE + j, motor)

    dx = bx - vx - -w * ry
    dy = by - vy - w * rx
    rhs_x, rhs_y = -dx, -dy
    iz = splat(_ZERO)
    if any_limit:
        limit = load(rows, LIMIT + j)
        pz = load(rows, IMPULSE_Z + j)
        full, pulls, full_x, full_y, iz = _solve_limit(rows, j, limit, dx, dy, bw - w, pz)
        rhs_x = rhs_x + pz * load(rows, K13 + j)
        rhs_y = rhs_y + pz * load(rows, K23 + j)
        store(rows, IMPULSE_Z + j, select(pulls, splat(_ZERO), pz + iz))
    k11, k12, k22 = load(rows, K11 + j), load(rows, K12 + j), load(rows, K22 + j)
    inv_det = load(rows, INV_DET2 + j)
    ix = inv_det * (k22 * rhs_x - k12 * rhs_y)
    iy = inv_det * (k11 * rhs_y - k12 * rhs_x)
    if any_limit:
        ix = select(full, full_x, ix)
        iy = select(full, full_y, iy)
    store(rows, IMPULSE_X + j, load(rows, IMPULSE_X + j) + ix)
    store(rows, IMPULSE_Y + j, load(rows, IMPULSE_Y + j) + iy)
    store(rows, VEL_X + body, bx + _MB * ix)
    store(rows, VEL_Y + body, by + _MB * iy)
    twist = rx * iy - ry * ix
    if any_limit:
        twist = twist + iz
        bw = bw + _IB * iz
    store(rows, SPIN + body, bw)
    return vx - _MA * ix, vy - _MA * iy, w - _IA * twist


@njit(cache=True, error_model="numpy", forceinline=True)
def correct_joint(rows, j, todo):
    """``SolvePositionConstraints`` of a joint in the lanes ``todo``: the mask of those in place."""
    anchor_x, anchor_y = JOINT_ANCHORS[j, 0], JOINT_ANCHORS[j, 1]
    body = j + 1
    aa, ab = load(rows, ANGLE), load(rows, ANGLE + body)
    limit = load(rows, LIMIT + j)
    angle = ab - aa
    at_lower, at_upper = limit < _ZERO, limit > _ZERO
    low, high = angle - _LOWER, angle - _UPPER
    error = select(at_lower, -low, select(at_upper, high, splat(_ZERO)))
    low = _clamp(low + _ANGULAR_SLOP, splat(-_MAX_CORRECTION), splat(_ZERO))
    high = _clamp(high - _ANGULAR_SLOP, splat(_ZERO), splat(_MAX_CORRECTION))
    c = select(at_lower, low, select(at_upper, high, splat(_ZERO)))
    impulse = splat(-_MOTOR_MASS) * c
    aa = aa - _IA * impulse
    ab = ab + _IB * impulse

    store(rows, TEMP_ANGLE, aa)
    rotate(rows, TEMP_ANGLE, TEMP_SIN, TEMP_COS, mask_bits(todo))
    sin, cos = load(rows, TEMP_SIN), load(rows, TEMP_COS)
    rx = cos * anchor_x - sin * anchor_y
    ry = sin * anchor_x + cos * anchor_y
    ax, ay = load(rows, CENTRE_X), load(rows, CENTRE_Y)
    bx, by = load(rows, CENTRE_X + body), load(rows, CENTRE_Y + body)
    cx = bx - ax - rx
    cy = by - ay - ry
    k11 = _MASSES + _IA * ry * ry
    k12 = -_IA * rx * ry
    k22 = _MASSES + _IA * rx * rx
    det = k11 * k22 - k12 * k12
    inv_det = select(det != _ZERO, _ONE / det, det)
    ix = -(inv_det * (k22 * cx - k12 * cy))
    iy = -(inv_det * (k11 * cy - k12 * cx))

    store(rows, CENTRE_X, select(todo, ax - _MA * ix, ax))
    store(rows, CENTRE_Y, select(todo, ay - _MA * iy, ay))
    aa = aa - _IA * (rx * iy - ry * ix)
    store(rows, ANGLE, select(todo, aa, load(rows, ANGLE)))
    store(rows, CENTRE_X + body, select(todo, bx + _MB * ix, bx))
    store(rows, CENTRE_Y + body, select(todo, by + _MB * iy, by))
    store(rows, ANGLE + body, select(todo, ab, load(rows, ANGLE + body)))
    return (sqrt(cx * cx + cy * cy) <= _LINEAR_SLOP) & (error <= _ANGULAR_SLOP)
