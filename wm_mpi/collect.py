"""Play episodes for first data: over MPI to episode files, packed into HDF5 shards, shown as one data set by frames.h5."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import CollectConfig

if __name__ == "__main__":
    run_command("collect", CollectConfig)

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.core.files import read_json
from wm_mpi.core.options import AUTO
from wm_mpi.core.progress import Progress, log
from wm_mpi.core.rundir import RunDir, begin_directory
from wm_mpi.core.schema import Collected
from wm_mpi.core.seeding import Stream, episode_seed
from wm_mpi.data.collection import Collection, first_shards
from wm_mpi.data.datasets import open_frames, write_index
from wm_mpi.data.episodes import check_shard
from wm_mpi.envs import EnvSpec, display, game_of, make_env, ours, settled
from wm_mpi.evolution.champion import Trained, load_trained
from wm_mpi.pool import Pool, Several, open_pool
from wm_mpi.rollout.collector import Packer, Player
from wm_mpi.rollout.exploration import ExploringPolicy, ShrinkingPolicy, behaviour
from wm_mpi.rollout.worker import Played, Task, make_policy, require_finite
from wm_mpi.world.manifest import meant_by
from wm_mpi.world.policy import Policy

BEHAVIOURS = ("random", "linear")
"""Who acts where no champion does."""
PLAYER, PACKER = 0, 1
"""The workers of a rank, by their numbers."""


def main(config: CollectConfig) -> None:
    """Collect or go on collecting; worker ranks serve inside ``open_pool`` and come out with None."""
    champion = load_champion(config)
    meant = ours(champion.spec.name) if champion and config.env == AUTO else meant_by(config.env, None)
    config = settled(replace(config, env=meant))
    game = game_of(config.env)
    if not game.pictures:
        raise UserError(f"--env {config.env} shows no frames, there is nothing to collect: C takes its vectors as they are")
    if config.frame not in (None, *game.frames):
        raise UserError(f"--env {config.env} has no frames {config.frame!r}: give {' or '.join(game.frames)}")
    if config.longest_held is not None and (game.smooth or config.policy != "random"):
        other = f"--policy {config.policy}" if config.policy != "random" else f"--env {config.env}, where they wander"
        raise UserError(f"--longest-held {config.longest_held} is for random actions that are held: not for {other}")
    collection = Collection(Path(config.out), config.episodes, config.shard_episodes)
    seen: str = (champion and champion.spec.frame) or config.frame or str(game.frame)
    recorded = config.frame or seen
    if game.frames[seen].height != game.frames[recorded].height:
        raise UserError(f"--frame {recorded} is of pictures of another size than --policy {config.policy} is shown ({seen} "
                        f"frames): give --frame {seen}, or a policy that sees {recorded} frames")
    spec = EnvSpec(config.env, config.max_frames or 0, config.lap_complete_percent, recorded)  # settled

    def build() -> Several:
        if seen == recorded:
            player = Player(make_env(spec, config.width), driver(config, champion), collection)
        else:
            player = Player(make_env(replace(spec, frame=None), config.width),
                            ShrinkingPolicy(driver(config, champion), game.frames[seen]), collection, game.frames[recorded])
        return Several([player, Packer(collection)])

    with open_pool(build, lambda: display(config.display)) as pool:
        if pool is None:
            return
        begin(config, champion, recorded)
        shards = collection.unpacked()
        played = play(config, pool, collection.unplayed(shards), champion)
        pack(pool, shards)
        frames, mixed = show(config, spec, collection)
        collection.remove_episodes()
        print(f"finished: {config.episodes} episodes, {frames:,} frames ({played:,} of them now) in "
              f"{collection.directory / 'frames.h5'}" + (f", with {mixed:,} frames of {config.mix}" if config.mix else "")
              + f"; returns {scored(collection, config.episodes)}")


def scored(collection: Collection, episodes: int) -> str:
    """Mean and spread of the returns (points) of the episodes collected here, which come first in the index."""
    with open_frames(collection.directory) as data:
        returns = data.table["return"][:episodes]
    return f"{returns.mean():.1f} ± {returns.std():.1f}"


def load_champion(config: CollectConfig) -> Trained | None:
    """The champion that drives, None where none does.

    Raises:
        UserError: --policy is neither a name nor a run with a champion, or --exploration is for a champion only.
    """
    if config.policy in BEHAVIOURS:
        if config.exploration:
            raise UserError(f"--exploration {config.exploration:g} is for a champion, --policy {config.policy} is all "
                            "exploration: give the directory of a run, or leave it out")
        return None
    if not RunDir(config.policy).config.exists():
        raise UserError(f"--policy {config.policy} is neither 'random' nor 'linear' nor the directory of an es run")
    env = None if config.env == AUTO else config.env
    return load_trained(config.policy, env=env, world=config.world, max_frames=config.max_frames,
                        lap_complete_percent=config.lap_complete_percent, deterministic=None)


def driver(config: CollectConfig, champion: Trained | None) -> Policy:
    """The policy that drives."""
    if champion is None:
        return behaviour(config.policy, game_of(config.env), config.width, config.longest_held)
    policy: Any = make_policy(champion.spec, champion.world, config.width, champion.deterministic,
                              champion.settings.get("hidden"))
    return ExploringPolicy(policy, config.width, config.exploration) if config.exploration else policy


def parameters_of(champion: Trained | None) -> npt.NDArray[np.float64]:
    """What the driver is given, shape (parameters,)."""
    return np.empty(0) if champion is None else champion.parameters


def begin(config: CollectConfig, champion: Trained | None, frame: str) -> None:
    """Take the directory, or go on in it.

    Raises:
        UserError: it is for more episodes or another configuration; --mix is no data set, or one of other frames.
    """
    out = Path(config.out)
    refuse_fewer(out, config)
    if config.mix is not None:
        with open_frames(config.mix) as older:  # is it there, and undamaged?
            older.require(frame, f"--out {config.out}")
    driven = {} if champion is None else {"policy_sha256": hashlib.sha256(parameters_of(champion).tobytes()).hexdigest()}
    begin_directory(out, config.values() | driven, config.changeable_fields())


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


def play(config: CollectConfig, pool: Pool, missing: Sequence[int], champion: Trained | None) -> int:
    """Play the episodes of these numbers into files; gives how many frames that were."""
    log.info(f"{config.episodes} episodes wanted, {len(missing)} to play ({pool.workers} at work)")
    tasks = [Task(0, episode_seed(config.seed, Stream.COLLECTION, 0, number)) for number in missing]
    frames = 0
    with Progress(None, config.episodes, config.episodes - len(missing)) as progress:
        def arrived(position: int, played: Played) -> None:
            nonlocal frames
            require_finite(tasks[position], played)
            frames += played.frames
            progress.advance()

        pool.run((PLAYER, (parameters_of(champion)[None], missing)), tasks, arrived)
    return frames


def pack(pool: Pool, shards: Sequence[int]) -> None:
    """Pack the shards of these numbers."""
    with Progress(None, len(shards), unit="shard") as progress:
        pool.run((PACKER, None), shards, lambda *_: progress.advance())


def show(config: CollectConfig, spec: EnvSpec, collection: Collection) -> tuple[int, int]:
    """Write the index over all shards, and those of --mix; gives how many frames both have."""
    frames = sum(map(check_shard, collection.shards))
    old = [] if config.mix is None else first_shards(config.mix, frames, config.mix_share)
    write_index(collection.directory, [*collection.shards, *old],
                {**spec.describe(), "policy": config.policy, "seed": config.seed, "mix": config.mix})
    return frames, sum(map(check_shard, old))
