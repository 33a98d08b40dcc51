"""One frame of CarRacing for many cars: the compiled ``CarRacing.step``."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .car import DT, HULL_CENTRE_X, HULL_CENTRE_Y, PI32, STEP32, WHEEL_OFFSETS, wheel_step
from .contacts import collide
from .layout import (
    ANGLE,
    BRAKE,
    CAR_COS,
    CAR_SIN,
    CENTRE_X,
    CENTRE_Y,
    COS,
    FORCE_X,
    FORCE_Y,
    GAS,
    HULL_X,
    HULL_Y,
    JOINT_ANGLE0,
    MOTOR_SPEED,
    NEW_LAP,
    OMEGA,
    ON_ROAD,
    PHASE,
    POSITION_SOLVED,
    PREV_REWARD,
    REWARD,
    SIN,
    SLEEP_TIME,
    SPIN,
    STATE_ROWS,
    STEER,
    TILES,
    TIME,
    VEL_X,
    VEL_Y,
    VISITED,
)
from .simd import LANES
from .solver import solve_island
from .track import PLAYFIELD

F32 = np.float32

_LINEAR_TOLERANCE2 = F32(0.01) * F32(0.01)
_ANGULAR_TOLERANCE = F32(2) / F32(180) * PI32
_ANGULAR_TOLERANCE2 = _ANGULAR_TOLERANCE * _ANGULAR_TOLERANCE
_TIME_TO_SLEEP = F32(0.5)
_ZERO = F32(0)


@njit(cache=True, error_model="numpy")
def place_car(f32, angle, x, y):
    """``Car.__init__``: the bodies at rest, the wheels where an unturned hull has them."""
    f32[:] = _ZERO
    turn = np.float32(angle)
    sin, cos = math.sin(turn), math.cos(turn)
    f32[HULL_X] = x
    f32[HULL_Y] = y
    f32[CENTRE_X] = (cos * HULL_CENTRE_X - sin * HULL_CENTRE_Y) + f32[HULL_X]
    f32[CENTRE_Y] = (sin * HULL_CENTRE_X + cos * HULL_CENTRE_Y) + f32[HULL_Y]
    for body in range(5):
        f32[ANGLE + body] = turn
        f32[CAR_SIN + body] = sin
        f32[CAR_COS + body] = cos
    for w in range(4):
        f32[CENTRE_X + 1 + w] = x + WHEEL_OFFSETS[w, 0]
        f32[CENTRE_Y + 1 + w] = y + WHEEL_OFFSETS[w, 1]


@njit(cache=True, error_model="numpy")
def _control(f64, action):
    """``Car.steer``, ``Car.gas`` and ``Car.brake``."""
    f64[STEER] = -action[0]
    rise = min(max(action[1], 0.0), 1.0) - f64[GAS]
    if rise > 0.1:
        rise = 0.1
    f64[GAS] += rise
    f64[BRAKE] = action[2]


@njit(cache=True, error_model="numpy")
def _drive(f32, f64, ints, rows, lane):
    """``Car.step``: the wheels' forces and motor speeds, written to the solver's lane."""
    for w in range(4):
        body = w + 1
        steer = f64[STEER] if w < 2 else 0.0
        gas = f64[GAS] if w >= 2 else 0.0
        rolled, omega, motor_speed, force_x, force_y = wheel_step(
            f64[OMEGA + w],
            gas,
            f64[BRAKE],
            steer,
            np.float64(f32[ANGLE + body] - f32[ANGLE]),
            ints[ON_ROAD + w] != 0,
            np.float64(f32[CAR_SIN + body]),
            np.float64(f32[CAR_COS + body]),
            np.float64(f32[VEL_X + body]),
            np.float64(f32[VEL_Y + body]),
        )
        f64[PHASE + w] += rolled * DT
        f64[OMEGA + w] = omega
        rows[MOTOR_SPEED + w, lane] = motor_speed
        rows[FORCE_X + w, lane] = force_x
        rows[FORCE_Y + w, lane] = force_y


@njit(cache=True, error_model="numpy")
def _sleep(f32, solved):
    """The sleeping rule at the end of ``b2Island::Solve``.

    Sleep lasts no longer than to the next frame, where ``Car.step`` wakes every
    body; what stays of it are the velocities set to zero.
    """
    least = np.float32(np.inf)
    for body in range(5):
        vx, vy, w = f32[VEL_X + body], f32[VEL_Y + body], f32[SPIN + body]
        if w * w > _ANGULAR_TOLERANCE2 or vx * vx + vy * vy > _LINEAR_TOLERANCE2:
            f32[SLEEP_TIME + body] = _ZERO
        else:
            f32[SLEEP_TIME + body] += STEP32
        least = min(least, f32[SLEEP_TIME + body])
    if least >= _TIME_TO_SLEEP and solved:
        for body in range(5):
            f32[SLEEP_TIME + body] = _ZERO
            f32[VEL_X + body] = _ZERO
            f32[VEL_Y + body] = _ZERO
            f32[SPIN + body] = _ZERO


@njit(cache=True, error_model="numpy")
def _finish(f32, rows, lane):
    """Take a car's new state out of the solver and bring its transforms up to date."""
    for row in range(STATE_ROWS):
        f32[row] = rows[row, lane]
    for body in range(5):
        f32[CAR_SIN + body] = rows[SIN + body, lane]
        f32[CAR_COS + body] = rows[COS + body, lane]
    sin, cos = f32[CAR_SIN], f32[CAR_COS]
    f32[HULL_X] = f32[CENTRE_X] - (cos * HULL_CENTRE_X - sin * HULL_CENTRE_Y)
    f32[HULL_Y] = f32[CENTRE_Y] - (sin * HULL_CENTRE_X + cos * HULL_CENTRE_Y)
    f32[JOINT_ANGLE0] = f32[ANGLE + 1] - f32[ANGLE]
    _sleep(f32, rows[POSITION_SOLVED, lane] != _ZERO)


@njit(cache=True, error_model="numpy")
def _score(f32, f64, ints):
    """The end of ``CarRacing.step``: (reward, terminated, lap finished)."""
    f64[REWARD] -= 0.1
    reward = f64[REWARD] - f64[PREV_REWARD]
    f64[PREV_REWARD] = f64[REWARD]
    finished = ints[VISITED] == ints[TILES] or ints[NEW_LAP] != 0
    if abs(np.float64(f32[HULL_X])) > PLAYFIELD or abs(np.float64(f32[HULL_Y])) > PLAYFIELD:
        return -100.0, True, False
    return reward, finished, finished


@njit(cache=True, error_model="numpy")
def _load_lane(f32, rows, lane):
    for row in range(STATE_ROWS):
        rows[row, lane] = f32[row]
    rows[SIN, lane] = f32[CAR_SIN]
    rows[COS, lane] = f32[CAR_COS]


@njit(cache=True, error_model="numpy")
def advance(records, tiles, search, marks, rows, actions, active, acting, lap_percent, results):
    """Advance the cars marked in ``active`` by one frame (see ``CarBatch`` for the arrays).

    Without ``acting`` this is the step with action None that ends a reset.
    """
    f32, f64, ints = records
    near, region, boxes = search
    visited, touched = marks
    reward, terminated, lap_finished = results
    scratch = (
        np.empty((5, 4), np.float32),
        np.empty((3, 7), np.float32),
        np.zeros((3, 2), np.int64),
    )
    block = np.empty(LANES, np.int64)
    lanes = 0
    width = len(active)
    for car in range(width):
        if acting:
            reward[car] = 0.0
            terminated[car] = False
            lap_finished[car] = False
        if active[car]:
            if acting:
                _control(f64[car], actions[car])
            _drive(f32[car], f64[car], ints[car], rows, lanes)
            own = (tiles[0][car], tiles[1][car], tiles[2][car])
            collide(
                f32[car],
                f64[car],
                ints[car],
                own,
                near[car],
                region[car],
                boxes[car],
                visited[car],
                touched[car],
                lap_percent,
                scratch,
            )
            _load_lane(f32[car], rows, lanes)
            block[lanes] = car
            lanes += 1
        if lanes == LANES or (car == width - 1 and lanes > 0):
            # Lanes without a car follow the first one, so that they never run longer.
            for lane in range(lanes, LANES):
                rows[: MOTOR_SPEED + 4, lane] = rows[: MOTOR_SPEED + 4, 0]
                rows[SIN, lane] = rows[SIN, 0]
                rows[COS, lane] = rows[COS, 0]
            solve_island(rows, lanes)
            for lane in range(lanes):
                done = block[lane]
                _finish(f32[done], rows, lane)
                f64[done, TIME] += DT
                if acting:
                    reward[done], terminated[done], lap_finished[done] = _score(
                        f32[done], f64[done], ints[done]
                    )
            lanes = 0
