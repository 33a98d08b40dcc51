"""Join V and M into a world: one ONNX graph for the ranks, checked against Keras, with a manifest and sample pictures."""

from wm_mpi.cli import run_command
from wm_mpi.config import FreezeConfig

if __name__ == "__main__":
    run_command("freeze", FreezeConfig)

import dataclasses
import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.calibration import quantise_encoder, two_samples
from wm_mpi.datasets import Dataset, open_frames
from wm_mpi.errors import UserError
from wm_mpi.evidence import fit_baseline, forecast_drives, held_out, shared_episodes, watch_drives
from wm_mpi.gates import Gate, judge, objection, table
from wm_mpi.graph import build_policy
from wm_mpi.models.frozen import KerasPolicy
from wm_mpi.models.training import Arrays, set_weights
from wm_mpi.models.vae import Vae
from wm_mpi.policy import GraphPolicy, Policy
from wm_mpi.progress import Progress, log
from wm_mpi.rundir import atomic_path, environment, write_json
from wm_mpi.seeding import generator
from wm_mpi.weights import load_weights

Loaded = tuple[Arrays, dict[str, Any]]
"""Weights, and what is recorded with them."""
SAMPLES = 16
TOLERANCE = 1e-4
"""Largest difference allowed between the fp32 graph's actions and Keras's."""


def main(config: FreezeConfig) -> None:
    """Judge V and M, build and check the graph; then write the world, its manifest last: without one it is no world."""
    vae_weights, vae_about = load_weights(config.vae, "vae")
    rnn_weights, rnn_about = load_weights(config.rnn, "rnn")
    if rnn_about["vae"] != vae_about["sha256"]:
        raise UserError(f"M in {config.rnn} was trained on the latents of another V than {config.vae}: run encode and "
                        "train_rnn with this V, or give the V that encode used")
    world = Path(config.out)
    with open_frames(config.data) as data:
        gates, kl = judge_world(config, (vae_weights, vae_about), (rnn_weights, rnn_about), data)
        graph, checks = build_graph(vae_weights, rnn_weights, data, config.precision)
        vae = Vae()
        set_weights(vae, vae_weights, config.vae)
        (world / "manifest.json").unlink(missing_ok=True)
        with atomic_path(world / "policy.onnx") as temporary:
            temporary.write_bytes(graph)
        for name, directory in (("vae.h5", config.vae), ("rnn.h5", config.rnn)):
            with atomic_path(world / name) as temporary:
                shutil.copyfile(Path(directory) / "weights.h5", temporary)
        draw_samples(world / "samples.png", vae, sample_frames(data))
        write_json(world / "manifest.json", {
            "format": 1, "precision": config.precision, "checks": checks,
            "gates": [each.describe() for each in gates], "kl": kl, "env": vae_about["env"],
            "shapes": {"frames": [64, 64, 3], "latents": 32, "hidden": 256, "parameters": 867},
            "vae": vae_about["sha256"], "data": data.fingerprint(), "made_by": environment(),
            "files": {name: hashlib.sha256((world / name).read_bytes()).hexdigest()
                      for name in ("policy.onnx", "vae.h5", "rnn.h5", "samples.png")}})
    print(f"finished: world in {world}, {config.precision}; look at {world / 'samples.png'}")


def judge_world(config: FreezeConfig, vae: Loaded, rnn: Loaded, data: Dataset) -> tuple[list[Gate], list[float]]:
    """Print how V and M do on drives that they have not seen; gives the gates, and the KL of each latent (nats).

    Raises:
        UserError: a gate fails, and there is no --force.
    """
    splits = [held_out(config.vae, vae[1]["data"], data), held_out(config.rnn, rnn[1]["data"], data, vae[1]["sha256"])]
    trained, unseen = (shared_episodes(*each) for each in zip(*splits, strict=True))
    drives = watch_drives(vae[0], data, unseen)
    gates, kl = judge(drives, fit_baseline(vae[0], data, trained), *forecast_drives(rnn[0], drives))
    print(table(gates))
    said = objection(gates)
    if said and not config.force:
        raise UserError(f"{said}; or give --force to freeze it as it is")
    if said:
        print(f"frozen all the same, as --force says: {said}")
    return gates, kl


def build_graph(vae: Arrays, rnn: Arrays, data: Dataset, precision: str) -> tuple[bytes, dict[str, Any]]:
    """The serialised policy and the figures of its checks, for the manifest.

    Raises:
        UserError: the graph differs from Keras, or int8 from fp32, by more than allowed.
    """
    exact = build_policy(vae, rnn).SerializeToString()
    difference = compare(GraphPolicy(exact, 4, deterministic=True), KerasPolicy(vae, rnn, 4), data)
    if difference > TOLERANCE:
        raise UserError(f"the fp32 graph differs from Keras by {difference:.2g}, more than {TOLERANCE:g}: report it, with "
                        "the versions that pip list prints")
    log.info(f"fp32 equals Keras within {difference:.1g}")
    checks: dict[str, Any] = {"fp32_to_keras": difference}
    if precision == "fp32":
        return exact, checks
    moved, integers, measured = quantise_encoder(vae, *two_samples(data))
    log.info(f"int8 against fp32, in units of V's sigma: {measured}")
    checks["int8_to_fp32_in_sigmas"] = dataclasses.asdict(measured)
    return build_policy(moved, rnn, integers).SerializeToString(), checks


def sample_frames(data: Dataset) -> npt.NDArray[np.uint8]:
    """Frames from random moments of the data set, uint8 [16, 64, 64, 3]."""
    rows = generator(16).integers(0, len(data), SAMPLES)
    return np.concatenate([data.read("frames", int(row), int(row) + 1) for row in np.sort(rows)])


def draw_samples(path: Path, vae: Vae, frames: npt.NDArray[np.uint8]) -> None:
    """A picture of frames above their reconstructions (through the mean of z)."""
    import matplotlib  # half a second, and only here
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    reconstructions = vae.decode(vae.encode(frames)[0])
    figure, axes = plt.subplots(4, 8, figsize=(12, 6.4))
    for number, (seen, said) in enumerate(zip(frames, reconstructions, strict=True)):
        row, column = number // 8 * 2, number % 8
        for axis, picture in ((axes[row, column], seen), (axes[row + 1, column], said)):
            axis.imshow(picture)
            axis.set_axis_off()
    for row, title in enumerate(("frame", "through V") * 2):
        axes[row, 0].set_title(title, fontsize=9, loc="left")
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
    plt.close(figure)


def compare(frozen: Policy, reference: Policy, data: Dataset) -> float:
    """Largest difference of two policies' actions over 32 frames of each of 4 drives; M's state is carried along."""
    rng = generator(17)
    for slot in range(4):
        parameters = rng.normal(0, 0.1, frozen.parameters)
        frozen.assign(slot, parameters, slot)
        reference.assign(slot, parameters, slot)
    starts = [int(data.starts[episode]) for episode in rng.integers(0, len(data.starts), 4)]
    worst, steps = 0.0, min(32, int(data.lengths.min()))
    with Progress(None, steps, unit="step", name="comparing with Keras") as progress:
        for step in range(steps):
            seen = np.concatenate([data.read("frames", start + step, start + step + 1) for start in starts])
            worst = max(worst, float(np.abs(frozen.act(seen) - reference.act(seen)).max()))
            progress.advance()
    return worst
