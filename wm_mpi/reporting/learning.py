"""The learning curve of a run, beside those of others: the published one, and runs that it is compared with."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from wm_mpi.core.schema import Generation
from wm_mpi.core.words import counted
from wm_mpi.evolution.published import published, scores_of
from wm_mpi.reporting.charts import OTHERS, Axis, Chart, Figure, Mark, axis, compact
from wm_mpi.reporting.comparison import names
from wm_mpi.reporting.run_data import RunData
from wm_mpi.reporting.summary import title

LONG = 100
"""From so many generations on, the steep beginning hides what comes later."""
FEWEST = 10
"""Generations of the published run that must lie within a run's frames to be drawn beside it: the first ones stand still at
the bottom, whatever they are compared with.
"""
WORDS = ("violet", "red", "olive", "teal")
"""The colours of other runs in words."""




def smooth(values: npt.NDArray[np.float64], window: int) -> npt.NDArray[np.float64]:
    """Running means over ``window`` values, shorter at the ends; NaN where there is no value."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    first, last = np.maximum(at - window // 2, 0), np.minimum(at + window // 2 + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def paper_until(frames: float) -> dict[str, npt.NDArray[np.float64]]:
    """The published curve up to so many frames."""
    paper = published()
    return {name: column[paper["frames"] <= frames] for name, column in paper.items()}


def learning(data: RunData) -> list[Figure]:
    """Returns against frames and generations with the curves to compare with; for a long run also a close-up of its later
    part.

    The runs that this one began with come before it.
    """
    heading = (f"Learning: {data.rows[-1]['generation']:,} of "
               f"{counted(data.config['generations'], 'generation')}")
    data = replace(data, rows=data.lived, others=tuple(replace(each, rows=each.lived) for each in data.others))
    paper, about_it = reference(data)
    said = " ".join(filter(None, (explained(data), about_it, compared_with(data))))
    whole = Figure(returns(data, paper, 0), said, heading)
    if len(data.rows) < LONG:
        return [whole]
    return [whole, Figure(returns(data, paper, len(data.rows) // 4),
                          "The same from the end of the first quarter on, at a larger scale"
                          + (f"; lines are running means over {window(data)} generations." if window(data) > 1 else "."))]


def reference(data: RunData) -> tuple[dict[str, npt.NDArray[np.float64]], str]:
    """The published curve as far as it is drawn, and what is said of it; no curve where it is none to compare with."""
    nothing = paper_until(0)
    if not data.compared:
        return nothing, ""
    own = 1.04 * data.rows[-1]["frames_total"]
    if (points := len(paper_until(own)["frames"])) < FEWEST:
        frames = published()["frames"]
        return nothing, (
            f"The published run of the paper's authors is left out: its first generation alone took {frames[0] / 1e6:.1f} "
            f"million frames, so that {'none' if points == 0 else f'only {points}'} of its generations "
            f"{'lies' if points == 1 else 'lie'} within these, and below {FEWEST} ({frames[FEWEST - 1] / 1e6:.1f} million "
            "frames) there is no curve to compare with.")
    return paper_until(max([own, *(each.rows[-1]["frames_total"] for each in data.others)])), (
        "Grey: the run that the paper's authors published, at equal frames (dots: their validation over 1,024 episodes, in "
        "CarRacing-v0, whose lap ends at all tiles).")


def compared_with(data: RunData) -> str:
    """Which colours the other runs have."""
    if not data.others:
        return ""
    which = "; ".join(f"{colour} {title(each)}" + (", in the real game" if each.dreamt else "")
                      for colour, each in zip(WORDS, data.others, strict=False))
    return (f"Compared with, line: mean of the population, dots: mean solution on validation {data.look.episode}s: {which}.")


def explained(data: RunData) -> str:
    """What the colours of a learning curve stand for."""
    spread = "with a band of one standard deviation between candidates."
    episodes = f"validation {data.look.episode}s, which choose the champion."
    if not data.dreamt:
        said = f"Blue: mean of the population, {spread} Green: its best candidate. Orange: the mean solution on {episodes}"
    elif not data.real:
        said = (f"All in M's dream. Blue: mean of the population, {spread} Green: its best candidate. Orange: the mean "
                f"solution on {episodes}")
    else:
        said = (f"Blue: mean of the population in M's dream, {spread} Green: its best candidate there. Orange: the mean "
                f"solution in the real game, on {episodes} Where blue rises and orange does not, C cheats its dream.")
    if data.frames_before:
        said += (f" The first {data.frames_before / 1e6:.1f} million frames are of the runs that this one began with, up to "
                 "the dashed line.")
    lines = references(data)
    if lines:
        said += f" Grey, dotted: {'; '.join(words for _, _, words in lines)}; all in the real game."
    return said


def references(data: RunData) -> list[tuple[str, float, str]]:
    """Returns to compare those of the real game with, where there is no published curve: label, value (points), words."""
    if data.compared:
        return []
    solved = data.solved
    lines = [] if solved is None else [("solved", solved, f"what counts as solved, {solved:g}")]
    return lines + [(each.label, each.mean, f"{each.what}, {each.mean:g} ± {each.std:g}")
                    for each in scores_of(data.game)]


def window(data: RunData) -> int:
    """Over how many generations the close-up is smoothed: an odd number."""
    return 2 * (len(data.rows) // 200) + 1


def returns(data: RunData, paper: dict[str, npt.NDArray[np.float64]], first: int) -> Chart:
    """The learning curve from row ``first`` on: frames below, generations above, the published curve at equal frames."""
    frames, mean, spread, best = (
        data.column(name)[first:] for name in ("frames_total", "return_mean", "return_std", "return_best"))
    validated = [row for row in data.validated if row["frames_total"] >= frames[0]]
    at, judged = [row["frames_total"] for row in validated], [row["eval_mean"] for row in validated]
    paper = {name: column[paper["frames"] >= frames[0] * bool(first)] for name, column in paper.items()}
    if first:
        mean, spread, best, paper["mean"] = (smooth(each, window(data)) for each in (mean, spread, best, paper["mean"]))
    checked = np.isfinite(paper["validation"])
    others = beside(data, float(frames[0]) if first else 0.0)
    x = axis("frames played in training", [frames, *(mark.x for mark in others)], compact,
             floor=frames[0] if first else 0)
    y = axis("return (points)", [mean - spread, mean + spread, best, judged, paper["mean"], *(mark.y for mark in others),
                                 [value for _, value, _ in references(data)]], compact, 6)
    called = ("dream mean", "dream best", "real game") if data.real else ("mean", "best", "validation")
    marks = [*(Mark("dashed", "paper", [x.low, x.high], [value, value], label) for label, value, _ in references(data)),
             Mark("band", "run", frames, mean + spread, low=mean - spread, told="mean ± std"),
             Mark("thin", "paper", paper["frames"], paper["mean"], "paper"),
             Mark("dots", "paper", paper["frames"][checked], paper["validation"][checked], told="paper, validation"),
             *others,
             Mark("thin", "best", frames, best, called[1]), Mark("line", "run", frames, mean, called[0]),
             Mark("thin", "check", at, judged), Mark("dots", "check", at, judged, called[2])]
    if data.frames_before > x.low:
        marks.append(Mark("rule", "paper", data.frames_before, label="this run"))
    rows = data.rows[first:]
    where, there = " in M's dream" * data.dreamt, " in the real game" * data.real
    said = (f"Returns in generations {rows[0]['generation']} to {rows[-1]['generation']}: the population's mean{where} went "
            f"from {mean[0]:.0f} to {mean[-1]:.0f}, its best candidate from {best[0]:.0f} to {best[-1]:.0f}"
            + (f"; the best validation mean{there} is {max(judged):.0f}" if judged else "; no validation so far")
            + "".join(f"; beside it {name}" for name in names(data)) + ".")
    return Chart(marks, x, y, said, generation_ticks(rows), 22,
                 counted=("generation", frames, [row["generation"] for row in rows]))


def beside(data: RunData, since: float) -> list[Mark]:
    """The curves of other runs from so many frames on, those of a close-up smoothed: the population's mean, where it is one
    of the real game, and validations.
    """
    marks = []
    for colour, each, name in zip(OTHERS, data.others, names(data), strict=False):
        frames, mean = (each.column(column) for column in ("frames_total", "return_mean"))
        later = frames >= since
        validated = [row for row in each.validated if row["frames_total"] >= since]
        at, judged = [row["frames_total"] for row in validated], [row["eval_mean"] for row in validated]
        if not each.dreamt and later.any():
            mean = smooth(mean[later], window(each)) if since else mean
            marks += [Mark("thin", colour, frames[later], mean, name), Mark("dots", colour, at, judged,
                                                                            told=f"{name}, validation")]
        elif validated:
            marks += [Mark("thin", colour, at, judged), Mark("dots", colour, at, judged, name)]
    return marks


def generation_ticks(rows: Sequence[Generation]) -> list[tuple[float, str]]:
    """The scale of generations above frames: where each of some round generations ended."""
    ended = {row["generation"]: row["frames_total"] for row in rows}
    if len(ended) < 2:
        return []
    ticks = Axis("", min(ended), max(ended), compact).ticks
    placed = [(ended[round(tick)], f"{tick:,.0f}") for tick in ticks if round(tick) in ended]
    return [(rows[0]["frames_total"], "generation"), *placed]


