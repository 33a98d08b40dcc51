"""The loop of evolution strategies: ask, play, tell, validate, save."""

import functools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wm_mpi.core.config import EsConfig
from wm_mpi.core.controller import Control
from wm_mpi.core.errors import UserError
from wm_mpi.core.files import read_jsonl, write_text
from wm_mpi.core.progress import Progress
from wm_mpi.core.rundir import RunDir
from wm_mpi.core.schema import Generation as Row
from wm_mpi.core.schema import Manifest, Start
from wm_mpi.core.seeding import Stream, episode_seed, generator
from wm_mpi.data.arrays import load_arrays
from wm_mpi.envs import DREAM, EnvSpec, game_of
from wm_mpi.evolution.loggers import open_loggers
from wm_mpi.evolution.run_state import Generation, PlayedEpisodes, RunState, finished, lived
from wm_mpi.evolution.strategies import begin_strategy, load_strategy
from wm_mpi.evolution.strategies.base import Recipe
from wm_mpi.evolution.strategies.subspace import Subspace
from wm_mpi.pool import Pool
from wm_mpi.rollout.components import whitened_components
from wm_mpi.rollout.worker import Played, Task, make_policy, require_finite
from wm_mpi.world.manifest import controller_size, frame_of, played_in


def dreaming(config: EsConfig, manifest: Manifest | None) -> tuple[EsConfig, EnvSpec]:
    """The options with what a dream adds to them, and where that makes C play.

    Raises:
        UserError: options of dreams where none is dreamt.
    """
    if config.env == DREAM and manifest is not None:
        game = game_of(played_in(manifest))
        config = replace(config, temperature=1.0 if config.temperature is None else config.temperature,
                         max_frames=config.max_frames or game.max_frames, validate_in=config.validate_in or "real",
                         stuck_frames=game.stuck_frames if config.stuck_frames is None else config.stuck_frames)
    elif config.temperature is not None or config.validate_in is not None:
        raise UserError("--temperature and --validate-in are for --env dream")
    return config, EnvSpec(config.env, config.max_frames or 0, config.lap_complete_percent, frame_of(manifest),
                           config.temperature)


def train(config: EsConfig, pool: Pool, spec: EnvSpec, manifest: Manifest | None, workers: tuple[int, int]) -> None:
    """The ES loop: ask, play, tell, validate, save. ``workers``: the numbers of those of a rank that train and validate."""
    run = RunDir(config.out)
    new = functools.cache(lambda: begin_strategy(config, begin(config, spec, manifest), subspace(config, manifest)))
    if not run.checkpoint_files():
        new()  # complains, if at all, before the directory is taken
    world = {"world_sha256": None if manifest is None else manifest["files"]["policy.onnx"]}
    run.begin(config.values() | world, config.changeable_fields())
    if not run.checkpoint_files() and config.init is not None and Path(config.init).is_dir():
        write_text(run.earlier, "".join(f"{json.dumps(row)}\n" for row in lived(RunDir(config.init))))
    state, strategy = RunState.resume(run, new, lambda data: load_strategy(config, data), spec.describe() | world)
    total = config.generations * config.popsize * config.episodes
    rows = read_jsonl(run.metrics, Row)
    with (open_loggers(run, rows, config.log, config.values()) as loggers,
          Progress(run.log, total, state.episodes_total) as progress):
        pool.report_to(progress.warn)
        play = Player(pool, state, progress, dict(zip((Stream.TRAINING, Stream.VALIDATION), workers, strict=True)))
        while not finished(strategy.generation, state.best_validation, config.generations, config.stop_at):
            began = time.perf_counter()
            generation = strategy.generation + 1
            candidates, recipe = strategy.ask(), strategy.recipe()
            tasks = training_tasks(config, generation, [None] * len(candidates) if recipe else list(candidates))
            batch = play(recipe, tasks, generation, Stream.TRAINING)
            returns = np.array([each.total for each in batch.played]).reshape(len(candidates), config.episodes)
            strategy.tell(returns.mean(axis=1))
            validation = None
            if generation % config.eval_every == 0:
                judged = play(None, validation_tasks(config, strategy.mean), generation, Stream.VALIDATION)
                validation = np.array([each.total for each in judged.played])
            summary = Generation.of(generation, batch, returns, validation, strategy, time.perf_counter() - began,
                                    state.totals)
            state.save(summary, strategy, candidates, returns.mean(axis=1))
            loggers.write(summary.row())
            progress.line(summary.describe(config.generations, state.left(config.generations - generation)))
    print(f"finished: {strategy.generation} generations, champion in {run.champion}")


def begin(config: EsConfig, spec: EnvSpec, manifest: Manifest | None) -> npt.NDArray[np.float64]:
    """Where the search begins, shape (parameters,): at zero, or with the parameters of a refit file or a champion.

    With hidden layers it is drawn: zero is a place from which no direction leads.

    Raises:
        UserError: nothing there, from another world, or of another size.
    """
    init, size = config.init, parameters_of(config, spec, manifest)
    if init is None:
        return generator(config.seed, 23).normal(0, 0.1, size) if config.hidden else np.zeros(size)
    path = RunDir(init).champion if Path(init).is_dir() else Path(init)
    arrays, about = load_arrays(path, "give --init the file of refit, or the directory of an es run with a champion", Start,
                                ("parameters",))
    found, wanted = about.get("world_sha256"), None if manifest is None else manifest["files"]["policy.onnx"]
    if found != wanted:
        raise UserError(f"--init {init} does not fit, it is for world {str(found)[:12]}, not {str(wanted)[:12]}: carry it "
                        "over with python -m wm_mpi.refit")
    if arrays["parameters"].shape != (size,):
        raise UserError(f"--init {init} does not fit, its C has {arrays['parameters'].size:,} numbers, not {size:,}: give "
                        "the --hidden that it was trained with")
    return arrays["parameters"]


def subspace(config: EsConfig, manifest: Manifest | None) -> Subspace | None:
    """Where C is searched with --components.

    Raises:
        UserError: that is more than there is, or nothing can be dreamt.
    """
    if config.components is None:
        return None
    if manifest is None or config.world is None:
        raise UserError(f"--components is for games with a world, in whose dreams they are found, and {config.env} has none")
    game, control = game_of(played_in(manifest)), Control.of(manifest.get("controller"))
    return Subspace(whitened_components(config.world, game, config.components, config.seed), control.actions, control.bias)


def parameters_of(config: EsConfig, spec: EnvSpec, manifest: Manifest | None) -> int:
    """Numbers in C's vector."""
    if manifest is None:
        return make_policy(spec, None, 1, True, config.hidden).parameters
    return controller_size(manifest, config.hidden)


def training_tasks(config: EsConfig, generation: int,
                   candidates: Sequence[npt.NDArray[np.float64] | None]) -> list[Task]:
    """All (candidate, episode) pairs; candidates share the generation's tracks. None: ranks have a recipe for it."""
    seeds = [episode_seed(config.seed, Stream.TRAINING, generation, episode) for episode in range(config.episodes)]
    return [Task(number, seed, config.stuck_frames or 0, parameters)
            for number, parameters in enumerate(candidates) for seed in seeds]


def validation_tasks(config: EsConfig, mean: npt.NDArray[np.float64]) -> list[Task]:
    """The mean solution on validation tracks, the same ones each time, each played to its end."""
    return [Task(0, episode_seed(config.seed, Stream.VALIDATION, 0, episode), parameters=mean)
            for episode in range(config.eval_episodes)]


def mixed(candidates: Sequence[int]) -> list[int]:
    """An order for tasks, given each one's candidate, in which neighbours are of many candidates and tracks.

    What a rank is handed at once then takes about as long as what another one is.

    It is for tasks that come without their candidate's parameters, which would have to travel with each.
    """
    number = max(candidates) + 1
    episodes = len(candidates) // number
    apart = max(1, number // episodes)
    return [(first + apart * episode) % number * episodes + episode
            for first in range(number) for episode in range(episodes)]


@dataclass(frozen=True)
class Player:
    """Plays a batch of tasks, except those that the journal already holds, and journals each as it finishes."""

    pool: Pool
    state: RunState
    progress: Progress
    workers: Mapping[Stream, int]
    """The number of the worker of a rank that plays each stream."""

    def __call__(self, recipe: Recipe | None, tasks: list[Task], generation: int, stream: Stream) -> PlayedEpisodes:
        """Play what is missing; ``recipe`` has the candidates of tasks that come without.

        Raises:
            UserError: a return is not finite.
        """
        known = self.state.journal(generation, stream.name.lower())
        order = range(len(tasks)) if recipe is None else mixed([task.candidate for task in tasks])
        missing = [index for index in order if index not in known]
        began = time.perf_counter()

        def arrived(position: int, played: Played) -> None:
            index = missing[position]
            require_finite(tasks[index], played)
            known[index] = played
            self.state.note(generation, stream.name.lower(), index, played)
            self.progress.advance(int(stream is Stream.TRAINING), stream.name.lower())

        outcome = self.pool.run((self.workers[stream], recipe), [tasks[index] for index in missing], arrived)
        frames = sum(known[index].frames for index in missing)
        return PlayedEpisodes([known[index] for index in range(len(tasks))], outcome,
                     frames / max(time.perf_counter() - began, 1e-9))
