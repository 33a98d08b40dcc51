"""A controller carried over to another world: weights on new latents that say what the old ones said on the old latents."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wm_mpi.core.controller import pack, unpack
from wm_mpi.data.datasets import Dataset
from wm_mpi.world.inference import Inference
from wm_mpi.world.policy import WorldPolicy

PENALTIES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Ridge penalties to choose from, in units of each feature's mean square."""


class Features:
    """What a world's controller looks at in recorded episodes: [1, mu, h], where M remembers the recorded actions."""

    def __init__(self, world: str, width: int = 16) -> None:
        """Load a world for ``width`` episodes at once.

        Raises:
            UserError: not a world, or damaged.
        """
        self._policy = WorldPolicy(world, width, deterministic=True)
        self._insight = Inference.of(world)
        self._width = width
        self.size = 1 + self._insight.latents + self._insight.hidden

    def of(self, data: Dataset, episodes: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.float64]]:
        """Features [n, size] of up to ``width`` frames at a time, in an order that depends on the episodes only."""
        nothing = np.zeros(self._policy.parameters)
        for first in range(0, len(episodes), self._width):
            group = episodes[first:first + self._width]
            parts = [[data.read(name, start, start + length) for name in ("frames", "actions")]
                     for start, length in zip(data.starts[group], data.lengths[group], strict=True)]
            for slot in range(self._width):
                self._policy.assign(slot, nothing, 0)
            frames, actions = np.zeros((self._width, 64, 64, 3), np.uint8), np.zeros((self._width, self._policy.actions))
            for tick in range(int(data.lengths[group].max())):
                here = [slot for slot, part in enumerate(parts) if tick < len(part[0])]
                for slot in here:
                    frames[slot], actions[slot] = parts[slot][0][tick], parts[slot][1][tick]
                h, c = self._policy.memory
                _, z = self._policy.look(frames)
                forecast = self._insight.expect(z, actions, h, c)
                self._policy.memory = forecast.h, forecast.c
                yield np.concatenate([np.ones((len(here), 1)), z[here], h[here]], axis=1).astype(np.float64)


class Sums(NamedTuple):
    """Sums over frames that a least-squares fit of new features [n, f] to wanted outputs [n, 3] needs."""

    frames: int
    squares: npt.NDArray[np.float64]
    """features' x features [f, f]."""
    products: npt.NDArray[np.float64]
    """features' x outputs [f, 3]."""
    outputs: npt.NDArray[np.float64]
    """Each output's sum of squares about its mean [3]."""
    wanted: npt.NDArray[np.float64]
    """Each output's sum of squares [3]."""


def add_up(old: Iterator[npt.NDArray], new: Iterator[npt.NDArray], weights: npt.NDArray[np.float64],
           advance: Callable[[int], None]) -> Sums:
    """Sums for new features to say what ``weights`` [f_old, 3] say of the old ones, over all frames of both."""
    frames, total, wanted = 0, np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    squares, products = np.zeros((1, 1)), np.zeros((1, weights.shape[1]))  # they take their size from the first features
    for before, after in zip(old, new, strict=True):
        said = before @ weights
        frames += len(said)
        squares, products = squares + after.T @ after, products + after.T @ said
        total, wanted = total + said.sum(axis=0), wanted + (said**2).sum(axis=0)
        advance(len(said))
    return Sums(frames, squares, products, wanted - total**2 / max(frames, 1), wanted)


class Fit(NamedTuple):
    """A translated controller."""

    weights: npt.NDArray[np.float64]
    """[f, 3]."""
    penalty: float
    explained: npt.NDArray[np.float64]
    """Share of each output's variance that it explains on the frames that judge it [3]."""


def fit(train: Sums, choose: Sums, judge: Sums) -> Fit:
    """Ridge regression with the penalty that does best on the frames of ``choose``, judged on those of ``judge``."""
    scale = np.diag(train.squares).copy()
    scale[0] = 0  # the bias is free
    fits: list[tuple[npt.NDArray[np.float64], float]] = []
    for penalty in PENALTIES:
        solved = np.linalg.lstsq(train.squares + np.diag(penalty * scale), train.products, rcond=1e-12)[0]
        fits.append((np.asarray(solved, np.float64), penalty))
    weights, penalty = max(fits, key=lambda each: explained(each[0], choose).mean())
    return Fit(weights, penalty, explained(weights, judge))


def explained(weights: npt.NDArray[np.float64], frames: Sums) -> npt.NDArray[np.float64]:
    """Share of each output's variance over some frames that ``weights`` explain [3]."""
    missed = (frames.wanted - 2 * (weights * frames.products).sum(axis=0)
              + np.einsum("fo,fg,go->o", weights, frames.squares, weights))
    return 1 - missed / np.maximum(frames.outputs, 1e-12)


def to_matrix(parameters: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A controller's flat parameters as weights [1 + f, 3] of [1, features]."""
    bias, weights = unpack(parameters)
    return np.concatenate([bias[None], weights.T])


def to_parameters(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What ``to_matrix`` undoes."""
    return pack(weights[0], weights[1:].T)
