"""What a visitor may ask for: one JSON object a message, with any of the fields of ``Wishes``."""

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any, Literal

MESSAGE_BYTES = 1024
"""A longer message is no wish."""
MOST_BENDS = 32
"""Numbers of z that one message may set (count)."""


@dataclasses.dataclass
class Wishes:
    """What a visitor wants, as of the last message. Fields not named in a message keep their values."""

    driver: Literal["champion", "visitor"] = "champion"
    place: Literal["road", "dream"] = "road"
    paused: bool = False
    speed: float = 1.0
    """In units of the game's own frames per second (CarRacing's 50)."""
    track: int = 0
    """``reset(seed=track)``; setting it begins an episode."""
    generation: int = 0
    """Whose mean plays, of those that the run keeps; 0: the champion."""
    temperature: float = 1.0
    """Of M's mixture, in a dream."""
    wheel: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Where the visitor's keys pull steer, gas and brake; of games with fewer keys the first count."""
    drawn: int = 0
    """Pictures that the visitor's page has drawn so far: what keeps a slow one from drowning."""
    step: bool = False
    """Advance one frame, although paused; falls back to False."""
    restart: bool = False
    """Begin an episode; falls back to False."""
    imagine: bool = False
    """See how M alone goes on from here, in the place of what it expects of each frame; falls back with a new episode."""
    branch: bool = False
    """See what would come if other things were done from here; falls back to False."""
    latents: dict[int, float] = dataclasses.field(default_factory=dict)
    """In a dream, numbers of z to dream instead, by their places; falls back to none."""


def one_of(*allowed: str) -> Callable[[Any], Any]:
    """A check for one of these words."""
    def check(value: Any) -> Any:
        if value not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return value
    return check


def number(low: float, high: float) -> Callable[[Any], float]:
    """A check for a number in a range."""
    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return float(value)
    return check


def whole(high: int) -> Callable[[Any], int]:
    """A check for an integer from 0 to ``high``."""
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
            raise ValueError(f"an integer from 0 to {high}")
        return value
    return check


def truth(value: Any) -> bool:
    """A check for true or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def pulls(value: Any) -> tuple[float, ...]:
    """A check for [steer, gas, brake]."""
    bounds = (-1, 1), (0, 1), (0, 1)
    if not isinstance(value, list) or len(value) != len(bounds):
        raise ValueError("[steer, gas, brake]")
    return tuple(number(low, high)(each) for each, (low, high) in zip(value, bounds, strict=True))


def bends(value: Any) -> dict[int, float]:
    """A check for {"place": number, ...}, as JSON has it."""
    fits = isinstance(value, dict) and len(value) <= MOST_BENDS and all(each.isdecimal() and len(each) < 5 for each in value)
    if not fits:
        raise ValueError('{"place in z": number, ...}')
    return {int(place): number(-10, 10)(each) for place, each in value.items()}


CHECKS: dict[str, Callable[[Any], Any]] = {
    "driver": one_of("champion", "visitor"), "place": one_of("road", "dream"), "paused": truth, "speed": number(0.1, 8),
    "track": whole(2**31 - 1), "generation": whole(2**31 - 1), "temperature": number(0.05, 2), "wheel": pulls,
    "drawn": whole(2**53), "step": truth, "restart": truth, "imagine": truth, "branch": truth,
    "latents": bends}


def read(message: str | bytes) -> dict[str, Any]:
    """The fields that a message sets.

    Raises:
        ValueError: it is not such an object; the text is a sentence for whoever wrote the client.
    """
    try:
        wanted = json.loads(message, parse_constant=lambda _: math.nan)
    except (ValueError, RecursionError):
        raise ValueError("a message is one JSON object") from None
    if not isinstance(wanted, dict):
        raise ValueError("a message is one JSON object")
    fields = {}
    for name, value in wanted.items():
        if name not in CHECKS:
            raise ValueError(f"there is no field {name[:20]!r}: there are {', '.join(CHECKS)}")
        try:
            fields[name] = CHECKS[name](value)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name} must be {error}") from None
    return fields
