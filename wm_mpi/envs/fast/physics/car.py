"""The car of Gymnasium's ``car_dynamics.py``: shapes, masses and wheel forces.

Box2D computes in float32, Gymnasium in float64; each constant here is made with
the same roundings. The mass data follow ``b2PolygonShape`` and
``b2Body::ResetMassData``.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

F32 = np.float32

FPS = 50
SIZE = 0.02
ENGINE_POWER = 100000000 * SIZE * SIZE
WHEEL_MOMENT_OF_INERTIA = 4000 * SIZE * SIZE
FRICTION_LIMIT = 1000000 * SIZE * SIZE
GRASS_FRICTION_LIMIT = FRICTION_LIMIT * 0.6
SLIP_STIFFNESS = 205000 * SIZE * SIZE
BRAKE_FORCE = 15
WHEEL_RADIUS = 1.0 * 27 * SIZE
WHEEL_W, WHEEL_R = 14, 27
WHEEL_POSITIONS = ((-55, 80), (55, 80), (-55, -82), (55, -82))
HULL_POLYGONS = (
    ((-60, 130), (60, 130), (60, 110), (-60, 110)),
    ((-15, 120), (15, 120), (20, 20), (-20, 20)),
    ((25, 20), (50, -10), (50, -40), (20, -90), (-20, -90), (-50, -40), (-50, -10), (-25, 20)),
    ((-50, -120), (50, -120), (50, -90), (-50, -90)),
)
WHEEL_POLYGON = ((-14, 27), (14, 27), (14, -27), (-14, -27))
POLYGON_RADIUS = F32(2) * F32(0.005)
"""Skin round every polygon (b2_polygonRadius)."""


def convex_hull(vertices: np.ndarray) -> np.ndarray:
    """``b2PolygonShape::Set``: float32 [n, 2] in, the hull's vertices in Box2D's order out."""
    start = 0
    for i in range(1, len(vertices)):
        if vertices[i, 0] > vertices[start, 0] or (
            vertices[i, 0] == vertices[start, 0] and vertices[i, 1] < vertices[start, 1]
        ):
            start = i
    hull = []
    at = start
    while True:
        hull.append(at)
        to = 0
        for j in range(1, len(vertices)):
            if to == at:
                to = j
                continue
            r = vertices[to] - vertices[at]
            v = vertices[j] - vertices[at]
            cross = r[0] * v[1] - r[1] * v[0]
            if cross < 0 or (cross == 0 and v[0] * v[0] + v[1] * v[1] > r[0] * r[0] + r[1] * r[1]):
                to = j
        at = to
        if at == start:
            return vertices[hull]


def _polygon_mass(vertices: np.ndarray, density: F32) -> tuple[F32, np.ndarray, F32]:
    """``b2PolygonShape::ComputeMass``: mass, centre [2] and inertia about the body's origin."""
    centre = np.zeros(2, F32)
    area = F32(0)
    inertia = F32(0)
    third = F32(1) / F32(3)
    origin = np.zeros(2, F32)
    for vertex in vertices:
        origin = origin + vertex
    origin = origin * (F32(1) / F32(len(vertices)))
    for i in range(len(vertices)):
        e1 = vertices[i] - origin
        e2 = vertices[(i + 1) % len(vertices)] - origin
        d = e1[0] * e2[1] - e1[1] * e2[0]
        triangle = F32(0.5) * d
        area = area + triangle
        centre = centre + triangle * third * (e1 + e2)
        moments = e1 * e1 + e2 * e1 + e2 * e2
        inertia = inertia + (F32(0.25) * third * d) * (moments[0] + moments[1])
    mass = density * area
    local = centre * (F32(1) / area)
    centre = local + origin
    inertia = density * inertia
    dots = (centre[0] * centre[0] + centre[1] * centre[1]) - (
        local[0] * local[0] + local[1] * local[1]
    )
    return mass, centre, inertia + mass * dots


def body_mass(polygons: list[np.ndarray], density: F32) -> tuple[F32, F32, np.ndarray]:
    """``b2Body::ResetMassData``: inverse mass, inverse inertia and centre of mass [2]."""
    mass = F32(0)
    inertia = F32(0)
    centre = np.zeros(2, F32)
    for polygon in reversed(polygons):  # Box2D puts the newest fixture first
        m, c, i = _polygon_mass(polygon, density)
        mass = mass + m
        centre = centre + m * c
        inertia = inertia + i
    inv_mass = F32(1) / mass
    centre = centre * inv_mass
    inertia = inertia - mass * (centre[0] * centre[0] + centre[1] * centre[1])
    return inv_mass, F32(1) / inertia, centre


def _shape(polygon: tuple) -> np.ndarray:
    return convex_hull(np.array([(x * SIZE, y * SIZE) for x, y in polygon], F32))


HULL_SHAPES = [_shape(polygon) for polygon in HULL_POLYGONS]
WHEEL_SHAPE = _shape(WHEEL_POLYGON)
HULL_INV_MASS, HULL_INV_INERTIA, HULL_CENTRE = body_mass(HULL_SHAPES, F32(1))
WHEEL_INV_MASS, WHEEL_INV_INERTIA, WHEEL_CENTRE = body_mass([WHEEL_SHAPE], F32(0.1))
assert not WHEEL_CENTRE.any(), "the solver counts on wheels whose centre is their origin"
JOINT_ANCHORS = np.array([(x * SIZE, y * SIZE) for x, y in WHEEL_POSITIONS], F32) - HULL_CENTRE
"""Where the wheels' joints sit, from the hull's centre of mass: float32 [4, 2]."""
HULL_CENTRE_X, HULL_CENTRE_Y = HULL_CENTRE
WHEEL_OFFSETS = np.array([(x * SIZE, y * SIZE) for x, y in WHEEL_POSITIONS])

DT = 1.0 / FPS
STEP32 = F32(DT)
PI32 = F32(3.14159265359)
"""The time step and pi (b2_pi) in Box2D's float32."""


@njit(cache=True, error_model="numpy")
def wheel_step(
    omega: float,
    gas: float,
    brake: float,
    steer: float,
    joint_angle: float,
    on_road: bool,
    sin: float,
    cos: float,
    vx: float,
    vy: float,
) -> tuple[float, float, float, float, float]:
    """One wheel of ``Car.step``, in float64.

    Args:
        omega: spin in rad/s; gas, brake and steer: the wheel's controls.
        joint_angle: the wheel's angle against the hull; on_road: it touches a tile.
        sin, cos: its rotation; vx, vy: its velocity.

    Returns:
        The spin that the phase advances by, the spin after the step, the
        joint's motor speed (still float64), then the force's x and y.
    """
    off = steer - joint_angle
    motor_speed = np.sign(off) * min(50.0 * abs(off), 3.0)
    limit = FRICTION_LIMIT if on_road else GRASS_FRICTION_LIMIT

    # forw = (-sin, cos) and side = (cos, sin): GetWorldVector of (0, 1) and (1, 0).
    vf = -sin * vx + cos * vy
    vs = cos * vx + sin * vy

    omega += DT * ENGINE_POWER * gas / WHEEL_MOMENT_OF_INERTIA / (abs(omega) + 5.0)
    if brake >= 0.9:
        omega = 0.0
    elif brake > 0:
        val = BRAKE_FORCE * brake
        if abs(val) > abs(omega):
            val = abs(omega)
        omega += -np.sign(omega) * val
    rolled = omega

    f_force = -vf + omega * WHEEL_RADIUS
    p_force = -vs
    f_force *= SLIP_STIFFNESS
    p_force *= SLIP_STIFFNESS
    force = math.sqrt(f_force * f_force + p_force * p_force)
    if abs(force) > limit:
        f_force /= force
        p_force /= force
        f_force *= limit
        p_force *= limit
    omega -= DT * f_force * WHEEL_RADIUS / WHEEL_MOMENT_OF_INERTIA
    force_x = p_force * cos + f_force * -sin
    force_y = p_force * sin + f_force * cos
    return rolled, omega, motor_speed, force_x, force_y
