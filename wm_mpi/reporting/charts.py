"""Figures as data: what is drawn over which axes, and what it shows in words. ``svg`` and ``png_page`` draw them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Colour = Literal["run", "best", "check", "paper"]
Kind = Literal["line", "thin", "dashed", "dots", "band", "bars", "rule"]

class Mark(NamedTuple):
    """Something drawn: lines and dots through (x, y); a band from ``low`` to y; bars or a rule (vertical, at x[0])."""

    kind: Kind
    colour: Colour
    x: npt.ArrayLike
    y: npt.ArrayLike = ()
    label: str = ""
    low: npt.ArrayLike = ()
    """A band's lower edge; for bars their right edges, y being their heights."""


class Axis(NamedTuple):
    """A range of values with round ticks."""

    title: str
    low: float
    high: float
    show: Callable[[float], str]
    """A tick's value as text."""
    about: int = 5
    """So many ticks, nearly."""

    @property
    def ticks(self) -> list[float]:
        """Round values within the range, a step of 1, 2 or 5 times a power of ten apart."""
        rough = (self.high - self.low) / self.about
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def place(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Values as shares of the range."""
        return (np.asarray(values, np.float64) - self.low) / (self.high - self.low)


def axis(title: str, values: Sequence[npt.ArrayLike], show: Callable[[float], str], about: int = 5,
         floor: float | None = None) -> Axis:
    """An axis over all finite ``values`` with a little air; ``floor`` is where it begins, if not at the least value."""
    joined = np.concatenate([np.asarray(each, np.float64).ravel() for each in values] or [np.zeros(1)])
    joined = joined[np.isfinite(joined)]
    low, high = (float(joined.min()), float(joined.max())) if len(joined) else (0.0, 1.0)
    low = low if floor is None else floor
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = (low - 1, high + 1) if floor is None else (low, low + 1)
    air = 0.04 * (high - low)
    return Axis(title, low - air if floor is None else low, high + air, show, about)


def compact(value: float) -> str:
    """A number for a tick: 950, 1.5k, 20M, 1,500M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9999:
            scaled = value / size
            return (f"{scaled:,.0f}" if abs(scaled) >= 1000 else f"{scaled:.4g}").replace("-", "−") + unit
    return f"{value:.3g}".replace("-", "−")


@dataclass(frozen=True)
class Chart:
    """Marks over two axes."""

    marks: Sequence[Mark]
    """From back to front; those with a label carry it at their right end."""
    x: Axis
    y: Axis
    said: str
    """What it shows, in words, for who cannot see it."""
    top: Sequence[tuple[float, str]] = ()
    """Ticks of a second scale above, as (value on x, text); the first is its title."""
    height: float = 18.0
    """Of the plot, where it is as wide as the page (times the height of text)."""
    bare: bool = False
    """No room for labels at the right."""

    def ends(self, gap: float) -> list[tuple[float, Mark]]:
        """Where lines end whose names are to stand there: shares of the height from above, moved ``gap`` apart."""
        wanted = {mark.label: (float(1 - np.clip(self.y.place(mark.y)[-1], 0, 1)), mark) for mark in self.marks
                  if mark.label and mark.kind != "rule" and np.size(mark.y)}
        ordered = sorted(wanted.values(), key=lambda each: each[0])
        places = list[float]()
        for place, _ in ordered:
            places.append(max(place, places[-1] + gap) if places else place)
        for number in reversed(range(len(places))):
            places[number] = min(places[number], 1 - gap * (len(places) - 1 - number))
        return [(place, mark) for place, (_, mark) in zip(places, ordered, strict=True)]


class Figure(NamedTuple):
    """A chart with what is said about it."""

    chart: Chart
    caption: str = ""
    title: str = ""
    """In a few words, where there is no room for the caption."""
    whole: bool = False
    """As wide as the page, also in a row."""
