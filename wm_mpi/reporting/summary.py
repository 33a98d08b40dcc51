"""What a run says in short: its name, a sentence, and its figures at a glance."""

import datetime

import numpy as np

from wm_mpi.core.shipped import called
from wm_mpi.core.terminal import shown
from wm_mpi.core.words import counted, percent, plural
from wm_mpi.envs import DREAM
from wm_mpi.evolution.scores import interval_in_words
from wm_mpi.evolution.strategies import title_of
from wm_mpi.reporting.run_data import RunData


def title(data: RunData) -> str:
    """The run's name: the last two parts of its path, since the last one is often just "es"; one that ships has a name."""
    path = data.run.path
    name = called(str(path))
    return shown(name if name != str(path) else "/".join(path.resolve().parts[-2:]))


def headline(data: RunData) -> str:
    """What was run, and whether it is done."""
    config = data.config
    done = data.rows[-1]["generation"] if data.rows else 0
    state = "finished" if data.complete else "exported" if data.exported else "not finished: in progress, or stopped"
    return (f"{played(data)}: {title_of(config)} with {counted(config['popsize'], 'candidate')} of "
            f"{counted(config['episodes'], 'episode')} each, {done:,} of {counted(config['generations'], 'generation')} "
            f"({state})")


def played(data: RunData) -> str:
    """What was played, and with what."""
    what = data.look.title if data.config["world"] is None and not data.car else f"World Models on {data.look.title}"
    temperature = data.config.get("temperature")
    return what if not data.dreamt else f"{what}, C trained in M's dream at temperature {temperature or 1:g}"


def glance(data: RunData) -> list[tuple[str, str, str]]:
    """(name, value, remark) of what people ask first."""
    last, champion = data.rows[-1], data.champion
    seconds, rate = data.column("seconds"), data.column("frames_per_second")
    tiles = []
    if (verdict := data.verdict) is not None:
        tiles.append(("test mean", f"{verdict['mean']:.1f}",
                      f"95 % interval of the mean {interval_in_words(verdict)}, "
                      f"{counted(len(verdict['returns']), data.look.episode)}"
                      f"{' of the dream' if verdict['env']['env'] == DREAM else ''}"))
    if champion is not None and champion["validation_mean"] is not None:
        tiles.append(("real validation" if data.real else "validation mean", f"{champion['validation_mean']:.1f}",
                      f"champion, generation {champion['generation']:,}"))
    if data.dreamt:
        tiles.append(("dream mean", f"{last['return_mean']:.1f}", f"population, generation {last['generation']:,}"))
    busy = float(np.average(data.column("busy_share"), weights=np.maximum(seconds, 1e-9)))
    return [*tiles,
            ("best candidate", f"{data.column('return_best').max():.1f}", f"of all generations, {data.own}"),
            ("frames", f"{last['frames_total'] / 1e6:,.{0 if last['frames_total'] > 1e8 else 2}f} M",
             counted(int(data.column('episodes').sum()), "episode")
             + (f"; {data.frames_before / 1e6:,.1f} M before, in runs that it began with" if data.frames_before else "")),
            ("time played", str(datetime.timedelta(seconds=round(seconds.sum()))), "h:min:s, without pauses"),
            ("core-hours", f"{last['core_hours']:.3g}", f"{counted(last['workers'], 'worker rank')} at the end"),
            ("frames per second", f"{np.median(rate):,.0f}",
             f"{np.median(rate / data.column('workers')):,.0f} per worker rank"),
            ("busy share", f"{100 * busy:.0f} %", "of the worker ranks' time"),
            ("ranks lost", str(len(data.lost)), "their episodes were played by others" if data.lost else "")]


def why_they_differ(data: RunData) -> str:
    """Why the champion's validation and its verdict are two numbers, where there are both; else what verdicts are."""
    one, verdict, champion = data.look.episode, data.verdict, data.champion
    if verdict is None:
        return ""
    if champion is None or champion["validation_mean"] is None or not data.validated:
        return f"These {plural(one)} chose nothing."
    config, rules = data.config, verdict["env"]
    where = "M's dream" if data.dreamt and not data.real else "the real game"
    reasons = [f"validation is over {counted(config['eval_episodes'], one)} and chose this champion as the best of "
               f"{counted(len(data.validated), 'generation')}, so that its own mean there is a little too good; the test is "
               f"over {len(verdict['tracks']):,} other {plural(one, len(verdict['tracks']))}, which chose nothing"]
    if not data.dreamt and rules["env"] != config["env"]:
        reasons.append(f"the test was in {rules['env_id']}, validation in the environment of training")
    if not data.dreamt and rules["max_frames"] != config["max_frames"]:
        reasons.append(f"a validation episode ends after {config['max_frames']:,} frames at the latest, one of the test "
                       f"after {rules['max_frames']:,}")
    elif not data.dreamt:
        reasons.append(f"both end after {rules['max_frames']:,} frames at the latest")
    if data.look.laps and rules["lap_complete_percent"] != config["lap_complete_percent"]:
        reasons.append(f"a lap took {percent(config['lap_complete_percent'])} of the tiles in validation, "
                       f"{percent(rules['lap_complete_percent'])} in the test")
    if data.dreamt:
        reasons.append(f"validation was in {where}, the test in {rules['env_id']}")
    cut = config.get("stuck_frames")
    return (f"Validation ({champion['validation_mean']:.1f}) and test ({verdict['mean']:.1f}) differ: {'; '.join(reasons)}."
            + (f" Both play their {plural(one)} to the end; training cuts an episode short after {cut:,} frames without "
               "a gain in return." if cut else ""))
