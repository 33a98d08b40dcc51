"""V and M against the formulas in NumPy, the training loop, and the frozen graphs against Keras."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from conftest import ENVIRONMENT, ROOT, command, here, refuse, refuse_here, succeed
from tensorboardX.proto import event_pb2

from wm_mpi.core.errors import UserError
from wm_mpi.core.shipped import PRETRAINED, found
from wm_mpi.data.arrays import load_arrays
from wm_mpi.data.batches import Batch
from wm_mpi.data.datasets import open_frames, open_latents
from wm_mpi.encode import made_before
from wm_mpi.freeze import KERAS_ON_CPU, KERAS_ON_GPU, ROUNDINGS, compare
from wm_mpi.models.checkpoints import load_weights
from wm_mpi.models.keras_policy import KerasPolicy
from wm_mpi.models.rnn import MdnRnn, mixture_nll
from wm_mpi.models.training import Trainer, get_weights, named_weights, set_weights
from wm_mpi.models.vae import Vae
from wm_mpi.world.graph import build_decoder, build_policy
from wm_mpi.world.graph_memory import LOGSTD_BOUND, build_memory
from wm_mpi.world.inference import Inference
from wm_mpi.world.policy import GraphPolicy, WorldPolicy, open_session

NO_BACKEND = {name: f"{name} is not installed: pip install -c constraints.txt {name}" for name in ("jax", "torch")}


def test_v_has_the_published_shapes() -> None:
    shapes = {name: tuple(variable.shape) for name, variable in named_weights(Vae()).items() if name.endswith("kernel")}
    assert shapes == {
        "encoder/conv1/kernel": (4, 4, 3, 32), "encoder/conv2/kernel": (4, 4, 32, 64),
        "encoder/conv3/kernel": (4, 4, 64, 128), "encoder/conv4/kernel": (4, 4, 128, 256),
        "encoder/mu/kernel": (1024, 32), "encoder/logvar/kernel": (1024, 32), "decoder/dense/kernel": (32, 1024),
        "decoder/deconv1/kernel": (5, 5, 128, 1024), "decoder/deconv2/kernel": (5, 5, 64, 128),
        "decoder/deconv3/kernel": (6, 6, 32, 64), "decoder/deconv4/kernel": (6, 6, 3, 32)}


def test_m_has_the_published_shapes() -> None:
    shapes = {name: tuple(variable.shape) for name, variable in named_weights(MdnRnn()).items()}
    assert shapes["lstm/kernel"] == (35, 1024) and shapes["lstm/recurrent_kernel"] == (256, 1024)
    assert shapes["mdn/kernel"] == (256, 480) and shapes["reward/kernel"] == (256, 1)
    forget = np.asarray(named_weights(MdnRnn())["lstm/bias"])[256:512]
    np.testing.assert_array_equal(forget, 1)


def test_the_vae_loss_is_summed_and_floored() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    vae = Vae(kl_tolerance=0.5)
    said = {name: np.asarray(value) for name, value in vae({"frames": frames}).items()}
    squared = ((frames / 255.0 - said["reconstruction"]) ** 2).sum(axis=(1, 2, 3))
    kl = -0.5 * (1 + said["logvar"] - said["mu"] ** 2 - np.exp(said["logvar"])).sum(axis=1)
    expected = squared.mean() + np.maximum(kl, 16).mean()
    assert float(vae.compute_loss(x={"frames": frames}, y_pred=said)) == pytest.approx(expected, rel=1e-4)
    said["mu"] = np.full_like(said["mu"], 2.0)  # far above the floor
    kl = -0.5 * (1 + said["logvar"] - said["mu"] ** 2 - np.exp(said["logvar"])).sum(axis=1)
    assert kl.min() > 16
    assert float(vae.compute_loss(x={"frames": frames}, y_pred=said)) == pytest.approx(squared.mean() + kl.mean(), rel=1e-4)


def test_mixture_likelihood_is_a_density_and_stays_finite() -> None:
    rng = np.random.default_rng(1)
    density = rng.normal(0, 0.5, (1, 15)).astype(np.float32)
    grid = np.linspace(-20, 20, 40_001, dtype=np.float32)
    nll = np.asarray(mixture_nll(np.repeat(density, len(grid), 0), grid))
    assert np.exp(-nll).sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-3)
    weights = np.exp(density[0, :5]) / np.exp(density[0, :5]).sum()
    mean, std = density[0, 5:10], np.exp(density[0, 10:])
    by_hand = -np.log((weights * np.exp(-0.5 * ((0.3 - mean) / std) ** 2) / std / np.sqrt(2 * np.pi)).sum())
    assert float(mixture_nll(density, np.float32([0.3]))[0]) == pytest.approx(by_hand, rel=1e-5)
    extreme = np.concatenate([np.zeros((1, 5)), np.full((1, 5), 1e4), np.full((1, 5), -50.0)], axis=1).astype(np.float32)
    assert np.isfinite(np.asarray(mixture_nll(extreme, np.float32([-1e4])))).all()


def sequences(steps: int = 12) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    shape = (4, steps)
    arrays = {"mu": rng.normal(size=(4, steps + 1, 32)), "logvar": np.full((4, steps + 1, 32), -2.0),
              "actions": rng.normal(size=(*shape, 3)), "rewards": rng.normal(size=shape), "terminated": np.zeros(shape),
              "mask": np.ones(shape), "z_mask": np.ones(shape)}
    return {name: value.astype(np.float32) for name, value in arrays.items()}


def test_masked_steps_do_not_count() -> None:
    full = sequences()
    rnn = MdnRnn()
    said = {name: np.asarray(value) for name, value in rnn(full).items()}
    full["mask"][:, 6:] = full["z_mask"][:, 5:] = 0
    before = float(rnn.compute_loss(x=full, y_pred=said))
    for name in ("rewards", "terminated"):
        full[name][:, 6:] = 55
    said["target"] = said["target"].copy()
    said["target"][:, 5:] = 99
    assert float(rnn.compute_loss(x=full, y_pred=said)) == before


def test_training_learns_and_resumes_exactly(tmp_path: Path) -> None:
    """Three epochs straight equal one epoch, a restore into new objects, and two more."""
    batches = [Batch(sequences(), np.arange(4)) for _ in range(5)]

    def train(trainer: Trainer, epochs: range) -> list[dict]:
        return [trainer.epoch(epoch, 3, iter(batches), 5, iter(batches[:1]), 1, str) for epoch in epochs]

    straight = Trainer(MdnRnn(seed=3), 1e-2, tmp_path / "a", clip=1.0)
    (tmp_path / "a").mkdir()
    rows = train(straight, range(1, 4))
    assert rows[-1]["val_loss"] < rows[0]["val_loss"] < rows[0]["loss"]
    first = Trainer(MdnRnn(seed=3), 1e-2, tmp_path / "b", clip=1.0)
    (tmp_path / "b").mkdir()
    train(first, range(1, 2))
    second = Trainer(MdnRnn(seed=99), 1e-2, tmp_path / "b", clip=1.0)
    second.restore(first.state(), "checkpoint")
    train(second, range(2, 4))
    for name, value in get_weights(straight.model).items():
        np.testing.assert_array_equal(value, get_weights(second.model)[name], err_msg=name)
    assert list((tmp_path / "a" / "tensorboard").iterdir())


def board(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Scalars by name as TensorBoard shows them: (step, value) of files in the order of their names, where the start of a
    session hides what came before it from its step on."""
    scalars: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(directory.iterdir()):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            record, data = event_pb2.Event.FromString(data[12:12 + size]), data[16 + size:]
            if record.session_log.status == event_pb2.SessionLog.START:
                scalars = {name: [each for each in values if each[0] < record.step] for name, values in scalars.items()}
            for value in record.summary.value:
                scalars.setdefault(value.tag, []).append((record.step, value.simple_value))
    return scalars


def test_tensorboard_shows_every_epoch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All within one second, and with an epoch that a crash before its checkpoint has repeated."""
    second = int(time.time())
    monkeypatch.setattr(time, "time", lambda: second + time.monotonic() % 1)

    def train(epochs: range) -> list[dict]:
        trainer = Trainer(Vae(), 1e-3, tmp_path)
        trainer.rewind_history(epochs[0] - 1)
        batch = Batch({"frames": np.full((1, 64, 64, 3), epochs[0], np.uint8)}, np.arange(1))
        return [trainer.epoch(epoch, 5, iter([batch]), 1, iter([batch]), 1, str) for epoch in epochs]

    rows = train(range(1, 4))[:2] + train(range(3, 6))
    shown = board(tmp_path / "tensorboard")
    assert shown.keys() == rows[0].keys() - {"epoch"}
    for name, values in shown.items():
        assert values == [(row["epoch"], pytest.approx(row[name])) for row in rows]


def test_nan_stops_and_names_the_batch(tmp_path: Path) -> None:
    bad = sequences()
    bad["mu"][2, 3, 4] = np.nan
    batches = [Batch(sequences(), np.arange(4)), Batch(bad, np.arange(100, 104))]
    trainer = Trainer(MdnRnn(), 1e-3, tmp_path)
    with pytest.raises(UserError, match=r"NaN or infinite at the batch of rows \[100, 101, 102, 103\]"):
        trainer.epoch(1, 1, iter(batches), 2, iter(()), 0, lambda rows: f"rows {rows.tolist()}")


def test_losses_are_means_over_items(tmp_path: Path) -> None:
    """What is logged holds for all batches of an epoch, not for the last one; waiting for the loader is told."""
    def batch(level: int, items: int) -> Batch:
        return Batch({"frames": np.full((items, 64, 64, 3), level, np.uint8)}, np.arange(items))

    def slow() -> Iterator[Batch]:
        for each in (batch(0, 1), batch(255, 3)):
            time.sleep(0.5)
            yield each

    trainer = Trainer(Vae(), 1e-9, tmp_path)
    row = trainer.epoch(1, 1, slow(), 2, [batch(0, 1), batch(255, 3)], 2, str)
    alone = [trainer.epoch(1, 1, [batch(0, 1)], 1, [each], 1, str)["val_loss"] for each in (batch(0, 1), batch(255, 3))]
    assert row["val_loss"] == pytest.approx((alone[0] + 3 * alone[1]) / 4, rel=1e-3)
    assert row["loss"] == pytest.approx(row["val_loss"], rel=1e-3)
    assert 1.0 / row["seconds"] <= row["waiting"] + 1e-3 and row["waiting"] < 1


def test_mixed_precision_keeps_targets_exact(tmp_path: Path) -> None:
    """The layers compute in 16 bits; latents, rewards and losses stay float32."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        given = sequences()
        given["logvar"][:] = -60.0
        rnn = MdnRnn()
        np.testing.assert_allclose(np.asarray(rnn(given)["target"]), given["mu"][:, 1:], rtol=1e-6)
        assert rnn.network.get_layer("lstm").compute_dtype == "bfloat16"
        row = Trainer(rnn, 1e-3, tmp_path).epoch(1, 1, [Batch(given, np.arange(4))], 1, (), 0, str)
        assert 0 < row["loss"] < 10
    finally:
        keras.config.set_dtype_policy("float32")


def test_the_learning_rate_falls_to_its_last(tmp_path: Path) -> None:
    """By the same factor from epoch to epoch, also for a trainer that begins in the middle; without a last one it stays."""
    batch = Batch({"mu": np.zeros((1, 3, 2), np.float32), "logvar": np.zeros((1, 3, 2), np.float32),
                   "actions": np.zeros((1, 2, 3), np.float32), "rewards": np.zeros((1, 2), np.float32),
                   "terminated": np.zeros((1, 2), np.float32), "mask": np.ones((1, 2), np.float32),
                   "z_mask": np.ones((1, 2), np.float32)}, np.arange(1))
    for first, last, wanted in ((1, 1e-4, [1e-2, 1e-3, 1e-4]), (3, 1e-4, [1e-4]), (1, None, [1e-2] * 3)):
        trainer = Trainer(MdnRnn(2, hidden=4), 1e-2, tmp_path, last=last)
        rates = []
        for epoch in range(first, 4):
            trainer.epoch(epoch, 3, [batch], 1, [batch], 1, str)
            rates.append(float(keras.ops.convert_to_numpy(trainer.model.optimizer.learning_rate)))
        np.testing.assert_allclose(rates, wanted, rtol=1e-5)


@pytest.mark.slow
def test_several_devices_share_a_batch(tmp_path: Path) -> None:
    if find_spec("jax") is None:
        pytest.skip(NO_BACKEND["jax"])
    said = json.loads(succeed(ROOT / "tests" / "programs" / "two_devices.py", tmp_path, env={
        "KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}).splitlines()[-1])
    assert said["backend"] == "jax on cpu:0, cpu:1"
    assert said["two"] == pytest.approx(said["one"], rel=1e-4) and said["one"][2] < said["one"][0]
    assert "--devices is 3, but JAX sees 2" in said["refused"][0]
    assert "--batch-size is 5, but must be a multiple of --devices, 2" in said["refused"][1]
    assert said["at_once"] == pytest.approx(said["one"], rel=1e-5)
    assert "--steps-per-call 50 is for one GPU, not for --devices 2" in said["refused"][2]


def test_frozen_policy_equals_keras_on_real_frames(pipeline: Path) -> None:
    vae, _ = load_arrays(pipeline / "world" / "vae.h5", "")
    rnn, _ = load_arrays(pipeline / "world" / "rnn.h5", "")
    frozen = GraphPolicy(build_policy(vae, rnn).SerializeToString(), 3, deterministic=True)
    reference = KerasPolicy(vae, rnn, 3)
    rng = np.random.default_rng(3)
    for slot in range(3):
        parameters = rng.normal(0, 0.2, 867)
        frozen.assign(slot, parameters, 0)
        reference.assign(slot, parameters, 0)
    with open_frames(pipeline / "frames") as data:
        for step in range(100):
            frames = np.concatenate([data.read("frames", start + step, start + step + 1) for start in data.starts[:3]])
            actions = frozen.act(frames)
            np.testing.assert_allclose(actions, reference.act(frames), atol=1e-4)
            assert actions.min() >= -1 and actions[:, 1:].min() >= 0 and actions.max() <= 1


def test_decoder_equals_keras() -> None:
    vae = Vae(seed=1)
    rng = np.random.default_rng(7)
    weights = {name: 2 * value + rng.normal(0, 0.05, value.shape).astype(np.float32)  # pictures with contrast
               for name, value in get_weights(vae).items()}
    set_weights(vae, weights, "V")
    z = rng.normal(size=(12, 32)).astype(np.float32)
    frames = open_session(build_decoder(weights).SerializeToString()).run(["frames"], {"z": z})[0]
    expected = vae.decode(z)
    assert frames.shape == (12, 64, 64, 3) and frames.dtype == np.uint8 and expected.std() > 30
    assert np.abs(frames.astype(int) - expected).max() <= 1  # a level, where a sum rounds the other way
    assert (frames != expected).mean() < 1e-3


def test_memory_equals_keras_over_many_steps(pipeline: Path) -> None:
    """State and all heads, M's output normalised and clipped as its loss does it."""
    weights, _ = load_arrays(pipeline / "world" / "rnn.h5", "")
    rng = np.random.default_rng(8)
    weights["mdn/bias"] = rng.normal(0, 4, 480).astype(np.float32)  # so that some log standard deviations are clipped
    rnn = MdnRnn()
    set_weights(rnn, weights, "M")
    z, actions = (rng.normal(size=(3, 20, size)).astype(np.float32) for size in (32, 3))
    density, reward, termination = (np.asarray(each) for each in rnn.network(np.concatenate([z, actions], axis=-1)))
    session = open_session(build_memory(weights).SerializeToString())
    h, c = np.zeros((2, 3, 256), np.float32)
    for step in range(20):
        h, c, logmix, mean, logstd, gain, end = session.run(
            None, {"z": z[:, step], "actions": actions[:, step], "h": h, "c": c})
        raw = np.split(density[:, step].reshape(3, 32, 15), 3, axis=-1)
        np.testing.assert_allclose(logmix, raw[0] - np.log(np.exp(raw[0]).sum(axis=-1, keepdims=True)), atol=1e-4)
        np.testing.assert_allclose(mean, raw[1], atol=1e-4)
        np.testing.assert_allclose(logstd, np.clip(raw[2], -LOGSTD_BOUND, LOGSTD_BOUND), atol=1e-4)
        np.testing.assert_allclose(gain, reward[:, step, 0], atol=1e-4)
        np.testing.assert_allclose(end, termination[:, step, 0], atol=1e-4)
    assert np.abs(raw[2]).max() > LOGSTD_BOUND


def test_the_policy_and_memory_remember_alike(pipeline: Path) -> None:
    """``look`` is ``act`` to the last bit; M's own graph takes the same step."""
    acting, looking = (WorldPolicy(pipeline / "world", 2) for _ in range(2))
    insight = Inference.of(pipeline / "world")
    for policy in (acting, looking):
        for slot in range(2):
            policy.assign(slot, np.random.default_rng(slot).normal(0, 0.3, 867), noise=9)
    with open_frames(pipeline / "frames") as data:
        frames = data.read("frames", 10, 20)
    for step in range(5):
        h, c = looking.memory
        actions, z = looking.look(frames[step:step + 2])
        np.testing.assert_array_equal(acting.act(frames[step:step + 2]), actions)
        forecast = insight.expect(z, actions, h, c)
        np.testing.assert_allclose(forecast.h, looking.memory[0], atol=1e-5)
        np.testing.assert_allclose(forecast.c, looking.memory[1], atol=1e-5)
        best = forecast.logmix.argmax(axis=-1)
        assert forecast.likeliest()[1, 7] == forecast.mean[1, 7, best[1, 7]]


def test_who_looks_inside_a_damaged_world_is_told(copied: Path) -> None:
    (copied / "world" / "rnn.h5").write_bytes(b"no weights")
    WorldPolicy(copied / "world", 1)  # drives as ever
    with pytest.raises(UserError, match="rnn.h5 is damaged, its SHA-256 .*freeze again"):
        Inference.of(copied / "world")
    (copied / "world" / "vae.h5").unlink()
    with pytest.raises(UserError, match="vae.h5 is missing.*freeze again"):
        Inference.of(copied / "world")


def test_noise_is_sampled_with_sigma(pipeline: Path) -> None:
    """z = mu + sigma noise: over many draws the actions scatter; the same seed gives the same ones."""
    policies = [WorldPolicy(pipeline / "world", 2) for _ in range(2)]
    parameters = np.random.default_rng(4).normal(0, 0.5, 867)
    with open_frames(pipeline / "frames") as data:
        frames = data.read("frames", 20, 22)
    for policy in policies:
        policy.assign(0, parameters, noise=5)
        policy.assign(1, parameters, noise=6)
    first, again = (policy.act(frames[[0, 0]]) for policy in policies)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first[0] - first[1]).max() > 1e-3


def test_the_graph_refuses_a_misfit(pipeline: Path) -> None:
    vae, _ = load_arrays(pipeline / "world" / "vae.h5", "")
    with pytest.raises(ValueError, match="V has 32 latents, but M takes 16"):
        build_policy(vae, get_weights(MdnRnn(latents=16)))


def test_world_has_manifest_and_pictures(pipeline: Path) -> None:
    manifest = json.loads((pipeline / "world" / "manifest.json").read_text())
    assert manifest["env"]["env_id"].startswith("wm_mpi/CarRacing-v3 (wm_mpi ") and manifest["shapes"]["parameters"] == 867
    assert manifest["made_by"]["packages"]["numpy"] == np.__version__
    assert (pipeline / "world" / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_training_goes_on_after_kill(copied: Path) -> None:
    """kill -9 in the middle of a pass, the last part perhaps unsaved: the same command gives undisturbed weights."""
    def arguments(out: str) -> list[object]:
        return ["train_vae", "--data", copied / "frames", "--out", copied / out, "--epochs", 1, "--parts", 4,
                "--batch-size", 40]

    with subprocess.Popen(command(*arguments("killed")), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 3/4"):
                break
        process.kill()
    assert "resuming after epoch" in succeed(*arguments("killed"))
    here(*arguments("straight"))
    killed, straight = (load_arrays(copied / name / "weights.h5", "")[0] for name in ("killed", "straight"))
    for name in straight:
        np.testing.assert_array_equal(killed[name], straight[name], err_msg=name)
    rows = [json.loads(line) for line in (copied / "killed" / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_lstm_says_and_learns_what_kerass_own_does(backend: str) -> None:
    if find_spec(backend) is None:
        pytest.skip(NO_BACKEND[backend])
    keras_own, ours = json.loads(succeed(ROOT / "tests" / "programs" / "lstm_program.py", env={"KERAS_BACKEND": backend}))
    np.testing.assert_allclose(ours["said"], keras_own["said"], atol=1e-6)
    np.testing.assert_allclose(ours["losses"], keras_own["losses"], rtol=1e-5)
    for one, other, before in zip(ours["after"], keras_own["after"], keras_own["before"], strict=True):
        assert np.abs(np.subtract(other, before)).max() > 0.01
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_another_backend_is_as_quiet() -> None:
    """Keras seeds TensorFlow's generator as well, and so imports it."""
    if find_spec("torch") is None:
        pytest.skip(NO_BACKEND["torch"])
    code = ("import sys; from wm_mpi.models.training import configure; configure('float32', 0); "
            "print('tensorflow' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], env={**ENVIRONMENT, "KERAS_BACKEND": "torch"}, cwd=ROOT,
                          capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_train(backend: str, pipeline: Path, tmp_path: Path) -> None:
    if find_spec(backend) is None:
        pytest.skip(NO_BACKEND[backend])
    stages = [
        ["train_vae", "--preset", "smoke", "--data", pipeline / "frames", "--out", tmp_path / "vae"],
        ["encode", "--data", pipeline / "frames", "--vae", tmp_path / "vae", "--out", tmp_path / "latents"],
        ["train_rnn", "--preset", "smoke", "--data", tmp_path / "latents", "--out", tmp_path / "rnn"],
        ["freeze", "--vae", tmp_path / "vae", "--rnn", tmp_path / "rnn", "--data", pipeline / "frames",
         "--out", tmp_path / "world", "--force"]]
    said = succeed(ROOT / "tests" / "programs" / "commands.py", json.dumps(stages, default=str),
                   env={"KERAS_BACKEND": backend})
    assert f"{backend} on" in said and "off from exact arithmetic" in said
    losses = [json.loads(line) for line in (tmp_path / "rnn" / "history.jsonl").read_text().splitlines()]
    assert losses[-1]["val_loss"] < losses[0]["val_loss"]


def test_a_world_without_a_place_is_refused_before_its_gates(pipeline: Path, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    from wm_mpi import freeze
    monkeypatch.delattr(freeze, "judge_world")
    (tmp_path / "file").write_text("")
    assert "manifest.json cannot be written: Not a directory" in refuse_here(
        "freeze", "--vae", pipeline / "vae", "--rnn", pipeline / "rnn", "--data", pipeline / "frames", "--out",
        tmp_path / "file" / "world")


def test_v_and_m_that_do_not_fit(copied: Path) -> None:
    here("train_vae", "--preset", "smoke", "--seed", 5, "--data", copied / "frames", "--out", copied / "other")
    said = refuse_here("freeze", "--vae", copied / "other", "--rnn", copied / "rnn", "--data", copied / "frames",
                       "--out", copied / "new_world")
    assert "another V" in said and not (copied / "new_world" / "manifest.json").exists()
    assert "mixed up" in refuse_here("freeze", "--vae", copied / "rnn", "--rnn", copied / "vae", "--data",
                                     copied / "frames", "--out", copied / "new_world")


def test_v_that_ships_encodes_by_its_name(tmp_path: Path) -> None:
    succeed("collect", "--frame", "whole", "--episodes", "2", "--max-frames", "40", "--out", tmp_path / "frames")
    here("encode", "--data", tmp_path / "frames", "--vae", "carracing", "--out", tmp_path / "latents")
    _, about = load_weights(PRETRAINED / "carracing", "vae")
    with open_latents(tmp_path / "latents") as latents:
        assert latents.about["vae"] == about["sha256"]
    assert json.loads((tmp_path / "latents" / "config.json").read_text())["vae"] == "carracing"


def test_latents_are_made_once(copied: Path) -> None:
    """And anew where they are damaged, or V is another one."""
    arguments = ["encode", "--data", copied / "frames", "--vae", copied / "vae", "--out", copied / "new"]
    latents = copied / "new" / "latents.h5"
    assert "finished:" in here(*arguments)
    made, when = latents.read_bytes(), latents.stat().st_mtime_ns
    assert made == (copied / "latents" / "latents.h5").read_bytes()
    assert "finished before:" in here(*arguments) and latents.stat().st_mtime_ns == when
    os.truncate(latents, len(made) - 5000)
    assert "finished:" in here(*arguments) and latents.read_bytes() == made
    with open_frames(copied / "frames") as frames:
        digest = load_weights(copied / "vae", "vae")[1]["sha256"]
        assert made_before(copied / "new", frames, digest) and not made_before(copied / "new", frames, digest[::-1])


def test_an_untrained_m_for_comparisons(pipeline: Path, tmp_path: Path) -> None:
    """--steps 0 gives M as it begins, bound to its V."""
    arguments = ["train_rnn", "--data", pipeline / "latents", "--out", tmp_path / "rnn", "--steps", 0]
    here(*arguments)
    first = load_arrays(tmp_path / "rnn" / "weights.h5", "")[0]
    assert first["lstm/recurrent_kernel"].std() > 0.01 and not (tmp_path / "rnn" / "history.jsonl").read_text()
    here(*arguments)  # nothing is left to do
    again, about = load_arrays(tmp_path / "rnn" / "weights.h5", "")
    assert about["epoch"] == 0 and all(np.array_equal(first[name], again[name]) for name in first)
    here("freeze", "--vae", pipeline / "vae", "--rnn", tmp_path / "rnn", "--data", pipeline / "frames",
         "--out", tmp_path / "world", "--force")


def test_missing_and_damaged_inputs(copied: Path) -> None:
    assert "does not exist" in refuse("train_vae", "--data", copied / "nothing", "--out", copied / "v")
    assert not (copied / "v").exists()
    assert "latents.h5 does not exist: run python -m wm_mpi.encode" in refuse_here(
        "train_rnn", "--data", copied / "frames", "--out", copied / "m")
    shard = copied / "frames" / "shards" / "00001.h5"
    os.truncate(shard, shard.stat().st_size - 5000)
    assert "00001.h5 is truncated" in refuse_here("train_vae", "--data", copied / "frames", "--out", copied / "v")
    shard.unlink()
    assert "00001.h5 is missing" in refuse_here("encode", "--data", copied / "frames", "--vae", copied / "vae",
                                                "--out", copied / "l")
    with h5py.File(copied / "vae" / "weights.h5", "r+") as file:
        del file["encoder/conv2/kernel"]
    assert "encoder/conv2/kernel is missing" in refuse_here(
        "encode", "--data", copied / "frames", "--vae", copied / "vae", "--out", copied / "l")


def test_a_wrong_graph_is_told_from_rounding(pipeline: Path) -> None:
    """The right graph and Keras are as near to float64 as float32 is; each kind of mistake, also a small one, is not."""
    vae, _ = load_arrays(pipeline / "vae" / "weights.h5", "")
    rnn, _ = load_arrays(pipeline / "rnn" / "weights.h5", "")

    def policy(vae: dict, rnn: dict) -> GraphPolicy:
        return GraphPolicy(build_policy(vae, rnn).SerializeToString(), 4, deterministic=True)

    def changed(weights: dict, name: str, change: Callable[[np.ndarray], np.ndarray]) -> dict:
        return {**weights, name: change(weights[name].copy())}

    def swap(kernel: np.ndarray) -> np.ndarray:
        first, second, *rest = np.split(kernel, 4, axis=-1)
        return np.concatenate([second, first, *rest], axis=-1)

    def nudge(kernel: np.ndarray) -> np.ndarray:
        kernel[33, np.abs(kernel[33]).argmax()] *= 1.001  # gas, which is never 0 as the latents of a hardly trained V are
        return kernel

    class Unsquashed(GraphPolicy):
        def look(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            actions, z = super().look(observations)
            return np.clip(actions * [1, 2, 1] - [0, 1, 0], -1, 1), z

    ordered = {name: swap(each) if name.startswith("lstm/") else each for name, each in rnn.items()}
    wrong = {"order of gates": policy(vae, ordered),
             "gates": policy(vae, changed(rnn, "lstm/kernel", swap)),
             "recurrent gates": policy(vae, changed(rnn, "lstm/recurrent_kernel", swap)),
             "transposed kernel": policy(changed(vae, "encoder/conv2/kernel", lambda each: each.transpose(1, 0, 2, 3)), rnn),
             "squashing": Unsquashed(build_policy(vae, rnn).SerializeToString(), 4, deterministic=True),
             "a weight of M": policy(vae, changed(rnn, "lstm/kernel", nudge)),
             "a weight of V": policy(changed(vae, "encoder/mu/kernel", lambda each: each * np.float32(1.001)), rnn)}
    with open_frames(pipeline / "frames") as data:
        right, keras, *others = compare([policy(vae, rnn), KerasPolicy(vae, rnn, 4), *wrong.values()], vae, rnn, data)
    assert 0 < right < ROUNDINGS and 0 < keras < KERAS_ON_CPU
    off = dict(zip(wrong, others, strict=True))
    assert min(off.values()) > ROUNDINGS, sorted(off.items(), key=lambda each: each[1])
    assert all(off[name] > KERAS_ON_GPU for name in ("order of gates", "squashing")), off  # wrong formulas show on GPUs too


@pytest.mark.parametrize("alike", [True, False])
def test_empty_slots_are_left_out_of_a_call(alike: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sums round alike for any number of rows, as in the shipped world; an episode's numbers stay as they are."""
    world, seen = found("carracing"), []
    assert WorldPolicy(world, 5).rounds_alike
    monkeypatch.setattr(GraphPolicy, "rounds_alike", alike)
    full, sparse = WorldPolicy(world, 5), WorldPolicy(world, 5)
    run = sparse._session.run

    class Counting:
        def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            seen.append(len(inputs["frames"]))
            return run(names, inputs)

    sparse._session = Counting()
    rng = np.random.default_rng(3)
    for slot in range(5):
        parameters = rng.normal(0, 0.1, full.parameters)
        for policy in (full, sparse):
            policy.assign(slot, parameters, slot)
    for tick in range(6):
        if tick == 2:
            sparse.release(1)
            sparse.release(3)
        if tick == 4:
            for policy in (full, sparse):
                policy.assign(3, parameters, 9)
        frames = rng.integers(0, 256, (5, 64, 64, 3), np.uint8)
        playing = [slot for slot in range(5) if tick < 2 or slot != 1 and (slot != 3 or tick >= 4)]
        np.testing.assert_array_equal(full.act(frames)[playing], sparse.act(frames)[playing])
        np.testing.assert_array_equal(full.memory[0][playing], sparse.memory[0][playing])
    assert seen == ([5, 5, 3, 3, 4, 4] if alike else [5] * 6)
    for slot in range(5):
        sparse.release(slot)
    assert not alike or not sparse.act(frames).any()


def test_a_policy_that_rounds_by_the_number_of_rows_is_found_out() -> None:
    policy = WorldPolicy(found("carracing"), 4)
    run = policy._session.run

    class Rounding:
        def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            said = run(names, inputs)
            return [np.nextafter(each, np.float32(2)) if len(each) == 3 else each for each in said]

    policy._session = Rounding()
    assert not policy.rounds_alike
