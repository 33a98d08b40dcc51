"""The policy in Keras, one frame at a time: slow and plain, the reference that ``policy.onnx`` must equal."""

import keras
import numpy as np
import numpy.typing as npt

from wm_mpi.core.controller import Control, unpack
from wm_mpi.models.rnn import MdnRnn
from wm_mpi.models.training import Arrays, set_weights
from wm_mpi.models.vae import Vae


class KerasPolicy:
    """V, M and C from their Keras layers, with z = mu; a ``policy.Policy``."""

    def __init__(self, vae: Arrays, rnn: Arrays, width: int, control: Control | None = None) -> None:
        """Load weights by name; state for ``width`` slots."""
        self._control = control = control or Control()
        latents, hidden = len(vae["encoder/mu/bias"]), len(rnn["lstm/recurrent_kernel"])
        self._vae = Vae(latents)
        self._rnn = MdnRnn(latents, hidden=hidden, actions=len(rnn["lstm/kernel"]) - latents)
        set_weights(self._vae, vae, "V")
        set_weights(self._rnn, rnn, "M")
        inputs = [keras.Input((size,)) for size in (len(rnn["lstm/kernel"]), hidden, hidden)]
        _, state = self._rnn.network.get_layer("lstm").cell(inputs[0], inputs[1:])
        self._step = keras.Model(inputs, state)
        self.parameters = control.parameters(latents, hidden)
        self._h, self._c = np.zeros((2, width, hidden), np.float32)
        self._controller = np.zeros((width, self.parameters), np.float32)

    def assign(self, slot: int, parameters: npt.NDArray[np.float64], noise: int) -> None:
        """Begin an episode in ``slot``; there is no noise."""
        self._controller[slot] = parameters
        self._h[slot] = self._c[slot] = 0

    def act(self, observations: npt.NDArray) -> npt.NDArray[np.float64]:
        """Actions, shape (width, 3), of frames uint8 [width, 64, 64, 3]."""
        return self.look(observations)[0]

    def look(self, observations: npt.NDArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        """One tick exactly as ``act`` does it, which gives away the latents z [width, 32] as well."""
        z, _ = self._vae.encode(observations)
        parts = {"z": z, "h": self._h, "c": self._c}
        features = np.concatenate([parts[name] for name in self._control.features], axis=1)
        bias, weights = unpack(self._control.whole(self._controller), self._control.actions)
        actions = self._control.act(np.einsum("baf,bf->ba", weights, features) + bias)
        moved = np.concatenate([z, actions], axis=1).astype(np.float32)
        self._h, self._c = (np.asarray(each) for each in self._step.predict_on_batch([moved, self._h, self._c]))
        return actions.astype(np.float64), z

    @property
    def memory(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """M's state h, c [width, 256]."""
        return self._h, self._c

    @memory.setter
    def memory(self, state: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]) -> None:
        self._h, self._c = state
