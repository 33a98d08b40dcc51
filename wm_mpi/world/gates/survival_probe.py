"""Do M's dreams end when the game would? What is simplest to do, done in both; for games that are about staying alive.

C finds what M lets live for ever. M knows only what its data did: of random actions held for 10 tics at most it learnt
nothing of Doom's walls, so that "always left" lived 2,024 tics in its dreams and 174 in the game.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv

from wm_mpi.core.controller import Control
from wm_mpi.core.progress import Progress
from wm_mpi.envs import EnvSpec, Game, Look, make_env
from wm_mpi.world.latent_dream import Beginnings, LatentDream
from wm_mpi.world.weights import Weights

EPISODES, WIDTH = 32, 8
"""Of each way to play, and so many at a time."""
TURN_FRAMES = 40
"""One way is to turn round whenever so many frames have passed."""
SEED = 25_000
"""The first episode; the others follow."""
CHEATED = 3.0
"""Dreams that last so many times longer than the game are ones in which C learns nothing."""

Way = Callable[[int], npt.NDArray[np.float64]]
"""The action [A] of a frame, whatever is seen."""


class Lived(NamedTuple):
    """How long a way of playing lives, in the mean (frames)."""

    name: str
    real: float
    dreamt: float

    @property
    def ratio(self) -> float:
        """How many times as long in the dream."""
        return self.dreamt / max(self.real, 1.0)


def probe_survival(rnn: Weights, first: Beginnings, name: str, game: Game, frame: str) -> list[Lived]:
    """Each way in the game that --env calls ``name``, seen as ``frame``, and in M's dreams at temperature 1."""
    ways = simple_ways(game.control, game.look)
    real = make_env(EnvSpec(name, game.max_frames, frame=frame), WIDTH)
    dream = LatentDream(rnn, first, game, game.control, WIDTH, 1.0, game.max_frames)
    told = []
    with Progress(None, 2 * len(ways), unit="way", name="simple ways to play") as progress:
        for label, way in ways:
            lived = []
            for env in (real, dream):
                lived.append(float(lengths(env, way, game.max_frames).mean()))
                progress.advance()
            told.append(Lived(label, *lived))
    real.close()
    return told


def simple_ways(control: Control, look: Look) -> list[tuple[str, Way]]:
    """To hold the first output low, at 0 and high, the others at 0, and to go to and fro."""
    low, high = (bound[0] for bound in control.bounds)

    def held(value: float) -> npt.NDArray[np.float64]:
        action = np.zeros(control.actions)
        action[0] = value
        return action

    def constant(value: float) -> Way:
        return lambda frame: held(value)

    values = {"low": low, "none": 0.0, "high": high}
    words = look.meanings or tuple(values)
    return [*((f"always {word}", constant(value)) for word, value in zip(words, values.values(), strict=True)),
            ("to and fro", lambda frame: held(low if frame // TURN_FRAMES % 2 else high))]


def lengths(env: VectorEnv, way: Way, most: int) -> npt.NDArray[np.int64]:
    """How long ``EPISODES`` episodes last, of the same seeds in every environment (frames)."""
    played = []
    for begun in range(0, EPISODES, WIDTH):
        env.reset(seed=[SEED + begun + slot for slot in range(WIDTH)],  # type: ignore[arg-type]  # its hint forgets lists
                  options={"reset_mask": np.ones(WIDTH, np.bool_)})
        alive, length = np.ones(WIDTH, np.bool_), np.zeros(WIDTH, np.int64)
        for frame in range(most):
            _, _, terminated, truncated, _ = env.step(np.tile(way(frame), (WIDTH, 1)))
            length += alive
            alive &= ~(np.asarray(terminated) | np.asarray(truncated))
            if not alive.any():
                break
        played.append(length)
    return np.concatenate(played)


def describe(lived: list[Lived]) -> dict[str, Any]:
    """The probe as JSON values, for the manifest."""
    return {each.name: {"real": each.real, "dreamt": each.dreamt} for each in lived}


def table(lived: list[Lived]) -> str:
    """The probe for people, a line each."""
    rows = [f"{each.name:<20}{each.real:>10.0f}{each.dreamt:>10.0f}{each.ratio:>10.1f}" for each in lived]
    worst = max(lived, key=lambda each: each.ratio)
    cheated = (f"{worst.name} lives {worst.ratio:.1f} times as long in the dream, where C will learn just that: collect "
               "such play (--longest-held, or --policy with a run), or dream at a higher --temperature")
    honest = f"no simple way lives more than {worst.ratio:.1f} times as long in the dream as in the game"
    verdict = cheated if worst.ratio > CHEATED else honest
    return "\n".join([f"{'frames alive':<20}{'game':>10}{'dream':>10}{'ratio':>10}", *rows, verdict])
