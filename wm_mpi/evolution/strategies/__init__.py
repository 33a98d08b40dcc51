"""Strategies of the search for C behind one face, ``base.Strategy``; ``--strategy`` names them."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.core.config import EsConfig
from wm_mpi.core.schema import Settings
from wm_mpi.evolution.strategies.base import Strategy
from wm_mpi.evolution.strategies.cma import CmaEs, SepCmaEs
from wm_mpi.evolution.strategies.ga import Ga
from wm_mpi.evolution.strategies.lm_ma import LmMaEs
from wm_mpi.evolution.strategies.openes import OpenEs
from wm_mpi.evolution.strategies.pgpe import Pgpe
from wm_mpi.evolution.strategies.snes import Snes
from wm_mpi.evolution.strategies.subspace import InSubspace, Subspace

STRATEGIES: dict[str, type[Strategy]] = {"cma": CmaEs, "sep-cma": SepCmaEs, "lm-ma": LmMaEs, "openes": OpenEs, "pgpe": Pgpe,
                                         "snes": Snes, "ga": Ga}
"""By their names in ``core.config``, which says in a line each what they are."""


def begin_strategy(config: EsConfig, start: npt.NDArray[np.float64], space: Subspace | None = None) -> Strategy:
    """The strategy of ``config``, at ``start``, shape (P,); with ``space`` it goes from there within that only."""
    if space is not None:
        return InSubspace(begin_strategy(config, np.zeros(space.dimensions)), start, space)
    return STRATEGIES[config.strategy](start, **_options(config))  # type: ignore[call-arg]


def load_strategy(config: EsConfig, data: bytes) -> Strategy:
    """The strategy of ``config`` as its ``dumps`` wrote it.

    Raises:
        UserError: another version wrote it.
        pickle.UnpicklingError, ValueError: it is something else.
    """
    def load(data: bytes) -> Strategy:
        return STRATEGIES[config.strategy].loads(data, **_options(config))

    return load(data) if config.components is None else InSubspace.loads(data, load=load)


def title_of(settings: Settings) -> str:
    """The name in the literature of what a run searches with; runs from before there were several have CMA-ES."""
    name, components = settings.get("strategy", "cma"), settings.get("components")
    title = STRATEGIES[name].title if name in STRATEGIES else name  # a later version's
    return title if components is None else f"{title} in {components} principal components"


def _options(config: EsConfig) -> dict[str, Any]:
    given = {each.name: getattr(config, each.name) for each in dataclasses.fields(config) if "strategies" in each.metadata}
    return {"popsize": config.popsize, "sigma": config.sigma, "seed": config.seed,
            **{name: value for name, value in given.items() if value is not None}}
