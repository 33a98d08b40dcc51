"""Charts as HTML: an SVG that stretches, with its labels as text around it, so that they keep their size on any screen.

Colours are classes of the page's style sheet, so a chart follows it into the dark and onto paper.
"""

import html
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Colour = Literal["run", "best", "check", "paper"]
Kind = Literal["line", "thin", "dashed", "dots", "band", "bars", "rule"]

UNITS = 1000
"""The SVG's own width and height; what is drawn in it is stretched to the chart's size on the screen."""
LABEL = 1.3
"""Height of a label (rem), so that labels at the ends of lines can be kept apart."""


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


def chart(marks: Sequence[Mark], x: Axis, y: Axis, description: str, top: Sequence[tuple[float, str]] = (),
          height: float = 18.0, bare: bool = False) -> str:
    """A chart.

    Args:
        marks: what to draw, from back to front; those with a label carry it at their right end.
        x, y: the axes.
        description: what the chart shows, in words, for who cannot see it.
        top: ticks of a second scale above the chart, as (value on x, text); the first is its title.
        height: of the plot (rem).
        bare: no room for labels at the right.
    """
    grid = "".join(f"M0 {UNITS * (1 - place):.1f}H{UNITS}" for place in y.place(y.ticks))
    drawn = "".join(_draw(mark, x, y) for mark in marks)
    texts = [_text("y", f"top:{100 * (1 - y.place(tick)):.2f}%", y.show(tick)) for tick in y.ticks]
    texts += [_text("x", f"left:{100 * x.place(tick):.2f}%", x.show(tick)) for tick in x.ticks]
    texts += [_text("top" if number else "top first", f"left:{100 * x.place(at):.2f}%", label)
              for number, (at, label) in enumerate(top)]
    texts += [_text("titley", "", y.title), _text("titlex", "", x.title)]
    kind = "chart" + " tall" * bool(top) + " bare" * bare
    return (f'<div class="{kind}" role="img" aria-label="{html.escape(description)}" '
            f'style="--height:{height:g}rem"><svg viewBox="0 0 {UNITS} {UNITS}" preserveAspectRatio="none" '
            f'aria-hidden="true"><path class="grid" d="{grid}"/>{drawn}</svg>'
            + "".join(texts) + _labels(marks, x, y, height) + "</div>")


def _draw(mark: Mark, x: Axis, y: Axis) -> str:
    across = UNITS * np.clip(x.place(mark.x), 0, 1)
    if mark.kind == "rule":
        return f'<path class="rule {mark.colour}" d="M{across.ravel()[0]:.1f} 0V{UNITS}"/>'
    down = UNITS * (1 - np.clip(y.place(mark.y), 0, 1))
    if not len(across):
        return ""
    points = [f"{right:.1f} {under:.1f}" for right, under in zip(across, down, strict=True)]
    if mark.kind == "bars":
        ends = UNITS * np.clip(x.place(mark.low), 0, 1)
        path = "".join(f"M{left:.1f} {UNITS}V{under:.1f}H{right:.1f}V{UNITS}Z"
                       for left, right, under in zip(across, ends, down, strict=True))
    elif mark.kind == "dots":
        path = "".join(f"M{point}h0" for point in points)
    elif mark.kind == "band":
        under = UNITS * (1 - np.clip(y.place(mark.low), 0, 1))
        back = [f"{right:.1f} {low:.1f}" for right, low in zip(across[::-1], under[::-1], strict=True)]
        path = "M" + "L".join(points + back) + "Z"
    else:
        path = "M" + "L".join(points) + ("h0" if len(points) == 1 else "")
    return f'<path class="{mark.kind} {mark.colour}" d="{path}"/>'


def _labels(marks: Sequence[Mark], x: Axis, y: Axis, height: float) -> str:
    """The marks' names: beside the right end of a line, in its colour and moved apart; above a rule."""
    wanted: dict[str, tuple[float, Mark]] = {}
    rules = ""
    for mark in marks:
        if mark.label and mark.kind == "rule":
            place = float(x.place(mark.x).ravel()[0])
            side = " left" if place > 0.6 else ""
            rules += _text(f"rulelabel {mark.colour}{side}", f"left:{100 * place:.2f}%", mark.label)
        elif mark.label and np.size(mark.y):
            wanted[mark.label] = (100 * float(1 - np.clip(y.place(mark.y)[-1], 0, 1)), mark)
    gap, places = 100 * LABEL / height, list[float]()
    ordered = sorted(wanted.values(), key=lambda each: each[0])
    for place, _ in ordered:
        places.append(max(place, places[-1] + gap) if places else place)
    for number in reversed(range(len(places))):
        places[number] = min(places[number], 100 - gap * (len(places) - 1 - number))
    return rules + "".join(_text(f"label {mark.colour}", f"top:{place:.2f}%", mark.label)
                           for place, (_, mark) in zip(places, ordered, strict=True))


def _text(kind: str, style: str, text: str) -> str:
    return f'<span class="{kind}"{f" style={chr(34)}{style}{chr(34)}" if style else ""}>{html.escape(text)}</span>'
