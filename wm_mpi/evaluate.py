"""Judge what a run has trained on test tracks that neither training nor validation has seen."""

from wm_mpi.cli import run_command
from wm_mpi.config import EvaluateConfig

if __name__ == "__main__":
    run_command("evaluate", EvaluateConfig)

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wm_mpi.envs import display
from wm_mpi.errors import UserError
from wm_mpi.pool import Arithmetic, Indexed, Tasks, open_pool
from wm_mpi.progress import Progress
from wm_mpi.rollout import Rollout, Task, make_rollout, require_finite
from wm_mpi.rundir import append_jsonl, beside, write_json
from wm_mpi.trained import Trained, judged_tracks, load_trained
from wm_mpi.verdict import Result, compare, describe, describe_pair, judge


class Contestant(NamedTuple):
    """A controller to judge."""

    trained: Trained
    controller: str
    """"mean" or "best"."""

    @property
    def parameters(self) -> npt.NDArray[np.float64]:
        """Shape (parameters,)."""
        return self.trained.parameters if self.controller == "mean" else self.trained.best_candidate

    @property
    def what(self) -> str:
        """Who that is, in words."""
        if self.controller == "best":
            return f"best candidate of {self.trained.run.path} (luck on its own tracks helped to choose it)"
        return f"mean solution of generation {self.trained.generation} of {self.trained.run.path}"


class Stands:
    """A rank's worker for one run or several, each with a world of its own; the shared value says which."""

    def __init__(self, builds: Sequence[Callable[[], Rollout]]) -> None:
        self._rollouts = [build() for build in builds]
        self.capacity = max(each.capacity for each in self._rollouts)
        self.arithmetic = Arithmetic(self._rollouts[0].arithmetic.on, sum(
            (each.arithmetic.sample for each in self._rollouts), start=()))

    def run(self, shared: tuple[int, npt.NDArray[np.float64]], tasks: Tasks) -> Iterator[Indexed]:
        """Play tasks with the parameters [1, parameters] of the run of that number."""
        number, parameters = shared
        yield from self._rollouts[number].run(parameters, tasks)


def main(config: EvaluateConfig) -> None:
    """Play the tracks over MPI; rank 0 prints, and adds the results to the runs' ``evaluations.jsonl``."""
    runs = [load(config, path) for path in (config.run, config.compare) if path is not None]
    contestants = enter(config, runs)
    seeds = judged_tracks(config.episodes, config.tracks, runs[0].settings["seed"])
    builds = [rollout_of(config, trained) for trained in runs]
    with open_pool(lambda: Stands(builds), lambda: display(config.display)) as pool:
        if pool is None:
            return
        results = []
        with Progress(None, len(seeds) * len(contestants)) as progress:
            for each in contestants:
                tasks = [Task(0, seed) for seed in seeds]
                outcome = pool.run((runs.index(each.trained), each.parameters[None]), tasks, lambda *_: progress.advance())
                for task, played in zip(tasks, outcome.results, strict=True):
                    require_finite(task, played)
                results.append(judge(outcome.results, each.trained.spec, seeds) | about(config, each))
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
    return [Contestant(trained, kind) for trained in runs for kind in kinds]


def rollout_of(config: EvaluateConfig, trained: Trained) -> Callable[[], Rollout]:
    """Builds the environments and the policy of a run."""
    width = config.width or trained.settings["width"]
    return lambda: make_rollout(trained.spec, trained.world, width, trained.deterministic)


def about(config: EvaluateConfig, each: Contestant) -> Result:
    """What is recorded with a result."""
    trained = each.trained
    return {"controller": each.controller, "what": each.what, "generation": trained.generation, "world": trained.world,
            "deterministic": trained.deterministic, "width": config.width or trained.settings["width"]}


def report(config: EvaluateConfig, contestants: list[Contestant], results: list[Result]) -> None:
    """Print and keep the results; the first one is the verdict, the others are compared with it."""
    first: dict[str, Any] = results[0] | {"others": results[1:], "pairs": []}
    for result in results:
        print(describe(result))
    for each, result in zip(contestants[1:], results[1:], strict=True):
        pair = {"first": contestants[0].what, "second": each.what} | compare(results[0], result)
        first["pairs"].append(pair)
        print(describe_pair(pair))
    if config.json is not None:
        write_json(Path(config.json), first)
    for each, result in zip(contestants, results, strict=True):
        path = beside(each.trained.run.path, "evaluations.jsonl")
        append_jsonl(path, result)
        print(f"added to {path}")
