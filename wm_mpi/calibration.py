"""Quantise V on collected frames and measure, on others, what that costs."""

import numpy as np
import numpy.typing as npt

from wm_mpi.datasets import Dataset
from wm_mpi.errors import UserError
from wm_mpi.graph import build_encoder
from wm_mpi.policy import run_encoder
from wm_mpi.progress import Progress
from wm_mpi.quantize import Deviation, Weights, activation_peaks, check, deviation, equalise, prune, quantise, recentre
from wm_mpi.seeding import generator

CALIBRATION = 1024
"""Frames to calibrate on, and as many others to check with."""


def two_samples(data: Dataset, count: int = CALIBRATION) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Frames of even and of odd episodes, at most ``count`` each at random moments, uint8 [N,64,64,3].

    Of a single episode, the first and the second half.
    """
    episode = np.repeat(np.arange(len(data.lengths)), data.lengths)
    side = episode % 2 if len(data.lengths) > 1 else np.arange(len(episode)) * 2 // len(episode)
    rng = generator(18)
    sides = [np.flatnonzero(side == which) for which in (0, 1)]
    if min(map(len, sides)) == 0:
        raise UserError(f"{data.path} has too few frames to calibrate on: collect more, or give --precision fp32")
    chosen = [np.sort(rng.choice(rows, min(count, len(rows)), replace=False)) for rows in sides]
    samples: tuple[list[npt.NDArray[np.uint8]], ...] = ([], [])
    with Progress(None, sum(map(len, chosen)), unit="frame", name="reading for int8") as progress:
        for rows, frames in zip(chosen, samples, strict=True):
            for row in rows:
                frames.append(data.read("frames", int(row), int(row) + 1))
                progress.advance()
    return np.concatenate(samples[0]), np.concatenate(samples[1])


def quantise_encoder(vae: Weights, seen: npt.NDArray[np.uint8], held_out: npt.NDArray[np.uint8],
                     ) -> tuple[dict[str, npt.NDArray], dict[str, npt.NDArray], Deviation]:
    """V without silent channels, equalised and recentred; its convolutions' integers; how far the two stray on ``held_out``.

    Raises:
        UserError: too far.
    """
    with Progress(None, 3, unit="pass", name="calibrating int8") as progress:
        exact = run_encoder(build_encoder(vae).SerializeToString())
        vae, ranges = equalise(*prune(vae, activation_peaks(exact, seen)))
        integers = quantise(vae, ranges)
        progress.advance()
        rounded = run_encoder(build_encoder(vae, integers).SerializeToString())
        moved = recentre(vae, exact(seen), rounded(seen))
        progress.advance()
        rounded = run_encoder(build_encoder(moved, integers).SerializeToString())
        measured = deviation(exact(held_out), rounded(held_out))
        progress.advance()
    check(measured)
    return moved, integers, measured
