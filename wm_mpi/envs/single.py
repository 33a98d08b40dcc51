"""One environment out of a vector of them."""

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv


class Single(gymnasium.Env):
    """A vector environment of one, without the leading axis; ``render`` gives its picture, uint8 [height, width, 3]."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}
    render_mode = "rgb_array"

    def __init__(self, vector: VectorEnv, fps: int = 50) -> None:
        """Of ``vector``, which shows ``fps`` frames per second of real time."""
        self.metadata = {**self.metadata, "render_fps": fps}
        self.vector = vector
        self.observation_space, self.action_space = vector.single_observation_space, vector.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[npt.NDArray, dict[str, Any]]:
        """Begin an episode; without a seed, any."""
        super().reset(seed=seed)
        chosen: Any = [int(self.np_random.integers(2**31)) if seed is None else seed]
        observations, _ = self.vector.reset(seed=chosen, options=options)
        return observations[0], {}

    def step(self, action: npt.ArrayLike) -> tuple[npt.NDArray, float, bool, bool, dict[str, Any]]:
        """Play a frame; ``infos["lap_finished"]`` as ``make_env`` has it."""
        observations, rewards, terminated, truncated, infos = self.vector.step(np.asarray(action)[None])
        told = {name: infos[name][0] for name in ("lap_finished",) if name in infos}
        return observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), told

    def render(self) -> Any:
        """The picture; None where there is none."""
        pictures = self.vector.render()
        return None if pictures is None else pictures[0]

    def close(self) -> None:
        """Close it."""
        self.vector.close()
