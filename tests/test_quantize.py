"""The int8 policy: close to fp32 in units of sigma, gated, bit for bit independent of batch neighbours."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from wm_mpi.calibration import quantise_encoder, two_samples
from wm_mpi.datasets import load_arrays, open_frames
from wm_mpi.errors import UserError
from wm_mpi.graph import build_encoder, build_policy
from wm_mpi.policy import open_session, run_encoder
from wm_mpi.quantize import Deviation, activation_peaks, check, deviation, equalise, prune, quantise


@pytest.fixture(scope="module")
def vae(pipeline: Path) -> dict[str, np.ndarray]:
    return load_arrays(pipeline / "vae" / "weights.h5", "")[0]


@pytest.fixture(scope="module")
def samples(pipeline: Path) -> tuple[np.ndarray, np.ndarray]:
    with open_frames(pipeline / "frames") as data:
        return two_samples(data, 256)


@pytest.fixture(scope="module")
def frozen(vae: dict, samples: tuple) -> tuple[dict, dict, Deviation]:
    return quantise_encoder(vae, *samples)


def test_int8_is_close_to_fp32_in_sigmas(frozen: tuple) -> None:
    measured = frozen[2]
    assert measured.rms < 0.15 and measured.bias < 0.08 and measured.spread < 0.05, measured


def test_wide_pixels_compute_the_same_convolutions(vae: dict, samples: tuple) -> None:
    """Against the definition: 4 x 4, stride 2, on the same integers, in int64."""
    ranges = np.array([0.7, 0.6, 1.4, 5.6])
    integers = quantise(vae, ranges)
    encode = run_encoder(with_output(build_encoder(vae, integers), "last4").SerializeToString())
    layer = samples[0][:4].astype(np.int64)
    step = np.float32(1 / 255)
    for number in (1, 2, 3, 4):
        kernel = integers[f"conv{number}/kernel"].astype(np.int64)
        channels = layer.shape[-1]
        scale, bias = integers[f"conv{number}/scale"], integers[f"conv{number}/bias"]
        if number == 1:  # the first of the two outputs, and its 4 of the 8 pixels
            kernel, scale, bias = kernel[:32], scale[:32], bias[:32]
        kernel = kernel.transpose(2, 3, 1, 0).reshape(4, -1, channels, len(kernel))[:, :4]
        windows = np.lib.stride_tricks.sliding_window_view(layer, (4, 4), axis=(1, 2))[:, ::2, ::2]
        total = np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias
        next_step = integers[f"conv{number}/step"]
        layer = np.clip(np.rint(total * (step * scale / next_step)), 0, 255).astype(np.int64)
        step = next_step
    difference = np.abs(encode(samples[0][:4])["last4"].astype(np.int64) - layer)
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3  # a tie may round the other way


def test_weights_cannot_overflow_16_bits(vae: dict) -> None:
    """As a processor without VNNI adds them: pairs of channels, times 255."""
    same_sign = {name: np.abs(value) for name, value in vae.items()}
    for weights in (vae, same_sign):
        integers = quantise(weights, np.ones(4))
        for number in (1, 2, 3, 4):
            kernel = integers[f"conv{number}/kernel"].astype(np.int64)
            pairs = kernel.reshape(len(kernel), -1, 2, *kernel.shape[2:])
            assert np.maximum(pairs, 0).sum(axis=2).max() * 255 < 2**15
            assert np.minimum(pairs, 0).sum(axis=2).min() * 255 >= -(2**15)


def test_frames_stay_integers(frozen: tuple) -> None:
    graph = build_encoder(*frozen[:2]).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("QLinearConv") == 4 and "Cast" not in kinds and "QuantizeLinear" not in kinds
    assert kinds.index("DequantizeLinear") > max(at for at, kind in enumerate(kinds) if kind == "QLinearConv")
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_silent_channels_are_left_out_and_nothing_else_changes(vae: dict, samples: tuple) -> None:
    """33 of each layer's channels silenced (of the first: 13), spread over it; what is kept is a multiple of four."""
    quiet = {name: value.copy() for name, value in vae.items()}
    silenced = {number: np.random.default_rng(number).permutation(32 * 2 ** (number - 1))[:13 if number == 1 else 33]
                for number in (1, 2, 3, 4)}
    for number, channels in silenced.items():
        quiet[f"encoder/conv{number}/bias"][channels] = -1e3
    exact = run_encoder(build_encoder(quiet).SerializeToString())
    peaks = activation_peaks(exact, samples[0])
    small, heard = prune(quiet, peaks)
    for number, before, after in zip((1, 2, 3, 4), peaks, heard, strict=True):
        loud = np.count_nonzero(before > 1e-6)
        assert loud <= len(before) - len(silenced[number])
        assert loud <= len(after) < loud + 4 and len(after) % 4 == 0
        assert small[f"encoder/conv{number}/kernel"].shape[-1] == len(after) == len(small[f"encoder/conv{number}/bias"])
        np.testing.assert_array_equal(after[after > 1e-6], before[before > 1e-6])
    same = run_encoder(build_encoder(small).SerializeToString())
    for name in ("mu", "logvar"):
        np.testing.assert_allclose(same(samples[0])[name], exact(samples[0])[name], atol=1e-5)
    moved, integers, measured = quantise_encoder(quiet, *samples)
    assert integers["conv3/kernel"].shape == (len(heard[2]), 2 * len(heard[1]), 4, 2)
    assert measured.rms < 0.15, measured
    assert run_encoder(build_encoder(moved, integers).SerializeToString())(samples[1])["mu"].shape[1] == 32


def test_a_layer_that_is_silent_throughout_keeps_a_group(vae: dict) -> None:
    peaks = [np.full(32 * 2**number, 1e-6 if number == 2 else 1.0) for number in range(4)]
    small, heard = prune(vae, peaks)
    assert [len(peak) for peak in heard] == [32, 64, 4, 256]
    assert small["encoder/conv3/kernel"].shape[2:] == (64, 4) and small["encoder/conv4/kernel"].shape[2:] == (4, 256)


def test_equalising_changes_nothing_but_the_channels(vae: dict, samples: tuple) -> None:
    exact = run_encoder(build_encoder(vae).SerializeToString())
    peaks = activation_peaks(exact, samples[0])
    equal, ranges = equalise(vae, peaks)
    same = run_encoder(build_encoder(equal).SerializeToString())
    for name in ("mu", "logvar"):
        np.testing.assert_allclose(same(samples[1])[name], exact(samples[1])[name], atol=1e-4)
    for number, before, after, most in zip((1, 2, 3, 4), peaks, activation_peaks(same, samples[0]), ranges, strict=True):
        assert after.max() * 1.1 == pytest.approx(most, rel=1e-3)
        alive = before > 0.01 * before.max()
        spread = after[alive] / after.max()
        np.testing.assert_allclose(spread, 1 if number == 4 else np.sqrt(before / before.max())[alive], rtol=1e-3)


def test_channels_of_unlike_size_survive_rounding(vae: dict, samples: tuple) -> None:
    """The same V written with channels a thousand times apart: rounded as it stands it is lost, equalised it is not."""
    uneven = {name: value.copy() for name, value in vae.items()}
    for number in (1, 2, 3):
        size = 10.0 ** -np.linspace(0, 3, len(uneven[f"encoder/conv{number}/bias"]))
        uneven[f"encoder/conv{number}/kernel"] *= size
        uneven[f"encoder/conv{number}/bias"] *= size
        uneven[f"encoder/conv{number + 1}/kernel"] /= size[:, None]
    exact = run_encoder(build_encoder(uneven).SerializeToString())
    ranges = np.array([peak.max() for peak in activation_peaks(exact, samples[0])])
    lost = run_encoder(build_encoder(uneven, quantise(uneven, ranges)).SerializeToString())
    assert deviation(exact(samples[1]), lost(samples[1])).rms > 3 * quantise_encoder(uneven, *samples)[2].rms


def test_ranges_too_small_are_refused(vae: dict, samples: tuple) -> None:
    vae = {**vae, "encoder/mu/kernel": 30 * vae["encoder/mu/kernel"]}  # a V that has learned says more than this small one
    exact = run_encoder(build_encoder(vae).SerializeToString())
    integers = quantise(vae, np.array([peak.max() for peak in activation_peaks(exact, samples[0])]) / 10)
    broken = run_encoder(build_encoder(vae, integers).SerializeToString())
    with pytest.raises(UserError, match=r"rms [\d.e+]+ \(at most 0.25\).*give --precision fp32"):
        check(deviation(exact(samples[1]), broken(samples[1])))


def test_not_a_number_is_refused() -> None:
    with pytest.raises(UserError, match="largest nan"):
        check(Deviation(rms=0, bias=0, often=0, largest=float("nan"), spread=0))


def test_a_silent_channel_and_a_large_bias_are_quantised(vae: dict) -> None:
    extreme = {name: value.copy() for name, value in vae.items()}
    extreme["encoder/conv2/kernel"][..., :8] = 0
    extreme["encoder/conv2/bias"][:8] = 1e3
    integers = quantise(extreme, np.full(4, 1e-6))
    assert all(np.isfinite(value).all() for value in integers.values())
    assert (integers["conv2/bias"][:8] > 2**29).all()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_rows_depend_neither_on_neighbours_nor_on_position(vae: dict, samples: tuple, frozen: tuple, pipeline: Path,
                                                               precision: str) -> None:
    rnn = load_arrays(pipeline / "rnn" / "weights.h5", "")[0]
    graph = build_policy(vae, rnn) if precision == "fp32" else build_policy(frozen[0], rnn, frozen[1])
    session = open_session(graph.SerializeToString())
    rng = np.random.default_rng(0)
    feed = {"frames": samples[1][:16], "noise": rng.normal(size=(16, 32)), "h": rng.normal(size=(16, 256)),
            "c": rng.normal(size=(16, 256)), "controller": rng.normal(0, 0.1, (16, 867))}
    feed = {name: value if name == "frames" else value.astype(np.float32) for name, value in feed.items()}
    straight = session.run(None, feed)
    order = rng.permutation(16)
    for one, other in zip(straight, session.run(None, {name: value[order] for name, value in feed.items()}), strict=True):
        np.testing.assert_array_equal(one[order], other)
    alone = {name: np.concatenate([value[:1], value[1:] * 0]) for name, value in feed.items()}
    for one, other in zip(straight, session.run(None, alone), strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def with_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None))
    return model
