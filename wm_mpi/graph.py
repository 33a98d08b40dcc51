"""V + M + C as one ONNX graph, built from plain weight arrays; no Keras and no converter in between."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
Weights = Mapping[str, npt.NDArray]


def build_policy(vae: Weights, rnn: Weights) -> onnx.ModelProto:
    """The graph of one tick for a batch of any size B.

    Inputs: frames uint8 [B,64,64,3]; noise float32 [B,32]; h, c float32 [B,256]; controller float32 [B,867]
    (bias 3, then W row by row, 3 x 288). Outputs: actions [B,3], h_next, c_next [B,256], and for those who look inside
    z, mu, logvar [B,32].

    Args:
        vae: arrays of ``models.vae`` by name (``encoder/conv1/kernel`` ...), convolutions in Keras's layout.
        rnn: arrays of ``models.rnn`` by name (``lstm/kernel`` ...), gates in Keras's order i, f, c, o.

    Raises:
        ValueError: V and M do not fit each other.
    """
    latents = vae["encoder/mu/bias"].shape[0]
    hidden = rnn["lstm/recurrent_kernel"].shape[0]
    if rnn["lstm/kernel"].shape[0] != latents + 3:
        raise ValueError(f"V has {latents} latents, but M takes {rnn['lstm/kernel'].shape[0] - 3}")
    build = _Builder()
    _encode(build, vae)
    _control(build, latents + hidden)
    _remember(build, rnn)
    features = latents + hidden
    inputs = {"noise": latents, "h": hidden, "c": hidden, "controller": 3 + 3 * features}
    outputs = {"actions": 3, "h_next": hidden, "c_next": hidden, "z": latents, "mu": latents, "logvar": latents}
    graph = helper.make_graph(
        build.nodes, "policy",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["B", 64, 64, 3]),
         *(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", size]) for name, size in inputs.items())],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", size]) for name, size in outputs.items()],
        build.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="wm_mpi")
    model.ir_version = 10
    onnx.checker.check_model(model, full_check=True)
    return model


class _Builder:
    """Nodes and constants of a graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node of one output and give that output's name."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """Add a constant and give its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name


def _encode(build: _Builder, vae: Weights) -> None:
    """Frames to mu, logvar and z = mu + exp(logvar / 2) noise."""
    build.node("Cast", ["frames"], "frames_float", to=TensorProto.FLOAT)
    layer = build.node("Transpose", ["frames_float"], "frames_nchw", perm=[0, 3, 1, 2])
    for number in (1, 2, 3, 4):
        kernel = vae[f"encoder/conv{number}/kernel"].transpose(3, 2, 0, 1)  # HWIO to OIHW
        if number == 1:
            kernel = kernel / 255.0  # V sees 0..1
        layer = build.node("Conv", [layer, build.constant(f"conv{number}_kernel", kernel),
                                    build.constant(f"conv{number}_bias", vae[f"encoder/conv{number}/bias"])],
                           f"conv{number}", kernel_shape=[4, 4], strides=[2, 2])
        layer = build.node("Relu", [layer], f"relu{number}")
    flat = build.node("Flatten", [layer], "flat", axis=1)
    dense = np.concatenate([vae["encoder/mu/kernel"], vae["encoder/logvar/kernel"]], axis=1)
    # Keras flattens height-width-channel, ONNX channel-height-width: reorder the rows once, here
    dense = dense.reshape(2, 2, 256, -1).transpose(2, 0, 1, 3).reshape(1024, -1)
    bias = np.concatenate([vae["encoder/mu/bias"], vae["encoder/logvar/bias"]])
    build.node("Gemm", [flat, build.constant("dense_kernel", dense), build.constant("dense_bias", bias)], "mu_logvar")
    half = dense.shape[1] // 2
    build.nodes.append(helper.make_node(
        "Split", ["mu_logvar", build.constant("halves", [half, half], np.int64)], ["mu", "logvar"], axis=1))
    build.node("Exp", [build.node("Mul", ["logvar", build.constant("half", 0.5)], "half_logvar")], "sigma")
    build.node("Add", ["mu", build.node("Mul", ["sigma", "noise"], "spread")], "z")


def _control(build: _Builder, features: int) -> None:
    """Actions: squash(W [z, h] + b) with the parameters of each row's own candidate."""
    column = build.node("Unsqueeze", [build.node("Concat", ["z", "h"], "z_h", axis=1),
                                      build.constant("last", [2], np.int64)], "column")
    build.nodes.append(helper.make_node(
        "Split", ["controller", build.constant("bias_weights", [3, 3 * features], np.int64)],
        ["bias", "weights"], axis=1))
    matrix = build.node("Reshape", ["weights", build.constant("matrix_shape", [-1, 3, features], np.int64)], "matrix")
    product = build.node("Squeeze", [build.node("MatMul", [matrix, column], "product"), "last"], "product_flat")
    squashed = build.node("Tanh", [build.node("Add", [product, "bias"], "raw")], "tanh")
    # steer tanh, gas (tanh + 1) / 2, brake max(tanh, 0): one affine map and one lower bound
    scaled = build.node("Mul", [squashed, build.constant("scale", [[1.0, 0.5, 1.0]])], "scaled")
    moved = build.node("Add", [scaled, build.constant("offset", [[0.0, 0.5, 0.0]])], "moved")
    build.node("Max", [moved, build.constant("lowest", [[-1.0, 0.0, 0.0]])], "actions")


def _remember(build: _Builder, rnn: Weights) -> None:
    """One LSTM step on [z, action]: h, c to h_next, c_next."""
    hidden = rnn["lstm/recurrent_kernel"].shape[0]
    everything = build.node("Concat", ["z", "actions", "h"], "lstm_in", axis=1)
    kernel = np.concatenate([rnn["lstm/kernel"], rnn["lstm/recurrent_kernel"]], axis=0)
    build.node("Gemm", [everything, build.constant("lstm_kernel", kernel),
                        build.constant("lstm_bias", rnn["lstm/bias"])], "gates")
    build.nodes.append(helper.make_node(
        "Split", ["gates", build.constant("quarters", [hidden] * 4, np.int64)], ["i", "f", "g", "o"], axis=1))
    for gate in "ifo":
        build.node("Sigmoid", [gate], f"{gate}_gate")
    kept = build.node("Mul", ["f_gate", "c"], "kept")
    new = build.node("Mul", ["i_gate", build.node("Tanh", ["g"], "g_tanh")], "new")
    build.node("Add", [kept, new], "c_next")
    build.node("Mul", ["o_gate", build.node("Tanh", ["c_next"], "c_tanh")], "h_next")
