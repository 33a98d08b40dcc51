"""What the engine knows and no picture says in numbers: where a car is on its road and how fast; and a driver who sees it.

The driver is for measuring what others see, on tracks and at speeds of its own; nobody is trained on what it does.
"""

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from wm_mpi.core.seeding import generator
from wm_mpi.envs.fast.env import CarRacingVector, Frames
from wm_mpi.envs.fast.onlooker import OFF

Array = npt.NDArray[np.float64]
AHEAD = (1, 2, 3, 5, 7, 10)
"""How many tiles (3.5 m) ahead the road is told."""
STATE = ("forward speed", "sideways speed", "yaw rate", "steering angle", "offset",
         *(f"road {tiles} ahead" for tiles in AHEAD))
"""What is told: m/s, m/s, rad/s, rad, and metres to the right: of the centre line, then of where the road will be."""
WITHIN = np.arange(-3, 8)
"""In a frame a car passes no more tiles than these."""
TARGETS = (20.0, 75.0)
"""Speeds at which the driver aims: each episode draws one (m/s; a champion drives 40 to 60)."""
GRIP = 40.0
"""It brakes for bends: one that turns by a (rad) within five tiles is taken at most at this / a (m/s)."""
DECAY = 1 - 1 / 25
"""Share of the noise on its actions left after a frame."""


class Watched:
    """``width`` cars with policy frames, their true state, and a driver who keeps to the road at many speeds."""

    def __init__(self, width: int, frame: str) -> None:
        self._env = CarRacingVector(width, observation_size=64, frame=frame, max_episode_steps=None,
                                    autoreset_mode=AutoresetMode.DISABLED)
        self._cars = self._env._cars
        self.running = np.zeros(width, np.bool_)
        """Cars that have kept to the road so far."""

    def reset(self, seed: int, first: int) -> Frames:
        """Begin episodes ``first``, ``first`` + 1, ... of a seed: tracks, targets and noise of their own."""
        width = self._env.num_envs
        self._generators = [generator(seed, first + car) for car in range(width)]
        frames, _ = self._env.reset(seed=[int(rng.integers(2**31)) for rng in self._generators])
        drawn = np.array([[rng.uniform(*TARGETS), rng.uniform(0, 0.5), rng.uniform(-2, 2)] for rng in self._generators])
        self._target, self._stray, self._lane = drawn.T
        self._noise = np.zeros((width, 3))
        self._tile = np.zeros(width, np.int64)
        self.running = np.ones(width, np.bool_)
        return frames

    def state(self) -> Array:
        """``STATE`` of each car [width, 11]."""
        cars, width = self._cars, self._env.num_envs
        angle = cars.hull_angle[:width].astype(np.float64)
        forward, right = np.stack([-np.sin(angle), np.cos(angle)], 1), np.stack([np.cos(angle), np.sin(angle)], 1)
        speed = cars.hull_velocity[:width].astype(np.float64)
        here, road = np.zeros(width), np.zeros((width, len(AHEAD)))
        for car in range(width):
            points = self._points(car)
            near = (self._tile[car] + WITHIN) % len(points)
            place = cars.hull_xy[car].astype(np.float64)
            self._tile[car] = near[((points[near] - place) ** 2).sum(1).argmin()]
            here[car] = (place - points[self._tile[car]]) @ self._side(points, self._tile[car])
            road[car] = (points[(self._tile[car] + np.array(AHEAD)) % len(points)] - place) @ right[car]
        moving = [(speed * forward).sum(1), (speed * right).sum(1), cars.hull_angular_velocity[:width],
                  cars.joint_angle0[:width]]
        return np.column_stack([*moving, here, road]).astype(np.float64)

    def _points(self, car: int) -> Array:
        track = self._cars.tracks[car]
        assert track is not None
        return track.points[:, 2:4]

    @staticmethod
    def _side(points: Array, tile: int) -> Array:
        """To the right of the road at a tile [2]."""
        along = points[(tile + 1) % len(points)] - points[tile - 1]
        return np.array([along[1], -along[0]]) / max(float(np.hypot(*along)), 1e-9)

    def drive(self, state: Array) -> tuple[Frames, Array]:
        """A frame on (1/50 s); gives frames and the actions taken [width, 3]."""
        speed, yaw = state[:, 0], state[:, 2]
        far = state[:, 5 + AHEAD.index(5)] - self._lane  # where to aim: five tiles ahead, in a lane of its own
        bend = np.abs(state[:, 5 + AHEAD.index(10)] - 2 * state[:, 5 + AHEAD.index(5)]) / 17.5
        wanted = np.minimum(self._target, GRIP / np.maximum(bend, 1e-3))
        throttle = (wanted - speed) / 10
        self._noise = DECAY * self._noise + np.sqrt(1 - DECAY**2) * np.stack([
            rng.standard_normal(3) for rng in self._generators])
        noise = self._stray[:, None] * self._noise
        actions = np.stack([np.clip(far / 8 + 0.05 * yaw + 0.5 * noise[:, 0], -1, 1), np.clip(throttle + noise[:, 1], 0, 1),
                            np.clip(-throttle / 2 + 0.3 * noise[:, 2], 0, 0.8)], axis=1)
        frames, _, terminated, _, _ = self._env.step(actions)
        self.running &= ~terminated & (np.abs(state[:, STATE.index("offset")]) < OFF)
        return frames, actions
