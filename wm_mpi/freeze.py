"""Join V and M into a world: one ONNX graph for the ranks, checked against Keras, with a manifest and sample pictures."""

import hashlib
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt

from wm_mpi.config import FreezeConfig, run_command
from wm_mpi.datasets import Dataset, open_frames
from wm_mpi.errors import UserError
from wm_mpi.graph import build_policy
from wm_mpi.models.frozen import KerasPolicy
from wm_mpi.models.training import Arrays, set_weights
from wm_mpi.models.vae import Vae
from wm_mpi.policy import WorldPolicy
from wm_mpi.rundir import atomic_path, environment, write_json
from wm_mpi.seeding import generator
from wm_mpi.weights import load_weights

SAMPLES = 16
TOLERANCE = 1e-4
"""Largest difference between the frozen policy and Keras, in actions and state, over an episode's first frames."""


def main(config: FreezeConfig) -> None:
    """Build the world beside its place, check it, then write the manifest that makes it valid."""
    vae_weights, vae_about = load_weights(config.vae, "vae")
    rnn_weights, rnn_about = load_weights(config.rnn, "rnn")
    if rnn_about["vae"] != vae_about["sha256"]:
        raise UserError(f"M in {config.rnn} was trained on the latents of another V than {config.vae}: run encode and "
                        "train_rnn with this V, or give the V that encode used")
    world = Path(config.out)
    with open_frames(config.data) as data:
        (world / "manifest.json").unlink(missing_ok=True)  # from here on it is no world until it is whole again
        with atomic_path(world / "policy.onnx") as temporary:
            temporary.write_bytes(build_policy(vae_weights, rnn_weights).SerializeToString())
        for name, directory in (("vae.h5", config.vae), ("rnn.h5", config.rnn)):
            with atomic_path(world / name) as temporary:
                shutil.copyfile(Path(directory) / "weights.h5", temporary)
        vae = Vae()
        set_weights(vae, vae_weights, config.vae)
        draw_samples(world / "samples.png", vae, sample_frames(data))
        manifest = {
            "format": 1, "precision": config.precision, "env": vae_about["env"],
            "shapes": {"frames": [64, 64, 3], "latents": 32, "hidden": 256, "parameters": 867},
            "vae": vae_about["sha256"], "data": data.fingerprint(), "made_by": environment(),
            "files": {name: hashlib.sha256((world / name).read_bytes()).hexdigest()
                      for name in ("policy.onnx", "vae.h5", "rnn.h5", "samples.png")}}
    write_json(world / "manifest.json", manifest)
    try:
        difference = compare(world, vae_weights, rnn_weights, config.data)
        if difference > TOLERANCE:
            raise UserError(f"{world / 'policy.onnx'} differs from Keras by {difference:.2g}, more than {TOLERANCE:g}: "
                            "keep the directory and report it, together with the versions in its manifest")
    except UserError:
        (world / "manifest.json").unlink()
        raise
    print(f"finished: world in {world}, equal to Keras within {difference:.1g}; look at {world / 'samples.png'}")


def sample_frames(data: Dataset) -> npt.NDArray[np.uint8]:
    """Frames from random moments of the data set, uint8 [16, 64, 64, 3]."""
    rows = generator(16).integers(0, len(data), SAMPLES)
    return np.concatenate([data.read("frames", int(row), int(row) + 1) for row in np.sort(rows)])


def draw_samples(path: Path, vae: Vae, frames: npt.NDArray[np.uint8]) -> None:
    """A picture of frames above their reconstructions (through the mean of z)."""
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


def compare(world: Path, vae: Arrays, rnn: Arrays, data: str) -> float:
    """Largest difference of actions between the frozen policy and Keras over 32 frames of each of 4 drives."""
    frozen = WorldPolicy(world, width=4, deterministic=True)
    reference = KerasPolicy(vae, rnn, width=4)
    rng = generator(17)
    for slot in range(4):
        parameters = rng.normal(0, 0.1, frozen.parameters)
        frozen.assign(slot, parameters, slot)
        reference.assign(slot, parameters, slot)
    worst = 0.0
    with open_frames(data) as frames:
        starts = [int(frames.starts[episode]) for episode in rng.integers(0, len(frames.starts), 4)]
        for step in range(min(32, int(frames.lengths.min()))):
            seen = np.concatenate([frames.read("frames", start + step, start + step + 1) for start in starts])
            worst = max(worst, float(np.abs(frozen.act(seen) - reference.act(seen)).max()))
    return worst


if __name__ == "__main__":
    run_command("freeze", FreezeConfig, main)
