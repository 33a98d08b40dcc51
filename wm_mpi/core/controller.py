"""C, the linear controller: how its parameters lie in one flat vector, and what becomes of its outputs, said once for all.

An action is squash(W x + b). The vector is b, then W row by row, a row for each output. ``world.graph`` builds the same as
ONNX from these figures; ``world.reference`` writes it out once more, on purpose, and is what the others are measured by.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Output(NamedTuple):
    """What becomes of a sum s: max(scale tanh(s) + offset, lowest)."""

    scale: float
    offset: float
    lowest: float


STEER, GAS, BRAKE = Output(1.0, 0.0, -1.0), Output(0.5, 0.5, 0.0), Output(1.0, 0.0, 0.0)
"""tanh; (tanh + 1) / 2; max(tanh, 0)."""
CAR = (STEER, GAS, BRAKE)
"""The outputs of who drives."""
ACTIONS = len(CAR)


def squash(sums: npt.NDArray, outputs: Sequence[Output] = CAR) -> npt.NDArray:
    """Actions [..., A] of the controller's sums [..., A], in their own type."""
    scale, offset, lowest = np.array(outputs, sums.dtype).T
    return np.maximum(scale * np.tanh(sums) + offset, lowest)


def length(features: int, actions: int = ACTIONS) -> int:
    """Numbers in the vector of a controller that looks at so many features."""
    return actions * (features + 1)


def unpack(parameters: npt.NDArray, actions: int = ACTIONS) -> tuple[npt.NDArray, npt.NDArray]:
    """The bias b [..., A] and the rows W [..., A, F] of vectors [..., P], as views."""
    bias, rows = parameters[..., :actions], parameters[..., actions:]
    return bias, rows.reshape(*rows.shape[:-1], actions, -1)


def pack(bias: npt.NDArray, weights: npt.NDArray) -> npt.NDArray:
    """The vector [P] of b [A] and W [A, F]."""
    return np.concatenate([bias, weights.ravel()])
