"""Sessions in M's dream: with pictures that C sees through V, or at the level of z, as C is trained with --env dream."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv
from PIL import Image

from wm_mpi.core.seeding import EpisodeSeed
from wm_mpi.envs import EnvSpec, Game, game_of
from wm_mpi.viewer.drive import ROAD, Drive
from wm_mpi.viewer.episode import Picture, Session, Show, Sight
from wm_mpi.viewer.imagination import Moment
from wm_mpi.world.dream import DreamVector
from wm_mpi.world.latent_dream import LatentDream
from wm_mpi.world.manifest import frame_of, load_manifest, played_in
from wm_mpi.world.policy import VectorPolicy

DREAMT_VIEWS = (("seen", "dreamt"), ("reconstructed", "what V keeps of it"), ("predicted", "M's likeliest"))


class Dreaming(Session):
    """What sessions in M have in common."""

    _env: DreamVector | LatentDream

    @property  # type: ignore[override]
    def temperature(self) -> float:
        """How far M's draws stray; may be set between steps."""
        return self._env.temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        self._env.temperature = value

    def latents(self) -> npt.NDArray[np.float32]:
        """The z that is dreamt now, shape (L,)."""
        return self._env.latents_of(0)

    def bend(self, latents: Mapping[int, float]) -> None:
        """Dream these numbers of z instead of what M drew."""
        z = self.latents()
        for index, value in latents.items():
            z[index] = value
        observations = self._env.set_latents(0, z)
        self._forget()
        self._see(observations)

    def _forget(self) -> None:
        """Undo what C did on seeing what is not dreamt any more."""


class DreamDrive(Dreaming, Drive):
    """The same car inside M: what it sees is decoded from latents that M draws, beginning on the track's real first frame.

    The controller cannot tell: it sees pictures through V, and remembers with an M of its own.
    """

    _env: DreamVector

    def _open(self, world: str, spec: EnvSpec) -> VectorEnv:
        return DreamVector(world, 1, max_frames=spec.max_frames)

    def _shows(self, game: Game) -> Show:
        aspect = (game.look.aspect or game.shape[1] / game.shape[0]) / self._shown
        self._size = within(aspect, self._road)
        return Show.of(game, aspect, DREAMT_VIEWS, "the dream", self._insight.latents)

    def _picture(self) -> Picture:
        return enlarged(self._frames[0], self._size)

    def _forget(self) -> None:
        for held, before in zip(self._policy.memory, self._before, strict=True):
            held[0] = before[0]


class LatentDrive(Dreaming):
    """The dream that a controller is trained in with ``--env dream``, decoded for who looks: C sees latents and M's state.

    A dream is the one that ``rollout`` plays for the same seed and temperature, to the last bit where ``width`` is that of
    the run.
    """

    _env: LatentDream

    def __init__(self, world: str, parameters: npt.NDArray[np.float64], temperature: float = 1.0, max_frames: int = 1000,
                 width: int = 1, size: tuple[int, int] = ROAD, hidden: int | Sequence[int] | None = None) -> None:
        """Begin to dream.

        Args:
            world: directory that freeze wrote.
            parameters: the controller's, shape (P,).
            temperature: of M's draws.
            max_frames: longest dream.
            width: how many dreams the run plays at a time; the others stand still.
            size: height and width that the picture keeps within.
            hidden: units of C's hidden layers.

        Raises:
            UserError: not a world, damaged, or without beginnings.
        """
        manifest = load_manifest(Path(world))
        game = game_of(played_in(manifest))
        super().__init__(game.control)
        self._env = LatentDream.of(world, width, temperature, max_frames)
        self._policy = VectorPolicy(self._env.features, width, self._env.control.with_hidden(hidden))
        self._parameters = parameters
        aspect = (game.look.aspect or game.shape[1] / game.shape[0]) / game.share(frame_of(manifest))
        self._size = within(aspect, size)
        self.show = Show.of(game, aspect, (DREAMT_VIEWS[0], DREAMT_VIEWS[2]), "the dream", self._env.latents)

    def _begin(self, seed: EpisodeSeed) -> npt.NDArray:
        rows = self._env.num_envs
        self._policy.assign(0, self._parameters, seed.noise)
        return self._env.reset(seed=[seed.track] * rows, options={"reset_mask": np.arange(rows) == 0})[0]

    def _see(self, observations: npt.NDArray) -> None:
        self._choice, self._stale = self._policy.act(observations)[0], True

    @property
    def moment(self) -> Moment:
        """What M has to go on from here."""
        return Moment(self._env.inside, *self._env.state_of(0))

    def _draw(self, about: Sight) -> Sight:
        seen, predicted = self._env.look(0)
        return about._replace(road=enlarged(seen, self._size), seen=seen, predicted=predicted)


def within(aspect: float, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the largest picture of this shape that fits into a height and width."""
    height, width = size
    return min(height, round(width / aspect)), min(width, round(height * aspect))


def enlarged(frame: Picture, size: tuple[int, int]) -> Picture:
    """A frame of V's as a picture of this height and width."""
    return np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC))
