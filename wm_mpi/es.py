"""Train the controller: rank 0 runs CMA-ES, the other ranks play CarRacing with frozen V and M."""

import math
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import wm_mpi.single_thread  # noqa: F401  isort: split
from wm_mpi.cli import run_command
from wm_mpi.config import EsConfig
from wm_mpi.envs import EnvSpec, display
from wm_mpi.errors import UserError
from wm_mpi.history import Generation, History
from wm_mpi.pool import Pool, open_pool
from wm_mpi.progress import Progress
from wm_mpi.rollout import Played, Task, make_policy, make_rollout
from wm_mpi.rundir import RunDir
from wm_mpi.seeding import Stream, episode_seed
from wm_mpi.strategy import Strategy


def main(config: EsConfig) -> None:
    """Run or resume ``config``; worker ranks serve inside ``open_pool`` and come out with None."""
    spec = EnvSpec(config.env, config.max_frames, config.lap_complete_percent)
    with display(config.display), open_pool(lambda: make_rollout(
            spec, config.world, config.width, config.deterministic, config.stuck_frames)) as pool:
        if pool is not None:
            parameters = make_policy(spec, config.world, config.width, config.deterministic).parameters
            train(config, pool, parameters, spec)


def train(config: EsConfig, pool: Pool, parameters: int, spec: EnvSpec) -> None:
    """The ES loop: ask, play, tell, validate, save."""
    run = RunDir(config.out)
    run.begin(config.values(), config.changeable_fields())
    history, strategy = History.resume(
        run, lambda: Strategy(parameters, config.popsize, config.sigma, config.seed), spec.describe())
    total = config.generations * config.popsize * config.episodes
    with Progress(run.log, total, history.episodes_total) as progress:
        play = Player(pool, history, progress)
        while not finished(config, strategy, history):
            began = time.perf_counter()
            generation = strategy.generation + 1
            candidates = strategy.ask()
            played, busy = play(candidates, training_tasks(config, generation), generation, Stream.TRAINING)
            returns = np.array([each.total for each in played]).reshape(config.popsize, config.episodes)
            strategy.tell(returns.mean(axis=1))
            validation = None
            if generation % config.eval_every == 0:
                outcomes, _ = play(strategy.mean[None], validation_tasks(config), generation, Stream.VALIDATION)
                validation = np.array([each.total for each in outcomes])
            summary = Generation.of(generation, played, returns, validation, strategy.sigma, busy,
                                    time.perf_counter() - began, history.frames_total)
            history.save(summary, strategy, candidates, returns.mean(axis=1))
            progress.line(summary.describe(config.generations))
    print(f"finished: {strategy.generation} generations, champion in {run.champion}\n"
          f"next: python -m wm_mpi.evaluate --run {run.path}")


def finished(config: EsConfig, strategy: Strategy, history: History) -> bool:
    """Whether the run has its generations, or its validation mean has reached ``stop_at``."""
    reached = config.stop_at is not None and history.best_validation >= config.stop_at
    return reached or strategy.generation >= config.generations


def training_tasks(config: EsConfig, generation: int) -> list[Task]:
    """All (candidate, episode) pairs; candidates share the generation's tracks."""
    return [Task(candidate, episode_seed(config.seed, Stream.TRAINING, generation, episode))
            for candidate in range(config.popsize) for episode in range(config.episodes)]


def validation_tasks(config: EsConfig) -> list[Task]:
    """The mean solution on validation tracks, the same ones each time."""
    return [Task(0, episode_seed(config.seed, Stream.VALIDATION, 0, episode)) for episode in range(config.eval_episodes)]


@dataclass(frozen=True)
class Player:
    """Plays a batch of tasks, except those that the journal already holds, and journals each as it finishes."""

    pool: Pool
    history: History
    progress: Progress

    def __call__(self, candidates: npt.NDArray[np.float64], tasks: list[Task], generation: int,
                 stream: Stream) -> tuple[list[Played], float]:
        """Outcomes in task order, and the workers' busy share.

        Raises:
            UserError: a return is not finite.
        """
        known = self.history.journal(generation, stream.name.lower())
        missing = [index for index in range(len(tasks)) if index not in known]

        def arrived(position: int, played: Played) -> None:
            index = missing[position]
            if not math.isfinite(played.total):
                raise UserError(f"candidate {tasks[index].candidate} of generation {generation} has the return "
                                f"{played.total} on track {tasks[index].seed.track}: the environment or the world gives "
                                "numbers that are not finite; check them, then run the same command again")
            known[index] = played
            self.history.note(generation, stream.name.lower(), index, played)
            self.progress.advance(int(stream is Stream.TRAINING))

        outcome = self.pool.run(candidates, [tasks[index] for index in missing], arrived)
        return [known[index] for index in range(len(tasks))], outcome.busy_share


if __name__ == "__main__":
    run_command("es", EsConfig, main)
