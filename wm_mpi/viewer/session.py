"""Sessions with a champion: in a game with V and M, in M's dream of it, or in a game of vectors, which has neither."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv
from PIL import Image

from wm_mpi.core.errors import UserError
from wm_mpi.core.seeding import EpisodeSeed
from wm_mpi.envs import DREAM, EnvSpec, Game, family, game_of, make_pictured
from wm_mpi.evolution.champion import Trained
from wm_mpi.viewer.episode import Picture, Session, Show, Sight
from wm_mpi.world.dream import DreamVector
from wm_mpi.world.inference import Inference
from wm_mpi.world.latent_dream import LatentDream
from wm_mpi.world.manifest import frame_of, load_manifest, played_in
from wm_mpi.world.policy import VectorPolicy, WorldPolicy, rows_needed

ROAD = (400, 600)
"""Height and width of the road's picture, unless told otherwise: Gymnasium's."""
VIEWS = (("seen", "what V is shown"), ("reconstructed", "what V keeps of it"), ("predicted", "what M expected"))
DREAMT_VIEWS = (("seen", "what C sees"), ("predicted", "what M expected"))
PROBE = EpisodeSeed(0, 0)
"""The episode whose first picture tells how large pictures are."""


@dataclass(frozen=True)
class Part:
    """Who plays what, and by which rules."""

    env: str
    """The game, by the name of --env."""
    world: str | None
    """None for games of vectors."""
    parameters: npt.NDArray[np.float64]
    """The controller's, shape (P,)."""
    deterministic: bool = False
    max_frames: int = 1000
    lap_complete_percent: float = 0.95
    width: int = 1
    """How many episodes the run plays at a time."""
    hidden: int = 0
    temperature: float = 1.0
    """Of its dreams."""
    in_latents: bool = True
    """Whether its dreams are those that C is trained in with --env dream; CarRacing's others begin on a real first frame."""

    @classmethod
    def of(cls, trained: Trained, temperature: float | None = None) -> "Part":
        """A run's champion, in the game that it is judged in; its dreams as it was trained, if it was trained in one."""
        spec, settings = trained.spec, trained.settings
        cars, dreamt = family(spec.name) == "carracing", settings["env"] == DREAM
        if temperature is None:
            temperature = spec.temperature or 1.0
        return cls("fast" if cars else spec.name, trained.world if spec.pictures else None, trained.parameters,
                   trained.deterministic, spec.max_frames, spec.lap_complete_percent, settings["width"],
                   settings.get("hidden") or 0, temperature, dreamt or not cars)


def open_session(part: Part, dream: bool = False, size: tuple[int, int] = ROAD) -> Session:
    """The session of who plays: in the game, or in M's ``dream`` of it.

    Args:
        part: who plays what.
        dream: play in M.
        size: height and width of the picture where it can be drawn at any size.

    Raises:
        UserError: not a world, or damaged; the game cannot be played or drawn here, or there is nothing to dream with.
    """
    if part.world is None:
        if dream:
            raise UserError(f"--env {part.env} is played without V and M: there is nothing to dream with")
        return VectorDrive(EnvSpec(part.env, part.max_frames, part.lap_complete_percent, None), part.parameters, part.hidden,
                           part.width)
    if dream and part.in_latents:
        return LatentDrive(part.world, part.parameters, part.temperature, part.max_frames, part.width, size)
    kind = DreamDrive if dream else Drive
    session = kind(part.world, part.parameters, part.deterministic, part.max_frames, part.lap_complete_percent, part.width,
                   size, part.env)
    session.temperature = part.temperature
    return session


class Drive(Session):
    """A game of pictures with a frozen world and a controller, or a visitor, at the wheel; of CarRacing, in our engine.

    Played by the controller alone, an episode is the one that ``rollout`` plays for the same seed, to the last bit where
    ``width`` is the run's own.
    """

    def __init__(self, world: str, parameters: npt.NDArray[np.float64], deterministic: bool = False, max_frames: int = 1000,
                 lap_complete_percent: float = 0.95, width: int = 1, road: tuple[int, int] = ROAD,
                 env: str = "fast") -> None:
        """Get in.

        Args:
            world: directory that freeze wrote.
            parameters: the controller's, shape (P,).
            deterministic: use the mean of z instead of sampling it.
            max_frames: longest episode.
            lap_complete_percent: share of tiles to visit before the start line ends the lap.
            width: rows of the policy's calls in the run. One episode needs one, and takes one where sums round alike.
            road: height and width of the picture, where the game draws at any size.
            env: the game, by the name of --env.

        Raises:
            UserError: not a world, or damaged; the game cannot be played or drawn here.
        """
        super().__init__(game_of(env).control)
        self._insight = Inference.of(world)
        width = rows_needed(world, width)
        self._policy = WorldPolicy(world, width, deterministic)
        self._parameters = parameters
        self._frames = np.zeros((width, 64, 64, 3), np.uint8)
        self._road = road
        spec = EnvSpec(env, max_frames, lap_complete_percent, frame_of(self._policy.manifest))
        self._shown = spec.game.share(spec.frame or "")
        self._env = self._open(world, spec)
        self.show = Show.of(spec.game, spec.game.look.aspect or self._measured(), VIEWS,
                            latents=self._insight.latents)

    def _open(self, world: str, spec: EnvSpec) -> VectorEnv:
        return make_pictured(spec, self._road[::-1])

    def _measured(self) -> float:
        """Width to height of the game's own picture."""
        self._begin(PROBE)
        height, width, _ = self._picture().shape
        return width / height

    def _begin(self, seed: EpisodeSeed) -> npt.NDArray:
        observations, _ = self._env.reset(seed=[seed.track])  # type: ignore[arg-type]  # its own hint forgets lists
        self._policy.assign(0, self._parameters, seed.noise)
        self._expected = np.zeros((1, self._insight.latents), np.float32)
        return observations

    def _see(self, observations: npt.NDArray) -> None:
        self._frames[0] = observations[0]
        h, c = self._policy.memory
        self._before = h[:1].copy(), c[:1].copy()
        actions, z = self._policy.look(self._frames)
        self._choice, self._z, self._stale = actions[0], z[:1], True

    def _foresee(self, taken: npt.NDArray[np.float64], visitors: bool) -> None:
        forecast = self._insight.expect(self._z, taken[None], *self._before)
        if visitors:  # M goes on with what was done, not with what the controller would have done
            for held, new in zip(self._policy.memory, (forecast.h, forecast.c), strict=True):
                held[0] = new[0]
        self._expected = forecast.likeliest()

    def _draw(self, about: Sight) -> Sight:
        reconstructed, predicted = self._insight.decode(np.concatenate([self._z, self._expected]))
        return about._replace(road=self._picture(), seen=self._frames[0].copy(), reconstructed=reconstructed,
                              predicted=predicted)


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


class DreamDrive(Dreaming, Drive):
    """The same car inside M: what it sees is decoded from latents that M draws, beginning on the track's real first frame.

    The controller cannot tell: it sees pictures through V, and remembers with an M of its own.
    """

    _env: DreamVector

    def _open(self, world: str, spec: EnvSpec) -> VectorEnv:
        return DreamVector(world, 1, max_frames=spec.max_frames)

    def _picture(self) -> Picture:
        return enlarged(self._frames[0], self._road, self._shown)


class LatentDrive(Dreaming):
    """The dream that a controller is trained in with ``--env dream``, decoded for who looks: C sees latents and M's state.

    A dream is the one that ``rollout`` plays for the same seed and temperature, to the last bit where ``width`` is that of
    the run.
    """

    _env: LatentDream

    def __init__(self, world: str, parameters: npt.NDArray[np.float64], temperature: float = 1.0, max_frames: int = 1000,
                 width: int = 1, size: tuple[int, int] = ROAD) -> None:
        """Begin to dream.

        Args:
            world: directory that freeze wrote.
            parameters: the controller's, shape (P,).
            temperature: of M's draws.
            max_frames: longest dream.
            width: how many dreams the run plays at a time; the others stand still.
            size: height and width that the picture keeps within.

        Raises:
            UserError: not a world, damaged, or without beginnings.
        """
        manifest = load_manifest(Path(world))
        game = game_of(played_in(manifest))
        super().__init__(game.control)
        self._env = LatentDream(world, width, temperature, max_frames)
        self._policy = VectorPolicy(self._env.features, width, self._env.control)
        self._parameters, self._shown = parameters, game.share(frame_of(manifest))
        aspect = game.look.aspect or game.shape[1] / game.shape[0]
        self._size = within(aspect, size)
        self.show = Show.of(game, aspect, DREAMT_VIEWS, "the dream", self._env.latents)

    def _begin(self, seed: EpisodeSeed) -> npt.NDArray:
        rows = self._env.num_envs
        self._policy.assign(0, self._parameters, seed.noise)
        return self._env.reset(seed=[seed.track] * rows, options={"reset_mask": np.arange(rows) == 0})[0]

    def _see(self, observations: npt.NDArray) -> None:
        self._choice, self._stale = self._policy.act(observations)[0], True

    def _draw(self, about: Sight) -> Sight:
        seen, predicted = self._env.look(0)
        return about._replace(road=enlarged(seen, self._size, self._shown), seen=seen, predicted=predicted)


class VectorDrive(Session):
    """A game of vectors: C sees numbers, people see the picture that the game draws for them."""

    def __init__(self, spec: EnvSpec, parameters: npt.NDArray[np.float64], hidden: int = 0, width: int = 1) -> None:
        """Get in.

        Args:
            spec: the game and its rules.
            parameters: the controller's, shape (P,).
            hidden: units of its hidden layer.
            width: how many episodes the run plays at a time.

        Raises:
            UserError: the game cannot be played or drawn here.
        """
        game: Game = spec.game
        super().__init__(game.control)
        self._env = make_pictured(spec, ROAD[::-1])
        self._policy = VectorPolicy(game.observations, width, game.control, hidden)
        self._parameters = parameters
        self._observations = np.zeros((width, game.observations), self._env.single_observation_space.dtype)
        self._begin(PROBE)
        height, across, _ = self._picture().shape
        self.show = Show.of(game, across / height)

    def _begin(self, seed: EpisodeSeed) -> npt.NDArray:
        self._policy.assign(0, self._parameters, seed.noise)
        return self._env.reset(seed=[seed.track])[0]  # type: ignore[arg-type]  # its own hint forgets lists

    def _see(self, observations: npt.NDArray) -> None:
        self._observations[0] = observations[0]
        self._choice, self._stale = self._policy.act(self._observations)[0], True

    def _draw(self, about: Sight) -> Sight:
        return about._replace(road=self._picture())


def within(aspect: float, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the largest picture of this shape that fits into a height and width."""
    height, width = size
    return min(height, round(width / aspect)), min(width, round(height * aspect))


def enlarged(frame: Picture, size: tuple[int, int], share: float) -> Picture:
    """A frame of V's in the place that it has in a game's picture of this height and width, the rest of it black."""
    (height, width), shown = size, round(size[0] * share)
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:shown] = np.asarray(Image.fromarray(frame).resize((width, shown), Image.Resampling.BICUBIC))
    return picture
