"""Environments, all behind ``gymnasium.vector.VectorEnv`` with autoreset disabled.

``reset(seed=[...], options={"reset_mask": mask})`` and ``step(actions)``; see docs/design.md.
"""

from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import gymnasium
from gymnasium.vector import VectorEnv

from wm_mpi import __version__
from wm_mpi.envs.display import display
from wm_mpi.envs.frame import PolicyFrames, policy_frame
from wm_mpi.envs.games import DREAM, GAMES, Game, Rules, family, game_of, ours, solved_at, told_of
from wm_mpi.envs.look import Look, Pictured
from wm_mpi.envs.one_by_one import OneByOne

__all__ = ["DREAM", "GAMES", "EnvSpec", "Game", "Look", "display", "family", "game_of", "make_env", "make_pictured", "ours",
           "policy_frame", "settled", "solved_at", "told_of"]


@dataclass(frozen=True)
class EnvSpec:
    """Which environment, and the rules that end its episodes."""

    name: str
    """As --env names it; see ``games.game_of``."""
    max_frames: int = 1000
    lap_complete_percent: float = 0.95
    frame: str | None = field(default="road", compare=False)  # what somebody sees is no rule
    """What its pictures show, by the game's names; None for its own, as they are."""

    temperature: float | None = None
    """Of a dream."""

    @property
    def game(self) -> Game:
        """What is to be known of it."""
        return game_of(self.name)

    @property
    def pictures(self) -> bool:
        """Whether it shows pictures, so that C acts through V and M."""
        return self.name == DREAM or self.game.pictures

    def describe(self) -> dict[str, Any]:
        """Environment id, package version and termination rule, recorded in every artefact.

        That pictures show the road is left out: at first there was nothing else.
        """
        shown: dict[str, Any] = {"frame": self.frame} if self.pictures and self.frame != "road" else {}
        if self.name == DREAM:
            shown["temperature"] = self.temperature
        identity = f"M's dream (wm_mpi {__version__})" if self.name == DREAM else self.game.identity()
        return {"env": self.name, "env_id": identity, "max_frames": self.max_frames,
                "lap_complete_percent": self.lap_complete_percent, **shown}


Options = TypeVar("Options")


def settled(config: Options) -> Options:
    """A command's options with what its game decides: when an episode ends, if that is not given; no pictures, no world."""
    options: Any = config
    if options.env == DREAM:  # which is as long as the game of its world
        return config
    game = game_of(options.env)
    changes: dict[str, Any] = {}
    changes |= {name: getattr(game, name) for name in ("max_frames", "stuck_frames") if getattr(options, name, 0) is None}
    if not game.pictures and getattr(options, "world", None) is not None:
        changes["world"] = None
    return replace(options, **changes) if changes else config


def make_env(spec: EnvSpec, width: int) -> VectorEnv:
    """A vector of ``width`` environments.

    Observations are policy frames, uint8 [width, 64, 64, 3], as ``spec.frame`` says (the game's own pictures where that is
    None), or float vectors; actions float [width, A], the game's ``control`` says what each number means.
    Episodes that end on a completed lap report ``infos["lap_finished"]``.

    Raises:
        UserError: there is no such environment, or its package is not installed.
    """
    game, rules = spec.game, Rules(spec.max_frames, spec.lap_complete_percent, spec.frame)
    if game.vector is not None:
        return game.vector(rules, width, spec.frame)

    def make() -> gymnasium.Env:
        env = gymnasium.wrappers.TimeLimit(game.make(rules), spec.max_frames)
        return PolicyFrames(env, game.frames[spec.frame]) if spec.pictures and spec.frame else env

    return OneByOne([make] * width)


def make_pictured(spec: EnvSpec, size: tuple[int, int]) -> VectorEnv:
    """One environment as ``make_env`` makes it, played by the same rules, whose ``render()`` gives a picture.

    Args:
        spec: which, and its rules.
        size: width and height of the picture, where the game draws at any size; else it has its own.

    Raises:
        UserError: see ``make_env``.
    """
    game, rules = spec.game, Rules(spec.max_frames, spec.lap_complete_percent, spec.frame)
    if game.vector is not None:
        env: Any = game.vector(rules, 1, spec.frame)
        if hasattr(env, "render_size"):
            env.render_mode, env.render_size = "rgb_array", size
        return env
    one = gymnasium.wrappers.TimeLimit((game.drawn or game.make)(rules), spec.max_frames)
    pictured = Pictured(one, spec.name)
    return OneByOne([lambda: PolicyFrames(pictured, game.frames[spec.frame]) if spec.pictures and spec.frame else pictured])
