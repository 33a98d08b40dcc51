"""The genetic algorithm of Such, Madhavan, Conti, Lehman, Stanley and Clune (2017, arXiv:1712.06567): no crossover."""

import numpy as np
import numpy.typing as npt

from wm_mpi.evolution.strategies.base import ArrayStrategy, State
from wm_mpi.evolution.strategies.ranks import best_first


class Ga(ArrayStrategy):
    """Truncation selection: candidates are the elite as it is, and mutants of parents drawn from the best of the last ones.

    The elite is who was best in the generation before: it plays again, on the new tracks. (Such et al. play the best ten on
    30 more episodes to choose it; here validation chooses the champion.)
    """

    title = "GA"

    def __init__(self, start: npt.NDArray[np.float64], popsize: int, sigma: float, seed: int, *, elite_share: float = 0.1,
                 sigma_decay: float = 1.0) -> None:
        """See ``Strategy``; ``elite_share`` of the candidates become parents (the paper's T of N)."""
        super().__init__(start, popsize, sigma, seed)
        self._parents = self._mean[None]
        self._elites, self._sigma_decay = max(1, round(elite_share * popsize)), sigma_decay

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """The elite, shape (P,): a population has no mean that plays."""
        return super().mean

    @property
    def sigma(self) -> float:
        """The standard deviation of mutations: it only falls, by ``sigma_decay`` per generation."""
        return self._first_sigma * self._sigma_decay**self.generation

    def ask(self) -> npt.NDArray[np.float64]:
        """See ``Strategy``; the first candidate is the elite."""
        rng = self.generator()
        parents = self._parents[rng.integers(len(self._parents), size=self._popsize - 1)]
        self._asked = np.concatenate([self._parents[:1], parents + self.sigma * rng.standard_normal(parents.shape)])
        return self._asked.copy()

    def tell(self, returns: npt.NDArray[np.float64]) -> None:
        """See ``Strategy``."""
        self._parents = self._asked[best_first(returns)[:self._elites]]
        self._mean = self._parents[0]
        self.generation += 1

    def state(self) -> State:
        """The parents, shape (elites, P), the best first."""
        return {**super().state(), "parents": self._parents}

    def restore(self, state: State) -> None:
        """Go on from a ``state``."""
        super().restore(state)
        self._parents = state["parents"]
