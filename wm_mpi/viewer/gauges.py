"""What an action is shown as: bars of numbers, and cells of which one or several are lit."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from wm_mpi.core.controller import Control
from wm_mpi.envs import Look


class Gauge(NamedTuple):
    """A part of an action."""

    name: str
    low: float
    high: float
    """The range of its number."""
    words: tuple[str, ...] = ()
    """What it comes to: in each third of the range, or all that may be chosen."""
    kind: Literal["bar", "zones", "choice", "switches"] = "bar"
    """``bar`` is one number; ``zones`` is one that comes to one of three words; the others show a whole action, a number for
    each word."""

    def lit(self, action: Sequence[float]) -> list[bool]:
        """Which words an action, or the number of ``zones``, comes to."""
        if self.kind != "zones":
            return [value > 0.5 for value in action]
        third = (self.high - self.low) / 6
        return [action[0] < -third, -third <= action[0] <= third, action[0] > third]


def gauges_of(control: Control, look: Look) -> tuple[Gauge, ...]:
    """The gauges of a game's actions."""
    names = look.named(control.actions)
    if control.kind in ("choice", "switches"):
        return (Gauge("action", 0, 1, names, "choice" if control.kind == "choice" else "switches"),)
    if control.kind == "plain":
        return tuple(Gauge(name, -1, 1) for name in names)
    return tuple(Gauge(name, low, high, look.meanings, "zones" if look.meanings else "bar")
                 for name, low, high in zip(names, *control.bounds, strict=True))
