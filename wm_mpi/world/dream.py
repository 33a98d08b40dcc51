"""M's dream as an environment: it begins on a real track's first frame, and then nothing of it is real.

The cars of a dream drive through the latents that M draws from its own mixtures, shown as V's decoder paints them.
"""

import math
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from wm_mpi.core.seeding import generator
from wm_mpi.envs import EnvSpec, make_env
from wm_mpi.world.inference import Inference
from wm_mpi.world.manifest import frame_of, played_in
from wm_mpi.world.policy import WorldPolicy

Frames = npt.NDArray[np.uint8]
DREAM = 2018
"""Sets a dream's own draws apart from everything else that a track's seed decides."""


class Tempered:
    """What dreams have in common."""

    _temperature = 1.0

    @property
    def temperature(self) -> float:
        """How far M's draws stray: below 1 likely worlds, above 1 wild ones. May be set between steps."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"temperature is {value}, but must be above 0 and finite")
        self._temperature = float(value)


class DreamVector(Tempered, VectorEnv):
    """``num_envs`` dreams in lock-step behind the interface of the real environments, with autoreset disabled.

    A step is the paper's: each latent's next value is drawn from its mixture, the component from logmix / temperature,
    then the value with the component's standard deviation times sqrt(temperature). Rewards are what M expects (points),
    or the game's own where that is always the same; an episode ends where the odds that M gives its end, times the game's
    ``ending_weight``, exceed one, though not before any episode can, or after ``max_frames``. M knows of no completed laps.
    A dream is a function of its seed, the temperature and the actions: not of its neighbours in the batch.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50, "skips_ended": True,
                                "autoreset_mode": AutoresetMode.DISABLED}
    render_mode = "rgb_array"

    def __init__(self, world: str, width: int = 1, temperature: float = 1.0, max_frames: int = 1000) -> None:
        """Build ``width`` dreams of a world.

        Raises:
            UserError: not a world, or damaged.
        """
        self.num_envs = width
        self.temperature = temperature
        self._max_frames = max_frames
        self._insight = Inference.of(world)
        self._encoder = WorldPolicy(world, width, deterministic=True)
        manifest = self._encoder.manifest
        spec = EnvSpec(played_in(manifest), max_frames, frame=frame_of(manifest))
        self._reward, self._safe_frames = spec.game.dream_reward, spec.game.dream_safe_frames
        self._end = spec.game.dream_end
        self._road = make_env(spec, width)
        self.single_observation_space = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
        self.single_action_space = self._road.single_action_space
        self.observation_space = batch_space(self.single_observation_space, width)
        self.action_space = batch_space(self.single_action_space, width)
        self._z = np.zeros((width, self._insight.latents), np.float32)
        self._h, self._c = np.zeros((2, width, self._insight.hidden), np.float32)
        self._frames: Frames = np.zeros((width, 64, 64, 3), np.uint8)
        self._generators = [generator(DREAM, 0)] * width
        self._steps = np.zeros(width, np.int64)
        self._ended = np.ones(width, np.bool_)  # or not begun

    def reset(self, *, seed: int | list[int | None] | None = None,  # type: ignore[override]
              options: dict[str, Any] | None = None) -> tuple[Frames, dict[str, Any]]:
        """Begin dreams: all, or those of ``options["reset_mask"]``, on the first frame of their seeds' tracks.

        Args:
            seed: one a dream, or one number s for s, s + 1, ...; None draws them.
            options: "reset_mask" bool [num_envs].

        Returns:
            Frames uint8 [num_envs, 64, 64, 3] and an empty dict.
        """
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_)), np.bool_)
        if isinstance(seed, int | np.integer):
            seed = [int(seed) + slot for slot in range(self.num_envs)]
        drawn = np.random.default_rng().integers(2**31, size=self.num_envs)
        seeds: Any = [int(other if each is None else each)  # VectorEnv's own type hint forgets lists
                      for each, other in zip(seed or [None] * self.num_envs, drawn, strict=True)]
        real, _ = self._road.reset(seed=seeds, options={"reset_mask": mask})
        _, z = self._encoder.look(real)
        for slot in np.flatnonzero(mask):
            self._generators[slot] = generator(DREAM, seeds[slot])
            self._z[slot], self._h[slot], self._c[slot] = z[slot], 0, 0
            self._steps[slot], self._ended[slot] = 0, False
        self._paint(mask)
        return self._frames.copy(), {}

    def step(self, actions: npt.NDArray) -> tuple[Frames, npt.NDArray[np.float64], npt.NDArray[np.bool_],
                                                  npt.NDArray[np.bool_], dict[str, Any]]:
        """Dream all running episodes on by a frame (1/50 s); those that have ended stand still.

        Args:
            actions: float [num_envs, 3], steer -1..1, gas 0..1, brake 0..1.

        Returns:
            Frames (a copy), rewards, terminated, truncated, and an empty dict.
        """
        running = ~self._ended
        forecast, z = self._insight.dream(self._z, np.asarray(actions), self._h, self._c, self._temperature,
                                          self._generators)
        for here, there in ((self._z, z), (self._h, forecast.h), (self._c, forecast.c)):
            here[running] = there[running]
        self._paint(running)
        self._steps += running
        terminated = running & (forecast.termination > self._end) & (self._steps > self._safe_frames)
        truncated = running & ~terminated & (self._steps >= self._max_frames)
        self._ended |= terminated | truncated
        rewards = forecast.reward if self._reward is None else np.full(self.num_envs, self._reward)
        return self._frames.copy(), np.where(running, rewards, 0).astype(np.float64), terminated, truncated, {}

    def latents_of(self, slot: int) -> npt.NDArray[np.float32]:
        """The z that a dream is at, shape (L,)."""
        return self._z[slot].copy()

    def set_latents(self, slot: int, z: npt.NDArray[np.float32]) -> Frames:
        """Put a dream to another z; gives the frames as from ``reset``."""
        self._z[slot] = z
        self._paint(np.arange(self.num_envs) == slot)
        return self._frames.copy()

    def render(self) -> tuple[Frames, ...]:  # type: ignore[override]
        """What is dreamt now: frames uint8 [64, 64, 3], one a dream."""
        return tuple(self._frames.copy())

    def _paint(self, mask: npt.NDArray[np.bool_]) -> None:
        self._frames[mask] = self._insight.decode(self._z)[mask]
