"""Values that options may have, and the sentence on those that they may not."""

import dataclasses
import math
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from wm_mpi.core.config import EsConfig, RnnConfig, TemperaturesConfig, WatchConfig
from wm_mpi.core.errors import UserError
from wm_mpi.core.options import AUTO, Command, flag


def check(config: Command) -> None:
    """Refuse values outside their range.

    Raises:
        UserError: names the flag, the value and the bound.
    """
    least = {"episodes": 1, "max_frames": 1, "width": 1, "popsize": 3, "generations": 1, "eval_every": 1, "epochs": 1,
             "eval_episodes": 1, "test_episodes": 1, "stuck_frames": 0, "seed": 0, "batch_size": 1, "steps": 0,
             "steps_per_epoch": 1, "sequence": 2, "parts": 1, "serve": 0, "devices": 1, "shard_episodes": 1,
             "buffer_frames": 1, "kl_tolerance": 0, "exploration": 0, "films": 0, "hidden": 1, "latents": 1, "bar_weight": 0,
             "longest_held": 1, "components": 1, "momentum": 0, "weight_decay": 0, "restarts": 0, "steps_per_call": 1}
    for name, bound in least.items():
        value = getattr(config, name, None)
        for each in value if isinstance(value, tuple) else () if value is None else (value,):
            if each < bound:
                raise UserError(f"{flag(name)} is {each}, but must be at least {bound}")
    for name, bound in {"seed": 2**32 - 1, "serve": 2**16 - 1, "weight_decay": 1, "restarts": 10}.items():
        value = getattr(config, name, None)
        if value is not None and value > bound:
            raise UserError(f"{flag(name)} is {value}, but must be at most {bound}")
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{flag(name)} is {value}, but must be a finite number")
        if value == "":
            raise UserError(f"{flag(name)} is empty: give it a name, or leave it out")
    for name, most, within in (*((name, math.inf, "finite") for name in POSITIVE), ("mix_share", 1.0, "below 1"),
                               ("validation", 1.0, "below 1"), ("lap_complete_percent", 1.0, "at most 1"),
                               ("sigma_decay", 1.0, "at most 1"), ("elite_share", 1.0, "at most 1")):
        value = getattr(config, name, None)
        allowed = value is None or 0 < value < most or (value == most and within == "at most 1")
        if not allowed:
            raise UserError(f"{flag(name)} is {value}, but must be above 0 and {within}")
    env = getattr(config, "env", None)
    if env is not None and env not in (AUTO, *BUILT_IN) and not re.search(r"-v\d+$|^[\w.]+:\w+$", env):
        raise UserError(f"--env is {env}, but must be one of carracing, {', '.join(BUILT_IN[1:])}, an id of Gymnasium with "
                        "its version, such as LunarLander-v3, or package.module:Class")
    if config.quiet and config.verbose:
        raise UserError("--quiet and --verbose cannot both be had: give one of them")
    if isinstance(config, EsConfig):
        check_strategy(config)
    if isinstance(config, WatchConfig):
        check_proxy(config)
    if isinstance(config, TemperaturesConfig):
        check_temperatures(config.temperatures)
    if isinstance(config, RnnConfig) and config.steps % config.steps_per_epoch:
        raise UserError(f"--steps is {config.steps}, but must be a multiple of --steps-per-epoch, {config.steps_per_epoch}")


POSITIVE = ("sigma", "learning_rate", "last_learning_rate", "temperature", "seconds")
"""Options that must be above 0."""
PAIRED = ("openes", "pgpe")
"""Strategies whose candidates are pairs."""
BUILT_IN = ("fast", "gymnasium", "gym", "doom", "dream", "toy")
"""Games that --env names without more ado; ``fast`` is what carracing is recorded as."""


def check_strategy(config: EsConfig) -> None:
    """Refuse options of other strategies than the one that is chosen, and what that one cannot do.

    Raises:
        UserError: names the flag, the value and what is wanted.
    """
    for each in dataclasses.fields(config):
        takers = each.metadata.get("strategies", (config.strategy,))
        if config.strategy not in takers and getattr(config, each.name) is not None:
            raise UserError(f"{flag(each.name)} is for --strategy {' or '.join(takers)}, not for "
                            f"{config.strategy}: leave it out")
    if config.strategy in PAIRED and config.popsize % 2:
        raise UserError(f"--popsize is {config.popsize}, but must be even: {config.strategy} plays antithetic pairs")
    if config.components is not None and config.hidden:
        raise UserError("--components is for a linear C: give it or --hidden, not both")
    if config.momentum is not None and config.momentum >= 1:
        raise UserError(f"--momentum is {config.momentum}, but must be below 1")


def check_temperatures(temperatures: Sequence[float]) -> None:
    """Refuse what no dream can have, and the same one twice.

    Raises:
        UserError: names the value.
    """
    for value in temperatures:
        if not 0 < value < math.inf:
            raise UserError(f"--temperatures has {value}, but each must be above 0 and finite")
    if not temperatures or len(set(temperatures)) < len(temperatures):
        raise UserError("--temperatures takes one or more, each of them once: 0.5 1.0 1.15, say")


def check_proxy(config: WatchConfig) -> None:
    """Refuse what no browser or proxy sends.

    Raises:
        UserError: names the flag, the value and what is wanted.
    """
    for url in config.origin:
        if origin_of(url) is None:
            raise UserError(f"--origin is {url}, but must be http or https and a host, https://watch.example.org say, with "
                            "the port if the browser shows one")
    if not re.fullmatch(r"(/[\w.~%:@!$&'()*+,;=-]+)*/?", config.prefix):
        raise UserError(f"--prefix is {config.prefix}, but must be the path of a URL, /proxy/absolute/8000/ say")


def origin_of(url: str) -> str | None:
    """A URL's scheme, host and port as browsers write them in an Origin header; None where it is more or less."""
    try:
        parts = urlsplit(url.rstrip("/"))
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    bare = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}"
    named = bare if port is None else f"{bare}:{port}"
    if parts.scheme not in ("http", "https") or not host.isascii() or not host or named != url.rstrip("/").lower():
        return None
    return bare if port == {"http": 80, "https": 443}[parts.scheme] else named
