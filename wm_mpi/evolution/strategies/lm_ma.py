"""LM-MA-ES (Loshchilov, Glasmachers and Beyer 2017, arXiv:1705.06693; IEEE TEVC 2018): time and memory of P log P, not P².

Names are the paper's: lambda candidates, m direction vectors, c_sigma, c_d, c_c, mu_w.
"""

import numpy as np
import numpy.typing as npt

from wm_mpi.evolution.strategies.base import ArrayStrategy, State
from wm_mpi.evolution.strategies.ranks import best_first


class LmMaEs(ArrayStrategy):
    """Adapts a step size, and a transformation of noise that 4 + 3 ln P direction vectors stand for."""

    title = "LM-MA-ES"

    def __init__(self, start: npt.NDArray[np.float64], popsize: int, sigma: float, seed: int) -> None:
        """See ``Strategy``.

        The paper's rates are for P well above N. They are bounded for where it is not, since the search would diverge there.
        """
        super().__init__(start, popsize, sigma, seed)
        size = len(start)
        vectors = int(4 + 3 * np.log(size))
        weights = np.log(popsize // 2 + 0.5) - np.log(np.arange(1, popsize // 2 + 1))
        self._weights = weights / weights.sum()
        self._mu_w = 1 / np.sum(self._weights**2)
        self._c_sigma = min(1.0, 2 * popsize / size)
        self._c_d = min(1 / size, 1 / (2 * self._mu_w)) / 1.5 ** np.arange(vectors)
        self._c_c = np.minimum(1, popsize / (4.0 ** np.arange(vectors) * size))
        self._sigma, self._path, self._vectors = sigma, np.zeros(size), np.zeros((vectors, size))

    @property
    def sigma(self) -> float:
        """The overall step size."""
        return self._sigma

    def ask(self) -> npt.NDArray[np.float64]:
        """See ``Strategy``. Of normal numbers z the vectors make d, both of shape (N, P)."""
        z = d = self.generator().standard_normal((self._popsize, len(self._mean)))
        for c_d, vector in zip(self._c_d, self._vectors[:self.generation], strict=False):
            d = (1 - c_d) * d + np.outer(c_d * (d @ vector), vector)
        self._asked = z, d
        return self._mean + self._sigma * d

    def tell(self, returns: npt.NDArray[np.float64]) -> None:
        """See ``Strategy``."""
        best = best_first(returns)[:len(self._weights)]
        z, d = (self._weights @ each[best] for each in self._asked)
        self._mean = self._mean + self._sigma * d
        c = self._c_sigma
        self._path = (1 - c) * self._path + np.sqrt(self._mu_w * c * (2 - c)) * z
        c_c = self._c_c[:, None]
        self._vectors = (1 - c_c) * self._vectors + np.sqrt(self._mu_w * c_c * (2 - c_c)) * z
        growth = c / 2 * (float(self._path @ self._path) / len(self._path) - 1)
        self._sigma *= float(np.exp(min(1.0, growth)))
        self.generation += 1

    def state(self) -> State:
        """Mean, step size, its evolution path, and the direction vectors, shape (4 + 3 ln P, P)."""
        return {**super().state(), "sigma": np.array(self._sigma), "path": self._path, "vectors": self._vectors}

    def restore(self, state: State) -> None:
        """Go on from a ``state``."""
        super().restore(state)
        self._sigma, self._path, self._vectors = float(state["sigma"]), state["path"], state["vectors"]
