"""The values of a chart's points as JSON: what report.js tells of the place that is pointed at."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from wm_mpi.reporting.charts import Chart, Mark

MOST = 400
"""Points told of a curve, evenly chosen from longer ones: on a wide screen they lie two pixels apart."""


def readout(chart: Chart) -> Markup:
    """The values as an element of the page; nothing where there are none."""
    told = values(chart)
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return Markup(f'<script type="application/json" class="points">{text}</script>') if told["series"] else Markup("")


def values(chart: Chart) -> dict[str, Any]:
    """What a chart shows as numbers.

    ``x`` and ``y`` are the axes: title, ends, whether logarithmic. ``places`` are lists of places on x, ``series`` what has
    values there: name, colour, which of the places (or that it is the same everywhere), values, the lower ones of bands, and
    what the places are called.
    """
    places, series = list[list[float]](), list[dict[str, Any]]()
    for mark in reversed(chart.marks):  # from front to back
        if mark.kind == "rule" or not np.size(mark.y) or not (name := told_as(chart, mark)):
            continue
        x, y = np.asarray(mark.x, np.float64), np.asarray(mark.y, np.float64)
        one: dict[str, Any] = {"name": name, "colour": mark.colour}
        if mark.kind == "dashed" and len(y) == 2 and y[0] == y[1]:  # a line to compare with, right across
            series.append(one | {"y": rounded(y[:1])})
            continue
        some = chosen(len(x))
        middles = (x + np.asarray(mark.low, np.float64)) / 2 if mark.kind == "bars" else x
        if (there := rounded(middles[some])) not in places:
            places.append(there)
        one |= {"places": places.index(there), "y": rounded(y[some])}
        if mark.kind == "band":
            one["low"] = rounded(np.asarray(mark.low, np.float64)[some])
        if mark.at:
            one["at"] = [mark.at[number] for number in some]
        series.append(one)
    found: dict[str, Any] = {"x": ends(chart, "x"), "y": ends(chart, "y"), "places": places, "series": series}
    if chart.counted is not None:
        title, at, numbers = chart.counted
        some = chosen(np.size(at))
        found["counted"] = [title, places.index(rounded(np.asarray(at, np.float64)[some])),
                            rounded(np.asarray(numbers, np.float64)[some])]
    return found


def told_as(chart: Chart, mark: Mark) -> str:
    """A mark's name; that of the axis where there is one only. None: it is drawn for the look of it."""
    alone = sum(each.kind != "rule" for each in chart.marks) == 1
    return mark.told or mark.label or (chart.y.title if alone else "")


def ends(chart: Chart, name: str) -> list[Any]:
    """An axis: title, least and greatest value, and 1 where it is logarithmic."""
    axis = chart.x if name == "x" else chart.y
    return [axis.title, axis.low, axis.high, int(axis.log)]


def chosen(length: int) -> npt.NDArray[np.int64]:
    """Which points of so many are told."""
    return np.unique(np.linspace(0, length - 1, min(length, MOST)).round().astype(np.int64))


def rounded(numbers: npt.NDArray[np.float64] | Sequence[float]) -> list[float]:
    """Numbers as they are told: integers as they are, others with a digit behind the point, or four that count."""
    return [int(each) if each == round(each) else round(float(each), 1) if abs(each) >= 100 else float(f"{each:.4g}")
            for each in np.asarray(numbers, np.float64)]
