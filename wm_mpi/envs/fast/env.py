"""The engine behind Gymnasium's vector interface: many cars in one process. ``single.py`` has one car."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.error import InvalidAction
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from wm_mpi.envs import cache
from wm_mpi.envs.fast.copies import Copyable
from wm_mpi.envs.fast.onlooker import Onlooker
from wm_mpi.envs.fast.physics.batch import CarBatch
from wm_mpi.envs.fast.physics.track import Colors, create_track, draw_colors
from wm_mpi.envs.fast.render.render import (
    POLICY_SIZE,
    RenderState,
    Scratch,
    draw_observations,
    draw_policy_frames,
    draw_whole_frames,
    make_scratch,
    render_rgb,
)
from wm_mpi.envs.frame import CUTS, PUBLISHED, shrink

Frames = npt.NDArray[np.uint8]
Infos = dict[str, Any]

DISCRETE_ACTIONS = np.array([[0, 0, 0], [0.6, 0, 0], [-0.6, 0, 0], [0, 0.2, 0], [0, 0, 0.8]])
"""CarRacing's five discrete actions as (steer, gas, brake): nothing, right, left, gas, brake."""
RENDER_MODES = ["rgb_array", "state_pixels"]
"""``render`` gives pictures to watch, or the observation's 96×96."""
FRAME_COST = 0.1
"""What a frame costs (points). Gymnasium draws a frame's score before it subtracts this."""


def drive() -> None:
    """Call whatever is compiled of the physics."""
    cars = CarBatch(1)
    cars.reset(0, 0)
    cars.step(np.zeros((1, 3)))


class CarRacingVector(Copyable, VectorEnv):
    """``num_envs`` cars in lock-step, as fast as one core draws them.

    Same tracks, physics, rewards and endings as Gymnasium's CarRacing-v3 for the same seeds and actions; the pictures agree
    within about a level (see docs/engine.md). Observations are uint8 [num_envs, 96, 96, 3], or with
    ``observation_size=64`` the policy frames of this project, [num_envs, 64, 64, 3]. A car's numbers do not depend on the
    other cars. Parts that have ended and not been reset are skipped: stepping costs nothing, their frame stands still.
    """

    metadata: dict[str, Any] = {"render_modes": RENDER_MODES, "render_fps": 50, "skips_ended": True,
                                "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int = 1, render_mode: str | None = None, lap_complete_percent: float = 0.95,
                 domain_randomize: bool = False, continuous: bool = True, max_episode_steps: int | None = 1000,
                 observation_size: int = 96, render_size: tuple[int, int] = (600, 400),
                 autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP, verbose: bool = False,
                 frame: str = "road") -> None:
        """Build the engine; the first ever use on a machine compiles for about a minute, later ones load a cache.

        Args:
            num_envs: cars.
            render_mode: None, "rgb_array" or "state_pixels"; for "human" see ``gymnasium.make``.
            lap_complete_percent: share of tiles to visit before the start line ends the lap (0.95; the paper's v0: 1.0).
            domain_randomize: other colours for each episode.
            continuous: actions (steer -1..1, gas 0..1, brake 0..1) as float [num_envs, 3]; else integers 0..4.
            max_episode_steps: frames after which an episode is truncated; None for never.
            observation_size: 96 as Gymnasium, or 64 for the policy frame.
            render_size: (width, height) of ``render``'s pictures in "rgb_array".
            autoreset_mode: as in Gymnasium; DISABLED takes ``options={"reset_mask": mask}``.
            verbose: print how tracks came about, as Gymnasium's.
            frame: of policy frames, "road" leaves the indicator bar out, "whole" shows all, "published" is what the paper's
                code made of the road.

        Raises:
            ValueError: there is no such observation size, frame or render mode.
        """
        if frame not in CUTS:
            raise ValueError(f"frame is {frame!r}, but must be {' or '.join(map(repr, CUTS))}")
        if observation_size not in (96, POLICY_SIZE):
            raise ValueError(f"observation_size is {observation_size}, but must be 96 or {POLICY_SIZE}")
        if render_mode not in (None, *RENDER_MODES):
            raise ValueError(f"render_mode is {render_mode!r}, but must be None, {' or '.join(map(repr, RENDER_MODES))}; "
                             "for a window: gymnasium.make('wm_mpi:wm_mpi/CarRacing-v3', render_mode='human')")
        self.num_envs, self.verbose, self.frame = num_envs, verbose, frame
        self.render_mode, self.render_size = render_mode, render_size
        self.continuous, self.domain_randomize, self.max_episode_steps = continuous, domain_randomize, max_episode_steps
        self.metadata = {**self.metadata, "autoreset_mode": AutoresetMode(autoreset_mode), "compiled": cache.target()}
        self.single_observation_space = gymnasium.spaces.Box(0, 255, (observation_size, observation_size, 3), np.uint8)
        self.single_action_space = action_space(continuous)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._cars = CarBatch(num_envs, lap_complete_percent)
        self._colors = np.zeros((3, num_envs, 3))
        self._score = np.zeros(num_envs)
        self._frames: Frames = np.zeros((num_envs, observation_size, observation_size, 3), np.uint8)
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._steps = np.zeros(num_envs, np.int64)
        self._ended = np.ones(num_envs, np.bool_)  # or not begun
        self._connect()
        cache.fill(self._draw_all, drive)

    def _draw_all(self) -> None:
        """Call whatever is compiled of the drawing."""
        for draw, size in ((draw_observations, 96), (draw_policy_frames, POLICY_SIZE), (draw_whole_frames, POLICY_SIZE)):
            draw(np.zeros((self.num_envs, size, size, 3), np.uint8), self._scratch, self._state, self._ended)
        render_rgb(self._state, 0, 96, 96)
        shrink(self._frames[:1, :, :96], 64)  # what other games' pictures go through is kept in the same place

    def _derive(self) -> None:
        """What draws, and the arrays that are drawn, which are views of the physics' own."""
        self._scratch = make_scratch()
        small: dict[str, Callable[..., None]] = {
            "road": draw_policy_frames, "whole": draw_whole_frames, PUBLISHED: draw_published_frames}
        self._draw = draw_observations if self._frames.shape[1] == 96 else small[self.frame]
        names = [name for name in RenderState._fields if hasattr(self._cars, name) and name != "total_reward"]
        road, background, grass = self._colors
        self._state = RenderState(**{name: getattr(self._cars, name) for name in names}, total_reward=self._score,
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
        track = create_track(generator, self.domain_randomize, kept, self.verbose)
        self._cars.reset(car, track)
        self._cars_colors(car, track.colors)
        self._score[car] = self._cars.total_reward[car]
        self._steps[car] = 0
        self._ended[car] = False

    def _cars_colors(self, car: int, colors: Colors) -> None:
        self._colors[:, car] = colors.road, colors.background, colors.grass

    def step(self, actions: npt.ArrayLike) -> tuple[Frames, npt.NDArray[np.float64], npt.NDArray[np.bool_],
                                                  npt.NDArray[np.bool_], Infos]:
        """Advance all running cars by one frame (1/50 s).

        Args:
            actions: float [num_envs, 3], or int [num_envs] where not ``continuous``; those of ended cars do not count.

        Returns:
            Frames (a copy), rewards, terminated (lap completed or field left), truncated (time is up), and infos with
            "lap_finished" for those that terminated.

        Raises:
            gymnasium.error.InvalidAction: an action that is none; nothing has moved.
        """
        restarting = self._ended.copy() if self.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP else None
        running = ~self._ended
        actions = self._steered(actions, running) if self.continuous else self._chosen(actions, running)
        rewards, terminated, laps = (each.copy() for each in self._cars.step(actions, running))
        self._score[running] = self._points()[running] + FRAME_COST
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

    def retire(self, car: int) -> None:
        """A car that nobody looks at any more has ended: until its next reset, stepping it costs nothing."""
        self._ended[car] = True

    def _steered(self, actions: npt.ArrayLike, running: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Actions float64 [num_envs, 3]. Gymnasium clips gas only, lets infinities be, and drops what follows the third."""
        try:
            given = np.asarray(actions, np.float64)
        except (TypeError, ValueError):
            raise InvalidAction(f"actions are numbers (steer, gas, brake) for each car, not {actions!r}") from None
        if given.shape[:-1] != (self.num_envs,) or given.shape[-1] < 3:
            raise InvalidAction(f"actions {actions!r} have shape {given.shape}, but must be ({self.num_envs}, 3): steer, "
                                "gas and brake for each car")
        given = given[:, :3]
        nan = np.isnan(given)
        if nan.any() and (cars := np.flatnonzero(nan.any(axis=1) & running)).size:
            raise InvalidAction(f"the action of car {cars[0]} is {given[cars[0]].tolist()}: nan is no steer, gas or brake")
        return given

    def _chosen(self, actions: npt.ArrayLike, running: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Discrete actions as float64 [num_envs, 3]."""
        given = np.asarray(actions)
        if given.shape != (self.num_envs,) or not np.issubdtype(given.dtype, np.integer):
            raise InvalidAction(f"actions are {self.num_envs} integers of 0 to {len(DISCRETE_ACTIONS) - 1}, not {actions!r}")
        cars = np.flatnonzero(((given < 0) | (given >= len(DISCRETE_ACTIONS))) & running)
        if cars.size:
            raise InvalidAction(f"the action of car {cars[0]} is {given[cars[0]]}, but must be 0 to "
                                f"{len(DISCRETE_ACTIONS) - 1}")
        return DISCRETE_ACTIONS[np.where(running, given, 0)]

    def _coast(self) -> Frames:
        """Advance running cars by a frame without acting: Gymnasium's ``step(None)``."""
        running = ~self._ended
        self._cars.coast(running)
        self._score[running] = self._points()[running]
        self._draw(self._frames, self._scratch, self._state, running)
        return self._frames.copy()

    def _points(self) -> npt.NDArray[np.float64]:
        """The episodes' points so far [num_envs]."""
        return self._cars.total_reward[:self.num_envs].copy()

    def onlooker(self) -> Onlooker:
        """What whoever watches the first car is told of it."""
        return Onlooker(self._cars)

    def render(self) -> tuple[Frames, ...] | None:  # type: ignore[override]
        """Pictures, one a car, uint8 [height, width, 3], as ``render_mode`` says; None without one."""
        if self.render_mode is None:
            return None
        state = self._state._replace(total_reward=self._points())  # the cost of the last frame is paid now
        if self.render_mode == "state_pixels":
            frames = np.zeros((self.num_envs, 96, 96, 3), np.uint8)
            draw_observations(frames, self._scratch, state, np.ones(self.num_envs, np.bool_))
            return tuple(frames)
        return tuple(render_rgb(state, car, *self.render_size) for car in range(self.num_envs))


def draw_published_frames(out: Frames, scratch: Scratch, state: RenderState, mask: npt.NDArray[np.bool_]) -> None:
    """Like ``draw_policy_frames``, as the paper's code made them of whole observations."""
    pictures = np.zeros((len(out), 96, 96, 3), np.uint8)
    draw_observations(pictures, scratch, state, mask)
    out[mask] = CUTS[PUBLISHED](pictures[mask])


def action_space(continuous: bool) -> gymnasium.Space:
    """The actions of one car."""
    if not continuous:
        return gymnasium.spaces.Discrete(len(DISCRETE_ACTIONS))
    return gymnasium.spaces.Box(np.array([-1, 0, 0], np.float32), np.array([1, 1, 1], np.float32))


def _objects(frames: Frames, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.object_]:
    """Gymnasium's layout of final observations: an object array, None where there is none."""
    array = np.full(len(frames), None, dtype=object)
    for car in np.flatnonzero(mask):
        array[car] = frames[car]
    return array
