"""Figures as data: what is drawn over which axes, and what it shows in words. ``svg`` and ``png_page`` draw them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Colour = Literal["run", "best", "check", "paper", "other1", "other2", "other3", "other4"]
OTHERS: tuple[Colour, ...] = ("other1", "other2", "other3", "other4")
"""Of runs that a run is compared with."""
Kind = Literal["line", "thin", "dashed", "dots", "band", "bars", "rule"]
LETTER = 0.028
"""Width of a label's letter, at most (as a share of a chart's width on a phone)."""
TURN = 0.6
"""From here on (as a share of the width), a rule's label stands at its left."""


class Mark(NamedTuple):
    """Something drawn: lines and dots through (x, y); a band from ``low`` to y; bars or a rule (vertical, at x[0])."""

    kind: Kind
    colour: Colour
    x: npt.ArrayLike
    y: npt.ArrayLike = ()
    label: str = ""
    low: npt.ArrayLike = ()
    """A band's lower edge; for bars their right edges, y being their heights."""
    told: str = ""
    """Its name where values are told, if it has no label, or another one there."""
    at: Sequence[str] = ()
    """What its places on x are called where values are told, if not by their numbers."""


class Axis(NamedTuple):
    """A range of values with round ticks."""

    title: str
    low: float
    high: float
    show: Callable[[float], str]
    """A tick's value as text."""
    about: int = 5
    """So many ticks, nearly."""
    log: bool = False
    """Whether equal steps are equal factors; values are above 0 then."""

    @property
    def ticks(self) -> list[float]:
        """Round values within the range, a step of 1, 2 or 5 times a power of ten apart; of a logarithmic axis powers of
        ten, and what is round between them where the range is short.
        """
        if self.log:
            lowest, highest = (math.floor(math.log10(each)) for each in (self.low, self.high))
            apart = max(1, round((highest - lowest) / self.about))
            for factors, powers in (((1,), apart), ((1, 3), 1), ((1, 2, 5), 1), ((1, 1.5, 2, 3, 5, 7), 1)):
                first = -(-lowest // powers) * powers
                found = [factor * 10.0**power for power in range(first, highest + 1, powers) for factor in factors]
                if len(found := [each for each in found if self.low <= each <= self.high]) > 2:
                    return found
        rough = (self.high - self.low) / self.about
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def place(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Values as shares of the range."""
        at, low, high = (np.asarray(each, np.float64) for each in (values, self.low, self.high))
        if self.log:
            at, low, high = np.log10(at), np.log10(low), np.log10(high)
        return (at - low) / (high - low)


def axis(title: str, values: Sequence[npt.ArrayLike], show: Callable[[float], str], about: int = 5,
         floor: float | None = None, log: bool = False) -> Axis:
    """An axis over all finite ``values`` with a little air; ``floor`` is where it begins, if not at the least value."""
    joined = np.concatenate([np.asarray(each, np.float64).ravel() for each in values] or [np.zeros(1)])
    joined = joined[np.isfinite(joined)]
    if log:
        low, high = (float(joined.min()), float(joined.max())) if len(joined) else (1.0, 10.0)
        air = max(1.02, (high / low) ** 0.04)
        return Axis(title, low / air, high * air, show, about, True)
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
    counted: tuple[str, npt.ArrayLike, npt.ArrayLike] | None = None
    """A second name for places on x, as the scale above has them: its title, places, and what they are there."""

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

    def heads(self) -> list[tuple[int, float, bool, Mark]]:
        """Labels of rules, which stand above the plot: line (from 0, the lowest), share of the width, whether it stands at
        the left of that, and the mark. Two share a line where they are far enough apart on a phone, too.
        """
        placed, lines = list[tuple[int, float, bool, Mark]](), list[list[tuple[float, float]]]()
        for mark in self.marks:
            if mark.kind != "rule" or not mark.label:
                continue
            at, wide = float(self.x.place(mark.x).ravel()[0]), LETTER * (len(mark.label) + 1)
            left = at > TURN
            span = (at - wide, at) if left else (at, at + wide)
            line = next((number for number, spans in enumerate(lines)
                         if all(span[1] <= low or high <= span[0] for low, high in spans)), len(lines))
            lines[line:line + 1] = [[*(lines[line] if line < len(lines) else ()), span]]
            placed.append((line, at, left, mark))
        return placed

    @property
    def lines_above(self) -> int:
        """Lines of labels above the plot."""
        return 1 + max((line for line, *_ in self.heads()), default=-1)


class Figure(NamedTuple):
    """A chart with what is said about it."""

    chart: Chart
    caption: str = ""
    title: str = ""
    """In a few words, where there is no room for the caption."""
    whole: bool = False
    """As wide as the page, also in a row."""
