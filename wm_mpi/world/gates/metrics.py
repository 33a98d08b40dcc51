"""What the gates measure, as plain functions of arrays: of pictures, mixtures and forecasts."""

import math

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from wm_mpi.data.batches import LARGE_ERROR
from wm_mpi.envs.frame import bar_row

CAR: dict[str, tuple[slice, slice]] = {"road": (slice(48, 60), slice(28, 36)), "whole": (slice(42, 53), slice(28, 36)),
                                       "published": (slice(48, 60), slice(28, 36))}
"""Rows and columns of a frame in which the car is always drawn."""

Array = npt.NDArray[np.float64]
Masks = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]


def regions(frames: npt.NDArray[np.uint8], frame: str = "road") -> Masks:
    """Pixels of the road's edge, of the car and of the grass, bool [N, 64, 64] each.

    Grass is far greener than red (102, 204, 102 and lighter), road as green as red, the car redder than green; kerbs are
    red as well, but never where the car is. An edge is a pixel with grass and road among its eight neighbours and itself.
    """
    frames, shape = frames[:, :bar_row(frame)], frames.shape[:3]
    red, green = frames[..., 0].astype(np.int16), frames[..., 1].astype(np.int16)
    grass = green - red > 70
    road = (abs(green - red) < 20) & (green > 60) & (green < 140)
    car = np.zeros_like(grass)
    car[:, *CAR[frame]] = (red - green > 20)[:, *CAR[frame]]
    masks = np.zeros((3, *shape), np.bool_)  # there is nothing of these in the bar
    masks[:, :, :bar_row(frame)] = _spread(grass) & _spread(road), car, grass & ~_spread(road)
    return masks[0], masks[1], masks[2]


def _spread(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Where the mask, or one of the eight neighbours, is set."""
    framed = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    rows = framed[:, :-2] | framed[:, 1:-1] | framed[:, 2:]
    return rows[:, :, :-2] | rows[:, :, 1:-1] | rows[:, :, 2:]


def error_share(seen: npt.NDArray[np.uint8], painted: npt.NDArray[np.uint8], reference: npt.NDArray,
                mask: npt.NDArray[np.bool_]) -> float:
    """Squared error of ``painted`` at the mask's pixels over that of ``reference``; all [N, 64, 64, 3]; NaN without any."""
    truth = seen[mask].astype(np.float64)
    if not len(truth):
        return math.nan
    return float(((painted[mask] - truth) ** 2).sum() / max(((reference[mask] - truth) ** 2).sum(), 1e-9))


def mixture_nll(logmix: npt.NDArray, mean: npt.NDArray, logstd: npt.NDArray, z: npt.NDArray) -> Array:
    """Negative log likelihood (nats) of z [N, L] under mixtures [N, L, K] with normalised weights: [N, L].

    ``models.rnn`` has the same in Keras, of what its network says, to train with.
    """
    scaled = (z[..., None].astype(np.float64) - mean) * np.exp(-logstd.astype(np.float64))
    return -special.logsumexp(logmix - 0.5 * scaled**2 - logstd - 0.5 * math.log(2 * math.pi), axis=-1)


def mixture_cdf(logmix: npt.NDArray, mean: npt.NDArray, logstd: npt.NDArray, z: npt.NDArray) -> Array:
    """Probability integral transform: the mixture's share below z [N, L]. Uniform on 0..1 where the mixture is right."""
    scaled = (z[..., None].astype(np.float64) - mean) * np.exp(-logstd.astype(np.float64))
    return (np.exp(logmix.astype(np.float64)) * special.ndtr(scaled)).sum(axis=-1)


def repeat_nll(z: npt.NDArray, next_z: npt.NDArray, step: Array) -> Array:
    """Negative log likelihood (nats) of the next z [N, L] under Gaussians of width ``step`` [L] around the last: [N, L]."""
    scaled = (next_z.astype(np.float64) - z) / step
    return 0.5 * scaled**2 + np.log(step) + 0.5 * math.log(2 * math.pi)


def distance_from_uniform(values: npt.NDArray) -> Array:
    """Kolmogorov and Smirnov's distance of each column of ``values`` [N, L], within 0..1, from the uniform: [L]."""
    return stats.ks_1samp(values, stats.uniform.cdf, axis=0, method="asymp").statistic


def inside(values: npt.NDArray, share: float) -> float:
    """How many of ``values`` (0..1) lie in the central ``share`` of the unit interval (fraction)."""
    return float((np.abs(values - 0.5) <= share / 2).mean())


def huber(error: npt.NDArray) -> float:
    """Mean Huber loss (over delta, so that it grows by 1 per point at last), as M's reward head is trained."""
    return float(special.huber(LARGE_ERROR, error.astype(np.float64)).mean() / LARGE_ERROR)


def huber_centre(values: npt.NDArray) -> float:
    """The constant with the least Huber loss to ``values`` [N], by bisection."""
    low, high = float(values.min()), float(values.max())
    for _ in range(50):
        middle = (low + high) / 2
        pull = np.clip(middle - values, -LARGE_ERROR, LARGE_ERROR).sum(dtype=np.float64)
        low, high = (low, middle) if pull > 0 else (middle, high)
    return (low + high) / 2


def order(values: npt.NDArray, happened: npt.NDArray[np.bool_]) -> float:
    """Of all pairs of a row where it happened and one where not, the share in which ``values`` [N] puts the first above.

    That is the area under the ROC curve; 0.5 for a constant, NaN where it happened never or always.
    """
    yes, pairs = int(happened.sum()), float(happened.sum()) * float((~happened).sum())
    above = stats.rankdata(values)[happened].sum() - yes * (yes + 1) / 2
    return float(above / pairs) if pairs else math.nan


def cross_entropy(logit: npt.NDArray, happened: npt.NDArray[np.bool_]) -> float:
    """Mean cross-entropy (nats) of logits [N] with what happened."""
    logit = logit.astype(np.float64)
    return float((np.logaddexp(0, logit) - logit * happened).mean())


def rms(values: npt.NDArray) -> float:
    """Root of the mean square, NaN of nothing."""
    return math.sqrt(float(np.square(values, dtype=np.float64).mean())) if values.size else math.nan
