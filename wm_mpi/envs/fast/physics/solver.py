"""Box2D's island solver for the car: five bodies, four revolute joints, 16 cars at a time.

The port of ``b2Island::Solve`` for the one island that CarRacing has. A block
of cars lies in a float32 array [ROWS, 16], one car a lane (``layout.py``), and
every lane is computed as Box2D would compute it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .car import PI32, STEP32, WHEEL_INV_MASS
from .joints import correct_joint, init_joint, rotate, solve_joint
from .layout import (
    ANGLE,
    CENTRE_X,
    CENTRE_Y,
    COS,
    FORCE_X,
    FORCE_Y,
    ITERATED_FIRST,
    ITERATED_LAST,
    LIMIT,
    POSITION_SOLVED,
    SAVED,
    SIN,
    SPIN,
    VEL_X,
    VEL_Y,
)
from .simd import LANES, any_lane, bits_mask, load, mask_bits, select, splat, sqrt, store

F32 = np.float32

VELOCITY_ITERATIONS = 6 * 30
POSITION_ITERATIONS = 2 * 30
_CHECK = 4
assert VELOCITY_ITERATIONS % _CHECK == 0

_MAX_TRANSLATION = F32(2)
_MAX_TRANSLATION2 = _MAX_TRANSLATION * _MAX_TRANSLATION
_MAX_ROTATION = F32(0.5) * PI32
_MAX_ROTATION2 = _MAX_ROTATION * _MAX_ROTATION
_ZERO, _ONE = F32(0), F32(1)
_JOINT_ORDER = (3, 2, 1, 0)
"""The order of the joints in the island that ``b2World::Solve`` builds: the newest first."""


@njit(cache=True, error_model="numpy")
def _same_as_saved(rows, first, last):
    """The lanes whose rows ``first`` to ``last`` are what was saved; saves them anew."""
    same = load(rows, first) == load(rows, SAVED)
    for row in range(first, last):
        value = load(rows, row)
        same = same & (value == load(rows, SAVED + row - first))
        store(rows, SAVED + row - first, value)
    return same


@njit(cache=True, error_model="numpy", forceinline=True)
def _integrate_forces(rows):
    """Add the wheels' forces to their velocities (nothing pushes the hull itself)."""
    for j in range(4):
        body = j + 1
        push_x = STEP32 * (WHEEL_INV_MASS * load(rows, FORCE_X + j))
        push_y = STEP32 * (WHEEL_INV_MASS * load(rows, FORCE_Y + j))
        store(rows, VEL_X + body, load(rows, VEL_X + body) + push_x)
        store(rows, VEL_Y + body, load(rows, VEL_Y + body) + push_y)


@njit(cache=True, error_model="numpy", forceinline=True)
def _sweep(rows, limited):
    """One velocity iteration; ``limited[j]``: joint j is at a limit in some lane."""
    vx, vy, w = load(rows, VEL_X), load(rows, VEL_Y), load(rows, SPIN)
    for j in _JOINT_ORDER:
        vx, vy, w = solve_joint(rows, j, limited[j], vx, vy, w)
    store(rows, VEL_X, vx)
    store(rows, VEL_Y, vy)
    store(rows, SPIN, w)


@njit(cache=True, error_model="numpy")
def _solve_velocities(rows):
    """The velocity iterations, or as many of them as still change anything.

    Rounding ends the convergence in a fixed point or a short cycle. Once the
    state is what it was ``_CHECK`` iterations ago, it will be the same again
    after every further ``_CHECK`` of them, thus after the last: the number of
    iterations is a multiple of it.
    """
    limited = (
        any_lane(load(rows, LIMIT) != _ZERO),
        any_lane(load(rows, LIMIT + 1) != _ZERO),
        any_lane(load(rows, LIMIT + 2) != _ZERO),
        any_lane(load(rows, LIMIT + 3) != _ZERO),
    )
    everyone = np.uint64((1 << LANES) - 1)
    store(rows, SAVED, splat(F32(np.nan)))
    for _ in range(VELOCITY_ITERATIONS // _CHECK):
        for _ in range(_CHECK):
            _sweep(rows, limited)
        if mask_bits(_same_as_saved(rows, ITERATED_FIRST, ITERATED_LAST)) == everyone:
            break


@njit(cache=True, error_model="numpy", forceinline=True)
def _integrate_positions(rows, body):
    """Clamp a body's velocities and move it by one step."""
    vx, vy, w = load(rows, VEL_X + body), load(rows, VEL_Y + body), load(rows, SPIN + body)
    tx, ty = STEP32 * vx, STEP32 * vy
    square = tx * tx + ty * ty
    fast = square > _MAX_TRANSLATION2
    ratio = _MAX_TRANSLATION / sqrt(square)
    vx, vy = select(fast, vx * ratio, vx), select(fast, vy * ratio, vy)
    turn = STEP32 * w
    whirls = turn * turn > _MAX_ROTATION2
    w = select(whirls, w * (_MAX_ROTATION / select(turn > _ZERO, turn, -turn)), w)
    store(rows, VEL_X + body, vx)
    store(rows, VEL_Y + body, vy)
    store(rows, SPIN + body, w)
    store(rows, CENTRE_X + body, load(rows, CENTRE_X + body) + STEP32 * vx)
    store(rows, CENTRE_Y + body, load(rows, CENTRE_Y + body) + STEP32 * vy)
    store(rows, ANGLE + body, load(rows, ANGLE + body) + STEP32 * w)


@njit(cache=True, error_model="numpy")
def _solve_positions(rows, lanes):
    """The position iterations, lane by lane.

    A lane stops once all its joints were in place, which is the original's exit,
    or once an iteration has changed nothing, as then none will.
    """
    todo = bits_mask(np.uint64((1 << lanes) - 1))
    unsolved = todo
    store(rows, SAVED, splat(F32(np.nan)))
    for _ in range(POSITION_ITERATIONS):
        okay = todo
        for j in _JOINT_ORDER:
            okay = okay & correct_joint(rows, j, todo)
        unsolved = unsolved & ~okay
        todo = todo & ~okay
        if mask_bits(todo) == 0:
            break
        todo = todo & ~_same_as_saved(rows, CENTRE_X, ANGLE + 5)
    store(rows, POSITION_SOLVED, select(unsolved, splat(_ZERO), splat(_ONE)))


@njit(cache=True, error_model="numpy")
def solve_island(rows: np.ndarray, lanes: int) -> None:
    """``b2Island::Solve`` up to, and without, the sleeping rule.

    ``rows``: float32 [ROWS, 16]; in come the state rows, SIN and COS of the
    hull, the forces and the motor speeds; out go the state rows, SIN and COS of
    all bodies and POSITION_SOLVED. The first ``lanes`` lanes count.
    """
    _integrate_forces(rows)
    for j in _JOINT_ORDER:
        init_joint(rows, j)
    _solve_velocities(rows)
    for body in range(5):
        _integrate_positions(rows, body)
    _solve_positions(rows, lanes)
    for body in range(5):
        rotate(rows, ANGLE + body, SIN + body, COS + body, np.uint64((1 << lanes) - 1))
