"""Our strategies against evosax (Lange 2022) on the same noise, generation by generation, in double precision.

Where evosax strays from a paper that we follow, the test says so and puts the paper's rule into evosax's class.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from wm_mpi.evolution.strategies.base import ArrayStrategy
from wm_mpi.evolution.strategies.lm_ma import LmMaEs
from wm_mpi.evolution.strategies.openes import OpenEs
from wm_mpi.evolution.strategies.pgpe import Pgpe
from wm_mpi.evolution.strategies.snes import Snes

evosax = pytest.importorskip("evosax.algorithms", reason="evosax is not installed: pip install -c constraints.txt evosax")
SIZE, POPSIZE, SIGMA, GENERATIONS = 60, 12, 0.2, 20
START = np.linspace(-1, 1, SIZE)


@pytest.fixture(autouse=True)
def doubles() -> Iterator[None]:
    import jax
    with jax.enable_x64(True):
        yield


def losses(candidates: npt.NDArray) -> npt.NDArray:
    """To be minimised, as evosax does; two candidates tie."""
    values = np.sum(np.arange(1, SIZE + 1) * (candidates - 0.3)**2, axis=1)
    values[3] = values[4]
    return values


def compare(ours: ArrayStrategy, theirs: Any, **params: Any) -> Any:
    """Tell both the same; evosax's last state."""
    import jax
    key = jax.random.key(0)
    params = theirs.default_params.replace(**params)
    state = theirs.init(key, START, params)
    for _ in range(GENERATIONS):
        candidates = ours.ask()
        values = losses(candidates)
        ours.tell(-values)
        state, _ = theirs.tell(key, candidates, values, state, params)
        np.testing.assert_allclose(ours.mean, state.mean, rtol=2e-5, atol=2e-6)  # antithetic noise is in single precision
    assert np.linalg.norm(ours.mean - START) > 0.1
    return state


OPTIMIZERS = [("adam", 0.0), ("adam", 0.3), ("clipup", 0.0)]


def of_optax(name: str, decay: float) -> Any:
    """The optimizer with the learning rate 0.05 and the momentum 0.8."""
    import optax
    from evosax.core.optimizer import clipup
    return optax.adamw(0.05, b1=0.8, weight_decay=decay) if name == "adam" else clipup(0.05, max_velocity=0.1, momentum=0.8)


@pytest.mark.parametrize("name,decay", OPTIMIZERS)
def test_openes(name: str, decay: float) -> None:
    import optax
    options = {"optimizer": name, "learning_rate": 0.05, "momentum": 0.8, "weight_decay": decay}
    compare(OpenEs(START, POPSIZE, SIGMA, 1, **options), evosax.Open_ES(
        POPSIZE, START, optimizer=of_optax(name, decay), std_schedule=optax.constant_schedule(SIGMA)))


@pytest.mark.parametrize("name,decay", OPTIMIZERS)
def test_pgpe(name: str, decay: float) -> None:
    ours = Pgpe(START, POPSIZE, SIGMA, 1, optimizer=name, learning_rate=0.05, momentum=0.8, weight_decay=decay)
    state = compare(ours, evosax.PGPE(POPSIZE, START, optimizer=of_optax(name, decay)), std_init=SIGMA)
    np.testing.assert_allclose(ours.sigma, np.sqrt(np.mean(state.std**2)), rtol=1e-5)
    np.testing.assert_allclose(ours.state()["widths"], state.std, rtol=1e-4)


def test_pgpe_changes_widths_by_at_most_a_fifth(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a rate at which that is reached."""
    monkeypatch.setattr(Pgpe, "RATE", 2.0)
    ours = Pgpe(START, POPSIZE, SIGMA, 1, optimizer="clipup", learning_rate=0.05, momentum=0.8)
    state = compare(ours, evosax.PGPE(POPSIZE, START, optimizer=of_optax("clipup", 0.0)), std_init=SIGMA, std_lr=2.0)
    np.testing.assert_allclose(ours.state()["widths"], state.std, rtol=1e-4)


def test_snes(monkeypatch: pytest.MonkeyPatch) -> None:
    """evosax gives the utility of their mean rank to candidates that tie, the paper leaves it open: none tie here."""
    monkeypatch.setitem(globals(), "losses", lambda candidates: np.sum((candidates - 0.3)**4, axis=1))
    ours = Snes(START, POPSIZE, SIGMA, 1)
    state = compare(ours, evosax.SNES(POPSIZE, START), std_init=SIGMA)
    np.testing.assert_allclose(ours.state()["widths"], state.std, rtol=1e-9)


def test_lm_ma(monkeypatch: pytest.MonkeyPatch) -> None:
    """evosax weights z in the order of candidates, not of their ranks: it is told them best first. Its rule of the step size
    is CMA-ES's, not the paper's.
    """
    import jax
    import jax.numpy as jnp

    class AsPublished(evosax.LM_MA_ES):  # type: ignore[misc, name-defined]
        def update_std(self, std: Any, norm_p_std: Any, params: Any) -> Any:
            return std * jnp.exp(params.c_std / 2 * (norm_p_std**2 / SIZE - 1))

    ours, theirs = LmMaEs(START, POPSIZE, SIGMA, 1), AsPublished(POPSIZE, START)
    key = jax.random.key(0)
    params = theirs.default_params.replace(std_init=SIGMA, c_std=2 * POPSIZE / SIZE)
    state = theirs.init(key, START, params)
    for _ in range(GENERATIONS):
        candidates = ours.ask()
        z = np.asarray(ours._asked[0])
        monkeypatch.setattr(jax.random, "normal", lambda *_, z=z: jnp.asarray(z))
        asked, state = theirs._ask(key, state, params)
        np.testing.assert_allclose(candidates, asked, rtol=1e-8, atol=1e-9)
        values = losses(candidates)
        best = np.argsort(values, kind="stable")
        ours.tell(-values)
        values = values[best] + 1e-9 * np.arange(POPSIZE)  # ours takes those that tie in their order
        state, _ = theirs.tell(key, candidates[best], values, state.replace(z=z[best]), params)
        np.testing.assert_allclose(ours.mean, state.mean, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(ours.sigma, state.std, rtol=1e-8)
    assert np.linalg.norm(ours.mean - START) > 0.1
