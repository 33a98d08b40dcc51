"""CMA-ES (Hansen 2016, arXiv:1604.00772) and sep-CMA-ES (Ros and Hansen 2008) through pycma. The only file that imports it.

pycma minimises: it is told the negative returns.
"""

import functools
import io
import pickle
import sys
import warnings
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.core.progress import log
from wm_mpi.core.seeding import generator
from wm_mpi.evolution.strategies.base import Strategy


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


WRITTEN_BY = {__name__, "wm_mpi.evolution.strategy", "wm_mpi.strategy"}
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

    def __init__(self, *seed: int) -> None:
        self._generator = generator(*seed)

    def __call__(self, *size: int) -> npt.NDArray[np.float64]:
        return self._generator.standard_normal(size)


class CmaEs(Strategy):
    """CMA-ES, as pycma does it with its own defaults; with ``restarts``, IPOP-CMA-ES (Auger and Hansen 2005).

    When one of pycma's criteria says that a search has ended, the next one begins: at the start, with the first step size,
    another seed and twice the candidates.
    """

    title = "CMA-ES"
    extra: ClassVar[dict[str, Any]] = {}
    """Options of pycma."""

    def __init__(self, start: npt.NDArray[np.float64], popsize: int, sigma: float, seed: int, *, restarts: int = 0) -> None:
        """See ``Strategy``; ``sigma`` is the first step size, ``restarts`` how often a new search may begin."""
        self._seed, self._restarts, self._done, self._before = seed, restarts, 0, 0
        self._begin(start, popsize, sigma)

    def _begin(self, start: npt.NDArray[np.float64], popsize: int, sigma: float) -> None:
        """Begin the search that ``_done`` others went before."""
        normals = _Normals(self._seed, 0xC3A, *([self._done] if self._done else []))
        # pycma replaces seed 0 by the clock and reads NumPy's global state otherwise; nan leaves both alone
        self._es = _pycma().CMAEvolutionStrategy(start, sigma, {
            "popsize": popsize, "seed": np.nan, "randn": normals, "verbose": -9, "verb_log": 0, "verb_disp": 0, **self.extra,
            **({"verbose": -10} if self._restarts else {})})  # below -9, its criteria read no options from a file
        self._asked: list[npt.NDArray[np.float64]] | None = None

    @property
    def generation(self) -> int:  # type: ignore[override]  # pycma counts
        """Generations told so far, of all searches."""
        return self._before + int(self._es.countiter)

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """The mean of the search distribution (pycma's xfavorite), shape (P,)."""
        return np.array(self._es.mean)

    @property
    def sigma(self) -> float:
        """The overall step size, by which the covariance is multiplied."""
        return float(self._es.sigma)

    @property
    def condition(self) -> float:
        """The condition number of the covariance: how much longer its longest axis is than its shortest, squared."""
        return float(self._es.condition_number)

    def ask(self) -> npt.NDArray[np.float64]:
        """See ``Strategy``. A new search begins here, so that what the last one came to is validated before."""
        if self._done < self._restarts and (why := self._es.stop()):
            self._before, self._done = self.generation, self._done + 1
            log.info(f"pycma ends this search ({', '.join(why)}): restart {self._done} of {self._restarts}, with "
                     f"{2 * self._es.popsize} candidates")
            self._begin(self._es.x0, 2 * self._es.popsize, self._es.sigma0)
        self._asked = self._es.ask()
        return np.array(self._asked)

    def tell(self, returns: npt.NDArray[np.float64]) -> None:
        """See ``Strategy``. Whoever plays checks that returns are finite: pycma would sort NaN somewhere."""
        assert self._asked is not None
        self._es.tell(self._asked, (-returns).tolist())
        self._asked = None

    def dumps(self) -> bytes:
        """All state, generators included. A run's private format, read back only by the same version."""
        ended = [(self._done, self._before)] if self._done else []
        return pickle.dumps((STATE_VERSION, _pycma().__version__, pickle.dumps(self._es), *ended))

    @classmethod
    def loads(cls, data: bytes, *, seed: int = 0, restarts: int = 0, **_: Any) -> "CmaEs":
        """The strategy that ``dumps`` wrote; all other options are part of that.

        Raises:
            UserError: another version wrote it.
            pickle.UnpicklingError: it holds what does not belong there.
        """
        version, pycma, es, *ended = read_pickle(data)
        if (version, pycma) != (STATE_VERSION, here := _pycma().__version__):
            raise UserError(f"the checkpoint was written with pycma {pycma}, this is {here}: "
                            f"install cma=={pycma} to go on")
        strategy = cls.__new__(cls)
        strategy._seed, strategy._restarts = seed, restarts
        strategy._done, strategy._before = ended[0] if ended else (0, 0)
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


class SepCmaEs(CmaEs):
    """CMA-ES with a diagonal covariance: time and memory grow with P, not its square."""

    title = "sep-CMA-ES"
    extra: ClassVar[dict[str, Any]] = {"CMA_diagonal": True}

    @property
    def condition(self) -> float:
        """The condition number of the diagonal covariance: the squared ratio of its largest deviation to its smallest."""
        widths = self._es.sigma_vec.scaling * np.sqrt(self._es.dC)
        return float((widths.max() / widths.min()) ** 2)
