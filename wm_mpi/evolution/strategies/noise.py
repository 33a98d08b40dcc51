"""Standard normal noise for antithetic pairs: for each row e there is a candidate at +e and one at -e."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.core.seeding import generator

STREAM = 0xA57
"""Sets this noise apart from all else that is drawn from a run's seed."""
FRESH = 2**21
"""So many numbers per generation are drawn anew; where there are more, rows are pieces of a table (count)."""
TABLE = 2**24
"""Numbers in the table, beside those of a row (count; 64 MB)."""


@dataclass(frozen=True)
class PairedNoise:
    """The noise of every generation, a function of the seed and the generation's number."""

    seed: int
    popsize: int
    """Candidates, which are pairs (count)."""
    parameters: int
    """Numbers in each, P (count)."""

    def rows(self, generation: int) -> Sequence[npt.NDArray[np.float32]]:
        """The noise of a generation: popsize / 2 rows of shape (P,).

        Drawing 13 million numbers takes longer than all else that a generation of 256 large controllers needs. As Salimans
        et al. (2017) do, their rows are then pieces of one table, at places drawn for each generation.
        """
        rng = generator(self.seed, STREAM, generation)
        count, length = self.popsize // 2, self.parameters
        if count * length <= FRESH:
            return rng.standard_normal((count, length), np.float32)  # type: ignore[return-value]  # its rows
        table = _table(self.seed, length)
        return [table[begin:begin + length] for begin in rng.integers(0, TABLE, count)]


@functools.lru_cache(maxsize=1)
def _table(seed: int, length: int) -> npt.NDArray[np.float32]:
    """Made once per process and run."""
    return generator(seed, STREAM).standard_normal(TABLE + length, np.float32)


class Pairs:
    """Antithetic candidates as what they are made of: mean + sigma e, first of all rows e, then mean - sigma e.

    This is what ranks are told: each makes those that it plays. Mean and sigma travel in single precision, in which C
    computes anyway, and these are what all candidates are made of, wherever that is.
    """

    def __init__(self, mean: npt.NDArray[np.floating], sigma: float | npt.NDArray[np.floating], noise: PairedNoise,
                 generation: int) -> None:
        """``mean``: shape (P,); ``sigma``: for all parameters, or one for each."""
        self._mean, self._sigma = np.asarray(mean, np.float32), np.asarray(sigma, np.float32)
        self._noise, self._generation = noise, generation

    @functools.cached_property
    def _rows(self) -> Sequence[npt.NDArray[np.float32]]:
        return self._noise.rows(self._generation)

    def __len__(self) -> int:
        """How many there are."""
        return self._noise.popsize

    def __getitem__(self, number: int) -> npt.NDArray[np.float64]:
        """One of them, shape (P,)."""
        lower, row = divmod(number, len(self) // 2)
        mean, step = self._mean.astype(np.float64), np.multiply(self._rows[row], self._sigma, dtype=np.float64)
        return mean - step if lower else mean + step

    def all(self) -> npt.NDArray[np.float64]:
        """All of them, shape (N, P)."""
        mean, sigma = self._mean.astype(np.float64), self._sigma.astype(np.float64)
        candidates, step = np.empty((2, len(self) // 2, len(mean))), np.empty(len(mean))
        for number, row in enumerate(self._rows):
            np.copyto(step, row)  # into one place that stays in the cache: half the time of a new array for each row
            step *= sigma
            np.add(mean, step, out=candidates[0, number])
            np.subtract(mean, step, out=candidates[1, number])
        return candidates.reshape(-1, len(mean))

    def __reduce__(self) -> tuple[Any, ...]:
        """Without the noise itself, which every rank draws."""
        return Pairs, (self._mean, self._sigma, self._noise, self._generation)


def weighted(weights: npt.NDArray[np.float64], rows: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """The sum of w e over rows, shape (P,)."""
    total = np.zeros_like(rows[0])
    for weight, row in zip(weights.astype(np.float32), rows, strict=True):
        total += weight * row
    return total
