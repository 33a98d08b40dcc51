"""Join V and M into a world: one ONNX graph for the ranks, checked against exact arithmetic, a manifest, and pictures."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import FreezeConfig

if __name__ == "__main__":
    run_command("freeze", FreezeConfig)

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.core.controller import Control
from wm_mpi.core.errors import UserError
from wm_mpi.core.files import check_writable, replaced_together, write_json
from wm_mpi.core.progress import Progress, log
from wm_mpi.core.provenance import digest, environment
from wm_mpi.core.seeding import generator
from wm_mpi.data.arrays import save_arrays
from wm_mpi.data.datasets import Dataset, open_frames, shown
from wm_mpi.envs import family, game_of
from wm_mpi.models.checkpoints import load_weights, split_by_sight, weights_file
from wm_mpi.models.keras_policy import KerasPolicy
from wm_mpi.models.training import Arrays, backend, set_weights
from wm_mpi.models.vae import Vae
from wm_mpi.world.calibration import frames_per_second, quantise_encoder, two_samples
from wm_mpi.world.gates.gates import Gate, judge, objection, table
from wm_mpi.world.gates.probes import WINDOWS, fit_baseline, forecast_drives, held_out, watch_drives
from wm_mpi.world.gates.state_probe import describe as describe_state
from wm_mpi.world.gates.state_probe import probe_state
from wm_mpi.world.gates.state_probe import table as table_of_state
from wm_mpi.world.gates.survival_probe import describe as describe_survival
from wm_mpi.world.gates.survival_probe import probe_survival
from wm_mpi.world.gates.survival_probe import table as table_of_survival
from wm_mpi.world.graph import build_encoder, build_policy
from wm_mpi.world.latent_dream import BEGINNINGS
from wm_mpi.world.policy import GraphPolicy
from wm_mpi.world.reference import tick
from wm_mpi.world.weights import halved, hidden_of, latents_of

Loaded = tuple[Arrays, dict[str, Any]]
"""Weights, and what is recorded with them."""
SAMPLES = 16
MOST_BEGINNINGS = 1000
"""As many as the paper's authors stored."""
ROUNDINGS = 10
"""How many times float32's own rounding the fp32 graph's ticks may be off from exact ones; measured: 0.8 to 1.5."""
KERAS_ON_CPU = 10 * ROUNDINGS
"""Keras has other orders of summation and fused operations; seen: 1.0 to 4 with TensorFlow, 1.2 with PyTorch."""
KERAS_ON_GPU = ROUNDINGS * 2**13
"""There it may multiply in TF32, which is 13 bits shorter. Wrong formulas are still told from that."""


CAR_CONTROL = Control()


def main(config: FreezeConfig) -> None:
    """Judge V and M, build and check the graph; then write the world, its manifest last: without one it is no world."""
    vae_weights, vae_about = load_weights(config.vae, "vae")
    rnn_weights, rnn_about = load_weights(config.rnn, "rnn")
    if rnn_about["vae"] != vae_about["sha256"]:
        raise UserError(f"M in {config.rnn} was trained on the latents of another V than {config.vae}: run encode and "
                        "train_rnn with this V, or give the V that encode used")
    if config.half:
        rnn_weights = {name: value.astype(np.float32) for name, value in halved(rnn_weights, config.rnn).items()}
    world = Path(config.out)
    check_writable(world / "manifest.json")
    with open_frames(config.data) as data:
        data.require(shown(vae_about["env"]), f"V in {config.vae}")
        gates, kl = judge_world(config, (vae_weights, vae_about), (rnn_weights, rnn_about), data)
        car = family(data.about["env"]) == "carracing"
        told = probe_state(vae_weights, rnn_weights, data.frame) if config.probe and car else []
        if told:
            print(table_of_state(told))
        game = game_of(data.about["env"])
        control = game.control
        graph, precision, checks = build_graph(vae_weights, rnn_weights, control, data, config.precision)
        latents, hidden = latents_of(rnn_weights), hidden_of(rnn_weights)
        vae = Vae(latents)
        set_weights(vae, vae_weights, config.vae)
        first = first_latents(vae, data)
        lived = (probe_survival(rnn_weights, (first["mu"].astype(np.float32), first["logvar"].astype(np.float32)),
                                data.about["env"], game, data.frame)
                 if config.probe and game.dream_reward is not None and len(first["mu"]) else [])
        if lived:
            print(table_of_survival(lived))
        with replaced_together(world, last="manifest.json") as new:
            (new / "policy.onnx").write_bytes(graph)
            shutil.copyfile(weights_file(config.vae, "vae"), new / "vae.h5")
            if config.half:
                about = {**rnn_about, "stored_as": "float16"}
                save_arrays(new / "rnn.h5", halved(rnn_weights, config.rnn), about, compress=True)
            else:
                shutil.copyfile(weights_file(config.rnn, "rnn"), new / "rnn.h5")
            paint_samples(new / "samples.png", vae, sample_frames(data))
            save_arrays(new / BEGINNINGS, first, {"kind": "beginnings"}, compress=True)
            write_json(new / "manifest.json", {
                "format": 1, "precision": precision, "checks": checks,
                "gates": [each.describe() for each in gates], "kl": kl, "env": vae_about["env"],
                "true_state": describe_state(told), "survival": describe_survival(lived),
                "shapes": {"frames": [64, 64, 3], "latents": latents, "hidden": hidden, "actions": control.actions,
                           "parameters": control.parameters(latents, hidden)},
                "controller": control.describe(),
                "vae": vae_about["sha256"], "data": data.fingerprint(), "made_by": environment(),
                "files": {path.name: digest(path) for path in sorted(new.iterdir())}})
    print(f"finished: world in {world}, {precision}; look at {world / 'samples.png'}")


def judge_world(config: FreezeConfig, vae: Loaded, rnn: Loaded, data: Dataset) -> tuple[list[Gate], list[float]]:
    """Print how V and M do on drives that they have not seen; gives the gates, and the KL of each latent (nats).

    Raises:
        UserError: a gate fails, and there is no --force.
    """
    trained, unseen = held_out(split_by_sight(vae[1], data, "V"), split_by_sight(rnn[1], data, "M"), data, config.force)
    log.info(f"{len(unseen)} of {len(data.lengths)} drives are new to V, M and what they began with; "
             f"{min(len(unseen), WINDOWS)} of these judge")
    drives = watch_drives(vae[0], data, unseen)
    gates, kl = judge(drives, fit_baseline(vae[0], data, trained), *forecast_drives(rnn[0], drives))
    print(table(gates))
    said = objection(gates)
    if said and not config.force:
        if len(unseen) < min(WINDOWS, len(data.lengths) / 20):
            said += (f"; every training held out {len(unseen)} of {len(data.lengths)} drives, which is little to judge by: "
                     "give all of them the same --seed, or freeze --data other drives (collect with another --seed)")
        raise UserError(f"{said}; or give --force to freeze it as it is")
    if said:
        print(f"frozen all the same, as --force says: {said}")
    return gates, kl


def build_graph(vae: Arrays, rnn: Arrays, control: Control, data: Dataset, precision: str,
                ) -> tuple[bytes, str, dict[str, Any]]:
    """The serialised policy, the precision taken (int8, mixed or fp32), and the figures of its checks, for the manifest.

    Raises:
        UserError: Keras or the graph is too far from exact arithmetic, or int8, if asked for, from fp32.
    """
    exact = build_policy(vae, rnn, control=control).SerializeToString()
    policies: list[GraphPolicy | KerasPolicy] = [GraphPolicy(exact, 4, True, control), KerasPolicy(vae, rnn, 4, control)]
    graph, keras = compare(policies, vae, rnn, data, control)
    allowed = KERAS_ON_CPU if backend().endswith("cpu") else KERAS_ON_GPU
    for name, off, most in (("Keras", keras, allowed), ("the fp32 graph", graph, ROUNDINGS)):
        if not off <= most:  # so that NaN fails too
            raise UserError(f"{name} is off from exact arithmetic by {off:.2g} times what rounding explains, more than "
                            f"{most:g}: report it, with the versions that pip list prints")
    log.info(f"off from exact arithmetic, in units of float32's rounding: the fp32 graph {graph:.2g}, Keras {keras:.2g}")
    checks: dict[str, Any] = {"fp32_to_exact_in_roundings": graph, "keras_to_exact_in_roundings": keras}
    if precision == "fp32":
        return exact, "fp32", checks
    seen, held_out = two_samples(data)
    rounded, strays = quantise_encoder(vae, seen, held_out, mixtures=precision == "auto")
    fp32 = frames_per_second(build_encoder(vae).SerializeToString(), held_out)
    if rounded is None:
        if precision == "int8":
            raise UserError(f"int8 strays too far from fp32, in units of V's sigma: {strays}; give --precision auto or "
                            "fp32, or collect more varied frames to calibrate on")
        print(f"precision fp32: V's encoder makes {fp32:,.0f} frames per second; int8 strays, in V's sigmas: {strays}")
        return exact, "fp32", checks
    fast = frames_per_second(rounded.graph, held_out)
    layers = ", ".join(f"convolution {number} in fp32" for number in rounded.exact)
    print(f"precision {rounded.precision}: V's encoder makes {fast:,.0f} frames per second, {fast / fp32:.1f} times fp32's"
          + (f"; {layers}, as int8 alone strays, in V's sigmas: {strays}" if layers else ""))
    log.info(f"{rounded.precision} against fp32, in units of V's sigma: {rounded.measured}")
    checks |= {"int8_to_fp32_in_sigmas": dataclasses.asdict(rounded.measured), "fp32_convolutions": rounded.exact}
    return build_policy(rounded.vae, rnn, rounded.integers, control).SerializeToString(), rounded.precision, checks


def sample_frames(data: Dataset) -> npt.NDArray[np.uint8]:
    """Frames from random moments of the data set, uint8 [16, 64, 64, 3]."""
    rows = generator(16).integers(0, len(data), SAMPLES)
    return np.concatenate([data.read("frames", int(row), int(row) + 1) for row in np.sort(rows)])


def first_latents(vae: Vae, data: Dataset) -> dict[str, npt.NDArray[np.float16]]:
    """Mu and logvar of the first frames of at most a thousand episodes, from which dreams set out, float16 [N, L] each."""
    frames = np.concatenate([data.read("frames", int(start), int(start) + 1) for start in data.starts[:MOST_BEGINNINGS]])
    mu, logvar = vae.encode(frames)
    return {"mu": mu.astype(np.float16), "logvar": logvar.astype(np.float16)}


def paint_samples(path: Path, vae: Vae, frames: npt.NDArray[np.uint8]) -> None:
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
    figure.savefig(path, format="png", dpi=100)
    plt.close(figure)


def compare(policies: Sequence[GraphPolicy | KerasPolicy], vae: Arrays, rnn: Arrays, data: Dataset,
            control: Control = CAR_CONTROL) -> list[float]:
    """How far each policy's ticks are from exact ones, over 32 frames of each of 4 drives, in units of float32's rounding.

    The unit is what the same formulas in float32 are off at most, for actions, h, c and mu each (mu in V's sigmas); the
    worst of the four counts. All begin every tick in the same state: left alone, C acts on M and M on C, and a trained M may
    double what they differ by every few ticks, so that after 32 it tells of M and not of the policies.
    """
    rng = generator(17)
    controller = np.stack([rng.normal(0, 0.1, policies[0].parameters) for _ in range(4)]).astype(np.float32)
    for policy in policies:
        for slot in range(4):
            policy.assign(slot, controller[slot].astype(np.float64), slot)
    starts = [int(data.starts[episode]) for episode in rng.integers(0, len(data.starts), 4)]
    h, c = np.zeros((2, 4, hidden_of(rnn)), np.float32)
    steps = min(32, int(data.lengths.min()))
    worst = np.zeros((1 + len(policies), 4))
    with Progress(None, steps, unit="step", name="comparing with float64") as progress:
        for step in range(steps):
            frames = np.concatenate([data.read("frames", start + step, start + step + 1) for start in starts])
            exact, rough = (tick(vae, rnn, controller, frames, h, c, dtype, control) for dtype in (np.float64, np.float32))
            said = [rough]
            for policy in policies:
                policy.memory = h, c
                actions, z = policy.look(frames)
                said.append({"actions": actions, "h": policy.memory[0], "c": policy.memory[1], "mu": z})
            sigma = np.exp(exact["logvar"] / 2)
            for row, parts in enumerate(said):
                off = {part: np.abs(parts[part] - exact[part]) for part in ("actions", "h", "c", "mu")}
                worst[row] = np.maximum(worst[row], [(off[part] / (sigma if part == "mu" else 1.0)).max() for part in off])
            h, c = exact["h"].astype(np.float32), exact["c"].astype(np.float32)
            progress.advance()
    return (worst[1:] / np.maximum(worst[0], np.finfo(np.float32).eps)).max(axis=1).tolist()
