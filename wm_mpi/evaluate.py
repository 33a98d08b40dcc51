"""Judge what a run has trained on test tracks that neither training nor validation has seen."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import EvaluateConfig

if __name__ == "__main__":
    run_command("evaluate", EvaluateConfig)

from pathlib import Path

from wm_mpi.core.errors import UserError
from wm_mpi.core.files import append_jsonl, check_appendable, check_writable, write_json
from wm_mpi.core.progress import Progress, log
from wm_mpi.envs import display
from wm_mpi.evolution.champion import Trained, judged_tracks, load_trained
from wm_mpi.evolution.judging import Contestant, judge, recorded_in
from wm_mpi.evolution.scores import Result, compare, describe, describe_pair
from wm_mpi.pool import Several, open_pool
from wm_mpi.rollout.worker import Rollout, make_rollout


def main(config: EvaluateConfig) -> None:
    """Play the tracks over MPI; rank 0 prints, and adds the results to the runs' ``evaluations.jsonl``."""
    runs = [load(config, path) for path in (config.run, config.compare) if path is not None]
    contestants = enter(config, runs)
    seeds = judged_tracks(config.episodes, config.tracks, runs[0].settings["seed"])
    with open_pool(lambda: Several([rollout_of(config, each) for each in runs]), lambda: display(config.display)) as pool:
        if pool is None:
            return
        check_places(config, runs)
        with Progress(None, len(seeds) * len(contestants)) as progress:
            results = [judge(pool, each, seeds, progress, config.width) for each in contestants]
        report(config, contestants, results)


def load(config: EvaluateConfig, run: str) -> Trained:
    """A run; --world is the first one's."""
    return load_trained(run, env=config.env, world=config.world if run == config.run else None,
                        max_frames=config.max_frames, lap_complete_percent=config.lap_complete_percent,
                        deterministic=config.deterministic)


def enter(config: EvaluateConfig, runs: list[Trained]) -> list[Contestant]:
    """Who is judged.

    Raises:
        UserError: a run against itself, or against one of another environment.
    """
    kinds = ("mean", "best") if config.controller == "both" else (config.controller,)
    if len(runs) == 2:
        if runs[0].run.path.resolve() == runs[1].run.path.resolve():
            raise UserError(f"--compare {config.compare} is the run itself: give another run, or --controller both")
        if runs[0].spec != runs[1].spec:
            raise UserError(f"{config.run} and {config.compare} were trained under other rules: say with --env and "
                            "--lap-complete-percent under which both are judged")
    return [Contestant(trained, number, kind) for number, trained in enumerate(runs) for kind in kinds]


def check_places(config: EvaluateConfig, runs: list[Trained]) -> None:
    """Find out before an episode is played what could not be written afterwards.

    Raises:
        UserError: the verdict would have no place.
    """
    if config.json is not None:
        check_writable(Path(config.json))
    for trained in runs:
        try:
            check_appendable(recorded_in(trained))
        except UserError as error:
            if config.json is None:
                raise UserError(f"{error}: give --json FILE, which then has the verdict alone") from None


def rollout_of(config: EvaluateConfig, trained: Trained) -> Rollout:
    """The environments and the policy of a run: what plays for it on a rank."""
    return make_rollout(trained.spec, trained.world, config.width or trained.width, trained.deterministic,
                        trained.settings.get("hidden"))


def report(config: EvaluateConfig, contestants: list[Contestant], results: list[Result]) -> None:
    """Keep and print the results; the first one is the verdict, the others are compared with it."""
    pairs = [{"first": contestants[0].what, "second": each.what} | compare(results[0], result)
             for each, result in zip(contestants[1:], results[1:], strict=True)]
    try:
        places = keep(config, contestants, results, pairs)
    finally:  # also on a disk that has become full
        print(*map(describe, results), *map(describe_pair, pairs), sep="\n")
    for place in places:
        print(f"added to {place}")


def keep(config: EvaluateConfig, contestants: list[Contestant], results: list[Result], pairs: list[Result]) -> list[Path]:
    """Write the results to --json, and add each to those of its run; gives the files that took one.

    Raises:
        UserError: one cannot be written; with --json, a run that takes none is a warning.
    """
    if config.json is not None:
        write_json(Path(config.json), results[0] | {"others": results[1:], "pairs": pairs})
    places = []
    for each, result in zip(contestants, results, strict=True):
        try:
            append_jsonl(recorded_in(each.trained), result)
            places.append(recorded_in(each.trained))
        except UserError as error:
            if config.json is None:
                raise
            log.warning(f"{error}: the verdict is in {config.json} alone")
    return places
