"""M's dream as a training environment, at the level of z: nothing is decoded or encoded, C sees latents and M's state.

As in the paper (section 5.3): each latent's next value is drawn from its mixture, the component from logmix / temperature,
then the value with the component's standard deviation times sqrt(temperature).
"""

import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from wm_mpi.core.controller import Control
from wm_mpi.core.errors import UserError
from wm_mpi.core.schema import Manifest
from wm_mpi.core.seeding import generator
from wm_mpi.data.arrays import load_arrays
from wm_mpi.envs import game_of
from wm_mpi.world.inference import Forecast, Inference
from wm_mpi.world.manifest import AGAIN, load_manifest, played_in, read_part

DREAM = 2019
"""Sets a dream's own draws apart from everything else that an episode's seed decides."""
BEGINNINGS = "beginnings.h5"
"""The file of a world with V's mu and logvar of first frames, from which dreams set out."""


class LatentDream(VectorEnv):
    """``num_envs`` dreams in lock-step behind the interface of the real environments, with autoreset disabled.

    Observations are what C sees of the real game, float32 [num_envs, F], so that a champion of the dream plays the real
    game as it is. A dream is a function of its seed, the temperature and the actions: not of its neighbours in the batch.
    """

    metadata: dict[str, Any] = {"render_modes": [], "skips_ended": True, "autoreset_mode": AutoresetMode.DISABLED}

    def __init__(self, world: str, width: int, temperature: float, max_frames: int) -> None:
        """Build ``width`` dreams of a world, of ``max_frames`` steps at most.

        Raises:
            UserError: not a world, damaged, or without beginnings.
        """
        manifest = load_manifest(Path(world))
        game = game_of(played_in(manifest))
        self.control = Control.of(manifest.get("controller"))
        self.num_envs, self.temperature, self._max_frames = width, temperature, max_frames
        self._reward, self._safe_frames = game.dream_reward, game.dream_safe_frames
        self._memory = Inference.of(world)
        self._mu, self._logvar = beginnings(Path(world), manifest)
        latents, hidden = self._memory.latents, self._memory.hidden
        self.latents = latents
        self._z = np.zeros((width, latents), np.float32)
        self._h, self._c = np.zeros((2, width, hidden), np.float32)
        self._said: Forecast | None = None
        self.features = self.control.seen(latents, hidden)
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (self.features,), np.float32)
        self.single_action_space = gymnasium.spaces.Box(-np.inf, np.inf, (self.control.actions,), np.float64)
        self.observation_space = batch_space(self.single_observation_space, width)
        self.action_space = batch_space(self.single_action_space, width)
        self._generators = [generator(DREAM, 0)] * width
        self._steps = np.zeros(width, np.int64)
        self._ended = np.ones(width, np.bool_)  # or not begun

    @property
    def temperature(self) -> float:
        """How far M's draws stray: below 1 likely worlds, above 1 wild ones. May be set between steps."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"temperature is {value}, but must be above 0 and finite")
        self._temperature = float(value)

    def reset(self, *, seed: int | list[int | None] | None = None,  # type: ignore[override]
              options: dict[str, Any] | None = None) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Begin dreams: all, or those of ``options["reset_mask"]``; each seed draws a beginning, and z around it."""
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_)), np.bool_)
        seeds: Any = [seed + slot for slot in range(self.num_envs)] if isinstance(seed, int) else seed
        for slot in np.flatnonzero(mask):
            rng = self._generators[slot] = generator(DREAM, int(seeds[slot]))
            first = int(rng.integers(len(self._mu)))
            noise = rng.standard_normal(self._mu.shape[1], np.float32)
            self._z[slot] = self._mu[first] + np.exp(self._logvar[first] / 2) * noise
            self._h[slot] = self._c[slot] = 0
            self._steps[slot], self._ended[slot] = 0, False
        return self._seen(), {}

    def step(self, actions: npt.NDArray) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], npt.NDArray[np.bool_],
                                                  npt.NDArray[np.bool_], dict[str, Any]]:
        """Dream all running episodes on by a frame; those that have ended stand still.

        Args:
            actions: float [num_envs, A], what M is told.

        Returns:
            Observations (a copy), rewards, terminated, truncated, and an empty dict.
        """
        running = ~self._ended
        said = self._memory.expect(self._z, np.asarray(actions), self._h, self._c)
        self._said = said
        drawn = draw(said.logmix, said.mean, said.logstd, self._temperature, self._generators, running)
        self._z[running], self._h[running], self._c[running] = drawn[running], said.h[running], said.c[running]
        self._steps += running
        terminated = running & (said.termination > 0) & (self._steps > self._safe_frames)
        truncated = running & ~terminated & (self._steps >= self._max_frames)
        self._ended |= terminated | truncated
        rewards = np.full(self.num_envs, self._reward) if self._reward is not None else said.reward.astype(np.float64)
        return self._seen(), np.where(running, rewards, 0.0), terminated, truncated, {}

    def look(self, slot: int) -> npt.NDArray[np.uint8]:
        """What a dream is like, decoded for who looks, and what M had expected of it: frames uint8 [2, 64, 64, 3].

        The second is of the means of M's likeliest components; before the first step M knows nothing: all latents are zero.
        """
        begun = self._said is not None and self._steps[slot] > 0
        expected = self._said.likeliest()[slot] if begun else np.zeros_like(self._z[slot])  # type: ignore[union-attr]
        return self._memory.decode(np.stack([self._z[slot], expected]))

    def _seen(self) -> npt.NDArray[np.float32]:
        parts = {"z": self._z, "h": self._h, "c": self._c}
        return np.concatenate([parts[name] for name in self.control.features], axis=1)


def draw(logmix: npt.NDArray[np.float32], mean: npt.NDArray[np.float32], logstd: npt.NDArray[np.float32], temperature: float,
         generators: list[np.random.Generator], wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """The next z [B, L] of all rows at once, each from its own generator.

    Args:
        logmix: logarithms of the components' weights, normalised [B, L, K].
        mean: of the components.
        logstd: of the components.
        temperature: above 0.
        generators: one for each row; those of unwanted rows are left alone.
        wanted: which rows count [B].
    """
    chance, noise = np.zeros((2, *mean.shape[:2]), np.float32)
    for row in np.flatnonzero(wanted):
        generators[row].random(dtype=np.float32, out=chance[row])
        generators[row].standard_normal(dtype=np.float32, out=noise[row])
    heated = logmix * np.float32(1 / temperature)
    weights = np.exp(heated - heated.max(axis=-1, keepdims=True))
    sums = weights.cumsum(axis=-1)
    chosen = (chance[..., None] * sums[..., -1:] >= sums[..., :-1]).sum(axis=-1)[..., None]
    spread = np.exp(np.take_along_axis(logstd, chosen, axis=-1)[..., 0]) * np.float32(math.sqrt(temperature))
    return np.take_along_axis(mean, chosen, axis=-1)[..., 0] + spread * noise


def beginnings(world: Path, manifest: Manifest) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """V's mu and logvar of first frames, float32 [N, L] each.

    Raises:
        UserError: missing or damaged.
    """
    if BEGINNINGS not in manifest["files"]:
        raise UserError(f"{world} has no {BEGINNINGS}, where dreams set out: it is of an older version, {AGAIN}")
    read_part(world, manifest, BEGINNINGS)
    arrays, _ = load_arrays(world / BEGINNINGS, AGAIN)
    return arrays["mu"].astype(np.float32), arrays["logvar"].astype(np.float32)
