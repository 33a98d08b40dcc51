"""Standard normal noise for antithetic pairs: for each row e there is a candidate at +e and one at -e."""

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wm_mpi.core.seeding import generator

STREAM = 0xA57
"""Sets this noise apart from all else that is drawn from a run's seed."""
FRESH = 2**21
"""So many numbers per generation are drawn anew; where there are more, rows are pieces of a table (count)."""
TABLE = 2**24
"""Numbers in the table, beside those of a row (count; 64 MB)."""


class PairedNoise:
    """The noise of every generation, a function of the seed and the generation's number."""

    def __init__(self, seed: int, popsize: int, parameters: int) -> None:
        """For ``popsize`` candidates in pairs of ``parameters`` numbers."""
        self._seed, self._shape = seed, (popsize // 2, parameters)

    def rows(self, generation: int) -> Sequence[npt.NDArray[np.float32]]:
        """The noise of a generation: popsize / 2 rows of shape (P,).

        Drawing 13 million numbers takes longer than all else that a generation of 256 large controllers needs. As Salimans
        et al. (2017) do, their rows are then pieces of one table, at places drawn for each generation.
        """
        rng = generator(self._seed, STREAM, generation)
        count, length = self._shape
        if count * length <= FRESH:
            return rng.standard_normal(self._shape, np.float32)  # type: ignore[return-value]  # its rows
        return [self._table[begin:begin + length] for begin in rng.integers(0, TABLE, count)]

    @functools.cached_property
    def _table(self) -> npt.NDArray[np.float32]:
        return generator(self._seed, STREAM).standard_normal(TABLE + self._shape[1], np.float32)


def pairs(mean: npt.NDArray[np.float64], sigma: float | npt.NDArray[np.float64],
          rows: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float64]:
    """Candidates, shape (2 rows, P): first all mean + sigma e, then in the same order all mean - sigma e."""
    candidates, step = np.empty((2, len(rows), len(mean))), np.empty(len(mean))
    for number, row in enumerate(rows):
        np.copyto(step, row)  # into one place that stays in the cache: half the time of a new array for each row
        step *= sigma
        np.add(mean, step, out=candidates[0, number])
        np.subtract(mean, step, out=candidates[1, number])
    return candidates.reshape(-1, len(mean))


def weighted(weights: npt.NDArray[np.float64], rows: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """The sum of w e over rows, shape (P,)."""
    total = np.zeros_like(rows[0])
    for weight, row in zip(weights.astype(np.float32), rows, strict=True):
        total += weight * row
    return total
