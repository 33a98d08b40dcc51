"""What controllers of dreams of several temperatures score there and in the real game: as text and as a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wm_mpi.core.files import atomic_path
from wm_mpi.evolution.scores import interval_in_words
from wm_mpi.reporting.charts import Chart, Colour, Figure, Mark, axis, compact
from wm_mpi.reporting.png_page import draw, palette, style

Row = dict[str, Any]
"""A temperature with the verdicts on its champion: "temperature", "dream" and "real"."""


class Published(NamedTuple):
    """A row of somebody else's table."""

    temperature: float
    dream: float
    real: float


PUBLISHED = {"doom": tuple(Published(*row) for row in (
    (0.1, 2086, 193), (0.5, 2060, 196), (1.0, 1145, 868), (1.15, 918, 1092), (1.3, 732, 753)))}
"""Mean scores by game. Doom: Ha and Schmidhuber (2018), table 2, 100 episodes each."""


def describe(rows: Sequence[Row]) -> str:
    """The table as text, a line for each temperature."""
    lines = [f"{'temperature':>11}  {'score in the dream':>18}  {'real score':>18}  95 % interval of the real mean"]
    for row in rows:
        dream, real = (f"{verdict['mean']:.0f} ± {verdict['std']:.0f}" for verdict in (row["dream"], row["real"]))
        lines.append(f"{row['temperature']:>11.2f}  {dream:>18}  {real:>18}  {interval_in_words(row['real'])}")
    return "\n".join(lines)


def markdown(rows: Sequence[Row], game: str) -> str:
    """The table for a model card, beside what was published of the same game."""
    paper = {row.temperature: row for row in PUBLISHED.get(game, ())}
    columns = ["temperature", "in the dream", "real game", "95 % interval of the real mean", "episodes"]
    columns += ["published: in the dream", "real game"] if paper else []
    lines = [f"| {' | '.join(columns)} |", "|" + "---:|" * len(columns)]
    for row in rows:
        scores = (f"{row[where]['mean']:.0f} ± {row[where]['std']:.0f}" for where in ("dream", "real"))
        cells = [f"{row['temperature']:g}", *scores, interval_in_words(row["real"]), f"{len(row['real']['tracks'])}"]
        theirs = paper.get(row["temperature"])
        cells += [f"{theirs.dream:.0f}", f"{theirs.real:.0f}"] if theirs else ["", ""] if paper else []
        lines.append(f"| {' | '.join(cells)} |")
    said = "A C for each temperature, each trained in the dream alone and judged there and in the real game."
    return "\n".join(["## Temperature of the dream", said, "", *lines]) + "\n"


def figure(rows: Sequence[Row], game: str) -> Figure:
    """Scores against temperature, with bands of their intervals, and what was published of the same game."""
    rows = sorted(rows, key=lambda row: float(row["temperature"]))
    at = [row["temperature"] for row in rows]
    paper = PUBLISHED.get(game, ())
    marks, values = list[Mark](), list[Any]([0.0])
    places: tuple[tuple[str, Colour, str], ...] = (("dream", "paper", "in the dream"), ("real", "run", "real game"))
    for where, colour, label in places:
        means = [row[where]["mean"] for row in rows]
        low, high = zip(*(row[where]["interval"] or (row[where]["mean"],) * 2 for row in rows), strict=True)
        theirs = [getattr(row, where) for row in paper]
        marks += [Mark("band", colour, at, high, low=low), Mark("line", colour, at, means, label),
                  Mark("dots", colour, at, means)]
        if paper:
            marks.append(Mark("dashed", colour, [row.temperature for row in paper], theirs, f"{label}, published"))
        values += [low, high, theirs]
    x = axis("temperature of the dream", [at, [row.temperature for row in paper]], lambda value: f"{value:g}", 8)
    y = axis("mean score", values, compact, 6, floor=0)
    best = max(rows, key=lambda row: float(row["real"]["mean"]))
    said = (f"Mean scores of controllers that were trained in dreams at temperatures {at[0]:g} to {at[-1]:g}: the best real "
            f"score is {best['real']['mean']:.0f}, at {best['temperature']:g}.")
    return Figure(Chart(marks, x, y, said), title="Trained in a dream, judged in the dream and in the real game")


def draw_picture(rows: Sequence[Row], game: str, path: Path) -> None:
    """Write the figure as PNG, 1500 x 800."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    colours = palette()
    with plt.rc_context(style(colours)):
        page = plt.figure(figsize=(10, 16 / 3), layout="constrained")
        draw(page.add_subplot(), figure(rows, game), colours)
        with atomic_path(path) as temporary:
            page.savefig(temporary, format="png", dpi=150, facecolor="white")
        plt.close(page)
