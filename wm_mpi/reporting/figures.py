"""The figures of a report: which curves a run has, over which axes, and what they show in words."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from wm_mpi.core.schema import Epoch, Evaluation, Generation
from wm_mpi.envs import solved_at, told_of
from wm_mpi.evolution.published import published, scores_of
from wm_mpi.evolution.scores import interval_in_words
from wm_mpi.reporting.charts import Axis, Chart, Colour, Figure, Kind, Mark, axis, compact
from wm_mpi.reporting.run_data import Latents, RunData

ACTIVE = 0.01
"""A latent whose mu varies by more than this is in use (Burda, Grosse and Salakhutdinov, 2016)."""
LONG = 100
"""From so many generations on, the steep beginning hides what comes later."""


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
    """Returns against frames and generations with the published curve; for a long run also a close-up of its later part.

    The runs that this one began with come before it.
    """
    title = f"Learning: {data.rows[-1]['generation']:,} of {data.config['generations']:,} generations"
    caption = explained(data)
    data = replace(data, rows=data.lived)
    paper = paper_until(1.04 * data.rows[-1]["frames_total"] if data.compared else 0)
    if data.compared:
        caption += (" Grey: the run that the paper's authors published, at equal frames (dots: their validation over 1,024 "
                    "episodes, in CarRacing-v0, whose lap ends at all tiles)."
                    if len(paper["frames"]) else f" The published run of the paper's authors has no place here: its first "
                    f"generation alone took {published()['frames'][0] / 1e6:.1f} million frames.")
    whole = Figure(returns(data, paper, 0), caption, title)
    if len(data.rows) < LONG:
        return [whole]
    return [whole, Figure(returns(data, paper, len(data.rows) // 4),
                          "The same from the end of the first quarter on, at a larger scale"
                          + (f"; lines are running means over {window(data)} generations." if window(data) > 1 else "."))]


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
    x = axis("frames played in training", [frames], compact, floor=0 if first == 0 else frames[0])
    y = axis("return (points)", [mean - spread, mean + spread, best, judged, paper["mean"],
                                 [value for _, value, _ in references(data)]], compact, 6)
    names = ("dream mean", "dream best", "real game") if data.real else ("mean", "best", "validation")
    marks = [*(Mark("dashed", "paper", [x.low, x.high], [value, value], label) for label, value, _ in references(data)),
             Mark("band", "run", frames, mean + spread, low=mean - spread),
             Mark("thin", "best", frames, best, names[1]), Mark("line", "run", frames, mean, names[0]),
             Mark("thin", "paper", paper["frames"], paper["mean"], "paper"),
             Mark("dots", "paper", paper["frames"][checked], paper["validation"][checked]),
             Mark("thin", "check", at, judged), Mark("dots", "check", at, judged, names[2])]
    if data.frames_before > x.low:
        marks.append(Mark("rule", "paper", data.frames_before, label="this run"))
    rows = data.rows[first:]
    where, there = " in M's dream" * data.dreamt, " in the real game" * data.real
    said = (f"Returns in generations {rows[0]['generation']} to {rows[-1]['generation']}: the population's mean{where} went "
            f"from {mean[0]:.0f} to {mean[-1]:.0f}, its best candidate from {best[0]:.0f} to {best[-1]:.0f}"
            + (f"; the best validation mean{there} is {max(judged):.0f}." if judged else "; no validation so far."))
    return Chart(marks, x, y, said, generation_ticks(rows), 22)


def search(data: RunData) -> list[Figure]:
    """The step size and the condition number of the covariance over generations, where they were recorded."""
    found: list[Figure] = []
    kind: Kind = "line" if len(data.rows) < LONG else "thin"
    for name, title, show, said in (
            ("sigma", "step size sigma", compact, "How far candidates lie from the mean, in units of C's weights"),
            ("condition", "condition number", lambda value: compact(10**value),
             "The squared ratio of the longest to the shortest axis of what is searched, on a logarithmic scale")):
        rows = [row for row in data.rows if name in row]
        if not rows:
            continue
        values = np.array([row[name] for row in rows])  # type: ignore[literal-required]
        drawn = values if name == "sigma" else np.log10(values)
        at = [row["generation"] for row in rows]
        chart = Chart([Mark(kind, "run", at, drawn)], axis("generation", [at], compact, 4), axis(title, [drawn], show, 4),
                      f"{title[0].upper()}{title[1:]} from {values[0]:.3g} to {values[-1]:.3g}.", height=10, bare=True)
        found.append(Figure(chart, f"{said}: from {values[0]:.3g} to {values[-1]:.3g}."))
    return found


def generation_ticks(rows: Sequence[Generation]) -> list[tuple[float, str]]:
    """The scale of generations above frames: where each of some round generations ended."""
    ended = {row["generation"]: row["frames_total"] for row in rows}
    if len(ended) < 2:
        return []
    ticks = Axis("", min(ended), max(ended), compact).ticks
    placed = [(ended[round(tick)], f"{tick:,.0f}") for tick in ticks if round(tick) in ended]
    return [(rows[0]["frames_total"], "generation"), *placed]


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
    episodes = f"{told_of(row['env']['env']).episode}s"
    y = axis(episodes, [counts], lambda value: f"{value:.0f}", int(min(5, counts.max() + 1)), floor=0)
    marks = [Mark("bars", "run", edges[:-1] + 0.04 * step, counts, low=edges[1:] - 0.04 * step),
             Mark("rule", "check", mean, label=f"mean {mean:.0f}")]
    solved, _ = solved_at(row["env"]["env"]) or (np.inf, 0)
    if x.low < solved < x.high and abs(solved - mean) > 0.15 * (x.high - x.low):
        marks.append(Mark("rule", "paper", solved, label=f"{solved:g}"))
    said = (f"Histogram of {len(returns)} returns in {name}, from {returns.min():.0f} to {returns.max():.0f}, "
            f"mean {mean:.1f}.")
    return Figure(Chart(marks, x, y, said, height=12, bare=True),
                  f"{name}: {mean:.1f} ± {row['std']:.1f} over {len(returns)} test {episodes}, "
                  f"95 % interval of the mean {interval_in_words(row)}", f"{len(returns)} test {episodes}, mean {mean:.1f}")


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
    shades: tuple[tuple[Colour, npt.NDArray], ...] = (("run", active), ("paper", ~active))
    marks = [Mark("bars", colour, number[chosen] - 0.4, found.kl[chosen], low=number[chosen] + 0.4)
             for colour, chosen in shades if chosen.any()]
    said = f"{active.sum()} of {len(number)} latents are active; together they tell {found.kl.sum():.1f} nats of a frame."
    return Figure(Chart(marks, x, y, said, height=9, bare=True),
                  f"{said} Mean divergence from the standard normal over {found.frames:,} frames of the data set; grey: the "
                  f"variance of its mean is at most {ACTIVE}.", whole=True)


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
    return Figure(Chart(marks, x, y, f"{model}'s losses over {len(rows)} epochs; training {ends}.", height=11),
                  f"{model}: the training loss went {ends} in {len(rows)} epochs"
                  + (f"; held out, it ends at {columns['val_loss'][-1]:.4g}." if "val_loss" in columns else ".")
                  + f" Dotted: the part of the training loss that comes from {name_of_part}.")
