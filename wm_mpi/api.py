"""World Models in a program of one's own: drive a champion, look into a world, train a controller.

What ``import wm_mpi`` offers. Commands do the same from the shell, and read and write the same directories.
"""

import dataclasses
import difflib
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv

from wm_mpi import es
from wm_mpi.core.config import EsConfig
from wm_mpi.core.errors import UserError
from wm_mpi.core.launched import launched_rank
from wm_mpi.core.options import SHIPPED
from wm_mpi.core.progress import speaking
from wm_mpi.core.ranges import check
from wm_mpi.core.seeding import track_seed
from wm_mpi.core.shipped import called, found
from wm_mpi.envs import make_pictured
from wm_mpi.envs.own import register
from wm_mpi.envs.single import Single
from wm_mpi.evolution.champion import Trained, load_trained
from wm_mpi.rollout.worker import make_policy
from wm_mpi.world.dream import DreamVector
from wm_mpi.world.graph import build_encoder
from wm_mpi.world.inference import Inference, weights_in
from wm_mpi.world.manifest import load_manifest
from wm_mpi.world.policy import rows_needed, run_encoder

Frames = npt.NDArray[np.uint8]
PICTURE = (600, 400)
"""Width and height of pictures where a game draws at any size."""


@dataclasses.dataclass(frozen=True)
class Episode:
    """An episode that was played, of T frames."""

    seed: int
    """The track's number: ``reset(seed=seed)``."""
    observations: npt.NDArray
    """What C was shown before each action, uint8 [T, 64, 64, 3], or vectors [T, N]."""
    actions: npt.NDArray[np.float64]
    """What it did, [T, A]; CarRacing's are steer -1..1, gas 0..1, brake 0..1."""
    rewards: npt.NDArray[np.float64]
    """What each action brought, [T] (points)."""
    lap: bool
    """Whether a lap was completed."""

    @property
    def total(self) -> float:
        """The return: the sum of the rewards, added up one after the other (points)."""
        return float(np.cumsum(self.rewards)[-1])

    def __len__(self) -> int:
        """Frames."""
        return len(self.rewards)

    def __repr__(self) -> str:
        return f"Episode(seed={self.seed}, total={self.total:.1f}, {len(self)} frames{', a lap' if self.lap else ''})"


class World:
    """V and M, frozen: the directory that ``freeze`` writes."""

    def __init__(self, path: str | Path) -> None:
        """Open a directory.

        Raises:
            UserError: not a world, or damaged.
        """
        self.path = Path(path)
        self.manifest = load_manifest(self.path)
        """What it was made of, and how its gates judged it."""

    @property
    def latents(self) -> int:
        """Numbers in z, L."""
        return self.manifest["shapes"]["latents"]

    @property
    def hidden(self) -> int:
        """Units of M, H."""
        return self.manifest["shapes"]["hidden"]

    @functools.cached_property
    def _encoder(self) -> Callable[[Frames], dict[str, npt.NDArray]]:
        return run_encoder(build_encoder(weights_in(self.path, self.manifest, "vae.h5")).SerializeToString())

    @functools.cached_property
    def _inference(self) -> Inference:
        return Inference.of(self.path)

    def encode(self, frames: Frames) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """V's mean and log variance of z, [N, L] each, of frames uint8 [N, 64, 64, 3]; in fp32, as the decoder.

        Raises:
            ValueError: frames of another shape or type.
        """
        frames = np.asarray(frames)
        if frames.ndim != 4 or frames.shape[1:] != (64, 64, 3) or frames.dtype != np.uint8 or not len(frames):
            raise ValueError(f"frames are {frames.dtype} {list(frames.shape)}, but must be uint8 [N, 64, 64, 3]")
        said = self._encoder(frames)
        return said["mu"], said["logvar"]

    def decode(self, z: npt.ArrayLike) -> Frames:
        """The frames uint8 [N, 64, 64, 3] that latents [N, L] stand for.

        Raises:
            ValueError: latents of another shape.
        """
        latents = np.asarray(z, np.float32)
        if latents.ndim != 2 or latents.shape[1] != self.latents:
            raise ValueError(f"z is {list(latents.shape)}, but must be [N, {self.latents}]")
        return self._inference.decode(latents)

    def dream(self, seed: int = 0, temperature: float = 1.0, max_frames: int = 1000) -> gymnasium.Env:
        """M's dream as an environment: it begins on the real first frame of ``seed``, and then nothing of it is real.

        Observations are dreamt frames uint8 [64, 64, 3]; rewards and ends are what M expects. ``reset(seed=...)`` begins
        another one. ``env.vector.temperature`` may be set between steps.

        Raises:
            UserError: the game that it is a dream of cannot be played here.
        """
        return _Dream(DreamVector(str(self.path), 1, temperature, max_frames), seed)

    def __repr__(self) -> str:
        return f"World({called(str(self.path))!r}, {self.latents} latents, {self.hidden} units)"


class Champion:
    """A controller that ``es`` has trained, with everything that it needs to play."""

    def __init__(self, trained: Trained) -> None:
        """See ``load``."""
        self._trained = trained
        width = trained.width
        self._width = width if trained.world is None else rows_needed(trained.world, width)
        self._policy = make_policy(trained.spec, trained.world, self._width, trained.deterministic,
                                   trained.settings.get("hidden"))
        self._begun = False

    @property
    def parameters(self) -> npt.NDArray[np.float64]:
        """C's numbers, [P]: its biases, then its weights row by row."""
        return self._trained.parameters

    @property
    def generation(self) -> int:
        """The generation whose mean it is."""
        return self._trained.generation

    @functools.cached_property
    def world(self) -> World | None:
        """The world that it sees the game through; None for games of vectors."""
        return None if self._trained.world is None else World(self._trained.world)

    @functools.cached_property
    def env(self) -> gymnasium.Env:
        """The game as the champion sees it: observations for ``act``, which gives the actions; ``render`` gives pictures.

        Raises:
            UserError: it cannot be played here.
        """
        spec = self._trained.spec
        return Single(make_pictured(spec, PICTURE), spec.game.look.fps)

    def reset(self, seed: int = 0) -> None:
        """Forget the last episode; ``seed`` decides the noise of z, where that is sampled."""
        noise = track_seed(self._trained.settings["seed"], seed).noise
        for row in range(self._width):
            self._policy.assign(row, self.parameters, noise)
        self._begun = True

    def act(self, observation: npt.NDArray) -> npt.NDArray[np.float64]:
        """The action [A] on what is seen now; M remembers what it has seen and done since ``reset``.

        Raises:
            ValueError: no ``reset`` before.
        """
        if not self._begun:
            raise ValueError("an episode begins with reset, of the champion too")
        return self._policy.act(np.repeat(observation[None], self._width, axis=0))[0]

    def play(self, seed: int = 0, env: gymnasium.Env | None = None) -> Episode:
        """Play an episode to its end: the one that ``evaluate --tracks SEED:SEED+1`` plays, to the last digit.

        Args:
            seed: the track's number.
            env: where; None for ``self.env``. ``champion.world.dream()``, say.
        """
        env = env or self.env
        observation, _ = env.reset(seed=seed)
        self.reset(seed)
        seen, actions, rewards, done, lap = [], [], [], False, False
        while not done:
            action = self.act(observation)
            seen.append(observation)
            observation, reward, terminated, truncated, info = env.step(action)
            actions.append(action)
            rewards.append(float(reward))
            done, lap = terminated or truncated, bool(terminated and info.get("lap_finished"))
        return Episode(seed, np.stack(seen), np.stack(actions), np.array(rewards), lap)

    def __repr__(self) -> str:
        return f"Champion({called(str(self._trained.run.path))!r}, generation {self.generation})"


class _Dream(Single):
    """A dream that knows where to begin."""

    def __init__(self, vector: DreamVector, seed: int) -> None:
        super().__init__(vector)
        self._seed: int | None = seed

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[npt.NDArray, dict[str, Any]]:
        seed, self._seed = self._seed if seed is None else seed, None
        return super().reset(seed=seed, options=options)


def load(run: str | Path = SHIPPED, *, env: str | Callable[[int], VectorEnv] | None = None,
         world: str | Path | None = None, deterministic: bool | None = None) -> Champion:
    """The champion of a run.

    Args:
        run: the directory of an es run or of an export, or the name of a champion that comes with the package.
        env: where it plays, by a name of ``--env`` or as ``train`` takes it; None: where the run has trained it.
        world: its world, if that has moved.
        deterministic: use the mean of z instead of sampling it; None: as in the run.

    Raises:
        UserError: not a run, no champion yet, or another world or game than it was trained in.
    """
    return Champion(load_trained(found(str(run)), env=_named(env), world=None if world is None else found(str(world)),
                                 max_frames=None, lap_complete_percent=None, deterministic=deterministic))


def load_world(name: str | Path = SHIPPED) -> World:
    """A world: the directory that freeze wrote, or the name of one that comes with the package.

    Raises:
        UserError: not a world, or damaged.
    """
    return World(found(str(name)))


def train(env: str | Callable[[int], VectorEnv] = SHIPPED, *, quiet: bool = False, **options: Any) -> Champion | None:
    """Train a controller with the loop of ``es``; begun again with the same ``out``, it goes on where it stopped.

    Under mpirun all ranks call this: rank 0 gets the champion, the others play until it has done, and get None.

    Args:
        env: a name of ``--env``, or a function that makes so many environments at once (vectors of numbers, autoreset
            disabled).
        quiet: say results only, no line for each generation.
        options: those of ``es``, by their names there with underscores: out, world, generations, popsize, episodes, sigma,
            hidden, seed, ...; ``preset`` changes their defaults.

    Raises:
        UserError: no such option, or what ``es`` refuses.
    """
    names = {field.name for field in dataclasses.fields(EsConfig)} - {"env", "quiet", "verbose"}
    for name in options.keys() - names:
        close = difflib.get_close_matches(name, names, 1)
        raise UserError(f"train has no option {name}{f', perhaps you meant {close[0]}' if close else ''}")
    for name, value in options.items():
        if isinstance(value, Path):
            options[name] = str(value)
        elif isinstance(value, list):
            options[name] = tuple(value)
    preset = EsConfig.presets.get(options.get("preset", "champion"), {})
    config = EsConfig(env=_named(env) or SHIPPED, **{**preset, **options})
    check(config)
    with speaking(logging.WARNING if quiet or launched_rank() else logging.INFO):
        es.main(config)
    return load(config.out) if launched_rank() == 0 else None


def _named(env: str | Callable[[int], VectorEnv] | None) -> str | None:
    return register(env) if callable(env) else env
