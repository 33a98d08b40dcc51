"""Any strategy in fewer dimensions: it moves along given directions of what C sees, and C's weights follow."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wm_mpi.evolution.strategies.base import Strategy


@dataclass(frozen=True)
class Subspace:
    """Where a linear C is searched: its bias, and rows that are sums of K directions of the F numbers that it sees."""

    directions: npt.NDArray[np.float64]
    """float64 [F, K], a column for each."""
    actions: int
    bias: bool
    """Whether C has one."""

    @property
    def dimensions(self) -> int:
        """Numbers in the vector that is searched: b [A] if there is one, then U [A, K] row by row."""
        return self.actions * (self.directions.shape[1] + self.bias)

    def controllers(self, found: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """C's vectors [..., P] of those that are searched [..., Q]: b, then W = U D' row by row."""
        biases = self.actions * self.bias
        weights = found[..., biases:].reshape(*found.shape[:-1], self.actions, -1) @ self.directions.T
        return np.concatenate([found[..., :biases], weights.reshape(*found.shape[:-1], -1)], axis=-1)


class InSubspace(Strategy):
    """The search of another strategy in a subspace around ``start``.

    The steps of an evolution strategy get shorter as dimensions grow, and most of what C sees hardly varies.
    """

    title = "in components"

    def __init__(self, inner: Strategy, start: npt.NDArray[np.float64], space: Subspace) -> None:
        """``inner`` searches ``space``; ``start``, shape (P,), is added to what it finds."""
        self._inner, self._start, self._space = inner, start, space

    @property
    def generation(self) -> int:  # type: ignore[override]  # the other counts
        """Generations told so far."""
        return self._inner.generation

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """See ``Strategy``."""
        return self._start + self._space.controllers(self._inner.mean)

    @property
    def sigma(self) -> float:
        """The other's: standard deviation along one direction."""
        return self._inner.sigma

    @property
    def condition(self) -> float | None:
        """The other's."""
        return self._inner.condition

    def ask(self) -> npt.NDArray[np.float64]:
        """See ``Strategy``."""
        return self._start + self._space.controllers(self._inner.ask())

    def tell(self, returns: npt.NDArray[np.float64]) -> None:
        """See ``Strategy``."""
        self._inner.tell(returns)

    def dumps(self) -> bytes:
        """The other's, and the directions: found again on another machine they might differ in their last digits."""
        file = io.BytesIO()
        np.savez(file, inner=np.frombuffer(self._inner.dumps(), np.uint8), start=self._start,
                 directions=self._space.directions, actions=np.array(self._space.actions), bias=np.array(self._space.bias))
        return file.getvalue()

    @classmethod
    def loads(cls, data: bytes, *, load: Callable[[bytes], Strategy]) -> "InSubspace":  # type: ignore[override]
        """The strategy that ``dumps`` wrote; ``load`` reads the other.

        Raises:
            ValueError: that cannot be read.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as state:
                return cls(load(state["inner"].tobytes()), state["start"],
                           Subspace(state["directions"], int(state["actions"]), bool(state["bias"])))
        except (KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"no state of {cls.__name__}: {error}") from None
