"""How fast M dreams, beside its step alone and the game that it dreams of, in one run on one pinned core.

    python -m benchmarks.dream --world runs/doom/world

Everything is timed in turn, several rounds over, so that a drift of the machine's speed meets all of it; medians are
printed.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv

import wm_mpi.core.single_thread  # noqa: F401  isort: split
from wm_mpi.core.shipped import found
from wm_mpi.envs import EnvSpec, display, make_env
from wm_mpi.envs.one_by_one import OneByOne
from wm_mpi.world.inference import Inference
from wm_mpi.world.latent_dream import LatentDream
from wm_mpi.world.manifest import frame_of, load_manifest, played_in
from wm_mpi.world.policy import VectorPolicy, WorldPolicy

TICKS = 100
"""Ticks per round."""
TOGETHER, GAME, POLICY = "the real game, V, M and C", "the real game alone", "V, M and C alone"


def step_alone(world: str, width: int) -> Callable[[], None]:
    """M's step with all its heads on the same rows again and again."""
    memory = Inference.of(world)
    rng = np.random.default_rng(0)
    z, actions = (rng.normal(0, 1, (width, size)).astype(np.float32) for size in (memory.latents, memory.actions))
    h, c = np.zeros((2, width, memory.hidden), np.float32)

    def advance() -> None:
        for _ in range(TICKS):
            memory.expect(z, actions, h, c)

    return advance


def dreamt(world: str, width: int) -> Callable[[], None]:
    """C and the dream, as es plays them: nobody ends, so that every row counts."""
    dream = LatentDream.of(world, width, 1.15, 10**9)
    dream._safe_frames = 10**9
    policy = VectorPolicy(dream.features, width, dream.control)
    controllers = np.random.default_rng(0).normal(0, 0.1, (width, policy.parameters))
    for slot in range(width):
        policy.assign(slot, controllers[slot], 0)
    seen, _ = dream.reset(seed=list(range(width)))

    def advance() -> None:
        nonlocal seen
        for _ in range(TICKS):
            seen, *_ = dream.step(policy.act(seen))

    return advance


def restarting(env: VectorEnv, act: Callable[[npt.NDArray], npt.NDArray]) -> Callable[[], None]:
    """Play rounds of episodes that begin again where they end."""
    seeds = list(range(env.num_envs))

    def advance() -> None:
        seen, _ = env.reset(seed=seeds)  # type: ignore[arg-type]  # its own hint forgets lists
        for _ in range(TICKS):
            seen, _, terminated, truncated, _ = env.step(act(seen))
            ended = terminated | truncated
            if ended.any():
                seen, _ = env.reset(seed=seeds, options={"reset_mask": ended})  # type: ignore[arg-type]

    return advance


def bare(env: VectorEnv) -> Callable[[], None]:
    """Rounds of the games of ``env`` one after the other, with nothing of ours around them; of our engine, which is one."""
    still = np.zeros((env.num_envs, *env.single_action_space.shape))  # type: ignore[misc]
    if not isinstance(env, OneByOne):
        return restarting(env, lambda _: still)
    games = [each.unwrapped for each in env.envs]

    def advance() -> None:
        for seed, game in enumerate(games):
            game.reset(seed=seed)
        for _ in range(TICKS):
            for seed, game in enumerate(games):
                if game.step(still[seed])[2]:
                    game.reset(seed=seed)

    return advance


def real(world: str, width: int) -> dict[str, Callable[[], None]]:
    """The game, V, M and C together; the game's own steps alone; V, M and C alone."""
    manifest = load_manifest(Path(world))
    spec = EnvSpec(played_in(manifest), frame=frame_of(manifest))
    policy = WorldPolicy(world, width, deterministic=True)
    controllers = np.random.default_rng(0).normal(0, 0.1, (width, policy.parameters))
    for slot in range(width):
        policy.assign(slot, controllers[slot], 0)
    frames = np.random.default_rng(0).integers(0, 256, (width, 64, 64, 3), np.uint8)

    def alone() -> None:
        for _ in range(TICKS):
            policy.act(frames)

    return {TOGETHER: restarting(make_env(spec, width), policy.act), GAME: bare(make_env(replace(spec, frame=None), width)),
            POLICY: alone}


def main() -> None:
    """Measure and print a table and a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=found, required=True, help="a world with beginnings")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of which the median is taken (default 5)")
    parser.add_argument("--core", type=int, default=0, help="the core to pin to (default 0)")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    result: dict[str, float] = {}
    with display("none"):
        for width in (16, 64):
            parts = {"M's step alone": step_alone(options.world, width), "dream": dreamt(options.world, width)}
            if width == 16:
                parts |= real(options.world, width)
            times: dict[str, list[float]] = {name: [] for name in parts}
            for _ in range(options.rounds + 1):
                for name, advance in parts.items():
                    began = time.perf_counter()
                    advance()
                    times[name].append((time.perf_counter() - began) / TICKS / width * 1e6)
            result |= {f"{name}, width {width}": float(np.median(values[1:])) for name, values in times.items()}
    for name, value in result.items():
        print(f"{name:32}{value:10.1f} us per frame{1e6 / value:12.0f} frames/s")
    for width in (16, 64):
        alone, whole = (result[f"{name}, width {width}"] for name in ("M's step alone", "dream"))
        print(f"dream / M's step alone, width {width}: {whole / alone:.2f}")
    together, game, policy = (result[f"{name}, width 16"] for name in (TOGETHER, GAME, POLICY))
    print(f"{TOGETHER} / the sum of both: {together / (game + policy):.2f}")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB resident")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
