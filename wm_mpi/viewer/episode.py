"""One episode to look at, whatever is played: what there is to see at each tick, and who acts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv

from wm_mpi.core.controller import Control
from wm_mpi.core.seeding import EpisodeSeed
from wm_mpi.envs import Game, Look
from wm_mpi.viewer.gauges import Gauge, gauges_of

if TYPE_CHECKING:  # they load Numba, and ONNX Runtime
    from wm_mpi.envs.fast.onlooker import Onlooker
    from wm_mpi.viewer.imagination import Moment

Picture = npt.NDArray[np.uint8]
NOTHING: Picture = np.zeros((64, 64, 3), np.uint8)
"""A view before the first frame, or where a game has none."""


class Sight(NamedTuple):
    """What there is to see at one tick."""

    road: Picture
    """The environment's own picture [height, width, 3], CarRacing's [400, 600, 3] or of the size asked for; in a dream the
    dreamt frame enlarged."""
    seen: Picture
    """The policy's frame [64, 64, 3]; this and the next two are black for games without V and M."""
    reconstructed: Picture
    """What V keeps of it: its decoder on the latents of ``seen`` that the controller was given."""
    predicted: Picture
    """What M expected before it saw ``seen``: the means of its mixtures' likeliest components, decoded. On an episode's
    first frame M knows nothing, and this is what V's decoder makes of all latents at zero."""
    action: tuple[float, ...]
    """What led here, a number for each of C's outputs (CarRacing's are steer, gas and brake); nothing on the first frame."""
    reward: float
    """What that action brought (points)."""
    total: float
    """The return so far (points)."""
    frame: int
    """Frames played."""
    ended: bool
    lap: bool
    """Whether the episode ended on a completed lap."""


class Show(NamedTuple):
    """What the pictures of a session show, and how that is named."""

    look: Look
    scene: str
    """What the large picture shows."""
    aspect: float
    """Its width to its height."""
    views: tuple[tuple[str, str], ...]
    """The small pictures: fields of ``Sight`` with captions."""
    gauges: tuple[Gauge, ...]
    latents: int
    """How many numbers V keeps of a frame; 0 where there is no V."""

    @classmethod
    def of(cls, game: Game, aspect: float, views: tuple[tuple[str, str], ...] = (), scene: str = "",
           latents: int = 0) -> "Show":
        """A game's."""
        return cls(game.look, scene or game.look.scene, aspect, views, gauges_of(game.control, game.look), latents)


class Session:
    """One episode after another in a vector environment, of which the first is shown; C or a visitor acts.

    A kind of session says how C sees (``_see``), what is expected of an action (``_foresee``), and how all that looks
    (``_draw``).
    """

    show: Show
    control: Control
    temperature: float = 1.0
    """How far M's draws stray in a dream; may be set between steps."""
    onlooker: "Onlooker | None" = None
    """What is told of a car, where one of our engine's is driven."""
    _env: VectorEnv
    _choice: npt.NDArray[np.float64]
    """What C would do now, shape (A,)."""

    def __init__(self, control: Control) -> None:
        """For C's outputs."""
        self.control, self._bounds = control, control.bounds
        self._last: Sight | None = None
        self._stale = False

    def reset(self, seed: EpisodeSeed) -> Sight:
        """Begin an episode; gives its first sight."""
        observations = self._begin(seed)
        still = (0.0,) * len(self._bounds[0])
        self._last = Sight(NOTHING, NOTHING, NOTHING, NOTHING, still, 0.0, 0.0, 0, False, False)
        self._see(observations)
        return self.sight()

    def step(self, action: Sequence[float] | None = None) -> Sight:
        """``advance``, and what there is to see then."""
        self.advance(action)
        return self.sight()

    def advance(self, action: Sequence[float] | None = None) -> None:
        """Play on by a frame without drawing it; an episode that has ended stands still.

        Args:
            action: a number for each of C's outputs (steer -1..1, gas 0..1, brake 0..1); None leaves it to the controller.

        Raises:
            ValueError: no ``reset`` before.
        """
        if self._last is None:
            raise ValueError("an episode begins with reset")
        if self._last.ended:
            return
        taken = self._choice if action is None else np.clip(np.asarray(action, np.float64), *self._bounds)
        self._foresee(taken, action is not None)
        actions = np.zeros((self._env.num_envs, len(taken)))
        actions[0] = taken
        observations, rewards, terminated, truncated, infos = self._env.step(actions)
        lap = bool(terminated[0] and "lap_finished" in infos and infos["lap_finished"][0])
        reward = float(rewards[0])
        self._last = self._last._replace(
            action=tuple(float(each) for each in taken), reward=reward, total=self._last.total + reward,
            frame=self._last.frame + 1, ended=bool(terminated[0] or truncated[0]), lap=lap)
        self._see(observations)

    def sight(self) -> Sight:
        """What there is to see now, drawn when it is first asked for.

        Raises:
            ValueError: no ``reset`` before.
        """
        if self._last is None:
            raise ValueError("an episode begins with reset")
        if self._stale:
            self._last, self._stale = self._draw(self._last), False
        return self._last

    @property
    def score(self) -> Sight:
        """What is known now, with pictures of before: nothing is drawn.

        Raises:
            ValueError: no ``reset`` before.
        """
        if self._last is None:
            raise ValueError("an episode begins with reset")
        return self._last

    @property
    def ended(self) -> bool:
        """Whether the episode has ended, or none has begun."""
        return self._last is None or self._last.ended

    @property
    def action(self) -> tuple[float, ...]:
        """The numbers of the last step's action."""
        return self._last.action if self._last else (0.0,) * len(self._bounds[0])

    @property
    def moment(self) -> "Moment | None":
        """What M has to go on from now, where there is an M."""
        return None

    @property
    def imagined_frames(self) -> int | None:
        """How long M has been alone, see ``imagine``; None where it is not."""
        return None

    def imagine(self, wanted: bool) -> None:
        """Show how M alone goes on from here, or no longer; nothing happens where there is no M, or all is a dream."""

    def latents(self) -> npt.NDArray[np.float32] | None:
        """In a dream the z that is dreamt now, shape (L,); else None."""
        return None

    def bend(self, latents: Mapping[int, float]) -> None:
        """In a dream, dream these numbers of z instead of what M drew."""

    def _begin(self, seed: EpisodeSeed) -> npt.NDArray:
        """Reset the environment and C; gives the first observations."""
        raise NotImplementedError

    def _see(self, observations: npt.NDArray) -> None:
        """Let C see, and mark the pictures as stale."""
        raise NotImplementedError

    def _foresee(self, taken: npt.NDArray[np.float64], visitors: bool) -> None:
        """What M expects of an action, which is a visitor's or C's choice."""

    def _draw(self, about: Sight) -> Sight:
        """The same with pictures of now."""
        raise NotImplementedError

    def _picture(self) -> Picture:
        """The environment's own."""
        pictures: Any = self._env.render()
        return np.asarray(pictures[0])
