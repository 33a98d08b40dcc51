"""The HDF5 files of the project: episodes, shards with their index, latents, and named arrays (weights, champions).

Layout, format version 1. One step is one row; per-episode tables say where episodes begin:

    frames      uint8   [N, 64, 64, 3]   what was seen before actions[t]
    actions     float32 [N, 3]           steer -1..1, gas 0..1, brake 0..1
    rewards     float32 [N]              came after actions[t]
    terminated  bool    [N]
    episodes/{number, start, length, seed, return}   [E]

A shard holds a fixed number of consecutive episodes, so the data set's bytes do not depend on the number of ranks.
``frames.h5`` maps all shards into one view (HDF5 virtual datasets). ``latents.h5`` has mu and logvar (float16 [N, 32]) in
the place of frames and copies the rest.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py._objects import phil

from wm_mpi.core.errors import UserError
from wm_mpi.core.rundir import atomic_path
from wm_mpi.core.schema import Frames, Latents, Value, checked
from wm_mpi.core.terminal import quoted

FORMAT = 1
CHUNK = 32
"""Frames a chunk: 384 KiB raw, the unit of compression and of reading."""
LATENT_BYTES = 32 * 2 * 2 + 3 * 4 + 4 + 1
"""Of one step in latents.h5."""
UNREADABLE = (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError)
"""What h5py and JSON raise on files that are torn, or something else."""
STEP_FIELDS = ("actions", "rewards", "terminated")
TABLE = {"number": np.int64, "start": np.int64, "length": np.int64, "seed": np.int64, "return": np.float64}


@dataclass(frozen=True)
class Episode:
    """One played episode of L steps: frames uint8 [L,64,64,3], actions float32 [L,3], rewards float32 [L], terminated
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


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file, built in memory and then written atomically.

    HDF5 on a full disk fails again and again while it closes; written by us, a full disk is one clear error. The largest
    file made so is a shard: ``--shard-episodes`` times about 2 MB, compressed.
    """
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        yield file
    with atomic_path(path) as temporary:
        temporary.write_bytes(image.getbuffer())


def write_episode(path: Path, episode: Episode) -> None:
    """Write one finished episode to a file of its own, atomically (fast compression: it is packed into a shard later)."""
    with _new_file(path) as file:
        file.attrs.update(format=FORMAT, number=episode.number, seed=episode.seed)
        file.create_dataset("frames", data=episode.frames, chunks=(min(CHUNK, len(episode)), 64, 64, 3), compression="lzf")
        for name in STEP_FIELDS:
            file[name] = getattr(episode, name)


def read_episode(path: Path) -> Episode:
    """Read what ``write_episode`` wrote.

    Raises:
        UserError: missing or damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            return Episode(int(file.attrs["number"]), int(file.attrs["seed"]), file["frames"][:],
                           *(file[name][:] for name in STEP_FIELDS))
    except UNREADABLE as error:
        raise UserError(f"{path} is damaged ({_reason(error)}): delete it and run the same collect command again") from None


def _check_table(table: Mapping[str, npt.NDArray]) -> None:
    """Refuse tables of episodes that do not follow one another.

    Raises:
        ValueError: they do not.
    """
    starts, lengths = table["start"], table["length"]
    if not len(starts) or not np.array_equal(starts, np.cumsum(lengths) - lengths) or lengths.min() < 1:
        raise ValueError("its table of episodes does not fit together")


def write_shard(path: Path, episodes: Iterable[Path]) -> None:
    """Pack episode files into one shard in the given order, one in memory at a time."""
    rows: dict[str, list[float]] = {name: [] for name in TABLE}
    with _new_file(path) as file:
        file.attrs["format"] = FORMAT
        shapes = {"frames": (64, 64, 3), "actions": (3,), "rewards": (), "terminated": ()}
        types = {"frames": np.uint8, "actions": np.float32, "rewards": np.float32, "terminated": np.bool_}
        for name, shape in shapes.items():
            file.create_dataset(name, (0, *shape), types[name], maxshape=(None, *shape),
                                chunks=(CHUNK if name == "frames" else 1024, *shape),
                                compression="gzip", compression_opts=1)
        total = 0
        for source in episodes:
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
            held = min(len(file[name]) for name in ("frames", *STEP_FIELDS))
            expected = int(np.sum(file["episodes/length"][:]))
    except UNREADABLE as error:
        raise UserError(f"{path} is truncated or damaged ({_reason(error)}): {fix}") from None
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


def write_index(directory: Path, shards: Sequence[Path], about: Mapping[str, Any]) -> None:
    """Write ``frames.h5``, which shows all shards as one data set.

    Args:
        directory: where ``frames.h5`` goes; it names the shards by their paths from there.
        shards: shard files in order.
        about: recorded with the data: environment, rules, seed, policy.
    """
    lengths = [check_shard(path) for path in shards]
    names = [os.path.relpath(path, directory) for path in shards]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    tables: dict[str, list[npt.NDArray]] = {name: [] for name in TABLE}
    with _new_file(directory / "frames.h5") as file:
        file.attrs.update(format=FORMAT, about=json.dumps(dict(about)))
        layouts: dict[str, h5py.VirtualLayout] = {}
        for path, shown, start, length in zip(shards, names, starts, lengths, strict=False):
            with h5py.File(path, "r") as shard:
                for name in TABLE:
                    tables[name].append(shard[f"episodes/{name}"][:] + (start if name == "start" else 0))
                for name in ("frames", *STEP_FIELDS):
                    source = shard[name]
                    layout = layouts.setdefault(
                        name, h5py.VirtualLayout((int(starts[-1]), *source.shape[1:]), source.dtype))
                    layout[start:start + length] = h5py.VirtualSource(shown, name, source.shape)
        for name, layout in layouts.items():
            file.create_virtual_dataset(name, layout)
        for name, parts in tables.items():
            file[f"episodes/{name}"] = np.concatenate(parts)
        file.create_dataset("shards/file", data=[os.fsencode(name) for name in names], dtype=h5py.string_dtype())
        file["shards/length"] = lengths


class Dataset:
    """A data set opened for reading; use it as a context manager. Nothing but the per-episode tables is held in memory."""

    def __init__(self, directory: str | Path, name: str) -> None:
        """Open ``directory/name`` (``frames.h5`` or ``latents.h5``) and check that all of it is there.

        Raises:
            UserError: no such data set; a missing, truncated or damaged file, by name.
        """
        self.directory = Path(directory)
        self.path = self.directory / name
        made_by, schema = {"frames.h5": ("collect", Frames), "latents.h5": ("encode", Latents)}[name]
        if not self.path.exists():
            raise UserError(f"{self.path} does not exist: run python -m wm_mpi.{made_by} --out "
                            f"{quoted(self.directory)} first")
        with contextlib.ExitStack() as on_failure:
            try:
                self._file = on_failure.enter_context(h5py.File(self.path, "r"))
                self.table = {column: self._file[f"episodes/{column}"][:].astype(dtype) for column, dtype in TABLE.items()}
                about = json.loads(self._file.attrs["about"])
                shards = self.shards() if name == "frames.h5" else []
                self._ends = np.cumsum(self._file["shards/length"][:] if shards else [])
                _check_table(self.table)
            except UNREADABLE as error:
                raise UserError(f"{self.path} is damaged ({_reason(error)}): run {made_by} again") from None
            self.about: dict[str, Any] = checked(about, schema, str(self.path), f"run {made_by} again")  # type: ignore
            self._shards = shards
            for shard, length in zip(shards, np.diff(self._ends, prepend=0), strict=True):
                check_shard(shard, int(length))  # HDF5 itself reads zeros where one is missing
            on_failure.pop_all()

    def __enter__(self) -> "Dataset":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        """Steps in all."""
        return int(self.table["length"].sum())

    def shards(self) -> list[Path]:
        """The files that ``frames.h5`` shows, in order."""
        return [self.directory / os.fsdecode(name) for name in self._file["shards/file"][:]]

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """First row of each episode, shape (E,)."""
        return self.table["start"]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Steps of each episode, shape (E,)."""
        return self.table["length"]

    def read(self, field: str, start: int, stop: int) -> npt.NDArray:
        """Rows ``start:stop`` of a field. Threads that read frames share the work, which is mostly inflating.

        Raises:
            UserError: the data under these rows cannot be read.
        """
        try:
            return self._inflated(start, stop) if field == "frames" else self._file[field][start:stop]
        except (OSError, KeyError, ValueError, RuntimeError, zlib.error) as error:
            raise UserError(f"{self.path}: rows {start}..{stop} of {field} cannot be read ({_reason(error)})") from None

    def _inflated(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Frames ``start:stop``, chunk by chunk: HDF5 would inflate under its lock, one thread at a time."""
        stop = min(stop, int(self._ends[-1]))
        frames = np.empty((max(stop - start, 0), 64, 64, 3), np.uint8)
        row = start
        while row < stop:
            shard = int(np.searchsorted(self._ends, row, side="right"))
            first, upto = int(self._ends[shard - 1]) if shard else 0, min(stop, int(self._ends[shard]))
            chunks = range(first + (row - first) // CHUNK * CHUNK, upto, CHUNK)
            with phil, h5py.File(self._shards[shard], "r") as file:  # h5py's lock: read_direct_chunk does not take it
                held = file["frames"].id
                packed = [held.read_direct_chunk((chunk - first, 0, 0, 0))[1] for chunk in chunks]
            for chunk, each in zip(chunks, packed, strict=True):
                low, high = max(row, chunk), min(upto, chunk + CHUNK)
                unpacked = np.frombuffer(zlib.decompress(each), np.uint8).reshape(-1, 64, 64, 3)
                frames[low - start:high - start] = unpacked[low - chunk:high - chunk]
            row = upto
        return frames

    def identities(self) -> npt.NDArray[np.uint64]:
        """A number for each episode that tells it from all others, whatever data set it is in, shape (E,)."""
        rows = np.stack([self.table[column].astype("<f8").view("<u8") if column == "return" else
                         self.table[column].astype("<u8") for column in ("seed", "length", "return")], axis=1)
        return np.array([int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little") for row in rows],
                        np.uint64)

    def fingerprint(self, **more: str) -> str:
        """Identity of the data set: its episodes, and how they were made; ``vae`` gives that of their latents."""
        digest = hashlib.sha256(json.dumps({**self.about, **more}, sort_keys=True).encode())
        for column in ("seed", "length", "return"):
            digest.update(np.ascontiguousarray(self.table[column]).tobytes())
        return digest.hexdigest()[:16]


def write_latents(path: Path, frames: Dataset, encoded: Iterable[tuple[npt.NDArray, npt.NDArray]],
                  about: Mapping[str, Any]) -> None:
    """Write ``latents.h5``: batches of (mu, logvar) in row order, everything else copied from ``frames``.

    Raises:
        UserError: the disk has not enough room (asked beforehand: this file is too large to be built in memory).
    """
    needed, free = len(frames) * LATENT_BYTES, shutil.disk_usage(path.parent).free
    if free < needed:
        raise UserError(f"{path} needs about {needed / 1e6:.0f} MB, but {free / 1e6:.0f} MB are free: free some space and "
                        "run encode again")
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(format=FORMAT, about=json.dumps({**frames.about, **about}))
        position = 0
        for mu, logvar in encoded:
            for name, values in (("mu", mu), ("logvar", logvar)):
                if name not in file:
                    file.create_dataset(name, (len(frames), mu.shape[1]), np.float16,
                                        chunks=(min(1024, len(frames)), mu.shape[1]))
                file[name][position:position + len(values)] = values
            position += len(mu)
        if position != len(frames):
            raise UserError(f"{path}: {position:,} latents for {len(frames):,} frames: run encode again")
        for name in STEP_FIELDS:
            file[name] = frames.read(name, 0, len(frames))
        for name in TABLE:
            file[f"episodes/{name}"] = frames.table[name]


def save_arrays(path: Path, arrays: Mapping[str, npt.ArrayLike], about: Mapping[str, Any], compress: bool = False) -> None:
    """Write named arrays (names with slashes become groups) and ``about`` as JSON, atomically."""
    packing: dict[str, Any] = {"compression": "gzip", "compression_opts": 9, "shuffle": True} if compress else {}
    with _new_file(path) as file:
        file.attrs.update(format=FORMAT, about=json.dumps(dict(about)))
        for name, value in arrays.items():
            file.create_dataset(name, data=np.asarray(value), **(packing if np.ndim(value) else {}))


def load_arrays(path: Path, what: str, schema: type[Value] = dict,  # type: ignore[assignment]
                vectors: Sequence[str] = ()) -> tuple[dict[str, npt.NDArray], Value]:
    """Read what ``save_arrays`` wrote.

    Args:
        path: the file.
        what: tells in an error how to get the file.
        schema: what must be recorded with the arrays.
        vectors: names of arrays that must be there, of one dimension, each number finite.

    Raises:
        UserError: missing, damaged, or something else.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: {what}")
    arrays: dict[str, npt.NDArray] = {}

    def visit(name: str, node: h5py.HLObject) -> None:
        if isinstance(node, h5py.Dataset):
            arrays[name] = node[()]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
            about = json.loads(file.attrs["about"])
    except UNREADABLE as error:
        raise UserError(f"{path} is damaged ({_reason(error)}): {what}") from None
    for name in vectors:
        if name not in arrays or arrays[name].ndim != 1 or arrays[name].dtype.kind != "f":
            raise UserError(f"{path} is of another version, or damaged (it has no vector {name}): {what}")
        if not np.isfinite(arrays[name]).all():
            raise UserError(f"{path}: {name} has numbers that are not finite, the run has diverged: {what}")
    return arrays, checked(about, schema, str(path), what)


@contextlib.contextmanager
def open_frames(directory: str | Path) -> Iterator[Dataset]:
    """The data set that collect wrote."""
    with Dataset(directory, "frames.h5") as data:
        yield data


@contextlib.contextmanager
def open_latents(directory: str | Path) -> Iterator[Dataset]:
    """The data set that encode wrote."""
    with Dataset(directory, "latents.h5") as data:
        yield data


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
