"""What a strategy is: it is asked for candidates and told their returns. All that a new one must give is on this page."""

import abc
import io
import zipfile
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from wm_mpi.core.seeding import generator

State = Mapping[str, npt.NDArray[Any]]
"""What a strategy remembers, as arrays by name."""


class Recipe(Protocol):
    """Candidates that are made where they are played; by pickle it is much smaller than they are."""

    def __getitem__(self, number: int) -> npt.NDArray[np.float64]:
        """Candidate ``number``, shape (P,)."""


class Strategy(abc.ABC):
    """The face that the loop in ``evolution.training`` knows. Returns are maximised.

    P is the number of parameters, N the number of candidates of a generation. The constructor takes ``start``, shape (P,),
    ``popsize``, ``sigma`` and ``seed``, then by their names those options of ``es`` that are marked as this strategy's in
    ``core.config``.
    """

    title: ClassVar[str]
    """Its name in the literature."""
    generation: int
    """Generations told so far."""

    @property
    @abc.abstractmethod
    def mean(self) -> npt.NDArray[np.float64]:
        """What is validated, and the champion if it does best: the mean of the search distribution, shape (P,)."""

    @property
    @abc.abstractmethod
    def sigma(self) -> float:
        """How far candidates lie from the mean along one parameter (standard deviation, in units of C's weights)."""

    @property
    def condition(self) -> float | None:
        """The condition number of the covariance, or None where its shape is not adapted or not known."""
        return None

    @abc.abstractmethod
    def ask(self) -> npt.NDArray[np.float64]:
        """The candidates of the next generation, shape (N, P), a new array; ``tell`` follows."""

    def recipe(self) -> "Recipe | None":
        """What any rank can make the candidates of ``ask`` of, to the last bit; None where that is the candidates."""
        return None

    @abc.abstractmethod
    def tell(self, returns: npt.NDArray[np.float64]) -> None:
        """Learn from the returns of the candidates asked last, shape (N,), all finite."""

    @abc.abstractmethod
    def dumps(self) -> bytes:
        """All that a run needs to go on as if it had never stopped."""

    @classmethod
    @abc.abstractmethod
    def loads(cls, data: bytes, **options: Any) -> Self:
        """The strategy that ``dumps`` wrote; ``options`` are what the constructor took beside ``start``.

        Raises:
            ValueError: that cannot be read.
        """


class ArrayStrategy(Strategy):
    """A strategy whose state is a few arrays: what all of ours are."""

    STREAM = 0xE5
    """Sets noise apart from all else that is drawn from a run's seed."""

    def __init__(self, start: npt.NDArray[np.float64], popsize: int, sigma: float, seed: int) -> None:
        """Begin at ``start``, shape (P,)."""
        self._mean = np.array(start, np.float64)
        self._popsize, self._first_sigma, self._seed = popsize, sigma, seed
        self.generation = 0

    def generator(self) -> np.random.Generator:
        """The next generation's own, a function of the seed and its number: there is none to be remembered."""
        return generator(self._seed, self.STREAM, self.generation + 1)

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """The mean of the search distribution, shape (P,)."""
        return self._mean.copy()

    def state(self) -> State:
        """What changes from generation to generation: the mean and its number, and what a subclass adds."""
        return {"mean": self._mean, "generation": np.array(self.generation)}

    def restore(self, state: State) -> None:
        """Go on from a ``state``."""
        self._mean, self.generation = state["mean"], int(state["generation"])

    def dumps(self) -> bytes:
        """``state`` in NumPy's own format, npz."""
        file = io.BytesIO()
        np.savez(file, **self.state())  # type: ignore[arg-type]
        return file.getvalue()

    @classmethod
    def loads(cls, data: bytes, **options: Any) -> Self:
        """See ``Strategy.loads``."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as state:
                strategy = cls(state["mean"], **options)
                strategy.restore(dict(state))
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"no state of {cls.__name__}: {error}") from None
        return strategy
