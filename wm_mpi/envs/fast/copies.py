"""Copies and pickles of objects with attributes that are views of other attributes."""

import copy
from typing import Any, Self

import numpy as np


class Copyable:
    """Copied and pickled without what follows from the rest, which the copy makes again.

    The copy of a view is an array of its own, which stands still while the copy of what it was a view of goes on.
    """

    def _derive(self) -> None:
        """Set the attributes that follow from the others."""
        raise NotImplementedError

    def _connect(self) -> None:
        """Derive, and note what that made; the end of ``__init__``."""
        own = set(vars(self))
        self._derive()
        self._derived = set(vars(self)) - own

    def __copy__(self) -> Self:
        return copy.deepcopy(self)  # half of it would go on with the original

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self._derived and name != "_derived"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():  # a pickle's arrays may lie in memory that is read-only (Ray) or somebody else's
            setattr(self, name, value.copy() if isinstance(value, np.ndarray) else value)
        self._connect()
