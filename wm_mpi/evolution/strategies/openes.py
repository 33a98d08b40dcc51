"""OpenAI's evolution strategy (Salimans, Ho, Chen, Sidor and Sutskever 2017, arXiv:1703.03864)."""

import numpy as np
import numpy.typing as npt

from wm_mpi.evolution.strategies.base import ArrayStrategy, State
from wm_mpi.evolution.strategies.noise import PairedNoise, Pairs, weighted
from wm_mpi.evolution.strategies.optimizers import make_optimizer
from wm_mpi.evolution.strategies.ranks import centred_ranks


class OpenEs(ArrayStrategy):
    """A Gaussian of one fixed width, whose mean climbs the gradient of the expected rank of returns.

    Antithetic pairs, centred ranks, an optimizer. Weight decay is apart from the gradient (AdamW, Loshchilov and Hutter
    2019): neither the scale of ranks nor that of the optimizer changes what it does.
    """

    title = "OpenAI-ES"
    optimizer = "adam"
    """The optimizer where none is named."""

    def __init__(self, start: npt.NDArray[np.float64], popsize: int, sigma: float, seed: int, *,
                 optimizer: str | None = None, learning_rate: float | None = None, momentum: float | None = None,
                 weight_decay: float = 0.0, sigma_decay: float = 1.0) -> None:
        """See ``Strategy``; ``popsize`` is even."""
        super().__init__(start, popsize, sigma, seed)
        self._optimizer = make_optimizer(optimizer or self.optimizer, len(start), sigma, learning_rate, momentum)
        self._weight_decay, self._sigma_decay = weight_decay, sigma_decay
        self._noise = PairedNoise(seed, popsize, len(start))

    @property
    def sigma(self) -> float:
        """The standard deviation, the same for all parameters: it only falls, by ``sigma_decay`` per generation."""
        return self._first_sigma * self._sigma_decay**self.generation

    def ask(self) -> npt.NDArray[np.float64]:
        """See ``Strategy``; candidates number i and N/2 + i are a pair."""
        return self.recipe().all()

    def recipe(self) -> Pairs:
        """See ``Strategy``."""
        return Pairs(self._mean, self.sigma, self._noise, self.generation + 1)

    def tell(self, returns: npt.NDArray[np.float64]) -> None:
        """See ``Strategy``."""
        above, below = centred_ranks(returns).reshape(2, -1)
        rows = self._noise.rows(self.generation + 1)
        self._climb(weighted(above - below, rows) / np.float64(len(returns) * self.sigma))
        self.generation += 1

    def _climb(self, gradient: npt.NDArray[np.float64]) -> None:
        """Move the mean."""
        self._mean = (1 - self._optimizer.learning_rate * self._weight_decay) * self._mean + self._optimizer.step(gradient)

    def state(self) -> State:
        """The mean and what the optimizer remembers."""
        return {**super().state(), **self._optimizer.state}

    def restore(self, state: State) -> None:
        """Go on from a ``state``."""
        super().restore(state)
        self._optimizer.state = {name: state[name] for name in self._optimizer.state}
