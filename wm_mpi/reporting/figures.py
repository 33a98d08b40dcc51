"""The figures of a report but its learning curve: what a run has, over which axes, and what they show in words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.core.schema import Epoch, Evaluation
from wm_mpi.core.words import counted, percent, plural
from wm_mpi.envs import solved_at, told_of
from wm_mpi.evolution.scores import interval_in_words
from wm_mpi.reporting.charts import Axis, Chart, Colour, Figure, Kind, Mark, axis, compact
from wm_mpi.reporting.learning import LONG
from wm_mpi.reporting.run_data import Latents, RunData

ACTIVE = 0.01
"""A latent whose mu varies by more than this is in use (Burda, Grosse and Salakhutdinov, 2016)."""


def search(data: RunData) -> list[Figure]:
    """The step size and the condition number of the covariance over generations, where they were recorded."""
    found: list[Figure] = []
    kind: Kind = "line" if len(data.rows) < LONG else "thin"
    names: tuple[tuple[str, str, str, bool], ...] = (
        ("sigma", "step size sigma", "How far candidates lie from the mean, in units of C's weights, before the covariance "
         "stretches that", False),
        ("condition", "condition number", "The squared ratio of the longest to the shortest axis of the covariance, on a "
         "logarithmic scale", True))
    for name, title, said, log in names:
        rows: list[Any] = [row for row in data.rows if name in row]
        if not rows:
            continue
        values, at = [row[name] for row in rows], [row["generation"] for row in rows]
        x = axis(f"generation{' of this run' if data.frames_before else ''}", [at], compact, min(5, max(1, len(at) - 1)))
        chart = Chart([Mark(kind, "run", at, values)], x, axis(title, [values], compact, 4, log=log),
                      f"{title[0].upper()}{title[1:]} from {values[0]:.3g} to {values[-1]:.3g}.", height=10, bare=True)
        found.append(Figure(chart, f"{said}: from {values[0]:.3g} to {values[-1]:.3g}."))
    return found


def judgements(data: RunData) -> list[Figure]:
    """A histogram of the newest evaluation in each environment."""
    newest = {row["env"]["env_id"]: row for row in data.judged if len(row["returns"]) > 1}
    return [histogram(row, name) for name, row in newest.items()]


def histogram(row: Evaluation, name: str) -> Figure:
    """How often which return came, with the mean."""
    returns, mean = np.array(row["returns"]), row["mean"]
    edges = bins(returns)
    step = edges[1] - edges[0]
    counts = np.histogram(returns, edges)[0]
    x = axis("return (points)", [edges], compact)
    look = told_of(row["env"]["env"])
    episodes = counted(len(returns), f"test {look.episode}")
    y = axis(plural(look.episode), [counts], lambda value: f"{value:.0f}", int(min(5, counts.max() + 1)), floor=0)
    marks = [Mark("bars", "run", edges[:-1] + 0.04 * step, counts, low=edges[1:] - 0.04 * step, told=plural(look.episode),
                  at=[f"{low:g} to {high:g}" for low, high in zip(edges.round(6), edges.round(6)[1:], strict=False)]),
             Mark("rule", "check", mean, label=f"mean {mean:.0f}")]
    solved, _ = solved_at(row["env"]["env"]) or (np.inf, 0)
    if x.low < solved < x.high:
        marks.append(Mark("rule", "paper", solved, label=f"solved {solved:g}"))
    said = (f"Histogram of {counted(len(returns), 'return')} in {name}, from {returns.min():.0f} to {returns.max():.0f}, "
            f"mean {mean:.1f}.")
    lap = f" (lap at {percent(row['env']['lap_complete_percent'])} of tiles)" if look.laps else ""
    return Figure(Chart(marks, x, y, said, height=12, bare=True),
                  f"{name}{lap}: {mean:.1f} ± {row['std']:.1f} over {episodes}, "
                  f"95 % interval of the mean {interval_in_words(row)}", f"{episodes}, mean {mean:.1f}")


def bins(returns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Edges of a histogram at round values, as far apart as the middle half of the returns asks for (Freedman and Diaconis,
    1981): a few that are far off must not make one bar of all others.
    """
    low, high = np.quantile(returns, (0.25, 0.75))
    wide = max(float(returns.max() - returns.min()), 1e-9)
    wanted = wide * len(returns) ** (1 / 3) / (2 * max(float(high - low), 1e-9))
    ticks = axis("", [returns], compact, int(np.clip(wanted, 5, 60))).ticks
    step = ticks[1] - ticks[0]
    return np.arange(np.floor(returns.min() / step), np.floor(returns.max() / step) + 2) * step


def played(data: RunData) -> tuple[npt.NDArray[np.float64], str]:
    """Time played until the end of each generation, and its unit as an axis's title."""
    seconds = np.cumsum(data.column("seconds"))
    size, unit = (3600, "hours") if seconds[-1] > 7200 else (60, "minutes") if seconds[-1] > 120 else (1, "seconds")
    return seconds / size, f"{unit} played"


def speed(data: RunData) -> list[Figure]:
    """Frames per second, the workers' busy share and their number, over the time played."""
    time, unit = played(data)
    x = axis(unit, [time], compact, 4, floor=0)
    rate, busy, workers = (data.column(name) for name in ("frames_per_second", "busy_share", "workers"))
    lost = [time[generation - data.rows[0]["generation"]] for generation, _ in data.lost]
    fallen = [Mark("dots", "check", lost, np.interp(lost, time, workers), "lost")] if lost else []
    charts: tuple[tuple[npt.NDArray, Axis, list[Mark], str], ...] = (
        (rate, axis("frames per second", [rate], compact, 4, floor=0), [],
         f"Frames per second, {np.median(rate):,.0f} in the median."),
        (100 * busy, Axis("busy share of worker ranks (%)", 0, 104, compact, 4), [],
         f"Busy share of the workers, {np.median(busy):.0%} in the median."),
        (workers, axis("worker ranks", [workers], compact, min(4, int(workers.max()) + 1), floor=0), fallen,
         f"Worker ranks, {workers.min():.0f} to {workers.max():.0f}; {len(lost)} lost."))
    kind: Kind = "line" if len(time) < LONG else "thin"
    return [Figure(Chart([Mark(kind, "run", time, values), *more], x, y, said, height=10, bare=not more))
            for values, y, more, said in charts]


def latents(found: Latents) -> Figure:
    """What each of V's latents tells of a frame."""
    number = np.arange(len(found.kl))
    active = found.spread > ACTIVE
    x = Axis("latent", -0.5, len(number) - 0.5, lambda value: f"{value:.0f}", 4)
    y = axis("KL (nats)", [found.kl], compact, 4, floor=0)
    shades: tuple[tuple[Colour, str, npt.NDArray], ...] = (("run", "active", active), ("paper", "not active", ~active))
    marks = [Mark("bars", colour, number[some] - 0.4, found.kl[some], low=number[some] + 0.4, told=f"KL (nats), {state}",
                  at=[str(each) for each in number[some]])
             for colour, state, some in shades if some.any()]
    used = active.sum()
    said = (f"{used} of {counted(len(number), 'latent')} {'is' if used == 1 else 'are'} active; together they tell "
            f"{found.kl.sum():.1f} nats of a frame.")
    return Figure(Chart(marks, x, y, said, height=9, bare=True),
                  f"{said} Mean divergence from the standard normal over {counted(found.frames, 'frame')} of the data set; "
                  f"grey: the variance of its mean is at most {ACTIVE}.", whole=True)


def losses(rows: Sequence[Epoch], model: str, part: str, name_of_part: str) -> Figure:
    """A model's losses over epochs, in training and held out, and the training loss's main ``part``."""
    epochs = [row["epoch"] for row in rows]
    styles: dict[str, tuple[Kind, Colour, str]] = {
        part: ("dashed", "paper", name_of_part), "loss": ("line", "run", "training"),
        "val_loss": ("line", "check", "held out")}
    columns = {name: [row[name] for row in rows]  # type: ignore[literal-required]  # losses have names of their own
               for name in styles if all(name in row for row in rows)}
    x = axis("epoch", [epochs], compact, min(5, len(epochs)))
    y = axis("loss", list(columns.values()), compact, 4)
    marks = []
    for name, values in columns.items():
        kind, colour, label = styles[name]
        marks.append(Mark(kind, colour, epochs, values, label))
    ends = f"from {columns['loss'][0]:.4g} to {columns['loss'][-1]:.4g}"
    return Figure(Chart(marks, x, y, f"{model}'s losses over {counted(len(rows), 'epoch')}; training {ends}.", height=11),
                  f"{model}: the training loss went {ends} in {counted(len(rows), 'epoch')}"
                  + (f"; held out, it ends at {columns['val_loss'][-1]:.4g}." if "val_loss" in columns else ".")
                  + f" Dotted: the part of the training loss that comes from {name_of_part}.")
