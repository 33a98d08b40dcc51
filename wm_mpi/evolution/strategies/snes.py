"""Separable natural evolution strategy (Schaul, Glasmachers and Schmidhuber 2011; Wierstra et al. 2014, JMLR 15)."""

import numpy as np
import numpy.typing as npt

from wm_mpi.evolution.strategies.ranks import best_first
from wm_mpi.evolution.strategies.widths import Separable


class Snes(Separable):
    """A Gaussian with a width for each parameter; mean and widths follow the natural gradient of the expected utility."""

    title = "SNES"

    def __init__(self, start: npt.NDArray[np.float64], popsize: int, sigma: float, seed: int) -> None:
        """See ``Strategy``."""
        super().__init__(start, popsize, sigma, seed)
        self._widths = np.full(len(start), sigma)
        self._rate = (3 + np.log(len(start))) / (5 * np.sqrt(len(start)))
        useful = np.maximum(0, np.log(popsize / 2 + 1) - np.log(np.arange(1, popsize + 1)))
        self._utilities = useful / useful.sum() - 1 / popsize

    def ask(self) -> npt.NDArray[np.float64]:
        """See ``Strategy``."""
        self._noise = self.generator().standard_normal((self._popsize, len(self._mean)))
        return self._mean + self._widths * self._noise

    def tell(self, returns: npt.NDArray[np.float64]) -> None:
        """See ``Strategy``."""
        noise = self._noise[best_first(returns)]
        self._mean = self._mean + self._widths * (self._utilities @ noise)
        self._widths = self._widths * np.exp(self._rate / 2 * (self._utilities @ (noise**2 - 1)))
        self.generation += 1
