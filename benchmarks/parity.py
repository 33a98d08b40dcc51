"""How closely the fast engine is Gymnasium's CarRacing-v3: a table, and a picture side by side.

    python -m benchmarks.parity --seeds 1000:1050 --world carracing --run carracing --picture parity.png

Same seeds, same actions in both. Tracks, physics and rewards are compared on every frame, pictures and V's latents on every
20th (drawing is what makes Gymnasium slow). Whole episodes are driven by policies that see their own engine's pictures, so
the smallest difference would grow.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.envs.box2d.car_racing import CarRacing as Original

import wm_mpi.core.single_thread  # noqa: F401  isort: split
from wm_mpi.core.controller import Control
from wm_mpi.core.seeding import track_seed
from wm_mpi.core.shipped import found
from wm_mpi.data.arrays import load_arrays
from wm_mpi.envs import EnvSpec, display, make_env, policy_frame
from wm_mpi.envs.fast import CarRacing
from wm_mpi.rollout.exploration import LinearBehaviour
from wm_mpi.rollout.worker import Rollout, Task
from wm_mpi.world.policy import Policy, WorldPolicy

EVERY = 20


class Sketchy(Original):
    """Gymnasium's CarRacing that draws only when asked to."""

    wanted = True

    def _render(self, mode: str) -> np.ndarray:
        return super()._render(mode) if self.wanted else np.zeros((96, 96, 3), np.uint8)


def actions_of(seed: int, frames: int) -> np.ndarray:
    """A smooth random walk over actions, another for each seed, float64 [frames, 3]."""
    rng, state = np.random.default_rng(seed), np.zeros(2)
    actions = np.zeros((frames, 3))
    for frame in range(frames):
        state = 0.96 * state + 0.28 * rng.standard_normal(2)
        actions[frame] = np.clip([0.4 * state[0], 0.2 + 0.3 * state[1], -0.2 - 0.3 * state[1]], [-1, 0, 0], 1)
    return actions


def same_actions(seeds: range, frames: int) -> tuple[dict[str, Any], list[tuple[np.ndarray, np.ndarray]]]:
    """Play both engines with the same actions; gives figures, and pairs of pictures (Gymnasium's, ours)."""
    theirs, ours = Sketchy(), CarRacing()
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    tracks, poses, rewards, played, totals, pixels = 0, 0, 0, 0, [], []
    for seed in seeds:
        theirs.wanted = True
        pairs.append((theirs.reset(seed=seed)[0], ours.reset(seed=seed)[0]))
        cars = ours._vector._cars
        track = cars.tracks[0]
        tracks += track is not None and np.array_equal(np.array(theirs.track), track.points)
        difference = 0.0
        for frame, action in enumerate(actions_of(seed, frames)):
            theirs.wanted = frame % EVERY == 0
            expected, reward, terminated, *_ = theirs.step(action)
            seen, our_reward, our_end, *_ = ours.step(action)
            hull = theirs.car.hull
            poses += bool(np.array_equal([*hull.position, hull.angle], [*cars.hull_xy[0], cars.hull_angle[0]]))
            rewards += reward == our_reward and terminated == our_end
            difference += our_reward - reward
            played += 1
            if theirs.wanted:
                error = np.abs(expected.astype(int) - seen)
                pixels.append((error.mean(), (error.max(axis=2) > 16).mean()))
                pairs.append((expected, seen))
            if terminated or our_end:
                break
        totals.append(difference)
    means = np.mean(pixels, axis=0)
    return {"seeds": len(seeds), "frames": played, "tracks identical": tracks / len(seeds),
            "poses bit-equal": poses / played, "rewards equal": rewards / played,
            "mean difference of total rewards": float(np.mean(np.abs(totals))),
            "mean absolute pixel error (of 255)": float(means[0]), "worst frame's": float(np.max(pixels, axis=0)[0]),
            "pixels off by over 16": float(means[1])}, pairs


def latents(pairs: list[tuple[np.ndarray, np.ndarray]], world: str) -> dict[str, float]:
    """What V makes of both engines' pictures: differences of mu in units of V's own sigma."""
    import onnx
    import onnxruntime

    model = onnx.load(str(Path(world) / "policy.onnx"))
    part = onnx.utils.Extractor(model).extract_model(["frames"], ["mu", "logvar"])
    session = onnxruntime.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
    theirs, ours = (np.stack(side) for side in zip(*pairs, strict=True))
    (mu, logvar), (our_mu, _) = (session.run(None, {"frames": policy_frame(side)}) for side in (theirs, ours))
    error = (our_mu - mu) / np.exp(logvar / 2)
    return {"latents: RMS difference (sigma)": float(np.sqrt(np.mean(error**2))),
            "latents: 99th percentile (sigma)": float(np.quantile(np.abs(error), 0.99))}


def drivers(options: argparse.Namespace) -> dict[str, tuple[Callable[[], Policy], np.ndarray]]:
    """Policies that drive by what they see: name, a maker (one slot), and parameters [1, P]."""
    chosen: dict[str, tuple[Callable[[], Policy], np.ndarray]] = {
        "a random linear policy an episode": (lambda: LinearBehaviour(1, Control()), np.empty((1, 0)))}
    if options.run:
        parameters = load_arrays(Path(options.run) / "champion.h5", "give --run")[0]["parameters"][None]
        for name, deterministic in (("champion, z = mu", True), ("champion, z sampled", False)):
            chosen[name] = (partial(WorldPolicy, options.world, 1, deterministic), parameters)
    return chosen


def whole_episodes(options: argparse.Namespace, seeds: range) -> dict[str, Any]:
    """Closed loop: policies drive both engines on the same tracks with the same noise."""
    results: dict[str, Any] = {}
    for name, (make, parameters) in drivers(options).items():
        returns = {}
        for env in ("gymnasium", "fast"):
            rollout = Rollout(make_env(EnvSpec(env, options.frames), 1), make())
            tasks = iter([(number, Task(0, track_seed(0, track))) for number, track in enumerate(seeds)])
            source = type("Source", (), {"take": lambda self, wait, tasks=tasks: next(tasks, None)})()
            played = dict(rollout.run(parameters, source))
            returns[env] = np.array([played[number].total for number in range(len(seeds))])
        difference = returns["fast"] - returns["gymnasium"]
        results[name] = {"gymnasium": float(returns["gymnasium"].mean()), "fast": float(returns["fast"].mean()),
                         "mean paired difference": float(difference.mean()),
                         "standard error": float(difference.std(ddof=1) / np.sqrt(len(seeds)))}
        print(f"{name}: {results[name]}", file=sys.stderr)
    return results


def draw(path: str, pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """A few frames: Gymnasium's, ours, and eight times their difference."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    chosen = [pairs[index] for index in np.linspace(0, len(pairs) - 1, 6).astype(int)]
    figure, axes = plt.subplots(3, len(chosen), figsize=(2 * len(chosen), 6.2))
    for column, (expected, seen) in enumerate(chosen):
        error = np.minimum(255, 8 * np.abs(expected.astype(int) - seen)).astype(np.uint8)
        for row, (title, picture) in enumerate((("Gymnasium", expected), ("fast", seen), ("difference x 8", error))):
            axes[row, column].imshow(picture)
            axes[row, column].set_axis_off()
            if column == 0:
                axes[row, column].set_title(title, fontsize=9, loc="left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Compare, and print a table and a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1000:1050", help="track seeds A:B (default 1000:1050)")
    parser.add_argument("--frames", type=int, default=1000, help="frames per episode at most (default 1000)")
    parser.add_argument("--world", type=found, help="a world, for latents and whole episodes")
    parser.add_argument("--run", type=found, help="an es run, whose champion drives whole episodes too")
    parser.add_argument("--episodes", type=int, default=8, help="whole episodes a policy (default 8; 12 s each)")
    parser.add_argument("--picture", help="write a side-by-side picture to this PNG file")
    options = parser.parse_args()
    first, last = map(int, options.seeds.split(":"))
    with display("none"):
        result, pairs = same_actions(range(first, last), options.frames)
        if options.world:
            result |= latents(pairs, options.world)
            result["whole episodes"] = whole_episodes(options, range(first, first + options.episodes))
    if options.picture:
        draw(options.picture, pairs)
    for name, value in result.items():
        print(f"{name:45} {value if not isinstance(value, float) else round(value, 5)}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
