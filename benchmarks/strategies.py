"""Strategies on standard functions at equal evaluations, ours and evosax's, and rank 0's time with large controllers.

python -m benchmarks.strategies                                               all, in 10 dimensions
python -m benchmarks.strategies --dimensions 1000 --evaluations 50000 --seeds 1
python -m benchmarks.strategies --large                                       time of ask and tell, 100,000 parameters

Every search begins a distance of 1 from the optimum along every coordinate, with sigma 0.5 and all else by default. A figure
is the median over seeds of the function, without noise, at the mean of the search distribution (GA: at its elite).
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.core.config import EsConfig
from wm_mpi.evolution.strategies import STRATEGIES, begin_strategy

Values = npt.NDArray[np.float64]


def sphere(x: Values) -> Values:
    """The sum of squares."""
    return np.sum(x**2, axis=-1)


def ellipsoid(x: Values) -> Values:
    """Of condition 1e6, along the axes."""
    return np.sum(x**2 * 10 ** (6 * np.arange(x.shape[-1]) / (x.shape[-1] - 1)), axis=-1)


def rosenbrock(x: Values) -> Values:
    """A bent valley; begun at 0, its optimum is at 1."""
    x = x - 1
    return np.sum(100 * (x[..., 1:] - x[..., :-1] ** 2) ** 2 + (1 - x[..., :-1]) ** 2, axis=-1)


FUNCTIONS: dict[str, tuple[Callable[[Values], Values], float]] = {
    "sphere": (sphere, 0.0), "ellipsoid": (ellipsoid, 0.0), "Rosenbrock": (rosenbrock, 0.0), "noisy sphere": (sphere, 0.5)}
"""Each with its noise: the standard deviation of the logarithm of what values are multiplied by."""


def ours(name: str, dimensions: int, popsize: int, seed: int, told: Callable[[Values], Values], generations: int) -> Values:
    """The mean after a search with our strategy."""
    strategy = begin_strategy(EsConfig(strategy=name, popsize=popsize, sigma=0.5, seed=seed),  # type: ignore[arg-type]
                              np.ones(dimensions))
    for _ in range(generations):
        strategy.tell(-told(strategy.ask()))
    return strategy.mean


def evosax(name: str, dimensions: int, popsize: int, seed: int, told: Callable[[Values], Values],
           generations: int) -> Values:
    """The same with evosax: its class of that name and its defaults, but our first sigma and learning rates."""
    import jax
    import optax
    from evosax import algorithms
    from evosax.core.optimizer import clipup

    sigma, start = 0.5, np.ones(dimensions)
    speed = sigma * dimensions**0.5 / 30
    make: dict[str, Callable[[], Any]] = {
        "lm-ma": lambda: algorithms.LM_MA_ES(popsize, start), "snes": lambda: algorithms.SNES(popsize, start),
        "openes": lambda: algorithms.Open_ES(popsize, start, optimizer=optax.adam(sigma / 10),
                                             std_schedule=optax.constant_schedule(sigma)),
        "pgpe": lambda: algorithms.PGPE(popsize, start, optimizer=clipup(speed, max_velocity=2 * speed))}
    search, key = make[name](), jax.random.key(seed)
    params = search.default_params
    if hasattr(params, "std_init"):
        params = params.replace(std_init=sigma)
    state = search.init(key, start, params)
    for _ in range(generations):
        key, first, second = jax.random.split(key, 3)
        candidates, state = search.ask(first, state, params)
        state, _ = search.tell(second, candidates, told(np.asarray(candidates, np.float64)), state, params)
    return np.asarray(state.mean, np.float64)


def median(search: Callable[..., Values], name: str, function: str, dimensions: int, popsize: int, evaluations: int,
           seeds: int) -> float:
    """The function at what the search finds, the median over seeds."""
    exact, noise = FUNCTIONS[function]
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)

        def told(x: Values, rng: np.random.Generator = rng) -> Values:
            values = exact(x)
            return values * np.exp(noise * rng.standard_normal(values.shape))

        found.append(float(exact(search(name, dimensions, popsize, seed, told, evaluations // popsize))))
    return float(np.median(found))


def table(options: argparse.Namespace) -> None:
    """A row for each strategy, in Markdown."""
    popsize = options.popsize or 2 * int((4 + 3 * np.log(options.dimensions)) / 2)
    there = importlib.util.find_spec("evosax") is not None
    print(f"{options.dimensions} dimensions, popsize {popsize}, {options.evaluations:,} evaluations, "
          f"{options.seeds} seeds\n")
    print(f"| | {' | '.join(FUNCTIONS)} | s per run |\n|---|{'---:|' * (len(FUNCTIONS) + 1)}")
    for name in options.strategies:
        for who, search in (("", ours), (", evosax", evosax)):
            if who and (not there or name in ("cma", "sep-cma", "ga")):  # pycma's own; and its GA keeps no elite
                continue
            began = time.perf_counter()
            values = [median(search, name, function, options.dimensions, popsize, options.evaluations, options.seeds)
                      for function in FUNCTIONS]
            each = (time.perf_counter() - began) / len(FUNCTIONS) / options.seeds
            print(f"| {name}{who} | {' | '.join(f'{value:.1e}' for value in values)} | {each:.1f} |", flush=True)


def large(parameters: int = 100_000, popsize: int = 256, rounds: int = 7) -> None:
    """Processor time of ask and tell, of strategies for so many parameters: the median after a first round that warms up."""
    print(f"{parameters:,} parameters, popsize {popsize}\n\n| | ask, ms | tell, ms |\n|---|---:|---:|")
    for name in STRATEGIES:
        if name in ("cma", "sep-cma"):  # a covariance of 80 GB; more than a minute
            continue
        strategy = begin_strategy(EsConfig(strategy=name, popsize=popsize), np.zeros(parameters))  # type: ignore[arg-type]
        took = []
        for _ in range(rounds):
            began = time.process_time()
            candidates = strategy.ask()
            asked = time.process_time()
            returns = candidates[:, 0].copy()
            del candidates
            told = time.process_time()
            strategy.tell(returns)
            took.append((asked - began, time.process_time() - told))
        print(f"| {name} | {' | '.join(f'{1000 * value:.0f}' for value in np.median(took[1:], axis=0))} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--dimensions", type=int, default=10)
    parser.add_argument("--popsize", type=int, help="default: 4 + 3 ln(dimensions), made even")
    parser.add_argument("--evaluations", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--large", action="store_true")
    chosen = parser.parse_args()
    if chosen.large:
        from wm_mpi.core import single_thread as single_thread

        large()
    else:
        table(chosen)
