"""What strategies with a width for each parameter have in common."""

import numpy as np
import numpy.typing as npt

from wm_mpi.evolution.strategies.base import ArrayStrategy, State


class Separable(ArrayStrategy):
    """A Gaussian whose standard deviations, shape (P,), are ``_widths``."""

    _widths: npt.NDArray[np.float64]

    @property
    def sigma(self) -> float:
        """The root mean square of the parameters' standard deviations."""
        return float(np.sqrt(np.mean(self._widths**2)))

    @property
    def condition(self) -> float:
        """The squared ratio of the largest standard deviation to the smallest."""
        return float((self._widths.max() / self._widths.min()) ** 2)

    def state(self) -> State:
        """What others remember, and the widths."""
        return {**super().state(), "widths": self._widths}

    def restore(self, state: State) -> None:
        """Go on from a ``state``."""
        super().restore(state)
        self._widths = state["widths"]
