"""CMA-ES (Hansen) through pycma, maximising returns. The only file that imports pycma."""

import functools
import io
import pickle
import sys
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.core.seeding import generator


@functools.cache
def _pycma() -> ModuleType:
    """pycma, which only the rank that asks and tells needs.

    Without SciPy and matplotlib, which it loads where they are installed, for its surrogate models and its plots: 100 MB and
    more than a second for what is not used here.
    """
    names = [name for name in ("scipy", "scipy.stats", "matplotlib", "matplotlib.pyplot") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None makes an import fail
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import cma
        finally:
            for name in names:
                del sys.modules[name]
    return cma


STATE_VERSION = 1
TRUSTED = {
    "builtins": {"range"},
    "numpy": {"dtype", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.linalg": {"eigh"},
    "numpy.random._pcg64": {"PCG64"},
    "numpy.random._pickle": {"__bit_generator_ctor", "__generator_ctor"},
    "numpy.random.bit_generator": {"SeedSequence", "__pyx_unpickle_SeedSequence"},
    "cma.evolution_strategy": {"_pass"},
    "cma.options_parameters": {"is_feasible"},
}
"""All that a checkpoint names beside pycma's classes. A pickle may call whatever it names, and runs are handed on."""


WRITTEN_BY = {__name__, "wm_mpi.strategy"}
"""Where this module lay when a checkpoint was written."""


class _Unpickler(pickle.Unpickler):
    """Reads what checkpoints hold, and nothing that another file could have it run."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_Normals" and module in WRITTEN_BY:
            return _Normals
        if name in TRUSTED.get(module, ()):
            return super().find_class(module, name)
        if module.startswith("cma.") and "." not in name:  # a dotted name leads to what a module has imported
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no checkpoint of this project needs")


def read_pickle(data: bytes) -> Any:
    """Unpickle part of a checkpoint.

    Raises:
        pickle.UnpicklingError: it is torn, or names what does not belong there; nothing of it has run.
    """
    return _Unpickler(io.BytesIO(data)).load()


class _Normals:
    """pycma's source of normal numbers: a generator of its own, pickled with the rest of the state."""

    def __init__(self, seed: int) -> None:
        self._generator = generator(seed, 0xC3A)

    def __call__(self, *size: int) -> npt.NDArray[np.float64]:
        return self._generator.standard_normal(size)


class Strategy:
    """Ask for candidates, tell their returns, repeat."""

    def __init__(self, start: npt.NDArray[np.float64], popsize: int, sigma: float, seed: int) -> None:
        """CMA-ES from ``start``, shape (parameters,); ``popsize`` candidates per generation, first step size ``sigma``."""
        # pycma replaces seed 0 by the clock and reads NumPy's global state otherwise; nan leaves both alone
        self._es = _pycma().CMAEvolutionStrategy(start, sigma, {
            "popsize": popsize, "seed": np.nan, "randn": _Normals(seed), "verbose": -9, "verb_log": 0, "verb_disp": 0})
        self._asked: list[npt.NDArray[np.float64]] | None = None

    @property
    def generation(self) -> int:
        """Generations told so far."""
        return int(self._es.countiter)

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """The mean of the search distribution (pycma's xfavorite), shape (parameters,)."""
        return np.array(self._es.mean)

    @property
    def sigma(self) -> float:
        """The overall step size."""
        return float(self._es.sigma)

    @property
    def condition(self) -> float:
        """The condition number of the covariance: how much longer its longest axis is than its shortest, squared."""
        return float(self._es.condition_number)

    def ask(self) -> npt.NDArray[np.float64]:
        """Candidates, shape (popsize, parameters), float64."""
        self._asked = self._es.ask()
        return np.array(self._asked)

    def tell(self, returns: npt.NDArray[np.float64]) -> None:
        """Update the distribution with the candidates' returns, shape (popsize,), higher is better.

        Whoever plays checks that returns are finite: pycma would sort NaN somewhere.
        """
        assert self._asked is not None
        self._es.tell(self._asked, (-returns).tolist())
        self._asked = None

    def dumps(self) -> bytes:
        """All state, generators included. A run's private format, read back only by the same version."""
        return pickle.dumps((STATE_VERSION, _pycma().__version__, pickle.dumps(self._es)))

    @classmethod
    def loads(cls, data: bytes) -> "Strategy":
        """The strategy that ``dumps`` wrote.

        Raises:
            UserError: another version wrote it.
            pickle.UnpicklingError: it holds what does not belong there.
        """
        version, pycma, es = read_pickle(data)
        if (version, pycma) != (STATE_VERSION, here := _pycma().__version__):
            raise UserError(f"the checkpoint was written with pycma {pycma}, this is {here}: "
                            f"install cma=={pycma} to go on")
        strategy = cls.__new__(cls)
        strategy._es, strategy._asked = read_pickle(es), None
        odd = strategy._texts() - cls(np.zeros(2), 4, 1.0, 0)._texts()
        if odd:
            name, text = min(odd)
            raise pickle.UnpicklingError(f"pycma's option {name} is {text!r}, which no checkpoint of this project needs")
        return strategy

    def _texts(self) -> set[tuple[str, str]]:
        """Pycma's options that are texts: it evaluates them as Python."""
        return {(name, value) for options in (self._es.opts, self._es.inopts) for name, value in options.items()
                if isinstance(value, str)}
