"""The engine as ranks play it."""

import copy

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from wm_mpi.envs.fast import CarRacingVector


def make_cars(max_frames: int, lap_complete_percent: float, width: int, frame: str | None) -> VectorEnv:
    """``width`` cars, compiled and loaded, that show policy frames, or pictures of 96x96 where ``frame`` is None."""
    cars = CarRacingVector(width, lap_complete_percent=lap_complete_percent, max_episode_steps=max_frames,
                           observation_size=64 if frame else 96, frame=frame or "road",  # type: ignore[arg-type]
                           autoreset_mode=AutoresetMode.DISABLED)
    once = copy.copy(cars)
    once.reset(seed=0)
    once.step(np.zeros((width, 3)))
    return cars  # nobody drives in it yet: cars without a task cost nothing
