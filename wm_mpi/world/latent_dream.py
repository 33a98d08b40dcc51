"""M's dream as a training environment, at the level of z: nothing is decoded or encoded, C sees latents and M's state.

As in the paper (section 5.3); see ``graph_memory.build_dream``.
"""

import functools
from pathlib import Path
from typing import Any, Self

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
from wm_mpi.envs import Game, game_of
from wm_mpi.world.dream import Tempered
from wm_mpi.world.graph_memory import build_dream
from wm_mpi.world.inference import Inference, weights_in
from wm_mpi.world.manifest import AGAIN, load_manifest, played_in, read_part
from wm_mpi.world.policy import open_session
from wm_mpi.world.weights import Weights, hidden_of, latents_of

DREAM = 2019
"""Sets a dream's own draws apart from everything else that an episode's seed decides."""
BLOCK = 16
"""Steps whose draws are made at once: a call to a generator takes longer than the numbers of one step."""
BEGINNINGS = "beginnings.h5"
"""The file of a world with V's mu and logvar of first frames, from which dreams set out."""
Beginnings = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Its mu and logvar, [N, L] each."""


class LatentDream(Tempered, VectorEnv):
    """``num_envs`` dreams in lock-step behind the interface of the real environments, with autoreset disabled.

    Observations are what C sees of the real game, float32 [num_envs, F], so that a champion of the dream plays the real
    game as it is. A dream is a function of its seed, the temperature and the actions: not of its neighbours in the batch.
    """

    _world: str
    metadata: dict[str, Any] = {"render_modes": [], "skips_ended": True, "autoreset_mode": AutoresetMode.DISABLED}

    def __init__(self, rnn: Weights, first: Beginnings, game: Game, control: Control, width: int, temperature: float,
                 max_frames: int) -> None:
        """Build ``width`` dreams, of ``max_frames`` steps at most, of M's weights and where dreams set out."""
        self.control = control
        self.num_envs, self._max_frames = width, max_frames
        self.temperature = temperature
        self._reward, self._safe_frames, self._end = game.dream_reward, game.dream_safe_frames, game.dream_end
        self._session = open_session(build_dream(rnn).SerializeToString())
        self._mu, self._logvar = first
        latents, hidden = latents_of(rnn), hidden_of(rnn)
        self.latents = latents
        self._z = np.zeros((width, latents), np.float32)
        self._h, self._c = np.zeros((2, width, hidden), np.float32)
        self.features = self.control.seen(latents, hidden)
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (self.features,), np.float32)
        self.single_action_space = gymnasium.spaces.Box(-np.inf, np.inf, (self.control.actions,), np.float64)
        self.observation_space = batch_space(self.single_observation_space, width)
        self.action_space = batch_space(self.single_action_space, width)
        self._generators = [generator(DREAM, 0)] * width
        self._chance, self._noise = np.zeros((2, width, BLOCK, latents), np.float32)
        self._steps = np.zeros(width, np.int64)
        self._ended = np.ones(width, np.bool_)  # or not begun

    @classmethod
    def of(cls, world: str, width: int, temperature: float, max_frames: int) -> Self:
        """``width`` dreams of a world.

        Raises:
            UserError: not a world, damaged, or without beginnings.
        """
        manifest = load_manifest(Path(world))
        first = beginnings(Path(world), manifest)
        dream = cls(weights_in(Path(world), manifest, "rnn.h5"), first, game_of(played_in(manifest)),
                    Control.of(manifest.get("controller")), width, temperature, max_frames)
        dream._world = world
        return dream

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
        chance, noise = self._draws(running)
        z, h, c, reward, termination = self._session.run(
            ["z_next", "h_next", "c_next", "reward", "termination"],
            {"z": self._z, "actions": np.asarray(actions, np.float32), "h": self._h, "c": self._c,
             "temperature": np.full((self.num_envs, 1), self.temperature, np.float32), "chance": chance, "noise": noise})
        goes_on = running[:, None]
        self._before = self._z, self._h, self._c, np.asarray(actions)
        self._z, self._h, self._c = (np.where(goes_on, new, old) for new, old in zip((z, h, c), self._before, strict=False))
        self._steps += running
        terminated = running & (termination > self._end) & (self._steps > self._safe_frames)
        truncated = running & ~terminated & (self._steps >= self._max_frames)
        self._ended |= terminated | truncated
        rewards = np.full(self.num_envs, self._reward) if self._reward is not None else reward.astype(np.float64)
        return self._seen(), np.where(running, rewards, 0.0), terminated, truncated, {}

    def _draws(self, running: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """What decides this step's draws, uniform and normal [num_envs, L] each; drawn for several steps at once."""
        at = self._steps % BLOCK
        for row in np.flatnonzero(running & (at == 0)):
            self._generators[row].random(dtype=np.float32, out=self._chance[row])
            self._generators[row].standard_normal(dtype=np.float32, out=self._noise[row])
        rows = np.arange(self.num_envs)
        return self._chance[rows, at], self._noise[rows, at]

    def latents_of(self, slot: int) -> npt.NDArray[np.float32]:
        """The z that a dream is at, shape (L,)."""
        return self._z[slot].copy()

    def set_latents(self, slot: int, z: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Put a dream to another z; gives the observations as from ``reset``."""
        self._z[slot] = z
        return self._seen()

    def state_of(self, slot: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """A dream's z (1, L), and h and c (1, H) before it."""
        return self._z[slot:slot + 1].copy(), self._h[slot:slot + 1].copy(), self._c[slot:slot + 1].copy()

    def look(self, slot: int) -> npt.NDArray[np.uint8]:
        """What a dream is like, decoded for who looks, and what M had expected of it: frames uint8 [2, 64, 64, 3].

        The second is of the means of M's likeliest components; before the first step M knows nothing: all latents are zero.
        """
        expected = np.zeros_like(self._z[slot])
        if self._steps[slot]:
            z, h, c, actions = (each[slot:slot + 1] for each in self._before)
            expected = self.inside.expect(z, actions, h, c).likeliest()[0]
        return self.inside.decode(np.stack([self._z[slot], expected]))

    @functools.cached_property
    def inside(self) -> Inference:
        """V's decoder and M with its mixtures, which only those need who look; for dreams ``of`` a world."""
        return Inference.of(self._world)

    def _seen(self) -> npt.NDArray[np.float32]:
        parts = {"z": self._z, "h": self._h, "c": self._c}
        return np.concatenate([parts[name] for name in self.control.features], axis=1)


def beginnings(world: Path, manifest: Manifest) -> Beginnings:
    """V's mu and logvar of first frames, float32 [N, L] each.

    Raises:
        UserError: missing or damaged.
    """
    if BEGINNINGS not in manifest["files"]:
        raise UserError(f"{world} has no {BEGINNINGS}, where dreams set out: it is of an older version, {AGAIN}")
    read_part(world, manifest, BEGINNINGS)
    arrays, _ = load_arrays(world / BEGINNINGS, AGAIN)
    return arrays["mu"].astype(np.float32), arrays["logvar"].astype(np.float32)
