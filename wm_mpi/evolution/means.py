"""Means of the search distribution, kept ever more sparsely as a run grows: with them its growth can be watched."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.core.rundir import RunDir
from wm_mpi.core.schema import Champion
from wm_mpi.data.arrays import load_arrays, save_arrays

PER_DOUBLING, FEW = 8, 2
"""So many means are kept while the number of generations doubles: 70 in 1,800 generations; of large controllers few."""
LARGE = 16_384
"""Parameters of a large controller (count)."""


def keeps(generation: int, parameters: int) -> bool:
    """Whether a generation's mean is kept: each of the first, then every second, fourth and so on."""
    most = PER_DOUBLING if parameters < LARGE else FEW
    return generation % 2 ** max(0, (generation // most).bit_length() - 1) == 0


def keep_mean(run: RunDir, generation: int, mean: npt.NDArray[np.float64], about: Mapping[str, Any]) -> None:
    """Write a generation's mean, shape (P,), if it is one to keep; ``about`` is recorded with it."""
    if keeps(generation, len(mean)):
        save_arrays(_file(run, generation), {"parameters": mean}, about)


def kept_generations(run: RunDir) -> Sequence[int]:
    """The generations of which the mean is there."""
    return sorted(int(path.stem) for path in run.means.glob("*.h5") if re.fullmatch(r"[0-9]+", path.stem))


def load_mean(run: RunDir, generation: int) -> tuple[npt.NDArray[np.float64], Champion]:
    """A generation's mean, shape (P,), and what is recorded with it.

    Raises:
        UserError: it is not kept, or damaged.
    """
    arrays, about = load_arrays(_file(run, generation), "take a generation that is kept", Champion, ("parameters",))
    return arrays["parameters"], about


def _file(run: RunDir, generation: int) -> Path:
    return run.means / f"{generation:06d}.h5"
