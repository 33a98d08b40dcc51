"""The engine behind Gymnasium's interface for one car."""

from typing import Any

import gymnasium
from gymnasium.error import InvalidAction
from gymnasium.vector import AutoresetMode

from wm_mpi.envs.fast.env import DISCRETE_ACTIONS, RENDER_MODES, CarRacingVector, Frames, Infos
from wm_mpi.envs.fast.views import ShownState


class CarRacing(ShownState, gymnasium.Env):
    """One car: a drop-in for ``gymnasium.make("CarRacing-v3")``, about a hundred times as fast.

    ``car``, ``track``, ``road``, ``reward`` and so on are those of Gymnasium's class, to look at; docs/engine.md lists them.
    """

    metadata = {"render_modes": RENDER_MODES, "render_fps": 50}

    def __init__(self, render_mode: str | None = None, verbose: bool = False, lap_complete_percent: float = 0.95,
                 domain_randomize: bool = False, continuous: bool = True, observation_size: int = 96,
                 render_size: tuple[int, int] = (600, 400), frame: str = "road") -> None:
        """See ``CarRacingVector``; the time limit is a wrapper's, as usual for a single environment."""
        self._vector = CarRacingVector(1, render_mode, lap_complete_percent, domain_randomize, continuous, None,
                                       observation_size, render_size, AutoresetMode.DISABLED, verbose, frame)
        self._cars = self._vector._cars
        self.render_mode, self.verbose = render_mode, verbose
        self.continuous, self.domain_randomize = continuous, domain_randomize
        self.lap_complete_percent = lap_complete_percent
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frames, Infos]:
        """Begin an episode; see ``CarRacingVector.reset``."""
        super().reset(seed=seed)
        self._vector._generators[0] = self.np_random
        frames, infos = self._vector.reset(options=options)
        return frames[0], infos

    def step(self, action: Any) -> tuple[Frames, float, bool, bool, Infos]:
        """Advance one frame (1/50 s); with None the controls stay as they are and nothing is rewarded.

        After an end the car drives on, as Gymnasium's does.

        Raises:
            gymnasium.error.ResetNeeded: no episode has begun.
            gymnasium.error.InvalidAction: NaN, too few numbers, no number of an action; nothing has moved.
        """
        if self._lap is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        self._vector._ended[0] = False
        if action is None:
            return self._vector._coast()[0], 0.0, False, False, {}
        if not self.continuous:
            if not self.action_space.contains(action):
                raise InvalidAction(f"the action is {action!r}, but must be an integer of 0 to {len(DISCRETE_ACTIONS) - 1}")
            action = int(action)  # True is 1
        frames, rewards, terminated, truncated, infos = self._vector.step([action])
        info = {"lap_finished": bool(infos["lap_finished"][0])} if terminated[0] else {}
        return frames[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> Frames | None:  # type: ignore[override]
        """A picture, uint8 [height, width, 3], as ``render_mode`` says; None without one."""
        pictures = self._vector.render()
        return None if pictures is None else pictures[0]
