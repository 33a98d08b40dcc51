"""CarRacing as Gymnasium runs it, and as gym 0.26.2 does."""

import os
from importlib import metadata
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from wm_mpi import __version__
from wm_mpi.core.errors import UserError
from wm_mpi.envs.registration import ENV_ID

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")


def fast_id() -> str:
    """Id of our engine with its version."""
    return f"{ENV_ID} (wm_mpi {__version__})"


def gymnasium_id() -> str:
    """Environment id with the version of its package."""
    return f"CarRacing-v3 (gymnasium {metadata.version('gymnasium')})"


def gym_id() -> str:
    """Environment id with the version of its package."""
    return f"CarRacing-v2 (gym {metadata.version('gym')})"


def make_gymnasium(lap_complete_percent: float) -> gymnasium.Env:
    """Gymnasium's own class, without the time limit and checks that ``gymnasium.make`` adds.

    Raises:
        UserError: Box2D or pygame is missing.
    """
    try:
        from gymnasium.envs.box2d.car_racing import CarRacing
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise UserError(f"--env gymnasium cannot be used here ({error}): pip install 'gymnasium[box2d]'") from None
    return CarRacing(lap_complete_percent=lap_complete_percent)


def make_gym(lap_complete_percent: float) -> gymnasium.Env:
    """Gym 0.26.2's class behind Gymnasium's interface.

    Raises:
        UserError: gym, Box2D or pygame is missing.
    """
    try:
        from gym.envs.box2d.car_racing import CarRacing
    except Exception as error:  # gym raises its own error type for missing extras
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"--env gym cannot be used here ({reason}): pip install 'wm_mpi[gym]'") from None
    return GymCarRacing(CarRacing(lap_complete_percent=lap_complete_percent))


class GymCarRacing(gymnasium.Env):
    """gym 0.26.2's CarRacing with Gymnasium's spaces and ``lap_finished`` in the info of a last step.

    The class is built directly: gym's registry and checker do not work with NumPy 2.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}

    def __init__(self, env: Any) -> None:
        self._env = env
        self.render_mode = None
        self.action_space = gymnasium.spaces.Box(np.array([-1, 0, 0], np.float32), np.array([1, 1, 1], np.float32))
        self.observation_space = gymnasium.spaces.Box(0, 255, (96, 96, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[npt.NDArray, dict]:
        """Begin the track of ``seed``."""
        super().reset(seed=seed)
        observation, info = self._env.reset(seed=seed, options=options)
        return np.asarray(observation, np.uint8), info

    def step(self, action: npt.NDArray) -> tuple[npt.NDArray, float, bool, bool, dict[str, Any]]:
        """Advance one frame (1/50 s)."""
        observation, reward, terminated, truncated, info = self._env.step(np.asarray(action, np.float64))
        lap = bool(truncated and not terminated)  # gym ends a lap by truncation, Gymnasium by termination
        if lap or terminated:
            info = {**info, "lap_finished": lap}
        return np.asarray(observation, np.uint8), float(reward), bool(terminated or lap), False, info

    def close(self) -> None:
        """Release pygame's surfaces."""
        self._env.close()
