"""Judge the mean solution of a run on test tracks that neither training nor validation has seen."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import wm_mpi.single_thread  # noqa: F401  isort: split
from wm_mpi.cli import run_command
from wm_mpi.config import EvaluateConfig
from wm_mpi.envs import EnvSpec, display
from wm_mpi.pool import open_pool
from wm_mpi.progress import Progress
from wm_mpi.rollout import Played, Task, make_rollout
from wm_mpi.rundir import RunDir, append_jsonl, write_json
from wm_mpi.seeding import EpisodeSeed, generator
from wm_mpi.trained import judged_tracks, load_trained

RESAMPLES = 10_000


def main(config: EvaluateConfig) -> None:
    """Play the tracks over MPI; rank 0 prints, and adds the result to the run's ``evaluations.jsonl``."""
    trained = load_trained(config.run, env=config.env, world=config.world, max_frames=config.max_frames,
                           lap_complete_percent=config.lap_complete_percent, deterministic=config.deterministic)
    spec, world, deterministic = trained.spec, trained.world, trained.deterministic
    seeds = judged_tracks(config.episodes, config.tracks, trained.settings["seed"])
    width = config.width or trained.settings["width"]
    with open_pool(lambda: make_rollout(spec, world, width, deterministic), lambda: display(config.display)) as pool:
        if pool is None:
            return
        with Progress(None, len(seeds)) as progress:
            outcome = pool.run(trained.parameters[None], [Task(0, seed) for seed in seeds],
                               lambda *_: progress.advance())
        result = verdict(outcome.results, spec, seeds)
        result |= {"generation": trained.generation, "world": world, "deterministic": deterministic}
        print(describe(result, trained.run))
        if config.json is not None:
            write_json(Path(config.json), result)
        append_jsonl(trained.run.evaluations, result)


def verdict(played: list[Played], spec: EnvSpec, seeds: list[EpisodeSeed]) -> dict[str, Any]:
    """The result as JSON values: returns in points, the interval a 95 % bootstrap of the mean."""
    returns = np.array([each.total for each in played])
    low, high = bootstrap_interval(returns)
    return {"mean": float(returns.mean()), "std": float(returns.std()), "interval": [low, high],
            "min": float(returns.min()), "median": float(np.median(returns)), "max": float(returns.max()),
            "laps": float(np.mean([each.lap for each in played])), "returns": returns.tolist(),
            "frames": [each.frames for each in played], "tracks": [seed.track for seed in seeds], "env": spec.describe()}


def bootstrap_interval(returns: npt.NDArray[np.float64], share: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap (Efron) of the mean, with a fixed seed."""
    rng = generator(95)
    means = [rng.choice(returns, len(returns)).mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def describe(result: dict[str, Any], run: RunDir) -> str:
    """The lines that people read."""
    env, (low, high) = result["env"], result["interval"]
    return (f"{result['mean']:.1f} ± {result['std']:.1f} over {len(result['returns'])} test tracks "
            f"(95 % interval of the mean {low:.1f} to {high:.1f}; min {result['min']:.1f}, median {result['median']:.1f}, "
            f"max {result['max']:.1f}; {result['laps']:.0%} of laps completed)\n"
            f"mean solution of generation {result['generation']} of {run.path}, {env['env_id']}, lap at "
            f"{env['lap_complete_percent']:.0%} of tiles, at most {env['max_frames']} frames; added to {run.evaluations}")


if __name__ == "__main__":
    run_command("evaluate", EvaluateConfig, main)
