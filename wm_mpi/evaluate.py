"""Judge the mean solution of a run on test tracks that neither training nor validation has seen."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import wm_mpi.single_thread  # noqa: F401  isort: split
from wm_mpi.cli import run_command
from wm_mpi.config import EvaluateConfig
from wm_mpi.datasets import load_arrays
from wm_mpi.envs import EnvSpec, display
from wm_mpi.errors import UserError
from wm_mpi.policy import load_manifest
from wm_mpi.pool import open_pool
from wm_mpi.progress import Progress
from wm_mpi.rollout import Played, Task, make_rollout
from wm_mpi.rundir import RunDir, append_jsonl, read_json, write_json
from wm_mpi.seeding import EpisodeSeed, Stream, episode_seed, generator, track_seed

RESAMPLES = 10_000


def main(config: EvaluateConfig) -> None:
    """Play the tracks over MPI; rank 0 prints, and adds the result to the run's ``evaluations.jsonl``."""
    run = RunDir(config.run)
    settings = read_json(run.config, f"{run.path} is not the directory of an es run")
    if "popsize" not in settings:
        raise UserError(f"{run.path} is not the directory of an es run, its config.json is another command's")
    lap = settings["lap_complete_percent"] if config.lap_complete_percent is None else config.lap_complete_percent
    spec = EnvSpec(config.env or settings["env"], config.max_frames, lap)
    world = config.world or settings["world"]
    width = config.width or settings["width"]
    deterministic = settings["deterministic"] if config.deterministic is None else config.deterministic
    seeds = tracks(config, settings["seed"])
    arrays, about = load_arrays(run.champion, f"{run.path} has no champion yet: let es finish a generation first")
    check_world(world, about, spec, settings["env"])
    with open_pool(lambda: make_rollout(spec, world, width, deterministic), lambda: display(config.display)) as pool:
        if pool is None:
            return
        with Progress(None, len(seeds)) as progress:
            outcome = pool.run(arrays["parameters"][None], [Task(0, seed) for seed in seeds],
                               lambda *_: progress.advance())
        result = verdict(outcome.results, spec, seeds)
        result |= {"generation": about["generation"], "world": world, "deterministic": deterministic}
        print(describe(result, run))
        if config.json is not None:
            write_json(Path(config.json), result)
        append_jsonl(run.evaluations, result)


def check_world(world: str | None, champion: dict[str, Any], spec: EnvSpec, trained_in: str) -> None:
    """Refuse a world that the champion was not trained in.

    Raises:
        UserError: another world, no world, or another kind of environment.
    """
    if (spec.name == "toy") != (trained_in == "toy"):
        raise UserError(f"the champion was trained in --env {trained_in}, it cannot drive in --env {spec.name}")
    if world is None or spec.name == "toy":
        return
    found = load_manifest(Path(world))["files"]["policy.onnx"]
    if found != champion["world_sha256"]:
        raise UserError(f"{world} is another world than the champion was trained in (policy.onnx {found[:12]}, not "
                        f"{champion['world_sha256'][:12]}): give the right one with --world")


def tracks(config: EvaluateConfig, run_seed: int) -> list[EpisodeSeed]:
    """The test stream's tracks, or those of ``--tracks A:B``.

    Raises:
        UserError: not a range.
    """
    if config.tracks is None:
        return [episode_seed(run_seed, Stream.TEST, 0, episode) for episode in range(config.episodes)]
    first, _, last = config.tracks.partition(":")
    if not (first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise UserError(f"--tracks {config.tracks} is not a range A:B of track seeds with 0 <= A < B, such as 1000:1100")
    return [track_seed(run_seed, track) for track in range(int(first), int(last))]


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
