"""Nodes of a NIR file without state as nodes of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.diagnostics import UnsupportedError, UsageError
from neurodeploy.ir.nir_fields import Fields
from neurodeploy.ir.nodes import (
    AvgPool2d,
    Conv1d,
    Conv2d,
    Flatten,
    Input,
    Linear,
    MaxPool2d,
    Node,
    Output,
    ReLU,
    Scale,
    Shape,
    SumPool2d,
)

#: A convolution's padding in front and behind is at most this; a number beyond it is a broken file.
MOST_PADDING = 2**16


def entry(node: Fields, shape: Shape) -> Input:
    """Input."""
    return Input(shape, node.word("values", ("real", "binary", "integer")))  # type: ignore[arg-type]


def _weight(node: Fields, axes: int) -> np.ndarray:
    weight = node.array("weight")
    if weight.ndim != axes:
        raise node.refuse(f"its weight has shape {weight.shape}", f"a weight of this type has {axes} axes")
    return weight


def _bias(node: Fields, weight: np.ndarray) -> np.ndarray:
    """``(O,)`` in the weight's type; zero where the file has none."""
    bias = node.array("bias", 0.0)
    if bias.size not in (1, weight.shape[0]):
        raise node.refuse(f"its bias has shape {bias.shape} beside a weight of {weight.shape}", "one bias per output")
    return np.broadcast_to(bias.reshape(-1), weight.shape[:1]).astype(weight.dtype)


def linear(node: Fields, shape: Shape) -> Linear:
    """Affine, or Linear, which has no bias."""
    weight = _weight(node, 2)
    return Linear(weight, _bias(node, weight))


def conv(node: Fields, shape: Shape) -> Node:
    """Conv1d and Conv2d."""
    axes = 1 if node.kind == "Conv1d" else 2
    weight = _weight(node, axes + 2)
    stride, dilation = node.whole("stride", axes, 1, 1), node.whole("dilation", axes, 1, 1)
    padding = _padding(node, weight.shape[2:], dilation, stride)
    (groups,) = node.whole("groups", 1, 1, 1)
    size = node.shape("input_shape")
    if size is not None and len(shape) == axes + 1 and len(size) == axes and size != shape[1:]:
        raise UsageError(
            "ND105",
            f"`{node.name}` says that its input is {size}, but {shape[1:]} enters it",
            where=node.name,
            fix="correct the layer before it, or write input_shape anew",
        )
    if weight.shape[0] % groups:
        raise node.refuse(f"{weight.shape[0]} output channels in {groups} groups", "groups must divide the channels")
    if axes == 1:
        return Conv1d(weight, _bias(node, weight), stride[0], padding[0], dilation[0], groups)
    return Conv2d(weight, _bias(node, weight), stride, padding, dilation, groups)  # type: ignore[arg-type]


def _padding(node: Fields, kernel: Shape, dilation: Shape, stride: Shape) -> Shape:
    value: Any = node.values.get("padding")
    if isinstance(value, str):
        if value == "valid":
            return (0,) * len(kernel)
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        if value != "same" or any(t % 2 for t in total) or max(stride) > 1:
            raise UnsupportedError(
                "ND201",
                f"`{node.name}`: padding {value!r} is not symmetric for kernel {kernel} at stride {stride}",
                where=node.name,
                fix="give numbers",
            )
        return tuple(t // 2 for t in total)
    padding = node.whole("padding", len(kernel), 0, 0)
    if max(padding) > MOST_PADDING:
        raise node.refuse(f"padding is {max(padding)}", f"at most {MOST_PADDING}")
    return padding


def pool(node: Fields, shape: Shape) -> SumPool2d:
    """SumPool2d, AvgPool2d, and the MaxPool2d of our host parts."""
    kind = {"AvgPool2d": AvgPool2d, "MaxPool2d": MaxPool2d}.get(node.kind, SumPool2d)
    kernel = node.whole("kernel_size", 2, 1)
    padding = node.whole("padding", 2, 0, 0)
    if max(padding) > MOST_PADDING:
        raise node.refuse(f"padding is {max(padding)}", f"at most {MOST_PADDING}")
    return kind(kernel, node.whole("stride", 2, 1), padding)  # type: ignore[arg-type]


def flatten(node: Fields, shape: Shape) -> Flatten:
    """Flatten of all axes; shapes have no batch axis in NIR, but several writers count one and mean "all" by 1."""
    (start,), (end,) = (node.whole(key, 1, -8, default) for key, default in (("start_dim", 1), ("end_dim", -1)))
    axes = len(shape)
    counts_batch = start == 1 and end in (-1, axes - 1, axes)
    if not counts_batch and (start % axes != 0 or end % axes != axes - 1):
        raise UnsupportedError(
            "ND201",
            f"`{node.name}` flattens only axes {start}…{end} of {list(shape)}",
            where=node.name,
            fix="flatten all axes",
        )
    return Flatten()


def scale(node: Fields, shape: Shape) -> Scale:
    """Scale."""
    return Scale(shape, node.spread("scale", shape))


def output(node: Fields, shape: Shape) -> Output:
    """Output."""
    return Output()


def relu(node: Fields, shape: Shape) -> ReLU:
    """The ReLU of our host parts."""
    return ReLU()
