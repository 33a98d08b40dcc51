"""Games made by a function of a program of one's own."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from wm_mpi.core.controller import Control
from wm_mpi.core.errors import UserError
from wm_mpi.envs.games import GAMES, Game, control_of, game_of, in_space
from wm_mpi.envs.look import Look

Factory = Callable[[int], VectorEnv]
"""Makes so many environments at once."""


def register(factory: Factory) -> str:
    """Make a game of what ``factory`` makes; gives the name that it has in this process, where --env names others.

    The environments must show vectors, have their autoreset disabled, and heed ``options["reset_mask"]``, as Gymnasium's
    ``SyncVectorEnv(..., autoreset_mode=AutoresetMode.DISABLED)`` does.

    Raises:
        UserError: they do not, or C cannot play them.
    """
    called = getattr(factory, "__qualname__", type(factory).__qualname__)
    name = f"{factory.__module__}:{re.sub(r'[^a-zA-Z0-9]+', '_', called).strip('_')}"
    one = factory(1)
    seen, mode, fps = one.single_observation_space, one.metadata.get("autoreset_mode"), one.metadata.get("render_fps")
    control = control_of(name, one.single_action_space)
    one.close()
    if not (isinstance(seen, spaces.Box) and len(seen.shape) == 1):
        raise UserError(f"{name} makes environments that show {seen}, but must make such as show vectors, a Box of one "
                        "dimension; for pictures name a class: --env package.module:Class")
    if mode != AutoresetMode.DISABLED:
        raise UserError(f"{name} makes environments whose autoreset mode is {mode}, but must be AutoresetMode.DISABLED")

    def alone(_: Any) -> Any:
        raise UserError(f"{name} makes vectors of environments only")

    GAMES[name] = replace(
        Game(lambda: name, alone, control, Look(name, fps=int(fps or 30)), observations=seen.shape[0]),
        vector=lambda rules, width, _: Own(factory(width), control, rules.max_frames))
    game_of.cache_clear()  # in a notebook a function is often defined anew
    return name


class Own(VectorWrapper):
    """Environments that take C's actions, and end after ``max_frames``."""

    def __init__(self, env: VectorEnv, control: Control, max_frames: int) -> None:
        super().__init__(env)
        self._acted, self._kind, self._max_frames = env.single_action_space, control.kind, max_frames
        self.single_action_space = spaces.Box(-np.inf, np.inf, (control.actions,), np.float64)
        self._frames = np.zeros(self.num_envs, np.int64)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the episodes of ``options["reset_mask"]``."""
        self._frames[np.asarray((options or {}).get("reset_mask", True))] = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: npt.NDArray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """A frame of each."""
        seen, rewards, terminated, truncated, infos = self.env.step(in_space(actions, self._kind, self._acted))
        self._frames += 1
        return seen, rewards, terminated, truncated | (self._frames >= self._max_frames), infos
