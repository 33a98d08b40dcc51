"""M as ONNX graphs: its step, what it expects next, and a step of its dream."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from wm_mpi.world.graph_builder import Builder
from wm_mpi.world.weights import MIXTURES, Weights, actions_of, hidden_of, latents_of

LOGSTD_BOUND = 7.0
"""M's log standard deviations are clipped to +-7, as in training."""
ENDING: dict[str, list[int]] = {"reward": [], "termination": []}


def build_memory(rnn: Weights) -> onnx.ModelProto:
    """One step of M with all its heads: z [B,32], actions [B,3], h, c [B,256] to h_next, c_next and what M expects next.

    That is the mixture of the next z, logmix (normalised), mean, logstd (clipped) [B,32,5], the reward [B] (points) and the
    logit of termination [B]. Arguments as for ``graph.build_policy``.
    """
    latents = latents_of(rnn)
    build = Builder()
    _expect(build, rnn)
    build.node("LogSoftmax", ["logmix_raw"], "logmix", axis=2)
    mixture = {name: [latents, MIXTURES] for name in ("logmix", "mean", "logstd")}
    return build.model("memory", _inputs(rnn), _state(rnn) | mixture | ENDING)


def build_dream(rnn: Weights) -> onnx.ModelProto:
    """One step of M's dream: ``build_memory``'s inputs, temperature [B,1] and chance, noise [B,32] to z_next [B,32], h_next,
    c_next, reward and termination.

    As in the paper (section 5.3): each latent's component is drawn from logmix / temperature, by ``chance``, uniform in
    0..1, then its value with the component's standard deviation times sqrt(temperature), by ``noise``, normal.
    """
    latents = latents_of(rnn)
    build = Builder()
    _expect(build, rnn)
    axis = build.constant("last_axis", [2], np.int64)
    heat = build.node("Unsqueeze", ["temperature", axis], "heat")
    build.node("Softmax", [build.node("Div", ["logmix_raw", heat], "heated")], "weights", axis=2)
    below = np.triu(np.ones((MIXTURES, MIXTURES - 1)))  # sums of the first one to four weights
    sums = build.node("MatMul", ["weights", build.constant("below", below)], "sums")
    passed = build.node("GreaterOrEqual", [build.node("Unsqueeze", ["chance", axis], "chances"), sums], "passed")
    ones = build.node("Cast", [passed], "ones", to=TensorProto.FLOAT)
    chosen = build.node("Cast", [build.node("ReduceSum", [ones, axis], "count", keepdims=1)], "chosen", to=TensorProto.INT64)
    for name in ("mean", "logstd"):
        there = build.node("GatherElements", [name, chosen], f"{name}_there", axis=2)
        build.node("Squeeze", [there, axis], f"{name}_chosen")
    spread = build.node("Mul", [build.node("Exp", ["logstd_chosen"], "std"),
                                build.node("Sqrt", ["temperature"], "root")], "spread")
    build.node("Add", ["mean_chosen", build.node("Mul", [spread, "noise"], "strayed")], "z_next")
    return build.model("dream", _inputs(rnn) | {"temperature": [1], "chance": [latents], "noise": [latents]},
                       {"z_next": [latents]} | _state(rnn) | ENDING)


def remember(build: Builder, rnn: Weights) -> None:
    """One LSTM step on [z, action]: h, c to h_next, c_next."""
    hidden = hidden_of(rnn)
    everything = build.node("Concat", ["z", "actions", "h"], "lstm_in", axis=1)
    kernel = np.concatenate([rnn["lstm/kernel"], rnn["lstm/recurrent_kernel"]], axis=0)
    build.node("Gemm", [everything, build.weights("lstm_kernel", kernel),
                        build.constant("lstm_bias", rnn["lstm/bias"])], "gates")
    build.nodes.append(helper.make_node(
        "Split", ["gates", build.constant("quarters", [hidden] * 4, np.int64)], ["i", "f", "g", "o"], axis=1))
    for gate in "ifo":
        build.node("Sigmoid", [gate], f"{gate}_gate")
    kept = build.node("Mul", ["f_gate", "c"], "kept")
    new = build.node("Mul", ["i_gate", build.node("Tanh", ["g"], "g_tanh")], "new")
    build.node("Add", [kept, new], "c_next")
    build.node("Mul", ["o_gate", build.node("Tanh", ["c_next"], "c_tanh")], "h_next")


def _expect(build: Builder, rnn: Weights) -> None:
    """M's step and its heads: logmix_raw, mean, logstd, reward and termination."""
    remember(build, rnn)
    for name in ("mdn", "reward", "termination"):
        head = [build.constant(f"{name}_{part}", rnn[f"{name}/{part}"]) for part in ("kernel", "bias")]
        build.node("Gemm", ["h_next", *head], f"{name}_out")
    for name in ("reward", "termination"):
        build.node("Squeeze", [f"{name}_out", build.constant(f"{name}_axis", [1], np.int64)], name)
    shape = build.constant("density_shape", [-1, latents_of(rnn), 3 * MIXTURES], np.int64)
    build.split(build.node("Reshape", ["mdn_out", shape], "density"), ["logmix_raw", "mean", "logstd_raw"], MIXTURES, 2)
    bounds = [build.constant("narrowest", -LOGSTD_BOUND), build.constant("widest", LOGSTD_BOUND)]
    build.node("Clip", ["logstd_raw", *bounds], "logstd")


def _inputs(rnn: Weights) -> dict[str, list[int]]:
    return {"z": [latents_of(rnn)], "actions": [actions_of(rnn)], "h": [hidden_of(rnn)], "c": [hidden_of(rnn)]}


def _state(rnn: Weights) -> dict[str, list[int]]:
    return {"h_next": [hidden_of(rnn)], "c_next": [hidden_of(rnn)]}
