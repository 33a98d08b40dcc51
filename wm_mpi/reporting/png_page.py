"""The report of a run as one picture. The only user of matplotlib beside freeze's samples, and it loads it when called."""

from pathlib import Path
from typing import Any

import numpy as np

from wm_mpi.core.files import atomic_path
from wm_mpi.reporting.charts import compact
from wm_mpi.reporting.figures import bins, paper_until, played
from wm_mpi.reporting.html_page import glance, headline, title
from wm_mpi.reporting.run_data import RunData

RUN, BEST, CHECK, PAPER, INK, SOFT, HAIR = "#0a64a4", "#00714f", "#b04500", "#666d76", "#1b1f24", "#555d68", "#dcdfe3"
"""The colours of report.css, light."""
STYLE: dict[Any, Any] = {
    "font.size": 9, "text.color": INK, "axes.edgecolor": HAIR, "axes.labelcolor": SOFT, "xtick.color": SOFT,
    "ytick.color": SOFT, "axes.grid": True, "grid.color": HAIR, "grid.linewidth": 0.7, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "xtick.major.size": 0,
    "ytick.major.size": 0, "axes.titlesize": 10, "axes.titlelocation": "left", "axes.titlecolor": INK}


def draw_poster(data: RunData, path: Path) -> None:
    """Write the picture as PNG, 1800 x 1200."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(12, 8), layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12))
        grid = figure.add_gridspec(3, 3, height_ratios=(0.5, 2.4, 1.5))
        write_glance(figure.add_subplot(grid[0, :]), data)
        draw_learning(figure.add_subplot(grid[1, :]), data)
        draw_speed((figure.add_subplot(grid[2, 0]), figure.add_subplot(grid[2, 1])), data)
        draw_judgement(figure.add_subplot(grid[2, 2]), data)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150, facecolor="white")
        plt.close(figure)


def write_glance(axes: Any, data: RunData) -> None:
    """Name of the run and its figures in a row."""
    axes.set_axis_off()
    axes.text(0, 1.75, title(data), fontsize=16, fontweight="bold", transform=axes.transAxes)
    axes.text(0, 1.35, headline(data), color=SOFT, transform=axes.transAxes)
    tiles = glance(data) if data.rows else [("", "no generation is finished yet", "")]
    for number, (name, value, _) in enumerate(tiles):
        at = number / len(tiles)
        axes.text(at, 0, value, fontsize=14, fontweight="bold", transform=axes.transAxes)
        axes.text(at, 0.62, name, color=SOFT, transform=axes.transAxes)


def draw_learning(axes: Any, data: RunData) -> None:
    """Returns against frames, with the published curve at equal frames; generations above."""
    if not data.rows:
        axes.set_axis_off()
        return
    frames, mean, spread = (data.column(name) for name in ("frames_total", "return_mean", "return_std"))
    axes.fill_between(frames, mean - spread, mean + spread, color=RUN, alpha=0.15, linewidth=0)
    paper = paper_until(0 if data.toy else 1.04 * frames[-1])
    curves = [("best", frames, data.column("return_best"), BEST, 1.0), ("mean", frames, mean, RUN, 1.8),
              ("paper", paper["frames"], paper["mean"], PAPER, 1.0)]
    rows = data.validated
    curves.append(("validation", np.array([row["frames_total"] for row in rows]),
                   np.array([row["eval_mean"] for row in rows]), CHECK, 1.0))
    for name, x, y, colour, width in curves:
        if len(x):
            dots = name == "validation" or len(x) == 1
            axes.plot(x, y, color=colour, linewidth=width, label=name, marker="o" if dots else "", markersize=3.5)
    axes.legend(loc="lower right", frameon=False, labelcolor="linecolor", ncols=4)
    axes.set(xlabel="frames played in training", ylabel="return (points)", xlim=(0, 1.02 * frames[-1]),
             title=f"Learning: {data.rows[-1]['generation']:,} of {data.config['generations']:,} generations")
    axes.xaxis.set_major_formatter(lambda value, _: compact(value))


def draw_speed(pair: tuple[Any, Any], data: RunData) -> None:
    """Frames a second and busy share over the time played."""
    if not data.rows:
        for axes in pair:
            axes.set_axis_off()
        return
    time, unit = played(data)
    for axes, name, factor, caption in ((pair[0], "frames_per_second", 1, "Frames a second"),
                                       (pair[1], "busy_share", 100, "Busy share of worker ranks (%)")):
        axes.plot(time, factor * data.column(name), color=RUN, linewidth=1, marker="o" * (len(time) == 1))
        axes.set(title=caption, xlabel=unit, ylim=(0, 104 if factor == 100 else None), xlim=(0, None))
    pair[0].yaxis.set_major_formatter(lambda value, _: compact(value))


def draw_judgement(axes: Any, data: RunData) -> None:
    """Histogram of the evaluation that counts."""
    verdict = data.verdict
    if verdict is None:
        axes.set_axis_off()
        axes.text(0, 0.5, "No evaluation yet", color=SOFT)
        return
    axes.hist(verdict["returns"], bins=bins(np.array(verdict["returns"])), color=RUN, alpha=0.5, rwidth=0.92)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.axvline(verdict["mean"], color=CHECK, linestyle="--", linewidth=1.4)
    axes.set(xlabel="return (points)", ylabel="tracks",
             title=f"{len(verdict['returns'])} test tracks, mean {verdict['mean']:.1f}")
