"""V's convolutions in 8 bits: activation ranges, integer weights, and the measure of what that costs. NumPy only.

Activations are uint8 with zero point 0 (ReLU has no negative side), one step per layer; frames are such integers already,
with step 1/255. Weights are int8 with one scale per output channel. Four choices go beyond the usual:

- *No silent channels.* Training leaves V with channels that ReLU holds at 0 on every frame, often more than half of them
  in the late layers. Those silent on all calibration frames are left out, which changes nothing on these, and the gate
  judges on others; the encoder of a V of 31 nats is 1.7 times as fast.
- *A last layer fitted anew.* It stays in fp32 and is fitted, by least squares, to say on rounded features what V says.
- *Wide pixels.* Neighbours in a row lie side by side in memory, so a row of W pixels of C channels is also one of W/2
  pixels of 2C channels: a 4 x 4 kernel of stride (2, 2) becomes 4 x 2 with stride (2, 1), and nothing is copied. The
  first layer takes 4 pixels of 3 as one of 12 and gives 2 pixels of 32 as one of 64. ONNX Runtime's fast kernel needs a
  multiple of 4 channels and works on 64 at a time; this makes V's encoder 1.17 times as fast. (The pixel it leaves out,
  the last of each row, is one that the next layer never reads.)
- *Weights that cannot overflow.* Processors without VNNI multiply in pairs and clip each pair's sum to 16 bits. A
  channel's scale is chosen so that no two weights of a pair can reach that: the integers are then the same on every x86.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from wm_mpi.world.weights import Weights

LAYERS = (1, 2, 3, 4)
HEADROOM = 1.1
"""Ranges are this times the largest activation seen: a frame that exceeds its range loses more than finer steps gain."""
SMALLEST = 1e-3
"""Channels with less than this share of their layer's largest activation are treated as if they had it."""
SILENT = 1e-6
"""A channel whose largest activation is not above this says nothing."""
GROUP = 4
"""Channels are kept in multiples of this, as ONNX Runtime's fast kernel needs them."""
PAIR = 127
"""Largest sum of two neighbouring weights; after rounding at most 128, and 128 x 255 still fits 16 bits."""

RIDGE = 1e-3
"""Penalty on a change of the last layer, as a share of the mean square of its inputs."""



def activation_peaks(said: Mapping[str, npt.NDArray]) -> list[npt.NDArray[np.float64]]:
    """The largest activation of each channel after each convolution, four times shape (C,), of an encoder's outputs."""
    return [np.maximum(said[f"peak{number}"].max(axis=0).astype(np.float64), SILENT) for number in LAYERS]


def prune(vae: Weights, heard: Sequence[npt.NDArray[np.float64]], peaks: Sequence[npt.NDArray[np.float64]],
          ) -> tuple[dict[str, npt.NDArray], list[npt.NDArray[np.float64]]]:
    """V without the channels of its convolutions that are silent, and the peaks of those that stay, in their order.

    A multiple of ``GROUP`` stays in each layer, filled up from the silent ones.

    Args:
        vae: arrays of ``models.vae`` by name.
        heard: of ``activation_peaks``, by which channels are called silent.
        peaks: the same on perhaps more frames, by which those that stay are to be rounded.
    """
    small: dict[str, npt.NDArray] = dict(vae)
    staying = []
    for number, loud, peak in zip(LAYERS, heard, peaks, strict=True):
        groups = max(1, math.ceil(np.count_nonzero(loud > SILENT) / GROUP))
        stay = np.sort(np.argsort(-loud, kind="stable")[:groups * GROUP])
        staying.append(peak[stay])
        _read_through(small, number, np.eye(len(peak), dtype=np.float32)[stay])
        for name in ("kernel", "bias"):
            small[f"encoder/conv{number}/{name}"] = small[f"encoder/conv{number}/{name}"][..., stay]
    return small, staying


def equalise(vae: Weights, peaks: Sequence[npt.NDArray[np.float64]],
             ) -> tuple[dict[str, npt.NDArray], npt.NDArray[np.float64]]:
    """The same V with channels of more alike size, and the value that 255 is to stand for after each convolution.

    A layer's activations share one step, so that a channel of small values would have few of them. ReLU lets a channel be
    divided by any positive number and the next layer's weights be multiplied by it (Nagel et al., 2019, section 4.1). After
    the last convolution comes fp32, and channels are made equal; before, where the next weights are rounded too, each is
    divided by the square root of its share of the largest.

    Args:
        vae: arrays of ``models.vae`` by name.
        peaks: of ``activation_peaks``.
    """
    equal: dict[str, npt.NDArray] = dict(vae)
    ranges = []
    for number, peak in zip(LAYERS, peaks, strict=True):
        size = np.maximum(peak / peak.max(), SMALLEST) ** (1.0 if number == LAYERS[-1] else 0.5)
        ranges.append((peak / size).max() * HEADROOM)
        for name in ("kernel", "bias"):
            equal[f"encoder/conv{number}/{name}"] = equal[f"encoder/conv{number}/{name}"] / size
        _read_through(equal, number, np.diag(size))
    return {name: value.astype(np.float32) for name, value in equal.items()}, np.array(ranges)


def quantise(vae: Weights, ranges: npt.NDArray[np.float64], exact: Sequence[int] = ()) -> dict[str, npt.NDArray]:
    """Integer weights of the four convolutions, as ``graph.build_policy`` takes them.

    Args:
        vae: arrays of ``models.vae`` by name, kernels float [4, 4, C, O].
        ranges: of ``equalise``, shape (4,).
        exact: convolutions that stay in fp32; of these only ``convN/step`` is given.

    Returns:
        For each layer: ``convN/kernel`` int8 [O, wide C, 4, 2], ``convN/scale`` float32 [O], ``convN/bias`` int32 [O] in
        units of scale x input step, ``convN/step`` float32 (), the real value of one step of the layer's output.
    """
    integers: dict[str, npt.NDArray] = {}
    step_in = 1 / 255  # V sees 0..1
    for number, largest in zip(LAYERS, ranges, strict=True):
        step = np.asarray(largest / 255, np.float32)
        if number not in exact:
            integers |= _round(vae, number, step_in)
        integers[f"conv{number}/step"] = step
        step_in = float(step)
    return integers


def refit(vae: Weights, exact: Mapping[str, npt.NDArray], rounded: Mapping[str, npt.NDArray]) -> dict[str, npt.NDArray]:
    """V whose last layer says on rounded features what V says: the least change that takes their error out, a ridge.

    Much of the error is no noise: a weight rounded up is so on every frame, and the last layer can make up for it.

    Args:
        vae: arrays of ``models.vae`` by name.
        exact: mu, logvar [N,32] of the fp32 encoder on calibration frames.
        rounded: mu, logvar [N,32] and flat [N,4C], the last layer's input, of the int8 encoder on the same frames.
    """
    moved = dict(vae)
    features = rounded["flat"].astype(np.float64)
    mean = features.mean(axis=0)
    features -= mean
    square = features.T @ features
    square += max(RIDGE * np.trace(square) / len(square), 1e-9) * np.eye(len(square))
    for name in ("mu", "logvar"):
        error = exact[name].astype(np.float64) - rounded[name]
        change = np.linalg.solve(square, features.T @ error)
        moved[f"encoder/{name}/kernel"] = (vae[f"encoder/{name}/kernel"] + change).astype(np.float32)
        moved[f"encoder/{name}/bias"] = (vae[f"encoder/{name}/bias"] + error.mean(axis=0) - mean @ change).astype(np.float32)
    return moved


@dataclass(frozen=True)
class Deviation:
    """How far the int8 encoder is from fp32, in units of V's own sigma of that frame and latent.

    z is drawn with noise of exactly 1 in these units, so a latent that V leaves at the prior (sigma near 1) counts little
    and a precise one (sigma 0.05) twenty times as much, as it must. Everything is the worst of the latents, not the mean:
    idle latents would only thin it out.
    """

    rms: float
    """Of mu's error, over frames; the worst latent's."""
    bias: float
    """Mean error of mu over frames, absolute; the worst latent's. Unlike noise it does not average out over time."""
    often: float
    """99 % of frames have no latent whose mu is further off than this."""
    largest: float
    """Of mu's error, over all frames and latents."""
    spread: float
    """RMS error of log sigma (0.1: 10 % more or less noise); the worst latent's."""

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.3f}" for name, value in asdict(self).items())


BOUNDS = Deviation(rms=0.25, bias=0.15, often=1.0, largest=3.0, spread=0.1)
"""What freeze lets pass. rms 0.25 adds 6 % to the variance of the noise that z is drawn with (0.03 nats per latent); 99 % of
frames stay within one sigma everywhere; no frame lands where sampling itself would hardly ever (beyond 3 sigma)."""


def deviation(exact: Mapping[str, npt.NDArray], rounded: Mapping[str, npt.NDArray]) -> Deviation:
    """Compare two encoders' mu and logvar, [N,32] each, on frames that calibration has not seen."""
    mu = (rounded["mu"].astype(np.float64) - exact["mu"]) / np.exp(exact["logvar"].astype(np.float64) / 2)
    sigma = (rounded["logvar"].astype(np.float64) - exact["logvar"]) / 2
    return Deviation(
        rms=float(np.sqrt((mu**2).mean(axis=0)).max()), bias=float(np.abs(mu.mean(axis=0)).max()),
        often=float(np.quantile(np.abs(mu).max(axis=1), 0.99)), largest=float(np.abs(mu).max()),
        spread=float(np.sqrt((sigma**2).mean(axis=0)).max()))


def beyond(measured: Deviation) -> str:
    """The figures that exceed their bounds, in words; empty if none does."""
    limits = asdict(BOUNDS)
    return ", ".join(f"{name} {value:.3g} (at most {limits[name]:g})" for name, value in asdict(measured).items()
                     if not value <= limits[name])  # so that NaN fails too


def _round(vae: Weights, number: int, step_in: float) -> dict[str, npt.NDArray]:
    """The integers of one convolution whose input has steps of ``step_in``."""
    kernel = vae[f"encoder/conv{number}/kernel"].astype(np.float64)
    bias = vae[f"encoder/conv{number}/bias"].astype(np.float64)
    if number == 1:
        kernel, bias = _two_pixels(kernel), np.tile(bias, 2)
    else:
        kernel = _one_pixel(kernel)
    scale = np.maximum(_scales(kernel), np.abs(bias) / step_in / 2**30).astype(np.float32)
    return {f"conv{number}/kernel": np.rint(kernel / scale[:, None, None, None]).astype(np.int8),
            f"conv{number}/scale": scale,
            f"conv{number}/bias": np.rint(bias / (step_in * scale)).astype(np.int32)}


def _read_through(vae: dict[str, npt.NDArray], number: int, matrix: npt.NDArray) -> None:
    """Multiply the C channels' rows of what reads convolution ``number`` by ``matrix`` [new C, C]."""
    for following in ("mu", "logvar") if number == LAYERS[-1] else (f"conv{number + 1}",):
        kernel = vae[f"encoder/{following}/kernel"]
        rows = kernel.reshape(-1, matrix.shape[1], kernel.shape[-1])  # the inputs' channels come last but one
        vae[f"encoder/{following}/kernel"] = (matrix @ rows).reshape(*kernel.shape[:-2], -1, kernel.shape[-1])


def _one_pixel(kernel: npt.NDArray) -> npt.NDArray:
    """Kernel [4, 4, C, O] for pixels taken two at a time: [O, 2C, 4, 2]."""
    rows, columns, channels, filters = kernel.shape
    return kernel.reshape(rows, columns // 2, 2 * channels, filters).transpose(3, 2, 0, 1)


def _two_pixels(kernel: npt.NDArray) -> npt.NDArray:
    """Kernel [4, 4, 3, O] for pixels taken four at a time, two neighbouring outputs as one: [2 O, 12, 4, 2].

    Eight pixels of a row come in; the first output reads pixels 0..3, the second 2..5, the rest of the weights are 0.
    """
    rows, columns, channels, filters = kernel.shape
    both = np.zeros((rows, 2 * columns, channels, 2, filters))
    both[:, 0:4, :, 0], both[:, 2:6, :, 1] = kernel, kernel
    return both.reshape(rows, 2, 4 * channels, 2 * filters).transpose(3, 2, 0, 1)


def _scales(kernel: npt.NDArray) -> npt.NDArray[np.float64]:
    """One scale for each output channel of a kernel [O, C, 4, 2], so that weights fit int8 and pairs of them 16 bits.

    Pairs are channels (0, 1), (2, 3) ... at one place of the kernel, as the processor's instruction takes them.
    """
    largest = np.abs(kernel).max(axis=(1, 2, 3))
    for part in (np.maximum(kernel, 0), np.maximum(-kernel, 0)):  # only weights of one sign add up
        pairs = part.reshape(len(kernel), -1, 2, *kernel.shape[2:]).sum(axis=2)
        largest = np.maximum(largest, pairs.max(axis=(1, 2, 3)))
    return np.where(largest > 0, largest / PAIR, 1.0)

