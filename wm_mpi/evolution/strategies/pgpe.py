"""PGPE (Sehnke, Osendorfer, Rückstieß, Graves, Peters and Schmidhuber 2010), as Toklu et al. (2020) use it with ClipUp."""

from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.evolution.strategies.noise import Pairs, weighted
from wm_mpi.evolution.strategies.openes import OpenEs
from wm_mpi.evolution.strategies.ranks import centred_ranks
from wm_mpi.evolution.strategies.widths import Separable


class Pgpe(Separable, OpenEs):
    """As OpenAI's, but the Gaussian has a width for each parameter, which climb the gradient as well."""

    title = "PGPE"
    optimizer = "clipup"
    RATE, MOST = 0.1, 0.2
    """How fast widths follow their gradient, and how much of itself one may change per generation (Toklu et al.)."""

    def __init__(self, start: npt.NDArray[np.float64], popsize: int, sigma: float, seed: int, **options: Any) -> None:
        """See ``OpenEs``, but for its ``sigma_decay``."""
        super().__init__(start, popsize, sigma, seed, **options)
        self._widths = np.full(len(start), sigma)

    def recipe(self) -> Pairs:
        """See ``Strategy``."""
        return Pairs(self._mean, self._widths, self._noise, self.generation + 1)

    def tell(self, returns: npt.NDArray[np.float64]) -> None:
        """See ``Strategy``. Centred ranks have the mean 0, so there is no baseline to be subtracted."""
        above, below = centred_ranks(returns).reshape(2, -1)
        rows = self._noise.rows(self.generation + 1)
        both = (above + below) / 2
        self._climb(self._widths * weighted((above - below) / 2, rows) / len(rows))
        gradient = self._widths * (weighted(both, [row * row for row in rows]) - both.sum()) / len(rows)
        self._widths = self._widths + np.clip(self.RATE * gradient, -self.MOST * self._widths, self.MOST * self._widths)
        self.generation += 1
