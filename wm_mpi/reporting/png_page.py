"""The report of a run as one picture: the page's figures, drawn by matplotlib, which is loaded when it is called."""

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from wm_mpi.core.files import atomic_path
from wm_mpi.reporting import figures
from wm_mpi.reporting.charts import Chart, Figure, Mark
from wm_mpi.reporting.learning import learning
from wm_mpi.reporting.run_data import RunData
from wm_mpi.reporting.summary import glance, headline, title

LABEL = 0.17
"""Height of a label (inches), so that labels at the ends of lines can be kept apart."""
LINE = 12
"""Height of a line of labels above a plot (points)."""
LINES: Mapping[str, dict[str, Any]] = {
    "line": {"linewidth": 1.8}, "thin": {"linewidth": 1.0}, "dashed": {"linewidth": 1.2, "linestyle": ":"},
    "dots": {"linestyle": "", "marker": "o", "markersize": 3.5}}
"""Kinds of marks that go through points, as report.css has them."""


def draw_poster(data: RunData, path: Path) -> None:
    """Write the picture as PNG, 1800 x 1200."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    colours = palette()
    with plt.rc_context(style(colours)):
        page = plt.figure(figsize=(12, 8), layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12))
        grid = page.add_gridspec(3, 3, height_ratios=(0.5, 2.4, 1.5))
        write_glance(page.add_subplot(grid[0, :]), data, colours)
        places = [grid[1, :], grid[2, 0], grid[2, 1], grid[2, 2]]
        for place, figure in zip(places, chosen(data), strict=True):
            axes = page.add_subplot(place)
            if figure is None:
                axes.set_axis_off()
            else:
                draw(axes, figure, colours)
        if data.verdict is None:
            axes.text(0, 0.5, "No evaluation yet", color=colours["soft"])
        with atomic_path(path) as temporary:
            page.savefig(temporary, format="png", dpi=150, facecolor="white")
        plt.close(page)


def chosen(data: RunData) -> list[Figure | None]:
    """Learning; two of speed; and the evaluation that counts: as far as there are any."""
    first = [*learning(data)[:1], *figures.speed(data)[:2]] if data.rows else [None] * 3
    verdict = data.verdict
    return [*first, None if verdict is None else figures.histogram(verdict, verdict["env"]["env_id"])]


def palette() -> dict[str, str]:
    """The colours of the page by name, in the light."""
    css = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    return dict(re.findall(r"--(\w+): (#\w+);", css[:css.index("@media")]))


def style(colours: Mapping[str, str]) -> dict[Any, Any]:
    """The page's look."""
    ink, soft, hair = (colours[name] for name in ("ink", "soft", "hair"))
    return {"font.size": 9, "text.color": ink, "axes.edgecolor": hair, "axes.labelcolor": soft, "xtick.color": soft,
            "ytick.color": soft, "axes.grid": True, "axes.grid.axis": "y", "grid.color": hair, "grid.linewidth": 0.7,
            "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
            "axes.spines.bottom": False, "xtick.major.size": 0, "ytick.major.size": 0, "axes.titlesize": 10,
            "axes.titlelocation": "left", "axes.titlecolor": ink}


def write_glance(axes: Any, data: RunData, colours: Mapping[str, str]) -> None:
    """Name of the run and its figures in a row."""
    axes.set_axis_off()
    axes.text(0, 1.75, title(data), fontsize=16, fontweight="bold", transform=axes.transAxes)
    axes.text(0, 1.35, headline(data), color=colours["soft"], transform=axes.transAxes)
    tiles = glance(data) if data.rows else [("", "no generation is finished yet", "")]
    small = 8 if len(tiles) < 10 else 7
    for number, (name, value, _) in enumerate(tiles):
        at = number / len(tiles)
        axes.text(at, 0, value, fontsize=14, fontweight="bold", transform=axes.transAxes)
        axes.text(at, 0.62, name, fontsize=small, color=colours["soft"], transform=axes.transAxes)


def draw(axes: Any, figure: Figure, colours: Mapping[str, str]) -> None:
    """A figure, its few words above it."""
    chart = figure.chart
    for mark in chart.marks:
        draw_mark(axes, mark, colours[mark.colour])
    axes.set(xscale="log" if chart.x.log else "linear", yscale="log" if chart.y.log else "linear",
             xlim=(chart.x.low, chart.x.high), ylim=(chart.y.low, chart.y.high), xlabel=chart.x.title,
             ylabel=chart.y.title if figure.title else "")
    above_plot = LINE * chart.lines_above
    axes.set_title(figure.title or chart.y.title, pad=6 if chart.top else 6 + above_plot)
    axes.minorticks_off()
    axes.set_xticks(chart.x.ticks, [chart.x.show(tick) for tick in chart.x.ticks])
    axes.set_yticks(chart.y.ticks, [chart.y.show(tick) for tick in chart.y.ticks])
    if chart.top:
        name, *ticks = chart.top
        above = axes.secondary_xaxis("top")
        above.set_xticks([at for at, _ in ticks], [label for _, label in ticks])
        above.set_xlabel(name[1])
        above.spines["top"].set_visible(False)
        above.tick_params(axis="x", pad=3 + above_plot)
    write_labels(axes, chart, colours)


def draw_mark(axes: Any, mark: Mark, colour: str) -> None:
    """One mark."""
    x, y, low = (np.asarray(each, np.float64) for each in (mark.x, mark.y, mark.low))
    if mark.kind == "rule":
        axes.axvline(x.ravel()[0], color=colour, linestyle="--", linewidth=1.4)
    elif mark.kind == "band":
        axes.fill_between(x, low, y, color=colour, alpha=0.16, linewidth=0)
    elif mark.kind == "bars":
        axes.bar(x, y, low - x, align="edge", color=colour, alpha=0.5)
    else:
        axes.plot(x, y, color=colour, **({"marker": "o", "markersize": 2} if len(x) == 1 else {}) | LINES[mark.kind])


def write_labels(axes: Any, chart: Chart, colours: Mapping[str, str]) -> None:
    """The marks' names, where the page has them."""
    height = axes.figure.get_figheight() * axes.get_position().height
    for place, mark in chart.ends(LABEL / height):
        axes.text(1.005, 1 - place, mark.label, color=colours[mark.colour], transform=axes.transAxes, va="center",
                  fontweight="bold")
    for line, at, left, mark in chart.heads():
        axes.annotate(mark.label, (at, 1), xycoords="axes fraction", xytext=(0, 2 + LINE * line), textcoords="offset points",
                      color=colours[mark.colour], ha="right" if left else "left", fontweight="bold")
