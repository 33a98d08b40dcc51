"""Other runs of the same game beside a run: which can stand there, and the table that compares them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wm_mpi.core.errors import UserError
from wm_mpi.core.schema import Evaluation
from wm_mpi.core.shipped import called
from wm_mpi.core.terminal import shown
from wm_mpi.core.words import counted, percent, plural
from wm_mpi.envs import DREAM, family, told_of
from wm_mpi.evolution.scores import NOT_GIVEN, compare, interval_in_words
from wm_mpi.reporting.charts import OTHERS
from wm_mpi.reporting.run_data import RunData, read_run
from wm_mpi.reporting.summary import title
from wm_mpi.reporting.tables import Table

LONGEST = 14
"""Of a run's name at the end of its curve (letters)."""
RULES = ("env", "env_id", "max_frames", "lap_complete_percent", "temperature")
"""What two verdicts must have been played in alike to be paired."""


def beside_others(data: RunData, directories: Sequence[str]) -> RunData:
    """The run with others to compare it with.

    Raises:
        UserError: one is no run, has no generation yet, is the run itself, plays another game, or has no return in it; or
            they are more than can be told apart.
    """
    if len(directories) > len(OTHERS):
        raise UserError(f"--compare has {len(directories)} runs, but the colours of more than {len(OTHERS)} cannot be told "
                        "apart: give fewer")
    others = [read_run(directory) for directory in directories]
    seen = {data.run.path.resolve()}
    for other in others:
        path = other.run.path
        if path.resolve() in seen:
            raise UserError(f"--compare {called(str(path))} is there already: give each run once")
        seen.add(path.resolve())
        if family(other.game) != family(data.game):
            raise UserError(f"--compare {called(str(path))} was trained in --env {other.game}, but "
                            f"{called(str(data.run.path))} in --env {data.game}: returns of two games do not compare")
        if not other.rows:
            raise UserError(f"--compare {called(str(path))} has no generation yet: let es finish one first")
    for each in (data, *others) if others else ():
        if each.dreamt and not each.real:
            raise UserError(f"{called(str(each.run.path))} was trained and validated in M's dream alone, where no other run "
                            "plays: there is nothing to compare")
    return replace(data, others=tuple(others))


def names(data: RunData) -> list[str]:
    """Short names of the other runs, for the ends of their curves: the last part of their paths, if these differ."""
    paths = [each.run.path.resolve() for each in (data, *data.others)]
    last = [path.name for path in paths]
    short = [path.name if last.count(path.name) == 1 else "/".join(path.parts[-2:]) for path in paths[1:]]
    cut = [shown(name if len(name) <= LONGEST else f"…{name[1 - LONGEST:]}") for name in short]
    return [name if cut.count(name) == 1 else f"{name[:LONGEST - 2]} {number}" for number, name in enumerate(cut, 2)]


def table(data: RunData) -> Table:
    """The run above those that it is compared with; no rows where there are none."""
    one = data.look.episode
    head = ("run", "world", "generations", "frames", "best validation", "test mean", "judged", "this run minus that")
    rows = [row(data, each) for each in (data, *data.others)] if data.others else []
    worlds = {each.config.get("world_sha256") for each in (data, *data.others)}
    return Table(
        "Compared runs (returns in points, means with their 95 % intervals; frames and generations with those of runs that "
        "a run began with)"
        + ("" if len(worlds) == 1 else ". They do not all see through the same V and M")
        + f". Differences are taken {one} by {one}, where both have been judged on the same {one}s of the same environment "
        "under the same rules", head, rows)


def row(data: RunData, each: RunData) -> list[str]:
    """A run's cells."""
    found = None if each is data else shared(data, each)
    verdict = data.verdict if each is data else each.verdict if found is None else found[1]
    best = max((row["eval_mean"] for row in each.validated), default=None)
    generations, frames = (each.lived[-1]["generation"], each.lived[-1]["frames_total"]) if each.lived else (0, 0)
    together = "" if verdict is None else interval_in_words(verdict).replace(" to ", "\xa0to\xa0")
    mean = "none yet" if verdict is None else f"{verdict['mean']:.1f} ({together})"
    return [title(each), world_of(data, each), f"{generations:,}", f"{frames:,}",
            "none yet" if best is None else f"{best:.1f}", mean, "" if verdict is None else judged(verdict),
            "" if each is data else why_not(data, each) if found is None else difference(*found)]


def world_of(data: RunData, each: RunData) -> str:
    """The world that a run sees through."""
    if each.config["world"] is None:
        return "none"
    digest = each.config.get("world_sha256")
    if each is not data and digest is not None and digest == data.config.get("world_sha256"):
        return "the same"
    return f"{shown('/'.join(Path(called(each.config['world'])).parts[-2:]))}{'' if each is data else ' (another)'}"


def judged(verdict: Evaluation) -> str:
    """Where, on how much and by which rule."""
    env = verdict["env"]
    look = told_of(env["env"])
    lap = f", lap at {percent(env['lap_complete_percent'])}" if look.laps else ""
    return f"{env['env_id']}, {counted(len(verdict['returns']), look.episode)} of at most {env['max_frames']:,} frames{lap}"


def shared(data: RunData, other: RunData) -> tuple[Evaluation, Evaluation] | None:
    """The newest verdicts that can be paired, those over the most tracks if there are several; in the real game first."""
    pairs = [(mine, theirs) for mine in reversed(data.judged) for theirs in reversed(other.judged) if alike(mine, theirs)]
    return max(pairs, key=lambda pair: (pair[0]["env"]["env"] != DREAM, pair[0] is data.verdict, len(pair[0]["tracks"])),
               default=None)


def alike(mine: Evaluation, theirs: Evaluation) -> bool:
    """Whether two verdicts are over the same tracks in the same environment under the same rules."""
    return mine["tracks"] == theirs["tracks"] and all(mine["env"].get(name) == theirs["env"].get(name) for name in RULES)


def difference(mine: Evaluation, theirs: Evaluation) -> str:
    """The paired difference."""
    pair, one = compare(mine, theirs), told_of(mine["env"]["env"]).episode
    interval = NOT_GIVEN.replace("track", one)
    if pair["interval"] is not None:
        low, high = pair["interval"]
        interval = f"{low:+.1f} to {high:+.1f}" + ("" if low > 0 or high < 0 else ": no difference is shown")
    return (f"{pair['difference']:+.1f} ({interval}); better on {round(pair['won'] * pair['tracks'])} of "
            f"{counted(pair['tracks'], one)}").replace("-", "−")


def why_not(data: RunData, other: RunData) -> str:
    """Why there is no paired difference."""
    without = [title(each) for each in (data, other) if not each.judged]
    if without:
        return f"not known: no verdict on {' and '.join(without)} yet"
    return f"not known: judged on other {plural(data.look.episode)} or by other rules (evaluate --compare plays the same)"
