"""Sessions in a game itself: with V and M, or in a game of vectors, which has neither."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv

from wm_mpi.core.seeding import EpisodeSeed, generator
from wm_mpi.envs import EnvSpec, Game, game_of, make_pictured
from wm_mpi.viewer.episode import Session, Show, Sight
from wm_mpi.viewer.imagination import Imagined, Moment
from wm_mpi.world.inference import Inference
from wm_mpi.world.manifest import frame_of
from wm_mpi.world.policy import VectorPolicy, WorldPolicy, rows_needed

ROAD = (400, 600)
"""Height and width of the road's picture, unless told otherwise: Gymnasium's."""
VIEWS = (("seen", "what V is shown"), ("reconstructed", "what V keeps of it"), ("predicted", "what M expected"))
IMAGINED = 2021
"""Sets M's draws apart from everything else that an episode's noise decides."""
PROBE = EpisodeSeed(0, 0)
"""The episode whose first picture tells how large pictures are."""


class Drive(Session):
    """A game of pictures with a frozen world and a controller, or a visitor, at the wheel; of CarRacing, in our engine.

    Played by the controller alone, an episode is the one that ``rollout`` plays for the same seed, to the last bit where
    ``width`` is the run's own.
    """

    def __init__(self, world: str, parameters: npt.NDArray[np.float64], deterministic: bool = False, max_frames: int = 1000,
                 lap_complete_percent: float = 0.95, width: int = 1, road: tuple[int, int] = ROAD,
                 env: str = "fast", hidden: int | Sequence[int] | None = None) -> None:
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
            hidden: units of C's hidden layers.

        Raises:
            UserError: not a world, or damaged; the game cannot be played or drawn here.
        """
        super().__init__(game_of(env).control)
        self._imagined: Imagined | None = None
        self._insight = Inference.of(world)
        width = rows_needed(world, width)
        self._policy = WorldPolicy(world, width, deterministic, hidden)
        self._parameters = parameters
        self._frames = np.zeros((width, 64, 64, 3), np.uint8)
        self._road = road
        spec = EnvSpec(env, max_frames, lap_complete_percent, frame_of(self._policy.manifest))
        self._shown = spec.game.share(spec.frame or "")
        self._env = self._open(world, spec)
        if hasattr(self._env, "onlooker"):
            self.onlooker = self._env.onlooker()
        self.show = self._shows(spec.game)

    def _shows(self, game: Game) -> Show:
        return Show.of(game, game.look.aspect or self._measured(), VIEWS, latents=self._insight.latents)

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
        self._imagined, self._noise = None, seed.noise
        return observations

    def _see(self, observations: npt.NDArray) -> None:
        self._frames[0] = observations[0]
        h, c = self._policy.memory
        self._before = h[:1].copy(), c[:1].copy()
        actions, z = self._policy.look(self._frames)
        self._choice, self._z, self._stale = actions[0], z[:1], True

    @property
    def moment(self) -> Moment:
        """What M has to go on from here."""
        return Moment(self._insight, self._z, *self._before)

    def imagine(self, wanted: bool) -> None:
        """From here on, show in the place of M's expectation of each frame how M alone goes on, told of the same actions."""
        if wanted != (self._imagined is not None):
            rng = generator(self._noise, IMAGINED)
            self._imagined = Imagined(self.moment, self.temperature, rng) if wanted else None
            self._stale = True

    @property
    def imagined_frames(self) -> int | None:
        """How long M has been alone; None where it is not."""
        return None if self._imagined is None else self._imagined.frames

    def _foresee(self, taken: npt.NDArray[np.float64], visitors: bool) -> None:
        if self._imagined is not None:
            self._imagined.step(taken)
        forecast = self._insight.expect(self._z, taken[None], *self._before)
        if visitors:  # M goes on with what was done, not with what the controller would have done
            for held, new in zip(self._policy.memory, (forecast.h, forecast.c), strict=True):
                held[0] = new[0]
        self._expected = forecast.likeliest()

    def _draw(self, about: Sight) -> Sight:
        expected = self._expected if self._imagined is None else self._imagined.z
        reconstructed, predicted = self._insight.decode(np.concatenate([self._z, expected]))
        return about._replace(road=self._picture(), seen=self._frames[0].copy(), reconstructed=reconstructed,
                              predicted=predicted)


class VectorDrive(Session):
    """A game of vectors: C sees numbers, people see the picture that the game draws for them."""

    def __init__(self, spec: EnvSpec, parameters: npt.NDArray[np.float64],
                 hidden: int | Sequence[int] | None = None, width: int = 1) -> None:
        """Get in.

        Args:
            spec: the game and its rules.
            parameters: the controller's, shape (P,).
            hidden: units of its hidden layers.
            width: how many episodes the run plays at a time.

        Raises:
            UserError: the game cannot be played or drawn here.
        """
        game: Game = spec.game
        super().__init__(game.control)
        self._env = make_pictured(spec, ROAD[::-1])
        self._policy = VectorPolicy(game.observations, width, game.control.with_hidden(hidden))
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
