"""V + M + C as one ONNX graph, and V's two halves as graphs of their own.

Built from plain weight arrays; no Keras and no converter in between.
"""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from wm_mpi.core.controller import Control, length
from wm_mpi.world.graph_builder import FRAME, Builder
from wm_mpi.world.graph_memory import remember
from wm_mpi.world.weights import Weights, actions_of, hidden_of, latents_of

WIDE = ((64, 16), (31, 15), (14, 7), (6, 3))
"""Height and width in which the int8 convolutions take their input: several pixels of a row as one."""


def build_policy(vae: Weights, rnn: Weights, integers: Weights | None = None, control: Control | None = None,
                 ) -> onnx.ModelProto:
    """The graph of one tick for a batch of any size B.

    Inputs: frames uint8 [B,64,64,3]; noise float32 [B,32]; h, c float32 [B,256]; controller float32 [B,867], as
    ``core.controller`` lays it out. Outputs: actions [B,3], h_next, c_next [B,256], and for those who look inside z, mu,
    logvar [B,32].

    Args:
        vae: arrays of ``models.vae`` by name (``encoder/conv1/kernel`` ...), convolutions in Keras's layout.
        rnn: arrays of ``models.rnn`` by name (``lstm/kernel`` ...), gates in Keras's order i, f, c, o.
        integers: convolutions in 8 bits (of ``quantize.quantise``) to take the place of V's; everything else is fp32, also
            a convolution of which they have the step only.
        control: what C sees and how it acts (default: the car's); an action has as many numbers as M was trained on.

    Raises:
        ValueError: V and M do not fit each other.
    """
    latents = vae["encoder/mu/bias"].shape[0]
    hidden = hidden_of(rnn)
    control = control or Control()
    if latents_of(rnn) != latents:
        raise ValueError(f"V has {latents} latents, but M takes {latents_of(rnn)}")
    if actions_of(rnn) != control.actions:
        raise ValueError(f"C's actions have {control.actions} numbers, but M takes {actions_of(rnn)}")
    seen = control.seen(latents, hidden)
    build = Builder()
    _encode(build, vae, integers)
    _sample(build)
    _control(build, seen, control)
    remember(build, rnn)
    takes = {"noise": latents, "h": hidden, "c": hidden, "controller": _numbers(control, seen)}
    gives = {"actions": control.actions, "h_next": hidden, "c_next": hidden, "z": latents, "mu": latents, "logvar": latents}
    return build.model("policy", {"frames": FRAME, **{name: [size] for name, size in takes.items()}},
                       {name: [size] for name, size in gives.items()})


def with_control(policy: bytes, control: Control) -> bytes:
    """A serialised graph of ``build_policy`` with another C in the place of its own: one with hidden layers.

    V and M stay as they are, to the byte of each weight, so that it is still the same world.
    """
    model = onnx.ModelProto.FromString(policy)
    graph = model.graph
    inputs = {each.name: each.type.tensor_type.shape.dim[1] for each in graph.input if each.name != "frames"}
    seen = control.seen(inputs["noise"].dim_value, inputs["h"].dim_value)
    needed = {each.name for each in graph.output} - {"actions"}
    before: list[onnx.NodeProto] = []
    after: list[onnx.NodeProto] = []
    nodes = after
    for node in reversed(graph.node):  # from the last one backwards: what is needed, but not what only C needs
        if "actions" in node.output:
            nodes = before
        elif needed.intersection(node.output):
            needed.update(name for name in node.input if name != "actions")
            nodes.append(node)
    build = Builder()
    _control(build, seen, control)
    constants = {each.name: each for each in (*graph.initializer, *build.constants)}
    used = {name for node in (*before, *after, *build.nodes) for name in node.input}
    inputs["controller"].dim_value = _numbers(control, seen)
    nodes = [*reversed(before), *build.nodes, *reversed(after)]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(each for name, each in constants.items() if name in used)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def build_encoder(vae: Weights, integers: Weights | None = None) -> onnx.ModelProto:
    """V's encoder alone: frames uint8 [B,64,64,3] to mu, logvar [B,32]; in fp32 also peak1..4 [B,C], the largest activation
    of each channel after each convolution, from which ``quantize`` takes its ranges; else flat [B,4C], what the last layer
    sees. Arguments as for ``build_policy``.
    """
    latents = vae["encoder/mu/bias"].shape[0]
    build = Builder()
    _encode(build, vae, integers)
    outputs: dict[str, list[int]] = {"mu": [latents], "logvar": [latents]}
    if integers is not None:
        outputs["flat"] = [len(vae["encoder/mu/kernel"])]
    else:
        for number in (1, 2, 3, 4):
            build.node("ReduceMax", [f"relu{number}"], f"peak{number}", axes=[2, 3], keepdims=0)
            outputs[f"peak{number}"] = [vae[f"encoder/conv{number}/bias"].shape[0]]
    return build.model("encoder", {"frames": FRAME}, outputs)


def build_decoder(vae: Weights) -> onnx.ModelProto:
    """V's decoder, in fp32: z [B,32] to frames uint8 [B,64,64,3]. Arguments as for ``build_policy``."""
    build = Builder()
    kernel, bias, size = _first_picture(vae)
    layer = build.node("Gemm", ["z", build.constant("dense_kernel", kernel), build.constant("dense_bias", bias)], "dense")
    layer = build.node("Reshape", [layer, build.constant("small", [-1, *size], np.int64)], "deconv1")
    layer = build.node("Relu", [layer], "light1")
    for number in (2, 3, 4):
        kernel = vae[f"decoder/deconv{number}/kernel"].transpose(3, 2, 0, 1)  # HWOI to IOHW
        layer = build.node("ConvTranspose", [layer, build.constant(f"deconv{number}_kernel", kernel),
                                             build.constant(f"deconv{number}_bias", vae[f"decoder/deconv{number}/bias"])],
                           f"deconv{number}", kernel_shape=list(kernel.shape[2:]), strides=[2, 2])
        layer = build.node("Relu" if number < 4 else "Sigmoid", [layer], f"light{number}")
    levels = build.node("Round", [build.node("Mul", [layer, build.constant("white", 255)], "levels")], "whole")
    build.node("Cast", [build.node("Transpose", [levels], "levels_nhwc", perm=[0, 2, 3, 1])], "frames", to=TensorProto.UINT8)
    return build.model("decoder", {"z": [vae["decoder/dense/kernel"].shape[0]]}, {"frames": FRAME})


def _first_picture(vae: Weights) -> tuple[npt.NDArray, npt.NDArray, tuple[int, int, int]]:
    """The dense layer and the first transposed convolution as one matrix [32, 3200] and its bias; and the picture's shape.

    Nothing comes between the two and the second one sees a single pixel, so both together are linear. One matrix of 0.4 MB
    instead of 13 MB halves the time of a picture.
    """
    kernel = vae["decoder/deconv1/kernel"].astype(np.float64).transpose(3, 2, 0, 1)  # HWOI to IOHW
    matrix = kernel.reshape(len(kernel), -1)
    bias = vae["decoder/dense/bias"] @ matrix + vae["decoder/deconv1/bias"].repeat(matrix.shape[1] // kernel.shape[1])
    return vae["decoder/dense/kernel"] @ matrix, bias, kernel.shape[1:]


def _encode(build: Builder, vae: Weights, integers: Weights | None) -> None:
    """Frames to mu and logvar."""
    dense = np.concatenate([vae["encoder/mu/kernel"], vae["encoder/logvar/kernel"]], axis=1)
    if integers is None:
        layer = _convolve(build, vae)
        # Keras flattens height-width-channel, ONNX channel-height-width: reorder the rows once, here
        channels = len(vae["encoder/conv4/bias"])
        dense = dense.reshape(2, 2, channels, -1).transpose(2, 0, 1, 3).reshape(4 * channels, -1)
    else:
        layer = _convolve_integers(build, vae, integers)
    flat = build.node("Flatten", [layer], "flat", axis=1)
    bias = np.concatenate([vae["encoder/mu/bias"], vae["encoder/logvar/bias"]])
    build.node("Gemm", [flat, build.constant("dense_kernel", dense), build.constant("dense_bias", bias)], "mu_logvar")
    half = dense.shape[1] // 2
    build.nodes.append(helper.make_node(
        "Split", ["mu_logvar", build.constant("halves", [half, half], np.int64)], ["mu", "logvar"], axis=1))


def _convolve(build: Builder, vae: Weights) -> str:
    """Frames through the four convolutions in fp32; the result is [B,C,2,2], C 256 if V is whole."""
    build.node("Cast", ["frames"], "frames_float", to=TensorProto.FLOAT)
    layer = build.node("Transpose", ["frames_float"], "frames_nchw", perm=[0, 3, 1, 2])
    for number in (1, 2, 3, 4):
        levels = 255 if number == 1 else 1  # V sees 0..1
        layer = build.node("Relu", [_convolve_floats(build, vae, number, layer, levels)], f"relu{number}")
    return layer


def _convolve_floats(build: Builder, vae: Weights, number: int, layer: str, levels: float) -> str:
    """One convolution in fp32, channels first, before its ReLU, of what comes in ``levels`` to one."""
    kernel = vae[f"encoder/conv{number}/kernel"].transpose(3, 2, 0, 1) / np.float32(levels)  # HWIO to OIHW
    return build.node("Conv", [layer, build.constant(f"conv{number}_kernel", kernel),
                               build.constant(f"conv{number}_bias", vae[f"encoder/conv{number}/bias"])],
                      f"conv{number}", kernel_shape=[4, 4], strides=[2, 2])


def _convolve_integers(build: Builder, vae: Weights, integers: Weights) -> str:
    """Frames through the four convolutions in 8 bits; the result is [B,2,2,C], back in fp32.

    uint8 frames are 8-bit activations of step 1/255 already, and ReLU is what uint8 with zero point 0 does by itself. The
    transpositions are for the standard's channels-first layout only: ONNX Runtime computes channels-last and drops them.
    """
    layer = "frames"
    steps = [1 / 255, *(float(integers[f"conv{number}/step"]) for number in (1, 2, 3, 4))]
    names = [build.constant(f"step{number}", step) for number, step in enumerate(steps)]
    zero = build.constant("zero", 0, np.uint8)
    for number, (height, width) in enumerate(WIDE, start=1):
        if f"conv{number}/kernel" not in integers:
            layer = _convolve_between(build, vae, number, layer, steps[number - 1])
        else:
            part = {name: integers[f"conv{number}/{name}"] for name in ("kernel", "scale", "bias")}
            shape = [-1, height, width, part["kernel"].shape[1]]
            layer = build.node("Reshape", [layer, build.constant(f"view{number}", shape, np.int64)], f"wide{number}")
            layer = build.node("Transpose", [layer], f"first{number}", perm=[0, 3, 1, 2])
            layer = build.node("QLinearConv", [
                layer, names[number - 1], zero, build.constant(f"conv{number}_kernel", part["kernel"], np.int8),
                build.constant(f"conv{number}_scale", part["scale"]),
                build.constant(f"conv{number}_zero", np.zeros(len(part["scale"])), np.int8), names[number], zero,
                build.constant(f"conv{number}_bias", part["bias"], np.int32)],
                f"conv{number}", kernel_shape=[4, 2], strides=[2, 1])
        layer = build.node("Transpose", [layer], f"last{number}", perm=[0, 2, 3, 1])
    return build.node("DequantizeLinear", [layer, names[-1], zero], "relu4")


def _convolve_between(build: Builder, vae: Weights, number: int, layer: str, step: float) -> str:
    """One convolution in fp32 among those in 8 bits: from uint8 [B,H,W,C] to uint8 channels-first, which is its ReLU too.

    It takes integers as they are: behind a DequantizeLinear ONNX Runtime would round the weights, and by its own rule.
    """
    height, width = WIDE[number - 1]
    pixels = 4 if number == 1 else 2
    shape = [-1, height, width * pixels, vae[f"encoder/conv{number}/kernel"].shape[2]]
    layer = build.node("Reshape", [layer, build.constant(f"view{number}", shape, np.int64)], f"wide{number}")
    if number == 1:  # without the two columns that only the last pixel of each row sees, which nobody reads
        columns = [build.constant(name, [value], np.int64) for name, value in (("left", 0), ("right", 62), ("across", 2))]
        layer = build.node("Slice", [layer, *columns], "read")
    layer = build.node("Cast", [layer], f"real{number}", to=TensorProto.FLOAT)
    layer = build.node("Transpose", [layer], f"first{number}", perm=[0, 3, 1, 2])
    layer = _convolve_floats(build, vae, number, layer, 1 / step)
    return build.node("QuantizeLinear", [layer, f"step{number}", "zero"], f"rounded{number}")


def _sample(build: Builder) -> None:
    """Draw z = mu + exp(logvar / 2) noise."""
    build.node("Exp", [build.node("Mul", ["logvar", build.constant("half", 0.5)], "half_logvar")], "sigma")
    build.node("Add", ["mu", build.node("Mul", ["sigma", "noise"], "spread")], "z")


def _numbers(control: Control, seen: int) -> int:
    """Numbers in C's vector as the graph takes it, which always has a b."""
    return sum(length(inputs, units) for units, inputs in control.shapes(seen))


def _control(build: Builder, seen: int, control: Control) -> None:
    """Actions made of C's sums, with the parameters of each row's own candidate."""
    actions, shapes = control.actions, control.shapes(seen)
    column = build.node("Unsqueeze", [build.node("Concat", list(control.features), "z_h", axis=1),
                                      build.constant("last", [2], np.int64)], "column")
    ends = ["", *map(str, range(2, len(shapes) + 1))]  # of names
    parts = [(f"bias{end}", f"weights{end}") for end in ends]
    sizes = [size for units, inputs in shapes for size in (units, units * inputs)]
    build.nodes.append(helper.make_node(
        "Split", ["controller", build.constant("bias_weights", sizes, np.int64)],
        [name for pair in parts for name in pair], axis=1))
    sums = ""
    for end, (bias, weights), (units, inputs) in zip(ends, parts, shapes, strict=True):
        if sums:
            column = build.node("Unsqueeze", [build.node("Tanh", [sums], f"unit{end}"), "last"], f"column{end}")
        shape = build.constant(f"matrix_shape{end}", [-1, units, inputs], np.int64)
        product = build.node("MatMul", [build.node("Reshape", [weights, shape], f"matrix{end}"), column], f"product{end}")
        sums = build.node("Add", [build.node("Squeeze", [product, "last"], f"product_flat{end}"), bias], f"raw{end}")
    if control.kind == "choice":
        levels = build.constant("off_on", [0, 1])
        largest = build.node("ArgMax", [sums], "largest", axis=1, keepdims=0)
        build.node("OneHot", [largest, build.constant("choices", actions, np.int64), levels], "actions", axis=1)
        return
    if control.kind == "switches":
        build.node("Cast", [build.node("Greater", [sums, build.constant("nothing", 0)], "on")], "actions",
                   to=TensorProto.FLOAT)
        return
    squashed = build.node("Tanh", [sums], "tanh")
    scale, offset, lowest = ([list(each)] for each in zip(*control.outputs, strict=True))
    scaled = build.node("Mul", [squashed, build.constant("scale", scale)], "scaled")
    moved = build.node("Add", [scaled, build.constant("offset", offset)], "moved")
    build.node("Max", [moved, build.constant("lowest", lowest)], "actions")
