"""What a run says in short: its name, a sentence, and its figures at a glance."""

import datetime

import numpy as np

from wm_mpi.core.terminal import shown
from wm_mpi.envs import DREAM
from wm_mpi.evolution.scores import interval_in_words
from wm_mpi.evolution.strategies import title_of
from wm_mpi.reporting.run_data import RunData


def title(data: RunData) -> str:
    """The run's name: the last two parts of its path, since the last one is often just "es"."""
    return shown("/".join(data.run.path.resolve().parts[-2:]))


def headline(data: RunData) -> str:
    """What was run, and whether it is done."""
    config = data.config
    done = data.rows[-1]["generation"] if data.rows else 0
    state = "finished" if data.complete else "not finished: in progress, or stopped"
    return (f"{played(data)}: {title_of(config)} with {config['popsize']} candidates of {config['episodes']} episodes each, "
            f"{done:,} of {config['generations']:,} generations ({state})")


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
                      f"95 % interval of the mean {interval_in_words(verdict)}, {len(verdict['returns'])} "
                      f"{data.look.episode}s{' of the dream' if verdict['env']['env'] == DREAM else ''}"))
    if champion is not None and champion["validation_mean"] is not None:
        tiles.append(("real validation" if data.real else "validation mean", f"{champion['validation_mean']:.1f}",
                      f"champion, generation {champion['generation']:,}"))
    if data.dreamt:
        tiles.append(("dream mean", f"{last['return_mean']:.1f}", f"population, generation {last['generation']:,}"))
    busy = float(np.average(data.column("busy_share"), weights=np.maximum(seconds, 1e-9)))
    return [*tiles,
            ("best candidate", f"{data.column('return_best').max():.1f}", f"of all generations, {data.own}"),
            ("frames", f"{last['frames_total'] / 1e6:,.{0 if last['frames_total'] > 1e8 else 2}f} M",
             f"{int(data.column('episodes').sum()):,} episodes"
             + (f"; {data.frames_before / 1e6:,.1f} M before, in runs that it began with" if data.frames_before else "")),
            ("time played", str(datetime.timedelta(seconds=round(seconds.sum()))), "h:min:s, without pauses"),
            ("core-hours", f"{last['core_hours']:.3g}", f"{last['workers']} worker ranks at the end"),
            ("frames per second", f"{np.median(rate):,.0f}", f"{np.median(rate / data.column('workers')):,.0f} a worker"),
            ("busy share", f"{100 * busy:.0f} %", "of the workers' time"),
            ("ranks lost", str(len(data.lost)), "their episodes were played by others" if data.lost else "")]
