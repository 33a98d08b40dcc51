"""How fast V and M train here, and what share of the machine that is.

    python -m benchmarks.train --run runs/from_nothing

Trains V on ``frames/`` and M on ``latents/`` below the given directory, through the project's own loop and loaders, and
prints JSON: frames and steps per second, the arithmetic this takes against a large matrix product in the same backend and
precision, the loaders alone, and the share of the time that training waits for them. Weights are thrown away.
"""

import argparse
import itertools
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from wm_mpi.data.batches import Batch, frame_batches, sequence_batches, split_episodes
from wm_mpi.data.datasets import open_frames, open_latents
from wm_mpi.models.rnn import MdnRnn
from wm_mpi.models.training import Trainer, backend, configure
from wm_mpi.models.vae import Vae

BUFFER = 16_384
WARM_UP = 3


def flops(model: Any) -> int:
    """Floating point operations of one training step on one frame (V) or one step of one sequence (M).

    A multiplication and an addition for each use of each weight, and three times that: forward, gradients of activations,
    gradients of weights. Everything else (activations, Adam, drawing latents) is left out.
    """
    total = 0
    for network in model.parts().values():
        for layer in network.layers:
            weights = sum(math.prod(variable.shape) for variable in layer.weights if "kernel" in variable.name)
            grid = {"Conv2D": "output", "Conv2DTranspose": "input"}.get(type(layer).__name__)
            total += 6 * weights * (math.prod(getattr(layer, grid).shape[1:3]) if grid else 1)
    return total


def matrix_rate(size: int, rounds: int = 5) -> dict[str, float]:
    """GFLOP/s of size x size matrix products in Keras's backend and compute precision: by the clock, and a core's second."""
    import keras  # after wm_mpi.models, which keeps its start quiet
    dtype = keras.config.dtype_policy().compute_dtype
    left, right = (keras.ops.cast(np.random.default_rng(seed).normal(size=(size, size)), dtype) for seed in (0, 1))
    walls, cpus = [], []
    for _ in range(rounds + 1):
        began, cpu = time.perf_counter(), time.process_time()
        np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(keras.ops.matmul(left, right)[0, 0], "float32")))
        walls.append(time.perf_counter() - began)
        cpus.append(time.process_time() - cpu)
    work = 2e-9 * size**3
    return {"size": size, "gflops": work / median(walls[1:]), "gflops_a_core_second": work / median(cpus[1:])}


def training(model: Any, batches: Iterator[Batch], steps: int, work: float, peak: dict[str, float], devices: int) -> dict:
    """Train ``steps`` batches of ``work`` FLOPs each after a warm-up on the same stream."""
    with tempfile.TemporaryDirectory() as place:
        trainer = Trainer(model, 1e-4, Path(place), clip=1.0)
        trainer.epoch(1, 2, itertools.islice(batches, WARM_UP), WARM_UP, (), 0, str)
        cpu = time.process_time()
        row = trainer.epoch(2, 2, itertools.islice(batches, steps), steps, (), 0, str)
        cpu = time.process_time() - cpu
    gflops = work * steps / row["seconds"] / 1e9
    return {"steps_per_second": steps / row["seconds"], "seconds": row["seconds"], "core_seconds": cpu, "gflops": gflops,
            "share_of_matrix_rate": gflops / peak["gflops"] / devices,
            "share_of_matrix_rate_a_core_second": work * steps / cpu / 1e9 / peak["gflops_a_core_second"],
            "waiting": row["waiting"]}


def loading(batches: Iterator[Batch]) -> dict[str, float]:
    """What the loader gives when nobody trains."""
    began, cpu, count, items = time.perf_counter(), time.process_time(), 0, 0
    for batch in batches:
        count, items = count + 1, items + len(batch.rows)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"steps_per_second": count / wall, "items_per_second": items / wall,
            "core_microseconds_an_item": 1e6 * cpu / items}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """V, then M, each with its loader alone."""
    configure(options.precision, 0, options.devices, options.batch_size)
    where = backend()
    peak = matrix_rate(2048 if "cpu" in where else 8192)
    size = options.batch_size
    found: dict[str, Any] = {"backend": where, "precision": options.precision, "cores": os.cpu_count(),
                             "load_average": os.getloadavg()[0], "matrix": peak}
    with open_frames(options.run / "frames") as data:
        train, _ = split_episodes(len(data.lengths), 0.1, 0)
        found["v_loader"] = loading(itertools.islice(frame_batches(data, train, size, BUFFER, (0, 1)), 40_000 // size))
        model = Vae()
        work = flops(model)
        found["v"] = {"flops_a_frame": work, **training(model, frame_batches(data, train, size, BUFFER, (0, 1)),
                                                        options.v_steps, work * size, peak, options.devices)}
    found["v"]["frames_per_second"] = found["v"]["steps_per_second"] * size
    found["v"]["loader_over_training"] = found["v_loader"]["steps_per_second"] / found["v"]["steps_per_second"]
    with open_latents(options.run / "latents") as data:
        train, _ = split_episodes(len(data.lengths), 0.1, 0)
        sequence = min(options.sequence, int(data.lengths.max()))
        found["m_loader"] = loading(sequence_batches(data, train, size, sequence, 20, (0, 1)))
        model = MdnRnn()
        work = flops(model)
        batches = sequence_batches(data, train, size, sequence, WARM_UP + options.m_steps, (0, 1))
        found["m"] = {"flops_a_step_of_a_sequence": work, "sequence": sequence,
                      **training(model, batches, options.m_steps, work * size * sequence, peak, options.devices)}
    found["m"]["loader_over_training"] = found["m_loader"]["steps_per_second"] / found["m"]["steps_per_second"]
    found["load_average_after"] = os.getloadavg()[0]
    return found


def main() -> None:
    """Measure and print a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/from_nothing"), help="holds frames/ and latents/")
    parser.add_argument("--precision", default="float32", help="float32, mixed_bfloat16 or mixed_float16")
    parser.add_argument("--devices", type=int, default=1, help="GPUs that share each batch (count)")
    parser.add_argument("--batch-size", type=int, default=100, help="frames or sequences per step (count)")
    parser.add_argument("--sequence", type=int, default=999, help="longest sequence (steps)")
    parser.add_argument("--v-steps", type=int, default=30, help="steps of V to time (count)")
    parser.add_argument("--m-steps", type=int, default=3, help="steps of M to time (count)")
    print(json.dumps(_rounded(measure(parser.parse_args())), indent=1))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
