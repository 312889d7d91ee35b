"""The slow, obvious interpreter: it defines what a graph means, in float64, float32 and the integer machine.

Order of float sums, which every fast engine keeps so that results are equal bit for bit: a synapse starts at zero and
adds its taps in the order kernel row, kernel column, input channel (``Linear``: input index), then its bias; edges
into one node add in the order of ``graph.edges``. Neurons compute ``(decay·u + gain·x) + offset``. Parameters are
rounded to the arithmetic once, before the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.machine import (
    DECAY_UNITY,
    SHIFT,
    STATE_LIMIT,
    WRAP,
    require_machine,
    threshold_mantissa,
    voltage_decay,
)
from neurodeploy.ir.nodes import (
    LIF,
    SYNAPSES,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Integrator,
    Linear,
    Norm,
    Output,
    SumPool2d,
)

ARITHMETICS = ("float32", "float64", "loihi")


@dataclass(frozen=True)
class Interpretation:
    """Everything that happened: arrays ``(B, T, *shape)``.

    Attributes:
        spikes: Neuron node -> uint8.
        potential: Neuron node -> u_pre, before reset.
        membrane: Neuron and integrator node -> state after reset.
        output: What reached the Output.
    """

    spikes: Mapping[str, np.ndarray]
    potential: Mapping[str, np.ndarray]
    membrane: Mapping[str, np.ndarray]
    output: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """``output``, ``spikes/<node>`` and ``membrane/<node>``, the keys of golden vectors and traces."""
        return named_arrays(self.output, self.spikes, self.membrane)


def named_arrays(
    output: np.ndarray, spikes: Mapping[str, np.ndarray], membrane: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Results under the keys of golden vectors and traces."""
    return {
        "output": output,
        **{f"spikes/{name}": array for name, array in spikes.items()},
        **{f"membrane/{name}": array for name, array in membrane.items()},
    }


def interpret(graph: Graph, x: np.ndarray, arithmetic: str = "float64") -> Interpretation:
    """Run ``graph`` on ``x`` ``(B, T, *shape)``.

    Args:
        graph: Any graph; ``loihi`` needs one that :func:`~neurodeploy.ir.machine.require_machine` accepts.
        x: Input, batch first, then time.
        arithmetic: ``float64``, ``float32`` or ``loihi`` (int64 states, exact).
    """
    if arithmetic == "loihi":
        require_machine(graph)
    dtype: Any = {"float64": np.float64, "float32": np.float32, "loihi": np.int64}[arithmetic]
    values: dict[str, np.ndarray] = {}
    bias: dict[str, np.ndarray] = {}
    spikes: dict[str, np.ndarray] = {}
    potential: dict[str, np.ndarray] = {}
    membrane: dict[str, np.ndarray] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, Input):
            values[name] = np.asarray(x).astype(dtype)
            continue
        incoming = values[graph.sources(name)[0]]
        for source in graph.sources(name)[1:]:
            incoming = incoming + values[source]
        if isinstance(node, SYNAPSES):
            sums = _synapse(node, incoming, dtype)
            bias[name] = _per_channel(node.bias.astype(dtype), sums.ndim)
            if arithmetic == "loihi":
                # A convolution of Lava wraps at 24 bits; the bias goes to the neuron's v, not through u.
                values[name] = (sums + WRAP // 2) % WRAP - WRAP // 2 if isinstance(node, Conv2d) else sums
            else:
                values[name] = sums + bias[name]
        elif isinstance(node, (LIF, Integrator)):
            if arithmetic == "loihi":
                total_bias = sum(bias[source] for source in graph.sources(name))
                pre, after, fired = _integer_neuron(node, incoming, np.asarray(total_bias))
            else:
                pre, after, fired = _float_neuron(node, incoming, dtype)
            membrane[name] = after
            if isinstance(node, LIF):
                spikes[name] = fired.astype(np.uint8)
                potential[name] = pre
                values[name] = fired.astype(dtype)
            else:
                values[name] = after
        else:
            values[name] = _STATELESS[type(node)](node, incoming, dtype)
    return Interpretation(spikes, potential, membrane, values[graph.output])


def _per_channel(array: np.ndarray, ndim: int) -> np.ndarray:
    """``(C,)`` shaped to add to ``(B, T, C, …)``."""
    return array.reshape(array.shape[0], *(1,) * (ndim - 3))


def _synapse(node: Conv2d | Linear, x: np.ndarray, dtype: Any) -> np.ndarray:
    """Weighted sums without bias, taps in the canonical order."""
    weight = node.weight.astype(dtype)
    if isinstance(node, Linear):
        total = np.zeros((*x.shape[:2], weight.shape[0]), dtype)
        for i in range(weight.shape[1]):
            total += weight[:, i] * x[:, :, i, None]
        return total
    ph, pw = node.padding
    x = np.pad(x, ((0, 0), (0, 0), (0, 0), (ph, ph), (pw, pw)))
    out, per_group, kh, kw = weight.shape
    (sh, sw), (dh, dw) = node.stride, node.dilation
    oh = (x.shape[3] - dh * (kh - 1) - 1) // sh + 1
    ow = (x.shape[4] - dw * (kw - 1) - 1) // sw + 1
    total = np.zeros((*x.shape[:2], out, oh, ow), dtype)
    group_out = out // node.groups
    for ky in range(kh):
        for kx in range(kw):
            window = x[..., ky * dh : ky * dh + sh * (oh - 1) + 1 : sh, kx * dw : kx * dw + sw * (ow - 1) + 1 : sw]
            for group in range(node.groups):
                rows = slice(group * group_out, (group + 1) * group_out)
                for i in range(per_group):
                    tap = weight[rows, i, ky, kx][:, None, None]
                    total[:, :, rows] += tap * window[:, :, group * per_group + i, None]
    return total


def _pool(node: SumPool2d, x: np.ndarray, dtype: Any) -> np.ndarray:
    (kh, kw), (sh, sw), (ph, pw) = node.kernel, node.stride, node.padding
    x = np.pad(x, ((0, 0), (0, 0), (0, 0), (ph, ph), (pw, pw)))
    oh, ow = (x.shape[3] - kh) // sh + 1, (x.shape[4] - kw) // sw + 1
    total = np.zeros((*x.shape[:3], oh, ow), dtype)
    for ky in range(kh):
        for kx in range(kw):
            total += x[..., ky : ky + sh * (oh - 1) + 1 : sh, kx : kx + sw * (ow - 1) + 1 : sw]
    return total / dtype(kh * kw) if isinstance(node, AvgPool2d) else total


def _norm(node: Norm, x: np.ndarray, dtype: Any) -> np.ndarray:
    scale, mean, bias = (_per_channel(a.astype(dtype), x.ndim) for a in (node.scale(), node.mean, node.bias))
    return scale * (x - mean) + bias


_STATELESS: dict[type, Callable[..., np.ndarray]] = {
    Norm: _norm,
    SumPool2d: _pool,
    AvgPool2d: _pool,
    Flatten: lambda node, x, dtype: x.reshape(*x.shape[:2], -1),
    Output: lambda node, x, dtype: x,
}


def _float_neuron(node: LIF | Integrator, x: np.ndarray, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """u_pre, u after reset, spikes; all ``(B, T, *shape)``."""
    pre, after = np.empty_like(x), np.empty_like(x)
    fired = np.zeros(x.shape, bool)
    u = np.zeros((x.shape[0], *node.shape), dtype)
    if isinstance(node, Integrator):
        decay = dtype(node.decay)
        for t in range(x.shape[1]):
            u = decay * u + x[:, t]
            pre[:, t] = after[:, t] = u
        return pre, after, fired
    decay, gain, offset, threshold, v_reset = (
        a.astype(dtype) for a in (node.decay, node.gain, node.offset, node.threshold, node.v_reset)
    )
    for t in range(x.shape[1]):
        u = (decay * u + gain * x[:, t]) + offset
        pre[:, t] = u
        fires = u >= threshold if node.compare == "ge" else u > threshold
        u = np.where(fires, v_reset if node.reset == "to" else u - threshold, u)
        after[:, t], fired[:, t] = u, fires
    return pre, after, fired


def _leak(state: np.ndarray, factor: int) -> np.ndarray:
    """``state · factor >> 12`` with the shift on the magnitude: truncation toward zero."""
    return np.sign(state) * ((np.abs(state) * factor) >> 12)


def _integer_neuron(
    node: LIF | Integrator, a: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One neuron population of the integer machine; see :mod:`neurodeploy.ir.machine`."""
    pre, after = np.empty_like(a), np.empty_like(a)
    fired = np.zeros(a.shape, bool)
    v = np.zeros((a.shape[0], *node.shape), np.int64)
    factor = DECAY_UNITY - voltage_decay(node)
    threshold = threshold_mantissa(node) << SHIFT
    for t in range(a.shape[1]):
        u = a[:, t] << SHIFT
        u = np.where(u > WRAP // 2, u - WRAP, np.where(u <= -(WRAP // 2), u + WRAP, u))
        v = np.clip(_leak(v, factor) + u + (bias << SHIFT), -STATE_LIMIT, STATE_LIMIT)
        pre[:, t] = v
        fires = v > threshold
        v = np.where(fires, 0, v)
        after[:, t], fired[:, t] = v, fires
    return pre, after, fired
