"""What every node kind is in standard ONNX operators, in the arithmetic float32.

Each function adds the operators of one node at its site and returns the name of what it puts out. A stateless node
takes ``(N, *shape)``, N samples or N steps of samples; a neuron takes one step, ``(B, *shape)``. Products and sums
stand in the order of :mod:`neurodeploy.ir.interpret`; only the order inside a Conv or a Gemm is the runtime's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv1d,
    Conv2d,
    CubaLIF,
    Delay,
    Flatten,
    Integrator,
    Linear,
    MaxPool2d,
    Node,
    Norm,
    Output,
    ReLU,
    Scale,
    SumPool2d,
    Synapse,
    Threshold,
)
from neurodeploy.targets.onnx_writer import Site

#: What a neuron keeps from step to step -> the value that holds it; a missing one is zero.
State = dict[str, str]
MEMBRANE, CURRENT = "membrane", "current"
#: ``TensorProto.FLOAT``.
FLOAT = 1


def stateless(site: Site, node: Node, x: str, *, bias: bool = True) -> str:
    """A node without state; ``bias = False`` leaves a synapse's bias out."""
    if isinstance(node, (Conv1d, Conv2d, Linear)):
        return _synapse(site, node, x, bias)
    if isinstance(node, SumPool2d):
        return _pool(site, node, x)
    if isinstance(node, Norm):
        return _norm(site, node, x)
    if isinstance(node, Threshold):
        return site.result(
            "Cast", [_fired(site, node.compare, x, site.constant("threshold", node.threshold))], to=FLOAT
        )
    if isinstance(node, Scale):
        return site.result("Mul", [site.constant("scale", node.scale), x])
    if isinstance(node, ReLU):
        return site.result("Relu", [x])
    if isinstance(node, Flatten):
        return site.result("Flatten", [x], axis=1)
    assert isinstance(node, Output), f"{node.kind} has no ONNX form"
    return x


def _synapse(site: Site, node: Synapse, x: str, bias: bool) -> str:
    inputs = [x, site.constant("weight", node.weight)]
    if bias and np.any(node.bias != 0.0):
        inputs.append(site.constant("bias", node.bias))
    if isinstance(node, Linear):
        return site.result("Gemm", inputs, transB=1)
    strides, pads, dilations = (np.atleast_1d(side).tolist() for side in (node.stride, node.padding, node.dilation))
    return site.result(
        "Conv",
        inputs,
        kernel_shape=list(node.weight.shape[2:]),
        strides=strides,
        pads=[*pads, *pads],
        dilations=dilations,
        group=node.groups,
    )


def _pool(site: Site, node: SumPool2d, x: str) -> str:
    """Max: MaxPool. Average over 2^n taps: AveragePool, whose division is exact however a runtime writes it. Otherwise
    a depthwise Conv of ones, since ONNX has no sum pool; the average divides it as the interpreter does."""
    window: dict[str, Any] = {
        "kernel_shape": list(node.kernel),
        "strides": list(node.stride),
        "pads": [*node.padding, *node.padding],
    }
    taps = node.kernel[0] * node.kernel[1]
    if isinstance(node, MaxPool2d):
        return site.result("MaxPool", [x], **window)
    average = isinstance(node, AvgPool2d)
    # ONNX Runtime refuses pooling with a padding as large as the window.
    if average and taps & (taps - 1) == 0 and padding_inside_window(node):
        return site.result("AveragePool", [x], count_include_pad=1, **window)
    channels = site.dims[1]
    ones = site.constant("ones", np.ones((channels, 1, *node.kernel)))
    if not average:
        return site.result("Conv", [x, ones], doc="the sum over each window", group=channels, **window)
    total = site.op("Conv", [x, ones], "sum", group=channels, **window)
    return site.result("Div", [total, site.constant("taps", taps)])


def padding_inside_window(node: SumPool2d) -> bool:
    """Whether every window of a pool sees something other than padding."""
    return all(padding < kernel for padding, kernel in zip(node.padding, node.kernel, strict=True))


def _norm(site: Site, node: Norm, x: str) -> str:
    """``scale · (x − mean) + bias``, in this order (BatchNormalization leaves it to the runtime)."""
    over = (-1, *(1,) * (len(site.dims) - 2))
    centered = site.op("Sub", [x, site.constant("mean", node.mean.reshape(over))], "centered")
    scaled = site.op("Mul", [site.constant("scale", node.scale().reshape(over)), centered], "scaled")
    return site.result("Add", [scaled, site.constant("bias", node.bias.reshape(over))])


def neuron(site: Site, node: LIF | Integrator, x: str, state: State) -> str:
    """One step of a neuron, the equations of its docstring; writes the new ``state``."""

    def mul(what: str, value: str, result: str) -> str:
        number = getattr(node, what)
        return value if np.all(number == 1.0) else site.op("Mul", [site.constant(what, number), value], result)

    def add_kept(key: str, what: str, value: str, result: str) -> str:
        if key not in state or np.all(getattr(node, what) == 0.0):
            return value
        return site.op("Add", [mul(what, state[key], f"leaked_{key}"), value], result)

    if isinstance(node, CubaLIF):
        x = add_kept(CURRENT, "current_decay", mul("current_gain", x, "driven"), "current")
        state[CURRENT] = x
    u = add_kept(MEMBRANE, "decay", mul("gain", x, "gained"), "potential")
    if np.any(node.offset != 0.0):
        u = site.op("Add", [u, site.constant("offset", node.offset)], "offset_potential")
    if not isinstance(node, LIF):
        state[MEMBRANE] = u
        return u
    threshold = site.constant("threshold", node.threshold)
    if node.spikes == "multi":
        whole = site.op("Floor", [site.op("Div", [u, threshold], "thresholds")], "floor")
        spikes = site.result("Max", [whole, site.writer.constant("zero", 0.0)], "spikes", equation(node))
    else:
        fired = _fired(site, node.compare, u, threshold)
        spikes = site.result("Cast", [fired], "spikes", equation(node), to=FLOAT)
    if node.reset == "to":
        state[MEMBRANE] = site.op("Where", [fired, site.constant("v_reset", node.v_reset), u], "membrane")
    else:
        state[MEMBRANE] = site.op("Sub", [u, site.op("Mul", [spikes, threshold], "taken")], "membrane")
    return spikes


def _fired(site: Site, compare: str, u: str, threshold: str) -> str:
    """``u ≥ threshold`` or ``u > threshold``."""
    return site.op("GreaterOrEqual" if compare == "ge" else "Greater", [u, threshold], "fired")


def delayed(site: Site, node: Delay, past: Callable[[int], str | None], zeros: Callable[[], str]) -> str:
    """``x[t − steps]``; ``past(k)`` is the value of k steps ago, None before the first."""
    distances = np.unique(node.steps)
    if len(distances) == 1:
        return past(int(distances[0])) or zeros()
    out = zeros()
    for distance in distances:
        value = past(int(distance))
        if value is not None:
            here = site.constant(f"is_{distance}", node.steps == distance, np.bool_)
            out = site.op("Where", [here, value, out], f"from_{distance}")
    return out


def added(site: Site, values: Sequence[str]) -> str:
    """The sum of the edges into a node, in their order."""
    total = values[0]
    for value in values[1:]:
        total = site.op("Add", [total, value], "arriving")
    return total


def equation(node: LIF) -> str:
    """The neuron in a line, for people who open the file."""
    number: Mapping[str, str] = {
        what: f"{float(array):g}" if array.ndim == 0 else what
        for what in ("decay", "threshold", "gain", "offset", "v_reset", "current_decay", "current_gain")
        if (array := getattr(node, what, None)) is not None
    }
    arriving = "i" if isinstance(node, CubaLIF) else "x"
    current = f"i = {number['current_decay']}·i + {number['current_gain']}·x; " if arriving == "i" else ""
    u = f"u = {number['decay']}·u + {number['gain']}·{arriving} + {number['offset']}"
    if node.spikes == "multi":
        return f"{current}{u}; o = max(0, floor(u / {number['threshold']})); u = u - o·{number['threshold']}"
    sign = "≥" if node.compare == "ge" else ">"
    reset = f"u = {number['v_reset']}" if node.reset == "to" else f"u = u - {number['threshold']}"
    return f"{current}{u}; o = 1 where u {sign} {number['threshold']}; {reset} where o = 1"
