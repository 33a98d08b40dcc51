"""How fast frames are played, side by side, in one run on one pinned core.

    python -m benchmarks.rollouts

Each contender is timed in turn, several rounds over, so that a drift of the machine's speed meets all of them; medians are
printed, and ratios of medians. EnvPool takes part if it is installed (pip install envpool). Start-up, memory and the
scaling over ranks are measured in processes of their own, the scaling unpinned.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import wm_mpi.core.single_thread  # noqa: F401  isort: split
from wm_mpi.core.seeding import Stream, episode_seed
from wm_mpi.core.shipped import found
from wm_mpi.envs import EnvSpec, display, make_env
from wm_mpi.pool import Listed, open_pool
from wm_mpi.rollout.worker import Task, make_rollout
from wm_mpi.world.policy import WorldPolicy

EPISODE = 300
"""Frames an episode, and a round, for everyone: one reset and one opening zoom in each."""
Advance = Callable[[int], int]
"""Plays about so many frames; gives how many it played."""


def walk(width: int, ticks: int, seed: int = 0) -> np.ndarray:
    """Actions of a smooth random walk that keeps moving, float64 [ticks, width, 3]."""
    rng, state = np.random.default_rng(seed), np.zeros((width, 2))
    actions = np.zeros((ticks, width, 3))
    for tick in range(ticks):
        state = 0.96 * state + 0.28 * rng.standard_normal((width, 2))
        actions[tick] = np.clip(np.stack([0.3 * state[:, 0], 0.15 + 0.2 * state[:, 1], 0 * state[:, 0]], 1), [-1, 0, 0], 1)
    return actions


def gymnasium_step() -> Advance:
    """Gymnasium's own CarRacing, one car."""
    env, actions = make_env(EnvSpec("gymnasium", 300, frame=None), 1), walk(1, 300)

    def advance(frames: int) -> int:
        for tick in range(frames):
            if tick % 300 == 0:
                env.reset(seed=[tick])
            env.step(actions[tick % 300])
        return frames

    return advance


def envpool_step(width: int) -> Advance:
    """EnvPool's CarRacing on one thread."""
    import envpool

    env = envpool.make("CarRacing-v3" if "CarRacing-v3" in envpool.list_all_envs() else "CarRacing-v2", env_type="gymnasium",
                       num_envs=width, num_threads=1, max_episode_steps=300)
    actions = walk(width, 300)
    env.reset()

    def advance(frames: int) -> int:
        for tick in range(frames // width):
            env.step(actions[tick % 300].astype(np.float32))
        return frames // width * width

    return advance


def fast_step(width: int, size: int) -> Advance:
    """Our engine, with frames of the given size."""
    from gymnasium.vector import AutoresetMode

    from wm_mpi.envs.fast import CarRacingVector

    env = CarRacingVector(width, observation_size=size, max_episode_steps=None, autoreset_mode=AutoresetMode.DISABLED)
    actions = walk(width, 300)

    def advance(frames: int) -> int:
        for tick in range(frames // width):
            if tick % 300 == 0:
                env.reset(seed=tick)
            env.step(actions[tick % 300])
        return frames // width * width

    return advance


def collected_frames(width: int) -> np.ndarray:
    """Policy frames of cars that have driven for a while, uint8 [width, 64, 64, 3]."""
    env = make_env(EnvSpec("fast", 1000), width)
    frames, _ = env.reset(seed=0)
    for actions in walk(width, 60):
        frames, *_ = env.step(actions)
    return frames


def encoder_alone(world: str, width: int) -> Advance:
    """V's encoder as it stands in ``policy.onnx``: frames to mu and logvar, nothing else."""
    import onnx
    import onnxruntime

    model = onnx.load(str(Path(world) / "policy.onnx"))
    part = onnx.utils.Extractor(model).extract_model(["frames"], ["mu", "logvar"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
    frames = collected_frames(width)

    def advance(count: int) -> int:
        for _ in range(count // width):
            session.run(None, {"frames": frames})
        return count // width * width

    return advance


def policy_alone(world: str, width: int) -> Advance:
    """V, M and C, without an environment."""
    policy, frames = WorldPolicy(world, width), collected_frames(width)
    for slot in range(width):
        policy.assign(slot, np.zeros(policy.parameters), slot)

    def advance(count: int) -> int:
        for _ in range(count // width):
            policy.act(frames)
        return count // width * width

    return advance


def enough(frames: int, max_frames: int) -> Listed:
    """Tasks of 4 candidates for so many frames."""
    return Listed((left, Task(left % 4, episode_seed(0, Stream.TEST, 9, left)))
                  for left in reversed(range(-(-frames // max_frames))))


def rollouts(env: str, world: str, width: int, max_frames: int) -> Advance:
    """A worker: environment + V + M + C, whole episodes, refilled as they end."""
    rollout = make_rollout(EnvSpec(env, max_frames), world, width, deterministic=False)
    candidates = np.random.default_rng(0).normal(0, 0.1, (4, 867))

    def advance(frames: int) -> int:
        tasks = enough(max(frames, width * max_frames), max_frames)
        return sum(played.frames for _, played in rollout.run(candidates, tasks))

    return advance


def keras_worker(world: str) -> Advance:
    """What users have today: Gymnasium, and Keras called on one frame at a time."""
    from wm_mpi.data.arrays import load_arrays
    from wm_mpi.envs import policy_frame
    from wm_mpi.models.keras_policy import KerasPolicy

    env, actions = make_env(EnvSpec("gymnasium", 300, frame=None), 1), walk(1, 300)
    policy = KerasPolicy(load_arrays(Path(world) / "vae.h5", "")[0], load_arrays(Path(world) / "rnn.h5", "")[0], 1)
    policy.assign(0, np.zeros(policy.parameters), 0)

    def advance(frames: int) -> int:
        seen, _ = env.reset(seed=[0])
        for tick in range(frames):
            policy.act(policy_frame(seen))
            seen, *_ = env.step(actions[tick % 300])
        return frames

    return advance


def contenders(options: argparse.Namespace) -> Iterator[tuple[str, Advance, int]]:
    """Name, advance and frames a round of each."""
    width, world = options.width, options.world
    yield "Gymnasium step", gymnasium_step(), EPISODE
    try:
        yield "EnvPool step", envpool_step(width), EPISODE * width
    except ImportError:
        print("EnvPool is not installed (pip install envpool): left out", file=sys.stderr)
    yield "our step, 96x96", fast_step(width, 96), EPISODE * width
    yield "our step, 64x64", fast_step(width, 64), EPISODE * width
    yield "V's encoder alone", encoder_alone(world, width), 3200
    yield "V + M + C", policy_alone(world, width), 3200
    yield "environment + V + M + C", rollouts("fast", world, width, EPISODE), EPISODE * width
    if not options.without_keras:
        yield "Gymnasium + Keras, one frame at a time", keras_worker(world), 100


def side_by_side(options: argparse.Namespace) -> dict[str, float]:
    """Median microseconds a frame of each contender."""
    entries = list(contenders(options))
    times: dict[str, list[float]] = {name: [] for name, *_ in entries}
    for _, advance, frames in entries:
        advance(frames)  # warm up
    for _ in range(options.rounds):
        for name, advance, frames in entries:
            began = time.perf_counter()
            played = advance(frames)
            times[name].append((time.perf_counter() - began) / played * 1e6)
    return {name: float(np.median(values)) for name, values in times.items()}


def start_up(world: str, width: int) -> dict[str, float]:
    """Seconds from a worker's start to its first frame, and its resident memory in MB, with a warm cache."""
    code = ("import wm_mpi.core.single_thread, wm_mpi.es, numpy as np, time, benchmarks.rollouts as b\n"
            f"play = b.rollouts('fast', {world!r}, {width}, 1)\n"
            "play(1)\n"
            "print(time.time())\n"
            "play(1000)\n"
            "print([l for l in open('/proc/self/status') if l.startswith('VmHWM')][0].split()[1])")
    began = time.time()
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return {"first_frame_seconds": float(said[0]) - began, "resident_megabytes": int(said[1]) / 1000}


def ranks(options: argparse.Namespace) -> dict[int, float]:
    """Frames per second in all, by the number of worker ranks; each plays the same number of frames."""
    rates = {}
    for workers in range(1, options.ranks + 1):
        with tempfile.NamedTemporaryFile("r", suffix=".json", encoding="utf-8") as answer:
            command = ["mpirun", "--oversubscribe", "-np", str(workers + 1), sys.executable, "-m", "benchmarks.rollouts",
                       "--world", options.world, "--width", str(options.width), "--child", answer.name]
            subprocess.run(command, check=True, env={**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1",
                                                     "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"})
            rates[workers] = json.load(answer)
    return rates


def child(options: argparse.Namespace) -> None:
    """Under mpirun: play three times, write the median rate."""
    with open_pool(lambda: make_rollout(EnvSpec("fast", 300), options.world, options.width, False)) as pool:
        if pool is None:
            return
        candidates = np.random.default_rng(0).normal(0, 0.1, (4, 867))
        count = 6 * options.width * pool.workers
        tasks = [Task(number % 4, episode_seed(0, Stream.TEST, 9, number)) for number in range(count)]
        rates = []
        for _ in range(3):
            began = time.perf_counter()
            results = pool.run(candidates, tasks).results
            rates.append(sum(played.frames for played in results) / (time.perf_counter() - began))
        Path(options.child).write_text(json.dumps(float(np.median(rates))), encoding="utf-8")


def report(result: dict[str, Any]) -> str:
    """The table."""
    times = result["microseconds_a_frame"]
    lines = [f"{'':42}{'us a frame':>12}{'frames/s':>12}"]
    lines += [f"{name:42}{value:12.1f}{1e6 / value:12.0f}" for name, value in times.items()]
    lines += ["", *(f"{name}: {value:.2f}" for name, value in result["ratios"].items())]
    lines += [f"worker's first frame after {result['start_up']['first_frame_seconds']:.2f} s, "
              f"{result['start_up']['resident_megabytes']:.0f} MB resident"]
    lines += [f"{workers} worker ranks: {rate:.0f} frames/s" for workers, rate in result["ranks"].items()]
    return "\n".join(lines)


def main() -> None:
    """Measure and print a table and a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=found, default="carracing", help="a world (default: the one in the package)")
    parser.add_argument("--width", type=int, default=16, help="episodes in lock-step (default 16)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of which the median is taken (default 5)")
    parser.add_argument("--core", type=int, default=0, help="the core to pin to (default 0)")
    parser.add_argument("--ranks", type=int, default=os.cpu_count(), help="worker ranks to scale to (default: cores)")
    parser.add_argument("--without-keras", action="store_true", help="leave out the contender that needs TensorFlow")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    scaling = ranks(options)
    os.sched_setaffinity(0, {options.core})
    with display("none"):
        times = side_by_side(options)
    ratios = {"Gymnasium step / our step (64x64)": times["Gymnasium step"] / times["our step, 64x64"],
              "environment + V + M + C / V's encoder alone": times["environment + V + M + C"] / times["V's encoder alone"]}
    if "EnvPool step" in times:
        ratios["EnvPool step / our step (64x64)"] = times["EnvPool step"] / times["our step, 64x64"]
    keras = times.get("Gymnasium + Keras, one frame at a time")
    if keras is not None:
        ratios["Gymnasium + Keras / environment + V + M + C"] = keras / times["environment + V + M + C"]
    if len(scaling) > 1:
        ratios["two worker ranks / one"] = scaling[2] / scaling[1]
    result = {"microseconds_a_frame": times, "ratios": ratios, "start_up": start_up(options.world, options.width),
              "ranks": scaling}
    print(report(result))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
