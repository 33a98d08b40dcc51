"""Quantise V on collected frames and measure, on others, what that costs."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.core.progress import Progress
from wm_mpi.core.seeding import generator
from wm_mpi.data.datasets import Dataset
from wm_mpi.world.graph import build_encoder
from wm_mpi.world.policy import open_session, run_encoder
from wm_mpi.world.quantize import Deviation, Weights, activation_peaks, beyond, deviation, equalise, prune, quantise, refit

CALIBRATION_FRAMES = 4096
"""Frames to calibrate on."""
JUDGED_FRAMES = 1024
"""Other frames, to check with."""
FRAMES_PER_PAINTED = 4
"""Calibration frames per one that is shown again with the edge of the field across it (count)."""
MIXTURES = (4, 1, 3, 2)
"""Convolutions that may stay in fp32, one at a time, the one that costs least time first."""
BATCH_FRAMES = 16
"""Frames of a call when speed is measured: what a rank has."""
MEASURED_SECONDS = 0.3
"""For so long (seconds)."""


@dataclass(frozen=True)
class Rounded:
    """An encoder in 8 bits, and how far it strays."""

    vae: dict[str, npt.NDArray]
    integers: dict[str, npt.NDArray]
    """What ``graph.build_policy`` takes."""
    exact: tuple[int, ...]
    """Convolutions that stay in fp32."""
    measured: Deviation

    @property
    def precision(self) -> str:
        """In a word: int8, or mixed."""
        return "mixed" if self.exact else "int8"

    @property
    def graph(self) -> bytes:
        """The encoder alone, serialised."""
        return build_encoder(self.vae, self.integers).SerializeToString()


def two_samples(data: Dataset, seen: int = CALIBRATION_FRAMES, judged: int = JUDGED_FRAMES, swap: bool = False,
                ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Frames of even and of odd episodes, at most ``seen`` and ``judged`` at random moments, uint8 [N,64,64,3].

    Of a single episode, the first and the second half. ``swap`` takes the two sides the other way round.
    """
    episode = np.repeat(np.arange(len(data.lengths)), data.lengths)
    side = episode % 2 if len(data.lengths) > 1 else np.arange(len(episode)) * 2 // len(episode)
    rng = generator(18)
    sides = [np.flatnonzero(side == which) for which in ((1, 0) if swap else (0, 1))]
    if min(map(len, sides)) == 0:
        raise UserError(f"{data.path} has too few frames to calibrate on: collect more, or give --precision fp32")
    chosen = [np.sort(rng.choice(rows, min(count, len(rows)), replace=False))
              for rows, count in zip(sides, (seen, judged), strict=True)]
    samples: tuple[list[npt.NDArray[np.uint8]], ...] = ([], [])
    with Progress(None, sum(map(len, chosen)), unit="frame", name="reading for int8") as progress:
        for rows, frames in zip(chosen, samples, strict=True):
            for row in rows:
                frames.append(data.read("frames", int(row), int(row) + 1))
                progress.advance()
    return np.concatenate(samples[0]), np.concatenate(samples[1])


def edged(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Frames [N,64,64,3] with all black beyond a straight line across each, somewhere and at any angle.

    Beyond the field all is black. Few drives get there, V's largest activations come from it, and a sample of episodes may
    have it on one side only, or not at all.
    """
    rng = generator(23)
    angle, away = rng.uniform(0, 2 * np.pi, len(frames)), rng.uniform(-10, 40, len(frames))
    row, column = np.mgrid[-31.5:32, -31.5:32]
    across = np.cos(angle)[:, None, None] * column + np.sin(angle)[:, None, None] * row
    return np.where((across > away[:, None, None])[..., None], np.uint8(0), frames)


def round_encoder(vae: Weights, seen: npt.NDArray[np.uint8], held_out: npt.NDArray[np.uint8], mixtures: bool = True,
                  ) -> Iterator[Rounded]:
    """V's encoder in 8 bits in ever finer ways, each fitted to ``seen`` and measured on ``held_out`` when it is asked for.

    First without the channels that are silent on all of ``seen`` and its mirror image; then without those only that are
    silent at the field's edge too, which is a fifth slower; then, with ``mixtures``, with one convolution in fp32.
    """
    exact = run_encoder(build_encoder(vae).SerializeToString())
    frames = np.concatenate([seen, seen[:, :, ::-1], edged(seen[::FRAMES_PER_PAINTED])])
    said, expected = exact(frames), exact(held_out)
    peaks = activation_peaks(said)
    heard = activation_peaks({name: value[:2 * len(seen)] for name, value in said.items()})
    ways = [(heard, ()), (peaks, ()), *((peaks, (number,)) for number in MIXTURES if mixtures)]
    for loud, layers in ways:
        equal, ranges = equalise(*prune(vae, loud, peaks))
        integers = quantise(equal, ranges, layers)
        moved = refit(equal, said, run_encoder(build_encoder(equal, integers).SerializeToString())(frames))
        rounded = run_encoder(build_encoder(moved, integers).SerializeToString())
        yield Rounded(moved, integers, layers, deviation(expected, rounded(held_out)))


def quantise_encoder(vae: Weights, seen: npt.NDArray[np.uint8], held_out: npt.NDArray[np.uint8], mixtures: bool = False,
                     ) -> tuple[Rounded | None, str]:
    """The first of ``round_encoder``'s ways that stays within bounds, if any; and what int8 alone exceeded, if it did."""
    strays = ""
    with Progress(None, 2 + mixtures * len(MIXTURES), unit="way", name="calibrating int8") as progress:
        for way in round_encoder(vae, seen, held_out, mixtures):
            progress.advance()
            if not beyond(way.measured):
                return way, strays
            if not way.exact:
                strays = beyond(way.measured)
    return None, strays


def frames_per_second(graph: bytes, frames: npt.NDArray[np.uint8]) -> float:
    """How fast an encoder is on one core, in batches of 16, by the median call; both of this thread's time,
    so that other programs on the machine count little.
    """
    session, feed = open_session(graph), {"frames": frames[:BATCH_FRAMES]}
    took: list[float] = []
    while sum(took) < MEASURED_SECONDS:
        began = time.thread_time()
        session.run(["mu", "logvar"], feed)
        took.append(time.thread_time() - began)
    return len(feed["frames"]) / float(np.median(took))
