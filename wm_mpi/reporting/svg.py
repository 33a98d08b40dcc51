"""Charts as HTML: an SVG that stretches, with its labels as text around it, so that they keep their size on any screen.

Colours are classes of the page's style sheet, so a chart follows it into the dark and onto paper.
"""

import numpy as np
from markupsafe import Markup

from wm_mpi.reporting.charts import Axis, Chart, Mark
from wm_mpi.reporting.readout import readout

UNITS = 1000
"""The SVG's own width and height; what is drawn in it is stretched to the chart's size on the screen."""
LABEL = 1.3
"""Height of a label (rem), so that labels at the ends of lines can be kept apart."""


def draw(chart: Chart) -> Markup:
    """The chart as HTML, and the values that its script tells of it."""
    x, y = chart.x, chart.y
    grid = "".join(f"M0 {UNITS * (1 - place):.1f}H{UNITS}" for place in y.place(y.ticks))
    drawn = "".join(_draw(mark, x, y) for mark in chart.marks)
    texts = [_text("y", f"top:{100 * (1 - y.place(tick)):.2f}%", y.show(tick)) for tick in y.ticks]
    texts += [_text("x", f"left:{100 * x.place(tick):.2f}%", x.show(tick)) for tick in x.ticks]
    texts += [_text("top" if number else "top first", f"left:{100 * x.place(at):.2f}%", label)
              for number, (at, label) in enumerate(chart.top)]
    texts += [_text("titley", "", y.title), _text("titlex", "", x.title)]
    texts += [_text(f"rulelabel {mark.colour}{' left' if left else ''}", f"left:{100 * at:.2f}%;--line:{line}", mark.label)
              for line, at, left, mark in chart.heads()]
    texts += [_text(f"label {mark.colour}", f"top:{100 * place:.2f}%", mark.label)
              for place, mark in chart.ends(LABEL / chart.height)]
    kind = "chart" + " tall" * bool(chart.top) + " bare" * chart.bare
    opened = Markup('<div class="{}" role="img" aria-label="{}" style="--height:{:g}rem{}">')
    lines = Markup(f'<svg viewBox="0 0 {UNITS} {UNITS}" preserveAspectRatio="none" aria-hidden="true">'
                   f'<path class="grid" d="{grid}"/>{drawn}</svg>')
    above = f";--lines:{chart.lines_above}" if chart.lines_above else ""
    return (opened.format(kind, chart.said, chart.height, above) + lines + Markup().join(texts) + Markup("</div>")
            + readout(chart))


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


def _text(kind: str, style: str, text: str) -> Markup:
    return Markup('<span class="{}"{}>{}</span>').format(kind, Markup(' style="{}"').format(style) if style else "", text)
