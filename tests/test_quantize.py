"""The int8 policy: close to fp32 in units of sigma, gated, bit for bit independent of batch neighbours."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import here, refuse_here, succeed

from wm_mpi.data.arrays import load_arrays, save_arrays
from wm_mpi.data.datasets import open_frames
from wm_mpi.world.calibration import MIXTURES, Rounded, edged, quantise_encoder, two_samples
from wm_mpi.world.graph import build_encoder, build_policy
from wm_mpi.world.policy import open_session, run_encoder
from wm_mpi.world.quantize import BOUNDS, Deviation, activation_peaks, beyond, deviation, equalise, prune, quantise, refit


@pytest.fixture(scope="module")
def vae(pipeline: Path) -> dict[str, np.ndarray]:
    return load_arrays(pipeline / "vae" / "weights.h5", "")[0]


@pytest.fixture(scope="module")
def samples(pipeline: Path) -> tuple[np.ndarray, np.ndarray]:
    with open_frames(pipeline / "frames") as data:
        return two_samples(data, 256, 256)


@pytest.fixture(scope="module")
def frozen(vae: dict, samples: tuple) -> Rounded:
    return rounded(vae, samples)


def test_int8_is_close_to_fp32_in_sigmas(frozen: Rounded) -> None:
    measured = frozen.measured
    assert frozen.precision == "int8" and not frozen.exact
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


def test_frames_stay_integers(frozen: Rounded) -> None:
    graph = build_encoder(frozen.vae, frozen.integers).graph
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
    peaks = activation_peaks(exact(samples[0]))
    small, heard = prune(quiet, peaks, peaks)
    for number, before, after in zip((1, 2, 3, 4), peaks, heard, strict=True):
        loud = np.count_nonzero(before > 1e-6)
        assert loud <= len(before) - len(silenced[number])
        assert loud <= len(after) < loud + 4 and len(after) % 4 == 0
        assert small[f"encoder/conv{number}/kernel"].shape[-1] == len(after) == len(small[f"encoder/conv{number}/bias"])
        np.testing.assert_array_equal(after[after > 1e-6], before[before > 1e-6])
    same = run_encoder(build_encoder(small).SerializeToString())
    for name in ("mu", "logvar"):
        np.testing.assert_allclose(same(samples[0])[name], exact(samples[0])[name], atol=1e-5)
    one = rounded(quiet, samples)
    outputs, inputs = one.integers["conv3/kernel"].shape[:2]
    assert len(heard[2]) <= outputs <= 96 and 2 * len(heard[1]) <= inputs <= 2 * 32
    assert one.measured.rms < 0.15, one.measured
    assert run_encoder(one.graph)(samples[1])["mu"].shape[1] == 32


def test_a_layer_that_is_silent_throughout_keeps_a_group(vae: dict) -> None:
    peaks = [np.full(32 * 2**number, 1e-6 if number == 2 else 1.0) for number in range(4)]
    small, heard = prune(vae, peaks, peaks)
    assert [len(peak) for peak in heard] == [32, 64, 4, 256]
    assert small["encoder/conv3/kernel"].shape[2:] == (64, 4) and small["encoder/conv4/kernel"].shape[2:] == (4, 256)


def test_equalising_changes_nothing_but_the_channels(vae: dict, samples: tuple) -> None:
    exact = run_encoder(build_encoder(vae).SerializeToString())
    peaks = activation_peaks(exact(samples[0]))
    equal, ranges = equalise(vae, peaks)
    same = run_encoder(build_encoder(equal).SerializeToString())
    for name in ("mu", "logvar"):
        np.testing.assert_allclose(same(samples[1])[name], exact(samples[1])[name], atol=1e-4)
    for number, before, after, most in zip((1, 2, 3, 4), peaks, activation_peaks(same(samples[0])), ranges, strict=True):
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
    ranges = np.array([peak.max() for peak in activation_peaks(exact(samples[0]))])
    lost = run_encoder(build_encoder(uneven, quantise(uneven, ranges)).SerializeToString())
    assert deviation(exact(samples[1]), lost(samples[1])).rms > 3 * rounded(uneven, samples).measured.rms


def test_ranges_too_small_are_refused(vae: dict, samples: tuple) -> None:
    vae = {**vae, "encoder/mu/kernel": 30 * vae["encoder/mu/kernel"]}  # a V that has learned says more than this small one
    exact = run_encoder(build_encoder(vae).SerializeToString())
    integers = quantise(vae, np.array([peak.max() for peak in activation_peaks(exact(samples[0]))]) / 10)
    broken = run_encoder(build_encoder(vae, integers).SerializeToString())
    assert re.match(r"rms [\d.e+]+ \(at most 0.25\)", beyond(deviation(exact(samples[1]), broken(samples[1]))))


def test_not_a_number_is_refused() -> None:
    assert beyond(Deviation(rms=0, bias=0, often=0, largest=float("nan"), spread=0)) == "largest nan (at most 3)"
    assert beyond(BOUNDS) == ""


def test_a_silent_channel_and_a_large_bias_are_quantised(vae: dict) -> None:
    extreme = {name: value.copy() for name, value in vae.items()}
    extreme["encoder/conv2/kernel"][..., :8] = 0
    extreme["encoder/conv2/bias"][:8] = 1e3
    integers = quantise(extreme, np.full(4, 1e-6))
    assert all(np.isfinite(value).all() for value in integers.values())
    assert (integers["conv2/bias"][:8] > 2**29).all()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_rows_depend_neither_on_neighbours_nor_on_position(vae: dict, samples: tuple, frozen: Rounded, pipeline: Path,
                                                               precision: str) -> None:
    rnn = load_arrays(pipeline / "rnn" / "weights.h5", "")[0]
    graph = build_policy(vae, rnn) if precision == "fp32" else build_policy(frozen.vae, rnn, frozen.integers)
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


def rounded(vae: dict, samples: tuple, mixtures: bool = False) -> Rounded:
    way, strays = quantise_encoder(vae, *samples, mixtures)
    assert way is not None, strays
    return way


def stray(vae: dict, *layers: int) -> dict[str, np.ndarray]:
    """A V that says a lot, with weights of 1,000 in these layers, on two channels that are alike and cancel each other."""
    wild = {name: 300 * value if name == "encoder/mu/kernel" else value.copy() for name, value in vae.items()}
    for layer in layers:
        for name in ("kernel", "bias"):
            wild[f"encoder/conv{layer - 1}/{name}"][..., 1] = wild[f"encoder/conv{layer - 1}/{name}"][..., 0]
        wild[f"encoder/conv{layer}/kernel"][:, :, 0] += 1000
        wild[f"encoder/conv{layer}/kernel"][:, :, 1] -= 1000
    return wild


def with_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None))
    return model


def test_a_layer_that_cannot_be_rounded_stays_in_fp32(vae: dict, samples: tuple) -> None:
    """Weights that cancel each other leave V as it is and int8 nothing of it; in fp32 that one layer does no harm."""
    assert quantise_encoder(stray(vae, 3), *samples)[0] is None
    way, strays = quantise_encoder(stray(vae, 3), *samples, mixtures=True)
    assert way is not None and way.precision == "mixed" and way.exact == (3,) and "(at most" in strays
    assert not beyond(way.measured) and way.measured.rms < 0.15
    kinds = [node.op_type for node in build_encoder(way.vae, way.integers).graph.node]
    assert kinds.count("QLinearConv") == 3 and kinds.count("Conv") == 1
    assert "conv3/kernel" not in way.integers and "conv3/step" in way.integers
    assert quantise_encoder(stray(vae, 2, 3), *samples, mixtures=True)[0] is None


def test_each_layer_alone_in_fp32_computes_what_int8_does(vae: dict, samples: tuple) -> None:
    """At least as near to fp32 as int8 is, before anything is fitted, whichever layer it is."""
    exact = run_encoder(build_encoder(vae).SerializeToString())
    peaks = activation_peaks(exact(np.concatenate(samples)))
    equal, ranges = equalise(*prune(vae, peaks, peaks))
    off = {layer: deviation(exact(samples[1]), run_encoder(build_encoder(equal, quantise(
        equal, ranges, (layer,))).SerializeToString())(samples[1])).rms for layer in (0, *MIXTURES)}  # 0: none
    assert off[0] > 0 and all(off[layer] < 1.2 * off[0] for layer in MIXTURES), off


def test_the_edge_of_the_field_is_seen_from_every_side(samples: tuple) -> None:
    """Frames at the edge, of which calibration has seen none: their activations are within its ranges all the same."""
    frames = np.full((256, 64, 64, 3), (100, 205, 100), np.uint8)
    dark = (edged(frames) == 0).all(axis=-1)
    share = dark.mean(axis=(1, 2))
    assert share.min() < 0.05 and share.max() > 0.5 and (share > 0).mean() > 0.8
    for side in (dark[:, 0, 32], dark[:, -1, 32], dark[:, 32, 0], dark[:, 32, -1]):
        assert 0.1 < side.mean() < 0.6
    np.testing.assert_array_equal(edged(frames)[~dark], frames[~dark])


def test_frames_beyond_all_drives_do_not_clip(vae: dict, samples: tuple) -> None:
    """A V that is alarmed by black, calibrated on frames without any: int8 hears the alarm as fp32 does."""
    green = np.where((samples[0].max(axis=-1) < 30)[..., None], np.uint8(100), samples[0])
    alarmed = {name: value.copy() for name, value in vae.items()}
    alarmed["encoder/conv1/kernel"][..., 0], alarmed["encoder/conv1/bias"][0] = -0.2, 1.0  # only black lets it be heard
    alarmed["encoder/conv2/kernel"][:, :, 0] = 0.3
    black = samples[1].copy()
    black[::8, 40:] = 0


    def unheard() -> float:
        exact = run_encoder(build_encoder(alarmed).SerializeToString())
        deaf = prune(alarmed, *[activation_peaks(exact(green))] * 2)[0]
        return deviation(exact(black), run_encoder(build_encoder(deaf).SerializeToString())(black)).largest

    alarmed["encoder/mu/kernel"] *= 20 / unheard()
    assert unheard() > 10
    assert rounded(alarmed, (green, black)).measured.largest < BOUNDS.largest


def test_refitting_takes_out_what_is_no_noise(vae: dict, samples: tuple, frozen: Rounded) -> None:
    """An error that is a linear function of the features goes, however large; a good fit changes next to nothing."""
    said = run_encoder(frozen.graph)(samples[0])
    wanted = {name: said[name] + said["flat"] @ np.full((said["flat"].shape[1], 32), 0.01, np.float32) + 3
              for name in ("mu", "logvar")}
    moved = run_encoder(build_encoder(refit(frozen.vae, wanted, said), frozen.integers).SerializeToString())(samples[0])
    for name in ("mu", "logvar"):
        assert np.abs(moved[name] - wanted[name]).max() < 0.02 * np.abs(said[name] - wanted[name]).max()
    still = refit(frozen.vae, said, said)
    np.testing.assert_array_equal(still["encoder/mu/kernel"], frozen.vae["encoder/mu/kernel"])


@pytest.mark.slow
def test_freeze_takes_what_stays_within_bounds(copied: Path, pipeline: Path) -> None:
    """By itself int8 where that passes, else a mixture, else fp32, and says so in a line; asked for int8, it refuses."""
    manifest = json.loads((pipeline / "world" / "manifest.json").read_text())
    assert manifest["precision"] == "int8" and manifest["checks"]["fp32_convolutions"] == []
    arguments = ("freeze", "--preset", "smoke", "--vae", copied / "vae", "--rnn", copied / "rnn", "--data",
                 copied / "frames", "--out", copied / "world")
    weights, about = load_arrays(copied / "vae" / "weights.h5", "")
    for layers, precision, words in (((3,), "mixed", "convolution 3 in fp32, as int8 alone strays"),
                                     ((2, 3), "fp32", "int8 strays, in V's sigmas")):
        save_arrays(copied / "vae" / "weights.h5", stray(weights, *layers), about)
        line, = (line for line in here(*arguments).splitlines() if line.startswith("precision "))
        assert line.startswith(f"precision {precision}: V's encoder makes ") and words in line and "(at most" in line
        manifest = json.loads((copied / "world" / "manifest.json").read_text())
        assert manifest["precision"] == precision and manifest["checks"].get("fp32_convolutions", []) == (
            [3] if precision == "mixed" else [])
        succeed("es", "--preset", "smoke", "--world", copied / "world", "--max-frames", 5, "--generations", 1, "--out",
                copied / precision)
    said = refuse_here(*arguments, "--precision", "int8")
    assert "int8 strays too far from fp32" in said and "give --precision auto or fp32" in said
