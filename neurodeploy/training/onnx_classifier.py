"""The classifier of an ONNX graph: its last Gemm.

``Gemm(h, B, C) = α·h·B' + β·C`` (B' is Bᵀ with transB), or ``MatMul(h, B)`` with or without an ``Add`` behind it. Only
what leaves the logits recoverable may stand behind it (softmax): they are taken before that.

Shape legend: B batch, N classes, F features of the classifier's input.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurodeploy.diagnostics import UsageError

if TYPE_CHECKING:
    import onnx

#: What may stand between the classifier and the output of the graph.
_TAIL = {"Softmax", "LogSoftmax", "Identity", "Cast", "ArgMax"}


@dataclass(frozen=True)
class OnnxClassifier:
    """The last Gemm.

    Attributes:
        feature: Name of its input h, ``(B, F)``.
        logits: Name of its output, ``(B, N)``.
        weight_NF: α·B', float32.
        bias_N: β·C; zeros where it has none.
    """

    feature: str
    logits: str
    weight_NF: np.ndarray
    bias_N: np.ndarray


def find_classifier(path: Path, graph: onnx.GraphProto) -> OnnxClassifier:
    """The last Gemm, or MatMul by fixed weights; nodes stand in order of execution.

    Raises:
        UsageError: ND103 where there is none of this form, where it is not the end of the network, and where a norm or
            dropout is in training mode. ``path`` is only named.
    """
    constants = _Constants(graph)
    _refuse_training_mode(path, graph, constants)
    candidates = [
        node
        for node in graph.node
        if node.op_type == "Gemm" or (node.op_type == "MatMul" and constants.get(node.input[1]) is not None)
    ]
    if not candidates:
        what = "it has no Gemm and no MatMul by fixed weights"
        raise refused(path, what, "a linear classifier as the last layer")
    node = candidates[-1]
    weight = constants.get(node.input[1])
    if weight is None or weight.ndim != 2:
        found = "are computed in the graph" if weight is None else f"have {weight.ndim} axes"
        raise refused(path, f"the weights of its last {_named(node)} {found}", "plain float weights")
    if node.op_type == "Gemm":
        options = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0} | attributes(node)
        if options["transA"]:
            raise refused(path, f"its last {_named(node)} transposes its input", "the batch as the first axis")
        weight_NF = options["alpha"] * (weight if options["transB"] else weight.T)
        logits = node.output[0]
        bias = options["beta"] * _gemm_bias(path, node, constants)
    else:
        weight_NF = weight.T
        logits, bias = _added(graph, node.output[0], constants)
    _refuse_layers_behind(path, graph, logits)
    try:
        bias_N = np.broadcast_to(bias, (1, len(weight_NF)))[0]
    except ValueError as error:
        what = f"the bias of its last {_named(node)} has shape {bias.shape}"
        raise refused(path, what, f"one bias for each of the {len(weight_NF)} classes") from error
    return OnnxClassifier(
        node.input[0],
        logits,
        np.array(weight_NF, np.float32, order="C"),
        np.array(bias_N, np.float32),
    )


def _gemm_bias(path: Path, node: onnx.NodeProto, constants: _Constants) -> np.ndarray:
    """C of a Gemm; it may be left out."""
    if len(node.input) < 3 or not node.input[2]:
        return np.zeros(1)
    bias = constants.get(node.input[2])
    if bias is None:
        raise refused(path, f"the bias of its last {_named(node)} is computed in the graph", "a fixed bias")
    return bias


def _added(graph: onnx.GraphProto, product: str, constants: _Constants) -> tuple[str, np.ndarray]:
    """The logits and the bias behind a MatMul: those of an Add of something fixed, else the product and 0."""
    users = [node for node in graph.node if product in node.input]
    if len(users) == 1 and users[0].op_type == "Add":
        bias = next((constants.get(name) for name in users[0].input if name != product), None)
        if bias is not None:
            return users[0].output[0], bias
    return product, np.zeros(1)


def _refuse_training_mode(path: Path, graph: onnx.GraphProto, constants: _Constants) -> None:
    """ND103 where the answer for a sample would depend on the other samples, or on chance."""
    for node in graph.node:
        norm = node.op_type == "BatchNormalization" and attributes(node).get("training_mode")
        dropout = node.op_type == "Dropout" and len(node.input) > 2 and np.any(constants.get(node.input[2]))
        if norm or dropout:
            raise refused(path, f"its {_named(node)} is in training mode", "the network in evaluation mode")


def _refuse_layers_behind(path: Path, graph: onnx.GraphProto, logits: str) -> None:
    """ND103 where the last Gemm is not the end of the network: its output would not be the logits."""
    wanted = "a linear classifier as the last layer, softmax at most behind it"
    outputs = {value.name for value in graph.output}
    behind = {logits}
    for node in graph.node:
        if behind.isdisjoint(node.input):
            continue
        if node.op_type not in _TAIL:
            raise refused(path, f"{_named(node)} stands behind its last Gemm or MatMul", wanted)
        behind.update(node.output)
    if behind.isdisjoint(outputs):
        raise refused(path, "its last Gemm or MatMul does not reach an output", wanted)


class _Constants:
    """The tensors of a graph that do not depend on its input, as far as a classifier's weights need."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}

    def get(self, name: str) -> np.ndarray | None:
        """The values of a tensor; None where it is computed from the input, or by an operation not handled here."""
        from onnx import numpy_helper

        if name in self._tensors:
            return numpy_helper.to_array(self._tensors[name])
        node = self._makers.get(name)
        if node is None:
            return None
        if node.op_type == "Constant" and "value" in attributes(node):
            return numpy_helper.to_array(attributes(node)["value"])
        if node.op_type in ("Identity", "Transpose"):
            values = self.get(node.input[0])
            if values is not None and node.op_type == "Transpose":
                return values.transpose(attributes(node).get("perm"))
            return values
        return None


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Name -> value of the attributes of a node."""
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def refused(path: Path, what: str, wanted: str) -> UsageError:
    """ND103; the way out is to export the file again with what is wanted."""
    return UsageError(
        "ND103", f"the teacher cannot be used: {what}", where=str(path), fix=f"export it again with {wanted}"
    )


def _named(node: onnx.NodeProto) -> str:
    return f"{node.op_type} `{node.name or node.output[0]}`"
