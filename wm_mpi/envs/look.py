"""How a game looks to people: what they are told of it while they watch, and its own picture for them."""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError


@dataclass(frozen=True)
class Look:
    """The words and units of a game, for films, pages and reports."""

    title: str
    """Its name in a sentence."""
    verb: str = "play"
    scene: str = "the game"
    """What its own picture shows."""
    episode: str = "episode"
    """What a seed decides: "track" where that is one."""
    laps: bool = False
    """Whether an episode may end on a completed lap."""
    outputs: tuple[str, ...] = ()
    """Names of the numbers of an action; none: they are counted from 0."""
    meanings: tuple[str, ...] = ()
    """What an output of -1 to 1 comes to below -1/3, between, and above 1/3, where the game knows these three only."""
    grip: tuple[float, ...] = ()
    """How far each output follows a visitor's keys in a frame, the first left and right, then up, then down; none: there are
    no keys to play with."""
    fps: int = 50
    """Frames per second of real time."""
    aspect: float | None = None
    """Width to height of its own picture, where that is not as wide as what V's frames are cut from."""

    @property
    def turn(self) -> str:
        """What somebody does in an episode: a car's is a drive."""
        return "drive" if self.verb == "drive" else "episode"

    def named(self, actions: int) -> tuple[str, ...]:
        """Names of so many outputs."""
        return self.outputs if len(self.outputs) == actions else tuple(str(number) for number in range(actions))


class Pictured(gymnasium.Wrapper):
    """A game that always has a picture for who looks: its own, or what it shows C where it draws none."""

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        """Of a game that --env calls ``name``."""
        super().__init__(env)
        self._name = name
        self._seen: npt.NDArray = np.zeros(0)

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self._seen, about = self.env.reset(**options)
        return self._seen, about

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play on."""
        self._seen, *rest = self.env.step(action)
        return self._seen, *rest  # type: ignore[return-value]

    def render(self) -> npt.NDArray[np.uint8]:  # type: ignore[override]
        """The picture uint8 [height, width, 3].

        Raises:
            UserError: it has none, or cannot draw it here.
        """
        if self.env.render_mode == "rgb_array":
            try:
                return np.asarray(self.env.render(), np.uint8)
            except Exception as error:  # of pygame, OpenGL, MuJoCo: each has its own
                raise UserError(f"--env {self._name} cannot be drawn here ({str(error).splitlines()[0]})") from None
        if self._seen.ndim == 3:
            return np.asarray(self._seen, np.uint8)
        raise UserError(f"--env {self._name} draws no pictures (no render mode rgb_array): judge it with evaluate")
