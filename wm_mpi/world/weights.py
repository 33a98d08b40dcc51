"""Sizes of V and M, as their arrays tell them, and their weights in half precision."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError

Weights = Mapping[str, npt.NDArray]
MIXTURES = 5
"""Components of the mixture that M expects a latent to be drawn from."""


def latents_of(rnn: Weights) -> int:
    """How many latents an M expects."""
    return rnn["mdn/bias"].shape[0] // (3 * MIXTURES)


def actions_of(rnn: Weights) -> int:
    """How many numbers an M takes for an action."""
    return rnn["lstm/kernel"].shape[0] - latents_of(rnn)


def hidden_of(rnn: Weights) -> int:
    """How many units M's LSTM has."""
    return rnn["lstm/recurrent_kernel"].shape[0]


def halved(weights: Weights, source: str) -> dict[str, npt.NDArray[np.float16]]:
    """The same in half precision, rounded.

    Raises:
        UserError: a weight is too large for that; ``source`` is where they are from.
    """
    with np.errstate(over="ignore"):  # it is said below
        halves = {name: value.astype(np.float16) for name, value in weights.items()}
    for name, value in halves.items():
        if not np.isfinite(value).all():
            raise UserError(f"{source}: {name} does not fit into half precision, its largest weight is "
                            f"{np.abs(weights[name]).max():.3g}: train V and M anew with a lower --learning-rate")
    return halves
