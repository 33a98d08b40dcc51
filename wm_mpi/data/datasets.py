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
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py._objects import phil

from wm_mpi.core.errors import UserError
from wm_mpi.core.files import atomic_path
from wm_mpi.core.schema import Frames, Latents, Shown, checked
from wm_mpi.core.terminal import quoted
from wm_mpi.data.arrays import FORMAT, UNREADABLE, check_format, new_file, reason
from wm_mpi.data.episodes import CHUNK_FRAMES, STEP_FIELDS, TABLE, check_shard


def shown(about: Shown) -> str:
    """What frames show, by what is recorded with them or with what was made of them; it was the road alone at first."""
    return about.get("frame", "road")


def _check_table(table: Mapping[str, npt.NDArray]) -> None:
    """Refuse tables of episodes that do not follow one another.

    Raises:
        ValueError: they do not.
    """
    starts, lengths = table["start"], table["length"]
    if not len(starts) or not np.array_equal(starts, np.cumsum(lengths) - lengths) or lengths.min() < 1:
        raise ValueError("its table of episodes does not fit together")


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
    with new_file(directory / "frames.h5") as file:
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
                check_format(self._file)
                self.table = {column: self._file[f"episodes/{column}"][:].astype(dtype) for column, dtype in TABLE.items()}
                about = json.loads(self._file.attrs["about"])
                shards = self.shards() if name == "frames.h5" else []
                self._ends = np.cumsum(self._file["shards/length"][:] if shards else [])
                _check_table(self.table)
            except UNREADABLE as error:
                raise UserError(f"{self.path} is damaged ({reason(error)}): run {made_by} again") from None
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

    @property
    def frame(self) -> str:
        """What its frames show, by the names of its game: "road", "whole"."""
        return shown(self.about)  # type: ignore[arg-type]  # checked when it was opened

    def require(self, frame: str, by: str) -> None:
        """Refuse frames that show something else than ``by``, which is named, sees.

        Raises:
            UserError: they do.
        """
        if self.frame != frame:
            raise UserError(f"{self.path} has {self.frame} frames, but {by} sees {frame} ones: collect with --frame {frame}")

    def read(self, field: str, start: int, stop: int) -> npt.NDArray:
        """Rows ``start:stop`` of a field. Threads that read frames share the work, which is mostly inflating.

        Raises:
            UserError: the data under these rows cannot be read.
        """
        try:
            return self._inflated(start, stop) if field == "frames" else self._file[field][start:stop]
        except (OSError, KeyError, ValueError, RuntimeError, zlib.error) as error:
            raise UserError(f"{self.path}: rows {start}..{stop} of {field} cannot be read ({reason(error)})") from None

    def _inflated(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Frames ``start:stop``, chunk by chunk: HDF5 would inflate under its lock, one thread at a time."""
        stop = min(stop, int(self._ends[-1]))
        frames = np.empty((max(stop - start, 0), 64, 64, 3), np.uint8)
        row = start
        while row < stop:
            shard = int(np.searchsorted(self._ends, row, side="right"))
            first, upto = int(self._ends[shard - 1]) if shard else 0, min(stop, int(self._ends[shard]))
            chunks = range(first + (row - first) // CHUNK_FRAMES * CHUNK_FRAMES, upto, CHUNK_FRAMES)
            # h5py takes its own lock, phil, in every call but read_direct_chunk before 3.16 (h5py/h5py#2764), and TensorFlow
            # wants an older one: tests/test_data.py holds that to be so
            with phil, h5py.File(self._shards[shard], "r") as file:
                held = file["frames"].id
                packed = [held.read_direct_chunk((chunk - first, 0, 0, 0))[1] for chunk in chunks]
            for chunk, each in zip(chunks, packed, strict=True):
                low, high = max(row, chunk), min(upto, chunk + CHUNK_FRAMES)
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

    def fingerprint(self) -> str:
        """Identity of the data set: its episodes, and how they were made."""
        digest = hashlib.sha256(json.dumps(self.about, sort_keys=True).encode())
        for column in ("seed", "length", "return"):
            digest.update(np.ascontiguousarray(self.table[column]).tobytes())
        return digest.hexdigest()[:16]


def write_latents(path: Path, frames: Dataset, encoded: Iterable[tuple[npt.NDArray, npt.NDArray]], latents: int,
                  about: Mapping[str, Any]) -> None:
    """Write ``latents.h5``: batches of (mu, logvar) in row order, everything else copied from ``frames``.

    Raises:
        UserError: the disk has not enough room (asked beforehand: this file is too large to be built in memory).
    """
    per_step = latents * 2 * 2 + frames.read("actions", 0, 1).shape[1] * 4 + 4 + 1
    needed, free = len(frames) * per_step, shutil.disk_usage(path.parent).free
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
                file[name][position:position + len(values)] = values.astype(np.float16)  # HDF5 takes longer to convert
            position += len(mu)
        if position != len(frames):
            raise UserError(f"{path}: {position:,} latents for {len(frames):,} frames: run encode again")
        for name in STEP_FIELDS:
            file[name] = frames.read(name, 0, len(frames))
        for name in TABLE:
            file[f"episodes/{name}"] = frames.table[name]


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
