"""Play episodes for first data: over MPI to episode files, packed into HDF5 shards, shown as one data set by frames.h5."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import CollectConfig

if __name__ == "__main__":
    run_command("collect", CollectConfig)

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.core.files import read_json
from wm_mpi.core.progress import Progress, log
from wm_mpi.core.rundir import RunDir, begin_directory
from wm_mpi.core.schema import Collected
from wm_mpi.core.seeding import Stream, episode_seed
from wm_mpi.data.datasets import open_frames, write_index
from wm_mpi.data.episodes import check_shard, shard_holds, write_shard
from wm_mpi.envs import EnvSpec, display, has_pictures, make_env
from wm_mpi.evolution.champion import load_trained
from wm_mpi.pool import Pool, Tasks, open_pool
from wm_mpi.rollout.exploration import ExploringPolicy, LinearBehaviour, WalkPolicy
from wm_mpi.rollout.recorder import EpisodeRecorder
from wm_mpi.rollout.worker import Played, Rollout, Task, make_policy, require_finite
from wm_mpi.world.policy import Policy


def main(config: CollectConfig) -> None:
    """Collect or go on collecting; worker ranks serve inside ``open_pool`` and come out with None."""
    if not has_pictures(config.env):
        raise UserError("--env toy shows no frames, there is nothing to collect: use a CarRacing environment")
    with open_pool(lambda: Collector(config), lambda: display(config.display)) as pool:
        if pool is not None:
            collect(config, pool, _policy(config)[1])


def refuse_fewer(out: Path, config: CollectConfig) -> None:
    """A data set may grow, never shrink: packing again would throw episodes away.

    Raises:
        UserError: fewer episodes than before.
    """
    if (out / "config.json").exists():
        before = read_json(out / "config.json", Collected, "delete the directory or restore the file")["episodes"]
        if before > config.episodes:
            raise UserError(f"{out} is for {before} episodes, --episodes {config.episodes} would throw some away: give the "
                            "same or more, or another --out")


def collect(config: CollectConfig, pool: Pool, parameters: npt.NDArray[np.float64]) -> None:
    """Play missing episodes, pack missing shards, write the index, remove what was packed."""
    out = Path(config.out)
    refuse_fewer(out, config)
    if config.mix is not None:
        with open_frames(config.mix):
            pass  # whether it is there, and whole
    driver = {} if parameters.size == 0 else {"policy_sha256": hashlib.sha256(parameters.tobytes()).hexdigest()}
    begin_directory(out, config.values() | driver, config.changeable_fields())
    everything = range(-(-config.episodes // config.shard_episodes))
    todo = [shard for shard in everything if not shard_holds(_shard(config, shard), _numbers(config, shard))]
    missing = [number for shard in todo for number in _numbers(config, shard) if not _episode(config, number).exists()]
    log.info(f"{config.episodes} episodes wanted, {len(missing)} to play ({pool.workers} at work)")
    frames = 0
    with Progress(None, config.episodes, config.episodes - len(missing)) as progress:
        tasks = [Task(0, episode_seed(config.seed, Stream.COLLECTION, 0, number)) for number in missing]

        def arrived(position: int, played: Played) -> None:
            nonlocal frames
            require_finite(tasks[position], played)
            frames += played.frames
            progress.advance()

        pool.run(("play", missing), tasks, arrived)
    with Progress(None, len(todo), unit="shard") as progress:
        pool.run(("pack", None), todo, lambda *_: progress.advance())
    spec = EnvSpec(config.env, config.max_frames, config.lap_complete_percent)
    shards = [_shard(config, shard) for shard in everything]
    old = [] if config.mix is None else first_shards(config.mix, sum(map(check_shard, shards)), config.mix_share)
    write_index(out, [*shards, *old], {**spec.describe(), "policy": config.policy, "seed": config.seed, "mix": config.mix})
    shutil.rmtree(out / "episodes", ignore_errors=True)
    total, mixed = (sum(map(check_shard, paths)) for paths in (shards, old))
    print(f"finished: {config.episodes} episodes, {total:,} frames ({frames:,} of them now) in {out / 'frames.h5'}"
          + (f", with {mixed:,} frames of {config.mix}" if config.mix else ""))


def first_shards(directory: str, frames: int, share: float) -> list[Path]:
    """As many of a data set's shards, from its first on, as come nearest to ``share`` of it and ``frames`` together.

    Raises:
        UserError: not a data set, damaged, or too small for such a share.
    """
    wanted = frames * share / (1 - share)
    with open_frames(directory) as data:
        shards = data.shards()
    reached = np.cumsum([check_shard(path) for path in shards])
    if reached[-1] < wanted:
        most = reached[-1] / (reached[-1] + frames)
        raise UserError(f"{directory} has {reached[-1]:,} frames, a share of {share:g} needs {wanted:,.0f}: give "
                        f"--mix-share {np.floor(most * 100) / 100:g} or fewer --episodes")
    return shards[:int(np.abs(reached - wanted).argmin()) + 1]


class Collector:
    """A rank's worker: plays episodes into files, and packs shards."""

    def __init__(self, config: CollectConfig) -> None:
        """Build environments and policy.

        Raises:
            UserError: the environment is not installed, or --policy is neither a name nor a run.
        """
        self._config = config
        spec = EnvSpec(config.env, config.max_frames, config.lap_complete_percent)
        policy, self._parameters = _policy(config)
        self._recorder = EpisodeRecorder(config.width, lambda number: _episode(config, number))
        self._rollout = Rollout(make_env(spec, config.width), policy, recorder=self._recorder)
        self.capacity, self.arithmetic = config.width, self._rollout.arithmetic

    def run(self, shared: tuple[str, Any], tasks: Tasks) -> Iterator[tuple[int, Any]]:
        """Play tasks (``shared`` names the episodes' numbers) or pack shards."""
        kind, numbers = shared
        if kind == "play":
            self._recorder.numbers = numbers
            yield from self._rollout.run(self._parameters, tasks)
            return
        while (indexed := tasks.take(wait=True)) is not None:
            index, shard = indexed
            episodes = [_episode(self._config, number) for number in _numbers(self._config, shard)]
            write_shard(_shard(self._config, shard), episodes)
            yield index, None


def _policy(config: CollectConfig) -> tuple[Policy, npt.NDArray[np.float64]]:
    """The driving policy and its parameters, shape (1, parameters)."""
    if config.policy in ("random", "linear"):
        if config.exploration:
            raise UserError(f"--exploration {config.exploration:g} is for a champion, --policy {config.policy} is all "
                            "exploration: give the directory of a run, or leave it out")
        return (WalkPolicy if config.policy == "random" else LinearBehaviour)(config.width), np.empty((1, 0))
    if not RunDir(config.policy).config.exists():
        raise UserError(f"--policy {config.policy} is neither 'random' nor 'linear' nor the directory of an es run")
    trained = load_trained(config.policy, env=config.env, world=config.world, max_frames=config.max_frames,
                           lap_complete_percent=config.lap_complete_percent, deterministic=None)
    policy: Any = make_policy(trained.spec, trained.world, config.width, trained.deterministic)
    if config.exploration:
        policy = ExploringPolicy(policy, config.width, config.exploration)
    return policy, trained.parameters[None]


def _numbers(config: CollectConfig, shard: int) -> range:
    """Episodes of a shard."""
    return range(shard * config.shard_episodes, min((shard + 1) * config.shard_episodes, config.episodes))


def _shard(config: CollectConfig, shard: int) -> Path:
    return Path(config.out) / "shards" / f"{shard:05d}.h5"


def _episode(config: CollectConfig, number: int) -> Path:
    return Path(config.out) / "episodes" / f"{number:06d}.h5"
