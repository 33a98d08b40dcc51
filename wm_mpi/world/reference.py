"""One tick of V, M and C from its formulas, in NumPy, as exact as is asked for: what Keras and the graph are measured by.

So it shares no formula with them, not even what is said in one place otherwise (``core.controller``).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from wm_mpi.core.controller import Control

Weights = Mapping[str, npt.NDArray]
Floats = npt.NDArray


def tick(vae: Weights, rnn: Weights, controller: Floats, frames: npt.NDArray[np.uint8], h: Floats, c: Floats,
         dtype: type[np.float32] | type[np.float64], control: Control) -> dict[str, Floats]:
    """The policy's tick with z = mu for B slots, every step of it in ``dtype``.

    Args:
        vae: arrays of ``models.vae`` by name.
        rnn: arrays of ``models.rnn`` by name.
        controller: flat parameters [B,P], as runs have them.
        frames: uint8 [B,64,64,3].
        h: M's state before the tick [B,256].
        c: the same.
        dtype: of all that is computed.
        control: what C sees, and which formula its actions follow.

    Returns:
        ``actions`` [B,3], ``h``, ``c`` [B,256] after the tick, ``mu``, ``logvar`` [B,32].
    """
    v, m = ({name: value.astype(dtype) for name, value in weights.items()} for weights in (vae, rnn))
    controller, h, c = (each.astype(dtype) for each in (controller, h, c))
    mu, logvar = _encode(v, np.divide(frames, 255, dtype=dtype))
    actions = _act(controller, {"z": mu, "h": h, "c": c}, control)
    moved = np.concatenate([mu, actions], axis=1)
    gates = np.matmul(moved, m["lstm/kernel"]) + np.matmul(h, m["lstm/recurrent_kernel"]) + m["lstm/bias"]
    let_in, keep, new, let_out = np.split(gates, 4, axis=1)
    c = _sigmoid(keep) * c + _sigmoid(let_in) * np.tanh(new)
    return {"actions": actions, "h": _sigmoid(let_out) * np.tanh(c), "c": c, "mu": mu, "logvar": logvar}


def _act(controller: Floats, seen: Mapping[str, Floats], control: Control) -> Floats:
    """C's actions [B,A] on what it has seen."""
    numbers = len(control.outputs)
    features = np.concatenate([seen[name] for name in control.features], axis=1)
    for units in control.hidden:
        used = units * (features.shape[1] + 1)
        bias, rows = controller[:, :units], controller[:, units:used].reshape(len(controller), units, -1)
        features, controller = np.tanh((rows @ features[..., None])[..., 0] + bias), controller[:, used:]
    bias = controller[:, :numbers] if control.bias else np.zeros_like(controller[:, :numbers])
    rows = controller[:, numbers if control.bias else 0:].reshape(len(controller), numbers, -1)
    sums = (rows @ features[..., None])[..., 0] + bias
    if control.kind == "choice":
        return np.eye(numbers, dtype=sums.dtype)[sums.argmax(axis=1)]
    if control.kind == "switches":
        return np.heaviside(sums, 0).astype(sums.dtype)
    columns = [np.maximum(sums.dtype.type(scale) * np.tanh(column) + sums.dtype.type(offset), sums.dtype.type(lowest))
               for column, (scale, offset, lowest) in zip(sums.T, control.outputs, strict=True)]
    return np.stack(columns, axis=1)


def _encode(vae: Weights, layer: Floats) -> list[Floats]:
    """The means and log variances [B,32] of frames [B,64,64,3] of 0..1."""
    for number in (1, 2, 3, 4):
        kernel, bias = (vae[f"encoder/conv{number}/{part}"] for part in ("kernel", "bias"))
        windows = np.lib.stride_tricks.sliding_window_view(layer, (4, 4), axis=(1, 2))[:, ::2, ::2]
        patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(*windows.shape[:3], -1)
        layer = np.maximum(patches @ kernel.reshape(-1, kernel.shape[-1]) + bias, 0)
    flat = layer.reshape(len(layer), -1)
    return [flat @ vae[f"encoder/{name}/kernel"] + vae[f"encoder/{name}/bias"] for name in ("mu", "logvar")]


def _sigmoid(value: Floats) -> Floats:
    return (1 + np.tanh(value / 2)) / 2
