"""Batches for training, streamed from disk: memory is bounded by the buffer, whatever the data set's size."""

import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from wm_mpi.core.machine import available_memory
from wm_mpi.core.seeding import generator

BLOCK_FRAMES = 256
"""Frames read in one go: the shuffle moves blocks first, then frames within the buffer."""


class Source(Protocol):
    """The part of a data set that batches are cut from."""

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """First row of each episode."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Rows of each episode."""

    def read(self, field: str, start: int, stop: int) -> npt.NDArray:
        """Rows ``start:stop`` of a field."""


@dataclass(frozen=True)
class Batch:
    """Arrays for one step and where they came from, to name the culprit when a loss turns NaN."""

    arrays: dict[str, npt.NDArray]
    rows: npt.NDArray[np.int64]
    """Row in the data set of each item (for sequences, of its first step)."""
    steps: int = 1
    """How many batches of a step each these are; arrays of several are [steps, B, ...]."""

    def first(self, items: int) -> "Batch":
        """Its first items."""
        return Batch({name: value[:items] for name, value in self.arrays.items()}, self.rows[:items])


def split_episodes(episodes: int, validation: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Training and validation episodes, chosen at random by ``seed``, each sorted; both have at least one.

    Frames of one episode look alike, so the split must not cut through episodes. A single episode serves as both.
    """
    order = generator(seed, 0x5911).permutation(episodes)
    held_out = min(max(1, round(episodes * validation)), max(1, episodes - 1))
    train = order[held_out:] if episodes > 1 else order
    return np.sort(train), np.sort(order[:held_out])


LARGE_ERROR = 5.0
"""Errors on a reward that are larger (points) count by their size, smaller ones by their square, for M and its gate.

So M learns the mean of what comes often. Of tiles, which come in one frame of three to five, anything nearer to a median is
none at all, and a dream in which nothing pays teaches C to stand still. What comes once, 100 points off at the field's edge,
rules nothing.
"""


def long_enough(source: Source, episodes: npt.NDArray[np.int64], dropped_frames: int) -> npt.NDArray[np.int64]:
    """The episodes of more than ``dropped_frames``, or all where none is so long."""
    chosen = episodes[source.lengths[episodes] > dropped_frames]
    return chosen if len(chosen) else episodes


def frame_batches(source: Source, episodes: npt.NDArray[np.int64], batch_size: int, buffer_frames: int,
                  shuffle: tuple[int, ...] | None, part: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
    """Every frame of the episodes, or of one part of them, once: uint8 ``frames`` [batch_size, 64, 64, 3].

    The last batch may be smaller.

    Memory: four buffers of ``buffer_frames`` (12 KiB a frame): one in use, joined from two, while the next is read.

    Args:
        source: an open frames data set.
        episodes: which episodes.
        batch_size: frames a batch.
        buffer_frames: frames shuffled together.
        shuffle: seed of the order, or None to keep the rows' order.
        part: (k, n) gives the k-th of n parts; all n together have each frame once.
    """
    rng = None if shuffle is None else generator(*shuffle)
    blocks = [(row, min(row + BLOCK_FRAMES, start + length))
              for start, length in zip(source.starts[episodes], source.lengths[episodes], strict=True)
              for row in range(start, start + length, BLOCK_FRAMES)]
    if rng is not None:
        rng.shuffle(blocks)
    blocks = blocks[part[0]::part[1]]
    kept_frames, kept_rows = np.empty((0, 64, 64, 3), np.uint8), np.empty(0, np.int64)
    for frames, rows in _prefetch(lambda: _buffers(source, blocks, max(buffer_frames, batch_size))):
        frames, rows = np.concatenate([kept_frames, frames]), np.concatenate([kept_rows, rows])
        order = np.arange(len(rows)) if rng is None else rng.permutation(len(rows))
        whole = len(rows) // batch_size * batch_size
        for chosen in order[:whole].reshape(-1, batch_size):
            yield Batch({"frames": frames[chosen]}, rows[chosen])
        kept_frames, kept_rows = frames[order[whole:]], rows[order[whole:]]
    if len(kept_rows):
        yield Batch({"frames": kept_frames}, kept_rows)


def frame_steps(source: Source, episodes: npt.NDArray[np.int64], batch_size: int, parts: int = 1) -> int:
    """How many batches ``frame_batches`` gives, of one of several parts roughly."""
    return int(-(-source.lengths[episodes].sum() // (batch_size * parts)))


def sequence_batches(source: Source, episodes: npt.NDArray[np.int64], batch_size: int, sequence: int, steps: int,
                     shuffle: tuple[int, ...]) -> Iterator[Batch]:
    """``steps`` batches of random windows of random episodes, for M, in which every frame counts with the same chance.

    A window has up to ``sequence`` inputs and the step after them as the last target: mu and logvar are float32
    [B, sequence + 1, 32], actions [B, sequence, 3], rewards, terminated and mask [B, sequence] (float32, 1 where it counts).
    Shorter episodes are there as a whole, padded with zeros. Of a longer one a window may hang over either end: it is moved
    inside, and what it then has too much is there for M's memory, but does not count. (Of windows that lie inside anyway one
    in hundreds has an episode's last frame, and M would learn that who has lived for long does not die.) A last step that
    terminated has no successor to predict: there z is masked by ``z_mask``, while reward and termination still count.
    """
    rng = generator(*shuffle)
    lengths = source.lengths[episodes]
    windows = np.where(lengths > sequence, lengths + sequence - 1, sequence)  # in how many of them a frame is: sequence
    chances = windows / windows.sum()

    def batches() -> Iterator[Batch]:
        for _ in range(steps):
            chosen = rng.choice(episodes, size=batch_size, p=chances)
            offsets = rng.random(batch_size)
            yield _sequences(source, chosen, offsets, sequence)

    yield from _prefetch(batches)


def stacked(batches: Iterable[Batch], at_once: int) -> Iterator[Batch]:
    """The same batches, ``at_once`` of one size put together while those before are worked on; what is left over, singly."""
    if at_once == 1:
        yield from batches
        return
    pending = iter(batches)

    def make() -> Iterator[Batch]:
        while group := list(itertools.islice(pending, at_once)):
            if len(group) == at_once and len({len(batch.rows) for batch in group}) == 1:
                arrays = {name: np.stack([batch.arrays[name] for batch in group]) for name in group[0].arrays}
                yield Batch(arrays, np.concatenate([batch.rows for batch in group]), at_once)
            else:
                yield from group

    yield from _prefetch(make)


class Recalled:
    """A source held in memory, where every batch would read small pieces all over a file."""

    def __init__(self, source: Source, fields: Sequence[str]) -> None:
        """Read ``fields`` of ``source``, whole."""
        self.starts, self.lengths = source.starts, source.lengths
        self._held = {field: source.read(field, 0, int(source.lengths.sum())) for field in fields}

    def read(self, field: str, start: int, stop: int) -> npt.NDArray:
        """Rows ``start:stop`` of a field."""
        return self._held[field][start:stop]


def recalled(source: Source) -> Source:
    """A source of latents in memory, if it takes at most a quarter of what is free, else as it is."""
    fields = ("mu", "logvar", "actions", "rewards", "terminated")
    needed = sum(source.read(field, 0, 1).nbytes for field in fields) * int(source.lengths.sum())
    return Recalled(source, fields) if needed <= available_memory() / 4 else source


def _sequences(source: Source, episodes: npt.NDArray, offsets: npt.NDArray, sequence: int) -> Batch:
    latents, actions = (source.read(name, 0, 1).shape[1] for name in ("mu", "actions"))
    size = len(episodes)
    arrays = {"mu": np.zeros((size, sequence + 1, latents), np.float32),
              "logvar": np.zeros((size, sequence + 1, latents), np.float32),
              "actions": np.zeros((size, sequence, actions), np.float32),
              **{name: np.zeros((size, sequence), np.float32) for name in ("rewards", "terminated", "mask", "z_mask")}}
    rows = np.zeros(size, np.int64)
    for item, (episode, offset) in enumerate(zip(episodes, offsets, strict=True)):
        start, length = int(source.starts[episode]), int(source.lengths[episode])
        hangs = int(offset * (length + sequence - 1)) - (sequence - 1) if length > sequence else 0
        first = start + min(max(hangs, 0), max(length - sequence, 0))
        stop = min(first + sequence, start + length)  # rows of inputs
        counts = slice(start + max(hangs, 0) - first, min(start + hangs + sequence, stop) - first)
        after = min(stop + 1, start + length)
        rows[item] = first
        for name in ("mu", "logvar"):
            arrays[name][item, :after - first] = source.read(name, first, after)
        for name in ("actions", "rewards", "terminated"):
            arrays[name][item, :stop - first] = source.read(name, first, stop)
        arrays["mask"][item, counts] = 1
        arrays["z_mask"][item, counts] = 1
        arrays["z_mask"][item, after - first - 1:] = 0
    return Batch(arrays, rows)


def _buffers(source: Source, blocks: list[tuple[int, int]], size: int) -> Iterator[tuple[npt.NDArray, npt.NDArray]]:
    pending = iter(blocks)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        while group := _up_to(pending, size):
            rows = np.concatenate([np.arange(start, stop) for start, stop in group])
            frames = np.empty((len(rows), 64, 64, 3), np.uint8)
            ends = np.cumsum([stop - start for start, stop in group])

            def fill(block: tuple[int, int], end: int, into: npt.NDArray[np.uint8] = frames) -> None:
                into[end - (block[1] - block[0]):end] = source.read("frames", *block)

            list(threads.map(fill, group, ends.tolist()))  # list: to raise what a thread raised
            yield frames, rows
            del frames, fill


def _up_to(blocks: Iterator[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The next blocks that together have at least ``size`` rows, or what is left."""
    group: list[tuple[int, int]] = []
    while sum(stop - start for start, stop in group) < size and (block := next(blocks, None)) is not None:
        group.append(block)
    return group


def _prefetch(make: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """Run an iterator in a thread, one item ahead; its exceptions are raised here."""
    items: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stopped.is_set():
            try:
                items.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        try:
            for item in make():
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # handed to the consumer, who raises it
            put("error", error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = items.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
            del value
    finally:
        stopped.set()
        thread.join()
