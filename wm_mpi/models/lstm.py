"""An LSTM that PyTorch runs as one routine of its own."""

from typing import Any

import keras
from keras import layers, ops


class Lstm(layers.LSTM):
    """Keras's LSTM, with its weights and its order of gates.

    On PyTorch Keras has a routine for GPUs (cuDNN) alone, and on processors goes through the steps one by one. PyTorch's
    own, which is taken there, does them all in one call, forward and back: two to seven times as fast (docs/performance.md).
    """

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        """Last states, all states [B, T, units], and the final (h, c), of ``sequences`` [B, T, inputs]."""
        if keras.backend.backend() != "torch" or sequences.device.type != "cpu" or mask is not None:
            return super().inner_loop(sequences, initial_state, mask, training)
        import torch  # which other backends do without
        kernel, recurrent, bias = (ops.convert_to_tensor(each) for each in self.weights)
        weights = [kernel.T.contiguous(), recurrent.T.contiguous(), bias, torch.zeros_like(bias)]
        start = tuple(state[None] for state in initial_state)
        states, h, c = torch.lstm(sequences, start, weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)
        return h[0], states, [h[0], c[0]]
