"""A vector of environments that are stepped one after the other, those only whose episodes run."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space


class OneByOne(VectorEnv):
    """Like Gymnasium's ``SyncVectorEnv`` with autoreset disabled, but that ended episodes cost nothing: they stand still.

    Each environment is made for its first episode: one may be a process of its own, and a rank that validates needs few.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "skips_ended": True, "autoreset_mode": AutoresetMode.DISABLED}

    def __init__(self, makers: list[Callable[[], gymnasium.Env]]) -> None:
        """Make the first environment, which tells the spaces."""
        self._makers = makers
        first = makers[0]()
        self.envs: list[gymnasium.Env | None] = [first] + [None] * (len(makers) - 1)
        self.num_envs = len(makers)
        self.single_observation_space, self.single_action_space = first.observation_space, first.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        space: Any = self.single_observation_space
        self._seen = np.zeros((self.num_envs, *space.shape), space.dtype)
        self._ended = np.ones(self.num_envs, np.bool_)  # or not begun

    def reset(self, *, seed: int | list[int | None] | None = None,  # type: ignore[override]
              options: dict[str, Any] | None = None) -> tuple[npt.NDArray, dict[str, Any]]:
        """Begin episodes: all, or those of ``options["reset_mask"]``; one seed each, or s for s, s + 1, ..."""
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_)), np.bool_)
        seeds: Any = seed or [None] * self.num_envs
        if isinstance(seed, int | np.integer):
            seeds = [int(seed) + index for index in range(self.num_envs)]
        for index in np.flatnonzero(mask):
            self._seen[index], _ = self._made(index).reset(seed=seeds[index])
            self._ended[index] = False
        return self._seen.copy(), {}

    def step(self, actions: npt.NDArray) -> tuple[npt.NDArray, npt.NDArray[np.float64], npt.NDArray[np.bool_],
                                                  npt.NDArray[np.bool_], dict[str, Any]]:
        """A frame of all running episodes; infos have "lap_finished" where an environment said so."""
        rewards, laps = np.zeros(self.num_envs), np.zeros(self.num_envs, np.bool_)
        terminated, truncated, told = np.zeros((3, self.num_envs), np.bool_)
        for index in np.flatnonzero(~self._ended):
            self._seen[index], reward, terminated[index], truncated[index], info = self._made(index).step(actions[index])
            rewards[index] = float(reward)
            if "lap_finished" in info:
                laps[index], told[index] = info["lap_finished"], True
        self._ended |= terminated | truncated
        infos: dict[str, Any] = {"lap_finished": laps, "_lap_finished": told} if told.any() else {}
        return self._seen.copy(), rewards, terminated, truncated, infos

    def retire(self, index: int) -> None:
        """An episode that nobody looks at any more has ended."""
        self._ended[index] = True

    def render(self) -> tuple[Any, ...]:
        """A picture of each."""
        return tuple(self._made(index).render() for index in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments."""
        for env in self.envs:
            if env is not None:
                env.close()

    def _made(self, index: int | np.integer) -> gymnasium.Env:
        env = self.envs[index]
        if env is None:
            env = self.envs[index] = self._makers[index]()
        return env
