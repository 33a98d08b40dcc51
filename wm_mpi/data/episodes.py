"""Played episodes as HDF5: a file for each while collect plays, then shards of many."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.data.arrays import FORMAT, UNREADABLE, check_format, new_file, reason

CHUNK_FRAMES = 32
"""Frames per chunk: 384 KiB raw, the unit of compression and of reading."""
STEP_FIELDS = ("actions", "rewards", "terminated")
TABLE = {"number": np.int64, "start": np.int64, "length": np.int64, "seed": np.int64, "return": np.float64}


@dataclass(frozen=True)
class Episode:
    """One played episode of L steps: frames uint8 [L,64,64,3], actions float32 [L,A], rewards float32 [L], terminated
    bool [L]; ``seed`` is the track's.
    """

    number: int
    seed: int
    frames: npt.NDArray[np.uint8]
    actions: npt.NDArray[np.float32]
    rewards: npt.NDArray[np.float32]
    terminated: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.frames)


def write_episode(path: Path, episode: Episode) -> None:
    """Write one finished episode to a file of its own, atomically (fast compression: it is packed into a shard later)."""
    with new_file(path) as file:
        file.attrs.update(format=FORMAT, number=episode.number, seed=episode.seed)
        file.create_dataset("frames", data=episode.frames, chunks=(min(CHUNK_FRAMES, len(episode)), 64, 64, 3),
                            compression="lzf")
        for name in STEP_FIELDS:
            file[name] = getattr(episode, name)


def read_episode(path: Path) -> Episode:
    """Read what ``write_episode`` wrote.

    Raises:
        UserError: missing or damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            check_format(file)
            return Episode(number=int(file.attrs["number"]), seed=int(file.attrs["seed"]), frames=file["frames"][:],
                           **{name: file[name][:] for name in STEP_FIELDS})
    except UNREADABLE as error:
        raise UserError(f"{path} is damaged ({reason(error)}): delete it and run the same collect command again") from None


def write_shard(path: Path, episodes: Iterable[Path]) -> None:
    """Pack episode files into one shard in the given order, one in memory at a time."""
    sources = list(episodes)
    rows: dict[str, list[float]] = {name: [] for name in TABLE}
    with new_file(path) as file:
        file.attrs["format"] = FORMAT
        shapes = {"frames": (64, 64, 3), "actions": _actions_of(sources[0]), "rewards": (), "terminated": ()}
        types = {"frames": np.uint8, "actions": np.float32, "rewards": np.float32, "terminated": np.bool_}
        for name, shape in shapes.items():
            file.create_dataset(name, (0, *shape), types[name], maxshape=(None, *shape),
                                chunks=(CHUNK_FRAMES if name == "frames" else 1024, *shape),
                                compression="gzip", compression_opts=1)
        total = 0
        for source in sources:
            episode = read_episode(source)
            for name in shapes:
                file[name].resize(total + len(episode), axis=0)
                file[name][total:] = getattr(episode, name)
            row = (episode.number, total, len(episode), episode.seed, float(np.sum(episode.rewards, dtype=np.float64)))
            for name, value in zip(TABLE, row, strict=True):
                rows[name].append(value)
            total += len(episode)
        for name, dtype in TABLE.items():
            file[f"episodes/{name}"] = np.asarray(rows[name], dtype)


def _actions_of(path: Path) -> tuple[int, ...]:
    """The shape of an action in an episode."""
    return read_episode(path).actions.shape[1:]


def check_shard(path: Path, frames: int | None = None) -> int:
    """The number of frames in a shard, after checking that it is whole.

    Args:
        path: the shard.
        frames: how many it must hold, where that is known.

    Raises:
        UserError: missing, truncated or damaged.
    """
    fix = "run the same collect command again, it plays what is missing"
    if not path.exists():
        raise UserError(f"{path} is missing: {fix}")
    try:
        with h5py.File(path, "r") as file:
            check_format(file)
            held = min(len(file[name]) for name in ("frames", *STEP_FIELDS))
            expected = int(np.sum(file["episodes/length"][:]))
    except UNREADABLE as error:
        raise UserError(f"{path} is truncated or damaged ({reason(error)}): {fix}") from None
    expected = expected if frames is None else frames
    if held != expected:
        raise UserError(f"{path} is truncated ({held:,} of {expected:,} frames): {fix}")
    return held


def shard_holds(path: Path, numbers: Sequence[int]) -> bool:
    """Whether a shard is there, whole, and has exactly the episodes ``numbers``."""
    try:
        check_shard(path)
    except UserError:
        return False
    with h5py.File(path, "r") as file:
        return file["episodes/number"][:].tolist() == list(numbers)
