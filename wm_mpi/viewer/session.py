"""What there is to see while a champion drives: the road, V's view of it, and what M expected; awake and in M's dream."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv
from PIL import Image

from wm_mpi.core.seeding import EpisodeSeed
from wm_mpi.envs import EnvSpec, make_env
from wm_mpi.envs.frame import CUTS
from wm_mpi.world.dream import DreamVector
from wm_mpi.world.inference import Inference
from wm_mpi.world.manifest import frame_of
from wm_mpi.world.policy import WorldPolicy, rows_needed

Picture = npt.NDArray[np.uint8]
ROAD = (400, 600)
"""Height and width of the road's picture, unless told otherwise: Gymnasium's."""


class Sight(NamedTuple):
    """What there is to see at one tick."""

    road: Picture
    """The environment's own picture [400, 600, 3], or of the size asked for; in a dream the dreamt frame enlarged."""
    seen: Picture
    """The policy's frame [64, 64, 3]."""
    reconstructed: Picture
    """What V keeps of it: its decoder on the latents of ``seen`` that the controller was given."""
    predicted: Picture
    """What M expected before it saw ``seen``: the means of its mixtures' likeliest components, decoded. On an episode's
    first frame M knows nothing, and this is what V's decoder makes of all latents at zero."""
    action: tuple[float, float, float]
    """Steer, gas and brake that led here; nothing on the first frame."""
    reward: float
    """What that action brought (points)."""
    total: float
    """The return so far (points)."""
    frame: int
    """Frames driven."""
    ended: bool
    lap: bool
    """Whether the episode ended on a completed lap."""


class Drive:
    """One car on the road of our engine with a frozen world and a controller, or a visitor, at the wheel.

    Driven by the controller alone, an episode is the one that ``rollout`` plays for the same seed, to the last bit where
    ``width`` is the run's own.
    """

    def __init__(self, world: str, parameters: npt.NDArray[np.float64], deterministic: bool = False, max_frames: int = 1000,
                 lap_complete_percent: float = 0.95, width: int = 1, road: tuple[int, int] = ROAD) -> None:
        """Get in.

        Args:
            world: directory that freeze wrote.
            parameters: the controller's, shape (867,).
            deterministic: use the mean of z instead of sampling it.
            max_frames: longest episode.
            lap_complete_percent: share of tiles to visit before the start line ends the lap.
            width: rows of the policy's calls in the run. The car needs one, and takes one where sums round alike.
            road: height and width of the road's picture.

        Raises:
            UserError: not a world, or damaged.
        """
        self._insight = Inference.of(world)
        width = rows_needed(world, width)
        self._policy = WorldPolicy(world, width, deterministic)
        self._parameters = parameters
        self._frames = np.zeros((width, 64, 64, 3), np.uint8)
        self._road = road
        frame = frame_of(self._policy.manifest)
        self._shown = CUTS[frame].rows / CUTS[frame].height
        self._env = self._open(world, EnvSpec("fast", max_frames, lap_complete_percent, frame))
        self._last: Sight | None = None
        self._expected: npt.NDArray[np.float32] | None = None

    def _open(self, world: str, spec: EnvSpec) -> VectorEnv:
        env: Any = make_env(spec, 1)
        env.render_mode, env.render_size = "rgb_array", self._road[::-1]
        return env

    def _picture(self) -> Picture:
        return np.asarray(self._env.render()[0])  # type: ignore[index]  # a tuple of pictures, one a car

    def reset(self, seed: EpisodeSeed) -> Sight:
        """Begin an episode; gives its first sight."""
        observations, _ = self._env.reset(seed=[seed.track])  # type: ignore[arg-type]  # its own hint forgets lists
        self._policy.assign(0, self._parameters, seed.noise)
        nothing = self._frames[0]
        about = Sight(nothing, nothing, nothing, nothing, (0.0, 0.0, 0.0), 0.0, 0.0, 0, False, False)
        self._look(observations[0], np.zeros((1, self._insight.latents), np.float32), about)
        return self.sight()

    def step(self, action: Sequence[float] | None = None) -> Sight:
        """``advance``, and what there is to see then."""
        self.advance(action)
        return self.sight()

    def advance(self, action: Sequence[float] | None = None) -> None:
        """Drive on by a frame (1/50 s) without drawing it; an episode that has ended stands still.

        Args:
            action: steer -1..1, gas 0..1, brake 0..1; None leaves it to the controller.

        Raises:
            ValueError: no ``reset`` before.
        """
        if self._last is None:
            raise ValueError("an episode begins with reset")
        if self._last.ended:
            return
        taken = self._choice if action is None else np.clip(np.asarray(action, np.float64), [-1, 0, 0], 1)
        forecast = self._insight.expect(self._z, taken[None], *self._before)
        if action is not None:  # M goes on with what was done, not with what the controller would have done
            for held, new in zip(self._policy.memory, (forecast.h, forecast.c), strict=True):
                held[0] = new[0]
        observations, rewards, terminated, truncated, infos = self._env.step(taken[None])
        lap = bool(terminated[0] and "lap_finished" in infos and infos["lap_finished"][0])
        reward = float(rewards[0])
        steer, gas, brake = (float(each) for each in taken)
        self._look(observations[0], forecast.likeliest(), self._last._replace(
            action=(steer, gas, brake), reward=reward, total=self._last.total + reward, frame=self._last.frame + 1,
            ended=bool(terminated[0] or truncated[0]), lap=lap))

    def sight(self) -> Sight:
        """What there is to see now, drawn when it is first asked for.

        Raises:
            ValueError: no ``reset`` before.
        """
        if self._last is None:
            raise ValueError("an episode begins with reset")
        if self._expected is not None:
            reconstructed, predicted = self._insight.decode(np.concatenate([self._z, self._expected]))
            self._last = self._last._replace(road=self._picture(), reconstructed=reconstructed, predicted=predicted)
            self._expected = None
        return self._last

    @property
    def ended(self) -> bool:
        """Whether the episode has ended, or none has begun."""
        return self._last is None or self._last.ended

    @property
    def action(self) -> tuple[float, float, float]:
        """Steer, gas and brake of the last step."""
        return self._last.action if self._last else (0.0, 0.0, 0.0)

    def _look(self, seen: Picture, expected: npt.NDArray[np.float32], about: Sight) -> None:
        """Let V and C see the frame; ``about`` has its figures, and still the pictures of an earlier one."""
        self._frames[0] = seen
        h, c = self._policy.memory
        self._before = h[:1].copy(), c[:1].copy()
        actions, z = self._policy.look(self._frames)
        self._choice, self._z, self._expected = actions[0], z[:1], expected
        self._last = about._replace(seen=seen)


class DreamDrive(Drive):
    """The same car inside M: what it sees is decoded from latents that M draws, beginning on the track's real first frame.

    The controller cannot tell: it sees pictures through V, and remembers with an M of its own.
    """

    _env: DreamVector

    def _open(self, world: str, spec: EnvSpec) -> VectorEnv:
        return DreamVector(world, 1, max_frames=spec.max_frames)

    def _picture(self) -> Picture:
        (height, width), shown = self._road, round(self._road[0] * self._shown)
        picture = np.zeros((height, width, 3), np.uint8)
        picture[:shown] = np.asarray(Image.fromarray(self._frames[0]).resize((width, shown), Image.Resampling.BICUBIC))
        return picture

    @property
    def temperature(self) -> float:
        """How far M's draws stray (see ``DreamVector``); may be set between steps."""
        return self._env.temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        self._env.temperature = value
