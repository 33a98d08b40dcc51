"""Sessions with a champion: in a game with V and M, in M's dream of it, or in a game of vectors, which has neither."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.envs import DREAM, EnvSpec, family
from wm_mpi.evolution.champion import Trained
from wm_mpi.viewer.dreams import DreamDrive, LatentDrive
from wm_mpi.viewer.drive import ROAD, Drive, VectorDrive
from wm_mpi.viewer.episode import Session


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
    hidden: int | Sequence[int] | None = None
    """Units of C's hidden layers."""
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
                   trained.deterministic, spec.max_frames, spec.lap_complete_percent, trained.width,
                   settings.get("hidden"), temperature, dreamt or not cars)


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
        return LatentDrive(part.world, part.parameters, part.temperature, part.max_frames, part.width, size, part.hidden)
    kind = DreamDrive if dream else Drive
    session = kind(part.world, part.parameters, part.deterministic, part.max_frames, part.lap_complete_percent, part.width,
                   size, part.env, part.hidden)
    session.temperature = part.temperature
    return session
