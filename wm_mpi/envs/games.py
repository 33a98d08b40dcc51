"""Games: each tells in one place what the rest needs to know of it. A new one is a file in this folder and an entry here.

Whatever Gymnasium can make is a game as well, told by its spaces: pictures go through a V and an M of its own, vectors
straight to C.
"""

import functools
import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from wm_mpi.core.controller import CAR, Control, Output
from wm_mpi.core.errors import UserError
from wm_mpi.envs import carracing, doom, toy
from wm_mpi.envs.frame import CUTS, PUBLISHED, Cut, stretch
from wm_mpi.envs.look import Look

RANDOM_ACTION = Output(1.0, 0.0, -1.0)


@dataclass(frozen=True)
class Rules:
    """What an environment is made for: what ends an episode, where a game lets that be chosen, and what V will see of it."""

    max_frames: int
    lap_complete_percent: float
    frame: str | None = None
    """One of the game's frames, where its pictures are drawn for these; None for the first of them."""


@dataclass(frozen=True)
class Game:
    """What is to be known of a game before it is played."""

    identity: Callable[[], str]
    """Environment id with the version of its package."""
    make: Callable[[Rules], gymnasium.Env]
    """One environment, without a time limit."""
    control: Control
    """C's outputs, what they mean to the game, and so what M is told."""
    look: Look
    """What people are told of it."""
    drawn: Callable[[Rules], gymnasium.Env] | None = None
    """The same environment made to be looked at, where that takes another one: ``make`` need not be able to draw."""
    frames: Mapping[str, Cut] = field(default_factory=dict)
    """What V may see: names, and how frames are cut out of pictures. The first is the default; none: vectors."""
    shape: tuple[int, int] = (0, 0)
    """Height and width of its pictures."""
    vector: Callable[[Rules, int, str | None], VectorEnv] | None = None
    """Many environments at once, where there is something better than one after the other."""
    observations: int = 0
    """Numbers in an observation, where these are vectors."""
    latents: int = 32
    hidden: int = 256
    """Sizes of V and M, as published."""
    max_frames: int = 1000
    """The longest episode, unless told otherwise."""
    stuck_frames: int = 0
    """Frames without a gain after which a training episode ends, unless told otherwise; 0: never."""
    dropped_frames: int = 0
    """Episodes of at most so many frames are left out of V's and M's training."""
    ending_weight: float = 1.0
    """How much an end counts: M's error on it in training, and the odds that M gives it in a dream."""
    dream_reward: float | None = None
    """What a frame of a dream pays; None: what M expects."""
    dream_safe_frames: int = 0
    """Frames in which no dream ends, because no episode can: M, whose memory is still empty, cannot know."""
    solved: tuple[float, int] | None = None
    """The mean return over so many episodes at which the game counts as solved."""
    smooth: bool = False
    """Whether first data are a smooth walk over actions, which takes a car from its start; else actions are held a while."""

    @property
    def dream_end(self) -> float:
        """The logit above which an end that M expects ends a dream: its odds, times ``ending_weight``, exceed one.

        As in the paper's code, where the weight is in M's loss, on ends alone, so that its logits come out larger by the
        weight's logarithm, and a dream ends where they are above 0. Our M's logits are those of the chance itself.
        """
        return -math.log(self.ending_weight)

    @property
    def pictures(self) -> bool:
        """Whether it shows pictures, so that C acts through V and M."""
        return bool(self.frames)

    def share(self, frame: str) -> float:
        """How much of the height of its pictures V sees."""
        return self.frames[frame].rows / self.frames[frame].height

    @property
    def frame(self) -> str | None:
        """What V sees unless told otherwise."""
        return next(iter(self.frames), None)


def _fast(rules: Rules, width: int, frame: str | None) -> VectorEnv:
    from wm_mpi.envs.fast.played import make_cars  # loads Numba

    return make_cars(rules.max_frames, rules.lap_complete_percent, width, frame)


def _car(identity: Callable[[], str], make: Callable[[float], gymnasium.Env],
         vector: Callable[[Rules, int, str | None], VectorEnv] | None = None) -> Game:
    return Game(identity, lambda rules: make(rules.lap_complete_percent), Control(CAR), CAR_LOOK, frames=CUTS,
                shape=(96, 96), vector=vector, stuck_frames=100, dream_safe_frames=50, solved=(900.0, 100), smooth=True)


CAR_LOOK = Look("CarRacing", "drive", "the road", "track", laps=True, outputs=("steer", "gas", "brake"),
                grip=(0.1, 0.1, 0.2), aspect=1.5)
DOOM_LOOK = Look("Doom's Take Cover", outputs=("step",), meanings=("left", "none", "right"), grip=(2.0,), fps=35)


GAMES: dict[str, Game] = {
    "fast": _car(carracing.fast_id, carracing.make_gymnasium, _fast),
    "gymnasium": _car(carracing.gymnasium_id, carracing.make_gymnasium),
    "gym": _car(carracing.gym_id, carracing.make_gym),
    "toy": Game(toy.toy_id, lambda rules: toy.Toy(), Control(CAR, "plain"),
                Look("The toy environment", episode="track", laps=True), observations=toy.OBSERVATIONS, stuck_frames=100),
    "doom": Game(doom.doom_id, lambda rules: doom.TakeCover(large=rules.frame == PUBLISHED),
                 Control((Output(1.0, 0.0, -1.0),), features=("z", "c", "h"), bias=False), DOOM_LOOK,
                 frames={"view": Cut(doom.SHOWN_ROWS, doom.HEIGHT),
                         PUBLISHED: Cut(doom.LARGE * doom.SHOWN_ROWS, doom.LARGE * doom.HEIGHT, stretch)},
                 shape=(doom.HEIGHT, doom.WIDTH), latents=64, hidden=512, max_frames=2100, dropped_frames=100,
                 ending_weight=10.0, dream_reward=1.0, solved=(750.0, 100))}
"""Games that come with the package, by the names of --env; ``fast`` is what --env carracing means."""


DREAM = "dream"
"""What --env calls M's dream of a world; the game that it is a dream of is the world's."""
CARS = ("fast", "gymnasium", "gym")
"""CarRacing, whoever makes it: what was trained in one drives in the others."""


def family(name: str) -> str:
    """The game that an environment's name stands for, whoever makes it."""
    return "carracing" if name in CARS else name


def ours(name: str) -> str:
    """The same game in our engine, where there is one."""
    return "fast" if name in CARS else name


def told_of(name: str) -> Look:
    """``Game.look`` as far as it is known without making an environment."""
    return GAMES[name].look if name in GAMES else Look(name)


def solved_at(name: str) -> tuple[float, int] | None:
    """``Game.solved``, without making an environment."""
    if name in GAMES:
        return GAMES[name].solved
    spec = gymnasium.registry.get(name)
    return None if spec is None or spec.reward_threshold is None else (float(spec.reward_threshold), 100)


@functools.cache
def game_of(name: str) -> Game:
    """The game that ``--env`` names: one of ``GAMES``, an id of Gymnasium, or ``package.module:Class``.

    Raises:
        UserError: there is none, it cannot be made here, or C cannot play it.
    """
    if name in GAMES:
        return GAMES[name]
    env = _make(name)
    seen, acted, look = env.observation_space, env.action_space, _look_of(name, env)
    draws = "rgb_array" in (env.metadata.get("render_modes") or ())
    env.close()
    control = control_of(name, acted)
    game = Game(lambda: _identity(name), lambda rules: Acted(_make(name), control), control, look,
                (lambda rules: Acted(_make(name, drawn=True), control)) if draws else None,
                max_frames=_longest(name), solved=solved_at(name))
    if isinstance(seen, spaces.Box) and seen.dtype == np.uint8 and len(seen.shape) == 3 and seen.shape[2] == 3:
        return replace(game, frames={"picture": Cut(seen.shape[0], seen.shape[0])}, shape=(seen.shape[0], seen.shape[1]))
    if isinstance(seen, spaces.Box) and len(seen.shape) == 1:
        return replace(game, observations=seen.shape[0])
    raise UserError(f"--env {name} shows {seen}: C sees colour pictures (uint8, height x width x 3) or vectors (a Box of "
                    "one dimension); wrap it, and name the wrapper with --env package.module:Class")


def _longest(name: str) -> int:
    """The longest episode by an environment's own rule (frames), 1,000 where it has none."""
    spec = gymnasium.registry.get(name)
    return (spec and spec.max_episode_steps) or Game.max_frames


def _look_of(name: str, env: gymnasium.Env) -> Look:
    """What an environment tells of itself: its pace, and its actions where they have names (Atari's do)."""
    meanings: Any = getattr(env.unwrapped, "get_action_meanings", tuple)()
    return Look(name, outputs=tuple(str(each).lower() for each in meanings), fps=int(env.metadata.get("render_fps") or 30))


def _make(name: str, drawn: bool = False) -> gymnasium.Env:
    """An environment of Gymnasium's registry, without its time limit, or of a class of the user's; ``drawn`` if it can be.

    Raises:
        UserError: it is neither.
    """
    if name.startswith("ALE/"):
        try:
            ale = importlib.import_module("ale_py")
            ale.ALEInterface.setLoggerMode(ale.LoggerMode.Error)  # else it says its name on every rank
            gymnasium.register_envs(ale)
        except ImportError:
            raise UserError(f"--env {name} cannot be used here: pip install 'wm_mpi[atari]'") from None
    options: dict[str, Any] = {"render_mode": "rgb_array"} if drawn else {}
    module, _, rest = name.partition(":")
    if rest and "-v" not in rest:
        try:
            made = getattr(importlib.import_module(module), rest)
            return made(**options if "render_mode" in inspect.signature(made).parameters else {})
        except (ImportError, AttributeError) as error:
            raise UserError(f"--env {name} cannot be used here ({error}): it must be package.module:Class, and importable") \
                from None
    try:
        return gymnasium.make(name, max_episode_steps=-1, **options)
    except (gymnasium.error.Error, ImportError) as error:
        raise UserError(f"--env {name} cannot be used here ({str(error).splitlines()[0]}): give one of "
                        f"carracing, {', '.join(each for each in GAMES if each != 'fast')}, an id of Gymnasium, or "
                        "package.module:Class") from None


def _identity(name: str) -> str:
    return f"{name} (gymnasium {metadata.version('gymnasium')})"


def control_of(name: str, acted: gymnasium.Space) -> Control:
    """How C acts in an action space.

    Raises:
        UserError: it cannot.
    """
    if isinstance(acted, spaces.Discrete):
        return Control((RANDOM_ACTION,) * int(acted.n), "choice")
    if isinstance(acted, spaces.MultiBinary) and isinstance(acted.n, int | np.integer):
        return Control((RANDOM_ACTION,) * int(acted.n), "switches")
    if isinstance(acted, spaces.Box) and np.isfinite(acted.low).all() and np.isfinite(acted.high).all():
        low, high = acted.low.ravel().astype(float), acted.high.ravel().astype(float)
        return Control(tuple(Output((top - bottom) / 2, (top + bottom) / 2, bottom)
                             for bottom, top in zip(low.tolist(), high.tolist(), strict=True)))
    raise UserError(f"--env {name} takes actions of {acted}: C can choose (Discrete), switch (MultiBinary), or steer within "
                    "bounds (Box)")


class Acted(gymnasium.ActionWrapper):
    """An environment that takes C's actions, one vector of numbers whatever its action space is."""

    def __init__(self, env: gymnasium.Env, control: Control) -> None:
        super().__init__(env)
        self._space, self._kind = env.action_space, control.kind
        self.action_space = spaces.Box(-np.inf, np.inf, (control.actions,), np.float64)

    def action(self, action: Any) -> Any:
        """The action in the environment's own space."""
        chosen = in_space(np.asarray(action)[None], self._kind, self._space)[0]
        return int(chosen) if self._kind == "choice" else chosen


def in_space(actions: npt.NDArray, kind: str, space: Any) -> npt.NDArray:
    """C's actions, float [B, A], in an action ``space`` that C plays as its control's ``kind`` says; shape [B, ...]."""
    if kind == "choice":
        return actions.argmax(axis=1) + space.start
    return actions.astype(space.dtype).reshape(len(actions), *space.shape)
