"""ONNX graphs, node by node."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
FRAME = [64, 64, 3]


class Builder:
    """Nodes and constants of a graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node of one output and give that output's name."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def split(self, whole: str, parts: Sequence[str], size: int, axis: int) -> None:
        """Cut an axis into ``parts`` of the same ``size``."""
        sizes = self.constant(f"{whole}_sizes", [size] * len(parts), np.int64)
        self.nodes.append(helper.make_node("Split", [whole, sizes], list(parts), axis=axis))

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """Add a constant and give its name."""
        self.constants.append(numpy_helper.from_array(np.array(value, dtype, order="C"), name))
        return name

    def weights(self, name: str, value: npt.NDArray) -> str:
        """Add float32 weights and give their name; in half the room where half precision holds each of them exactly."""
        with np.errstate(over="ignore"):
            halved = value.astype(np.float16)
        if not np.array_equal(halved, value):
            return self.constant(name, value)
        return self.node("Cast", [self.constant(f"{name}_half", halved, np.float16)], name, to=TensorProto.FLOAT)

    def model(self, name: str, inputs: Mapping[str, list[int]], outputs: Mapping[str, list[int]]) -> onnx.ModelProto:
        """The checked graph of inputs to outputs, by their shapes without the batch; all are float32, frames uint8."""
        def info(names: Mapping[str, list[int]]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(each, TensorProto.UINT8 if each == "frames" else TensorProto.FLOAT,
                                                  ["B", *shape]) for each, shape in names.items()]

        graph = helper.make_graph(self.nodes, name, info(inputs), info(outputs), self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="wm_mpi")
        model.ir_version = 10
        onnx.checker.check_model(model, full_check=True)
        return model
