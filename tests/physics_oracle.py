"""Gymnasium's CarRacing as the reference, without its pictures, and ways to drive it."""

from __future__ import annotations

import math

import numpy as np
from gymnasium.envs.box2d.car_racing import CarRacing


class Reference(CarRacing):
    """CarRacing that draws nothing."""

    def _render(self, mode: str) -> np.ndarray:
        return np.zeros((1, 1, 3), np.uint8)


POLICIES = ("walk", "follow", "gas", "brake", "leave", "still", "extreme")


class Driver:
    """Actions float64 [3] for a policy's name; ``follow`` looks at the reference's state."""

    def __init__(self, policy: str, seed: int) -> None:
        self.policy = policy
        self.rng = np.random.default_rng([seed, POLICIES.index(policy)])
        self.walk = np.zeros(3)
        self.frame = 0

    def __call__(self, env: CarRacing) -> np.ndarray:
        self.frame += 1
        k, rng = self.frame, self.rng
        if self.policy == "walk":
            self.walk = np.clip(self.walk + rng.normal(0, 0.15, 3), -1, 1)
            return self.walk * (1, 1, 0.3) + (0, 0.3, 0)
        if self.policy == "follow":
            return self._follow(env)
        if self.policy == "gas":
            return np.array([math.sin(k / 25), 1.0, 0.0])
        if self.policy == "brake":
            return np.array([math.sin(k / 9), float(k % 120 < 80), (k % 120 > 90) * (k % 7) / 6])
        if self.policy == "leave":
            return np.array([0.02 * math.sin(k), 1.0, 0.0])
        if self.policy == "still":
            return np.array([0.3, 0.5 * (100 < k % 400 < 130), float(130 <= k % 400 < 250)])
        return np.array(
            [rng.choice((-1.0, 0.0, 1.0)), rng.choice((0.0, 1.0)), rng.choice((0, 0, 1.0))]
        )

    def _follow(self, env: CarRacing) -> np.ndarray:
        """Steer for a point ahead on the track: fast enough to finish the lap."""
        points = np.array(env.track)[:, 2:4]
        x, y = env.car.hull.position
        at = int(np.argmin(((points - (x, y)) ** 2).sum(axis=1)))
        goal = points[(at + 6) % len(points)]
        want = math.atan2(goal[1] - y, goal[0] - x) - math.pi / 2
        off = (want - env.car.hull.angle + math.pi) % (2 * math.pi) - math.pi
        speed = math.hypot(*env.car.hull.linearVelocity)
        limit = 55.0 if abs(off) < 0.15 else 35.0
        return np.array(
            [np.clip(-2.0 * off, -1, 1), 0.7 * (speed < limit), 0.2 * (speed > limit + 10)]
        )


def differences(env: CarRacing, batch, car: int) -> list[str]:
    """Names of what differs, to the bit, between the reference and a car of a batch."""
    hull, wheels = env.car.hull, env.car.wheels
    n = len(env.track)
    pairs = {
        "hull_xy": (tuple(hull.position), batch.hull_xy[car]),
        "hull_angle": (hull.angle, batch.hull_angle[car]),
        "hull_velocity": (tuple(hull.linearVelocity), batch.hull_velocity[car]),
        "hull_spin": (hull.angularVelocity, batch.hull_angular_velocity[car]),
        "wheel_xy": ([tuple(w.position) for w in wheels], batch.wheel_xy[car]),
        "wheel_angle": ([w.angle for w in wheels], batch.wheel_angle[car]),
        "joint_angle0": (wheels[0].joint.angle, batch.joint_angle0[car]),
        "rotation": (
            [(b.transform.q.c, b.transform.q.s) for b in (hull, *wheels)],
            np.stack((batch.body_cos[car], batch.body_sin[car]), axis=1),
        ),
        "omega": ([w.omega for w in wheels], batch.wheel_omega[car]),
        "phase": ([w.phase for w in wheels], batch.wheel_phase[car]),
        "time": (env.t, batch.time[car]),
        "reward": (env.reward, batch.total_reward[car]),
        "visited": ([t.road_visited for t in env.road], batch.tile_visited[car, :n]),
    }
    # A touched tile takes the plain road colour; every third tile has it from the start.
    plain = np.array([(t.color == env.road_color).all() for t in env.road])
    third = np.arange(n) % 3 == 0
    pairs["touched"] = (plain | third, batch.tile_touched[car, :n] | third)
    return [
        k
        for k, (a, b) in pairs.items()
        if not np.array_equal(np.array(a, float), np.array(b, float))
    ]
