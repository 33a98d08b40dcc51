"""A controller on test tracks: what is played, and what is recorded of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wm_mpi.core.progress import Progress
from wm_mpi.core.seeding import EpisodeSeed
from wm_mpi.core.shipped import beside
from wm_mpi.evolution.champion import Trained
from wm_mpi.evolution.scores import Result, score
from wm_mpi.pool import Pool
from wm_mpi.rollout.worker import Task, require_finite


class Contestant(NamedTuple):
    """A controller to judge."""

    trained: Trained
    number: int
    """Which of the runs that is."""
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


def judge(pool: Pool, each: Contestant, seeds: Sequence[EpisodeSeed], progress: Progress,
          width: int | None = None) -> Result:
    """Play a contestant's tracks. ``width``: episodes in lock-step, if not as the run did."""
    tasks = [Task(0, seed) for seed in seeds]
    played = pool.run((each.number, each.parameters[None]), tasks, lambda *_: progress.advance()).results
    for task, one in zip(tasks, played, strict=True):
        require_finite(task, one)
    return score(played, each.trained.spec, seeds) | about(each, width)


def about(each: Contestant, width: int | None) -> Result:
    """What is recorded with a result."""
    trained = each.trained
    return {"controller": each.controller, "what": each.what, "generation": trained.generation, "world": trained.world,
            "deterministic": trained.deterministic, "width": width or trained.width}


def recorded_in(trained: Trained) -> Path:
    """Where a run's verdicts are kept."""
    return beside(trained.run.path, "evaluations.jsonl")
