"""Environments, all behind ``gymnasium.vector.VectorEnv`` with autoreset disabled.

``reset(seed=[...], options={"reset_mask": mask})`` and ``step(actions)``; see docs/design.md.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from wm_mpi import __version__
from wm_mpi.core.environments import has_pictures
from wm_mpi.core.errors import UserError
from wm_mpi.envs import carracing, toy
from wm_mpi.envs.display import display
from wm_mpi.envs.frame import Frame, PolicyFrames, policy_frame
from wm_mpi.envs.registration import ENV_ID

__all__ = ["SOLVED", "EnvSpec", "Frame", "display", "has_pictures", "make_env", "policy_frame"]


SOLVED = {name: (900.0, 100) for name in ("fast", "gymnasium", "gym")}
"""Environments that count as solved by a mean return (points) over so many tracks: CarRacing, as Gymnasium's documentation
and the paper have it."""


@dataclass(frozen=True)
class EnvSpec:
    """Which environment, and the rules that end its episodes."""

    name: str
    """'fast', 'gymnasium', 'gym' or 'toy'."""
    max_frames: int = 1000
    lap_complete_percent: float = 0.95
    frame: Frame | None = "road"
    """What its pictures show; None for CarRacing's own, 96x96."""

    @property
    def pictures(self) -> bool:
        """See ``has_pictures``."""
        return has_pictures(self.name)

    def describe(self) -> dict[str, Any]:
        """Environment id, package version and termination rule, recorded in every artefact."""
        ids = {"fast": fast_id, "gymnasium": carracing.gymnasium_id, "gym": carracing.gym_id, "toy": toy.toy_id}
        return {"env": self.name, "env_id": ids[self.name](), "max_frames": self.max_frames,
                "lap_complete_percent": self.lap_complete_percent,
                **({"frame": self.frame} if self.pictures and self.frame != "road" else {})}  # as before there were others


def make_env(spec: EnvSpec, width: int) -> VectorEnv:
    """A vector of ``width`` environments.

    Observations are policy frames, uint8 [width, 64, 64, 3], as ``spec.frame`` says ([width, 96, 96, 3] where that is
    None), or float32 [width, 4] (toy); actions float [width, 3].
    Episodes that end on a completed lap report ``infos["lap_finished"]``.

    Raises:
        UserError: the environment's package is not installed.
    """
    if spec.name == "fast":
        return _make_fast(spec, width)
    makers: dict[str, Callable[[], gymnasium.Env]] = {
        "gymnasium": lambda: carracing.make_gymnasium(spec.lap_complete_percent),
        "gym": lambda: carracing.make_gym(spec.lap_complete_percent),
        "toy": toy.Toy}
    if spec.name not in makers:
        raise UserError(f"there is no environment {spec.name!r}: choose one of fast, {', '.join(makers)}")

    def make() -> gymnasium.Env:
        env = gymnasium.wrappers.TimeLimit(makers[spec.name](), spec.max_frames)
        return PolicyFrames(env, spec.frame) if spec.pictures and spec.frame else env

    return SyncVectorEnv([make] * width, autoreset_mode=AutoresetMode.DISABLED)


def fast_id() -> str:
    """Id of our engine with its version."""
    return f"{ENV_ID} (wm_mpi {__version__})"


def _make_fast(spec: EnvSpec, width: int) -> VectorEnv:
    """Our engine, compiled and loaded; Numba is loaded only here."""
    from wm_mpi.envs.fast import CarRacingVector

    cars = CarRacingVector(width, lap_complete_percent=spec.lap_complete_percent, max_episode_steps=spec.max_frames,
                           observation_size=64 if spec.frame else 96, frame=spec.frame or "road",
                           autoreset_mode=AutoresetMode.DISABLED)
    once = copy.copy(cars)
    once.reset(seed=0)
    once.step(np.zeros((width, 3)))
    return cars  # nobody drives in it yet: cars without a task cost nothing
