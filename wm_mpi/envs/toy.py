"""A toy environment whose best linear controller is known, to test the loop in seconds."""

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from wm_mpi.core.controller import ACTIONS, length, unpack

OBSERVATIONS = 4


def toy_id() -> str:
    """Environment id."""
    return "wm_mpi/Toy-v0"


def optimum() -> npt.NDArray[np.float64]:
    """The parameters of the best controller, shape (15,). Its return is 0."""
    return np.random.default_rng(2018).uniform(-1, 1, length(OBSERVATIONS))


class Toy(gymnasium.Env):
    """Answer random vectors with the right linear map.

    Each frame shows a standard normal vector o, float32 (4,), and pays -|a - (W* o + b*)|^2. Episodes last 5 to 25 frames,
    decided by the seed, so that tasks differ in length as real ones do.
    """

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBSERVATIONS,), np.float32)
        self.action_space = gymnasium.spaces.Box(-np.inf, np.inf, (ACTIONS,), np.float64)
        self._bias, self._weights = unpack(optimum())

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[npt.NDArray, dict]:
        """Begin the episode of ``seed``."""
        super().reset(seed=seed)
        self._left = int(self.np_random.integers(5, 26))
        return self._observe(), {}

    def step(self, action: npt.NDArray) -> tuple[npt.NDArray, float, bool, bool, dict[str, Any]]:
        """Pay for the action and show the next vector."""
        error = np.asarray(action) - (self._weights @ self._seen + self._bias)
        self._left -= 1
        done = self._left == 0
        return self._observe(), -float(error @ error), done, False, {"lap_finished": True} if done else {}

    def _observe(self) -> npt.NDArray[np.float32]:
        self._seen = self.np_random.standard_normal(OBSERVATIONS).astype(np.float32)
        return self._seen
