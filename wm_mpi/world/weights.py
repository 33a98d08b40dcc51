"""Sizes of V and M, as their arrays tell them."""

from collections.abc import Mapping

import numpy.typing as npt

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
