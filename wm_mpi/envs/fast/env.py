"""The engine behind Gymnasium's interfaces: ``CarRacingVector`` for many cars in one process, ``CarRacing`` for one."""

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from wm_mpi.envs.fast import cache
from wm_mpi.envs.fast.physics.batch import CarBatch
from wm_mpi.envs.fast.physics.track import Colors, create_track, draw_colors
from wm_mpi.envs.fast.render.render import (
    POLICY_SIZE,
    RenderState,
    draw_observations,
    draw_policy_frames,
    make_scratch,
    render_rgb,
)

Frames = npt.NDArray[np.uint8]
Infos = dict[str, Any]

DISCRETE = np.array([[0, 0, 0], [0.6, 0, 0], [-0.6, 0, 0], [0, 0.2, 0], [0, 0, 0.8]])
"""CarRacing's five discrete actions as (steer, gas, brake): nothing, right, left, gas, brake."""
FRAME_COST = 0.1
"""What a frame costs (points). Gymnasium draws a frame's score before it subtracts this."""


class CarRacingVector(VectorEnv):
    """``num_envs`` cars in lock-step, as fast as one core draws them.

    Same tracks, physics, rewards and endings as Gymnasium's CarRacing-v3 for the same seeds and actions; the pictures agree
    within about a level (see docs/engine.md). Observations are uint8 [num_envs, 96, 96, 3], or with
    ``observation_size=64`` the policy frames of this project, [num_envs, 64, 64, 3]. A car's numbers do not depend on the
    other cars. Parts that have ended and not been reset are skipped: stepping costs nothing, their frame stands still.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50, "skips_ended": True,
                                "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int = 1, render_mode: str | None = None, lap_complete_percent: float = 0.95,
                 domain_randomize: bool = False, continuous: bool = True, max_episode_steps: int | None = 1000,
                 observation_size: int = 96, render_size: tuple[int, int] = (600, 400),
                 autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP) -> None:
        """Build the engine; the first ever use on a machine compiles for about a minute, later ones load a cache.

        Args:
            num_envs: cars.
            render_mode: None or "rgb_array".
            lap_complete_percent: share of tiles to visit before the start line ends the lap (0.95; the paper's v0: 1.0).
            domain_randomize: other colours for each episode.
            continuous: actions (steer -1..1, gas 0..1, brake 0..1) as float [num_envs, 3]; else integers 0..4.
            max_episode_steps: frames after which an episode is truncated; None for never.
            observation_size: 96 as Gymnasium, or 64 for the policy frame.
            render_size: (width, height) of ``render``'s pictures.
            autoreset_mode: as in Gymnasium; DISABLED takes ``options={"reset_mask": mask}``.
        """
        if observation_size not in (96, POLICY_SIZE):
            raise ValueError(f"observation_size is {observation_size}, but must be 96 or {POLICY_SIZE}")
        self.num_envs = num_envs
        self.render_mode, self.render_size = render_mode, render_size
        self.continuous, self.domain_randomize, self.max_episode_steps = continuous, domain_randomize, max_episode_steps
        self.metadata = {**self.metadata, "autoreset_mode": AutoresetMode(autoreset_mode), "compiled": cache.target()}
        self.single_observation_space = gymnasium.spaces.Box(0, 255, (observation_size, observation_size, 3), np.uint8)
        self.single_action_space = _action_space(continuous)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._cars = CarBatch(num_envs, lap_complete_percent)
        self._colors = np.zeros((3, num_envs, 3))
        self._score = np.zeros(num_envs)
        self._scratch = make_scratch()
        self._state = self._render_state()
        self._draw = draw_observations if observation_size == 96 else draw_policy_frames
        self._frames: Frames = np.zeros((num_envs, observation_size, observation_size, 3), np.uint8)
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._steps = np.zeros(num_envs, np.int64)
        self._ended = np.ones(num_envs, np.bool_)  # or not begun

    def _render_state(self) -> RenderState:
        """The arrays that are drawn, as views of the physics' own."""
        names = [name for name in RenderState._fields if hasattr(self._cars, name) and name != "total_reward"]
        road, background, grass = self._colors
        return RenderState(**{name: getattr(self._cars, name) for name in names}, total_reward=self._score,
                           road_color=road, bg_color=background, grass_color=grass)

    def reset(self, *, seed: int | list[int | None] | None = None,  # type: ignore[override]
              options: dict[str, Any] | None = None) -> tuple[Frames, Infos]:
        """Begin episodes: all, or those of ``options["reset_mask"]``.

        Args:
            seed: one a car, or one number s for s, s + 1, ...; a seed gives the track of ``CarRacing.reset(seed=)``. None
                goes on with the car's generator.
            options: "reset_mask" bool [num_envs]; "randomize" False keeps the colours (with ``domain_randomize``).

        Returns:
            Frames (a copy) and an empty dict.
        """
        options = options or {}
        mask = np.asarray(options.get("reset_mask", np.ones(self.num_envs, np.bool_)), np.bool_)
        if isinstance(seed, int | np.integer):
            seed = [int(seed) + car for car in range(self.num_envs)]
        seeds = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs or mask.shape != (self.num_envs,):
            raise ValueError(f"{len(seeds)} seeds and a mask of {mask.shape} for {self.num_envs} cars")
        for car in np.flatnonzero(mask):
            self._begin(int(car), seeds[car], bool(options.get("randomize", True)))
        self._draw(self._frames, self._scratch, self._state, mask)
        return self._frames.copy(), {}

    def _begin(self, car: int, seed: int | None, randomize: bool) -> None:
        generator = self._generators[car]
        if generator is None and self.domain_randomize:  # Gymnasium draws first colours when it is built
            self._cars_colors(car, draw_colors(seeding.np_random(None)[0], True))
        if generator is None or seed is not None:
            generator = self._generators[car] = seeding.np_random(seed)[0]
        kept = Colors(*self._colors[:, car]) if self.domain_randomize and not randomize else None
        track = create_track(generator, self.domain_randomize, kept)
        self._cars.reset(car, track)
        self._cars_colors(car, track.colors)
        self._score[car] = self._cars.total_reward[car]
        self._steps[car] = 0
        self._ended[car] = False

    def _cars_colors(self, car: int, colors: Colors) -> None:
        self._colors[:, car] = colors.road, colors.background, colors.grass

    def step(self, actions: npt.NDArray) -> tuple[Frames, npt.NDArray[np.float64], npt.NDArray[np.bool_],
                                                  npt.NDArray[np.bool_], Infos]:
        """Advance all running cars by one frame (1/50 s).

        Args:
            actions: float [num_envs, 3], or int [num_envs] where not ``continuous``.

        Returns:
            Frames (a copy), rewards, terminated (lap completed or field left), truncated (time is up), and infos with
            "lap_finished" for those that terminated.
        """
        restarting = self._ended.copy() if self.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP else None
        running = ~self._ended
        actions = np.asarray(actions, np.float64) if self.continuous else DISCRETE[self._checked(actions)]
        rewards, terminated, laps = (each.copy() for each in self._cars.step(actions, running))
        self._score[running] = self._cars.total_reward[running] + FRAME_COST
        self._steps += running
        truncated = np.zeros(self.num_envs, np.bool_)
        if self.max_episode_steps is not None:
            truncated = running & (self._steps >= self.max_episode_steps)
        self._ended |= terminated | truncated
        if restarting is not None and restarting.any():
            self.reset(options={"reset_mask": restarting})
        self._draw(self._frames, self._scratch, self._state, running)
        infos: Infos = {"lap_finished": laps, "_lap_finished": terminated.copy()} if terminated.any() else {}
        if self.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP and self._ended.any():
            ended = self._ended.copy()
            infos = {"final_obs": _objects(self._frames.copy(), ended), "_final_obs": ended, "final_info": infos,
                     "_final_info": ended}
            self.reset(options={"reset_mask": ended})
        return self._frames.copy(), rewards, terminated, truncated, infos

    def _checked(self, actions: npt.NDArray) -> npt.NDArray[np.int64]:
        actions = np.asarray(actions)
        if not np.issubdtype(actions.dtype, np.integer) or actions.min() < 0 or actions.max() >= len(DISCRETE):
            raise gymnasium.error.InvalidAction(f"discrete actions are integers 0 to 4, not {actions}")
        return actions

    def render(self) -> tuple[Frames, ...] | None:  # type: ignore[override]
        """Pictures to watch, one a car, uint8 [height, width, 3]; None without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(render_rgb(self._state, car, *self.render_size) for car in range(self.num_envs))


class CarRacing(gymnasium.Env):
    """One car: a drop-in for ``gymnasium.make("CarRacing-v3")``, about a hundred times as fast."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}

    def __init__(self, render_mode: str | None = None, lap_complete_percent: float = 0.95, domain_randomize: bool = False,
                 continuous: bool = True, render_size: tuple[int, int] = (600, 400)) -> None:
        """See ``CarRacingVector``; the time limit is a wrapper's, as usual for a single environment."""
        self._vector = CarRacingVector(1, render_mode, lap_complete_percent, domain_randomize, continuous, None,
                                       render_size=render_size, autoreset_mode=AutoresetMode.DISABLED)
        self.render_mode = render_mode
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frames, Infos]:
        """Begin an episode; see ``CarRacingVector.reset``."""
        super().reset(seed=seed)
        self._vector._generators[0] = self.np_random
        frames, infos = self._vector.reset(options=options)
        return frames[0], infos

    def step(self, action: Any) -> tuple[Frames, float, bool, bool, Infos]:
        """Advance one frame (1/50 s)."""
        frames, rewards, terminated, truncated, infos = self._vector.step(np.asarray(action)[None])
        info = {"lap_finished": bool(infos["lap_finished"][0])} if terminated[0] else {}
        return frames[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> Frames | None:  # type: ignore[override]
        """A picture to watch, uint8 [height, width, 3]."""
        pictures = self._vector.render()
        return None if pictures is None else pictures[0]


def _action_space(continuous: bool) -> gymnasium.Space:
    if not continuous:
        return gymnasium.spaces.Discrete(len(DISCRETE))
    return gymnasium.spaces.Box(np.array([-1, 0, 0], np.float32), np.array([1, 1, 1], np.float32))


def _objects(frames: Frames, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.object_]:
    """Gymnasium's layout of final observations: an object array, None where there is none."""
    array = np.full(len(frames), None, dtype=object)
    for car in np.flatnonzero(mask):
        array[car] = frames[car]
    return array
