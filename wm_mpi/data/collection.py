"""A data set in the making: which episodes go into which shard, where both lie meanwhile, and what is still to do."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wm_mpi.core.errors import UserError
from wm_mpi.data.datasets import open_frames
from wm_mpi.data.episodes import check_shard, shard_holds, write_shard


@dataclass(frozen=True)
class Collection:
    """Episodes 0 to ``episodes`` in shards of ``shard_episodes``; the last one may be smaller."""

    directory: Path
    episodes: int
    shard_episodes: int

    def episode(self, number: int) -> Path:
        """The file of an episode that is not packed yet."""
        return self.directory / "episodes" / f"{number:06d}.h5"

    def shard(self, number: int) -> Path:
        """The file of a shard."""
        return self.directory / "shards" / f"{number:05d}.h5"

    @property
    def shards(self) -> list[Path]:
        """The files of all shards, in order."""
        return [self.shard(number) for number in range(-(-self.episodes // self.shard_episodes))]

    def members(self, shard: int) -> range:
        """The numbers of a shard's episodes."""
        return range(shard * self.shard_episodes, min((shard + 1) * self.shard_episodes, self.episodes))

    def unpacked(self) -> list[int]:
        """The numbers of the shards that are missing, damaged, or hold other episodes (the last of a set that has grown)."""
        return [number for number, path in enumerate(self.shards) if not shard_holds(path, self.members(number))]

    def unplayed(self, shards: Iterable[int]) -> list[int]:
        """The numbers of the episodes that these shards need and that are not there."""
        return [number for shard in shards for number in self.members(shard) if not self.episode(number).exists()]

    def pack(self, shard: int) -> None:
        """Write a shard from its episodes' files."""
        write_shard(self.shard(shard), map(self.episode, self.members(shard)))

    def remove_episodes(self) -> None:
        """Remove the episodes' own files, once shards have them all."""
        shutil.rmtree(self.directory / "episodes", ignore_errors=True)


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
