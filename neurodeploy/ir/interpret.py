"""The slow, obvious interpreter: it defines what a graph means, in float64, float32 and the integer machine.

Order of float sums, which every fast engine keeps so that results are equal bit for bit: a synapse starts at zero and
adds its taps in the order kernel row, kernel column, input channel (``Linear``: input index), then its bias; edges
into one node add in the order of ``graph.edges``. Neurons compute ``(decay·u + gain·x) + offset``; the current of a
CubaLIF ``current_decay·i + current_gain·x``. Parameters are rounded to the arithmetic once, before the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.machine import (
    DECAY_UNITY,
    SHIFT,
    STATE_LIMIT,
    WRAP,
    current_decay,
    neuron_bias,
    require_machine,
    threshold_mantissa,
    voltage_decay,
)
from neurodeploy.ir.nodes import (
    LIF,
    NEURONS,
    SYNAPSES,
    AvgPool2d,
    Conv1d,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Linear,
    MaxPool2d,
    Norm,
    Output,
    ReLU,
    Scale,
    SumPool2d,
    Synapse,
    Threshold,
    as_conv2d,
)

#: Traces and golden vectors keep spikes as bytes.
MOST_SPIKES = 255
ARITHMETICS = ("float32", "float64", "loihi")


@dataclass(frozen=True)
class Interpretation:
    """Everything that happened: arrays ``(B, T, *shape)``.

    Attributes:
        spikes: Neuron node -> uint8.
        potential: Neuron node -> u_pre, before reset.
        membrane: Neuron and integrator node -> state after reset.
        current: CubaLIF node -> synaptic current.
        output: What reached the Output.
    """

    spikes: Mapping[str, np.ndarray]
    potential: Mapping[str, np.ndarray]
    membrane: Mapping[str, np.ndarray]
    current: Mapping[str, np.ndarray]
    output: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """``output``, ``spikes/<node>``, ``membrane/<node>`` and ``current/<node>``: the keys of golden vectors."""
        return named_arrays(self.output, self.spikes, self.membrane, self.current)


def named_arrays(
    output: np.ndarray,
    spikes: Mapping[str, np.ndarray],
    membrane: Mapping[str, np.ndarray],
    current: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Results under the keys of golden vectors and traces."""
    return {
        "output": output,
        **{f"spikes/{name}": array for name, array in spikes.items()},
        **{f"membrane/{name}": array for name, array in membrane.items()},
        **{f"current/{name}": array for name, array in (current or {}).items()},
    }


def interpret(graph: Graph, x: np.ndarray, arithmetic: str = "float64") -> Interpretation:
    """Run ``graph`` on ``x`` ``(B, T, *shape)``, one timestep after the other, one node after the other.

    Args:
        graph: Any graph; ``loihi`` needs one that :func:`~neurodeploy.ir.machine.require_machine` accepts.
        x: Input, batch first, then time.
        arithmetic: ``float64``, ``float32`` or ``loihi`` (int64 states, exact).
    """
    if arithmetic == "loihi":
        require_machine(graph)
    dtype: Any = {"float64": np.float64, "float32": np.float32, "loihi": np.int64}[arithmetic]
    x = np.asarray(x)
    samples, timesteps = x.shape[:2]
    states = {name: _State(graph, name, samples, dtype) for name in graph.nodes}
    values = {name: np.zeros((samples, *graph.shapes[name]), dtype) for name in graph.nodes}
    lifs = graph.names(LIF)
    kept: dict[str, list[np.ndarray]] = {name: [] for name in (*lifs, graph.output)}
    for t in range(timesteps):
        # A recurrent edge delivers what its source put out at the step before; zero at the first.
        before = values
        values = {}
        for name, node in graph.nodes.items():
            if isinstance(node, Input):
                values[name] = x[:, t].astype(dtype)
            else:
                incoming = [(before if (s, name) in graph.recurrent else values)[s] for s in graph.sources(name)]
                total = incoming[0]
                for value in incoming[1:]:
                    total = total + value
                values[name] = states[name].step(total)
            if name in kept:
                kept[name].append(values[name])
    return Interpretation(
        spikes={name: spikes_as_bytes(name, np.stack(kept[name], axis=1)) for name in lifs},
        potential={name: np.stack(states[name].potential, axis=1) for name in lifs},
        membrane={name: np.stack(states[name].membrane, axis=1) for name in graph.names(NEURONS)},
        current={name: np.stack(states[name].current, axis=1) for name in graph.names(CubaLIF)},
        output=np.stack(kept[graph.output], axis=1),
    )


def spikes_as_bytes(name: str, spikes: np.ndarray) -> np.ndarray:
    """Spikes as uint8; more than 255 at once are refused (ND223)."""
    if spikes.dtype == np.uint8:
        return spikes
    most = spikes.max(initial=0)
    if not most <= MOST_SPIKES:
        raise UnsupportedError(
            "ND223",
            f"a neuron fired {most:g} spikes in one timestep; a trace keeps at most {MOST_SPIKES}",
            where=name,
            fix="run without --trace: counts and output are right; or scale the weights into it down",
        )
    return spikes.astype(np.uint8)


class _State:
    """One node while it runs: its parameters in the arithmetic, its state, and what is recorded of it.

    ``step`` takes what arrives at a timestep, ``(B, *shape)``, and gives what leaves at that timestep.
    """

    def __init__(self, graph: Graph, name: str, samples: int, dtype: Any) -> None:
        self.node, self.dtype = graph.nodes[name], dtype
        self.potential: list[np.ndarray] = []
        self.membrane: list[np.ndarray] = []
        self.current: list[np.ndarray] = []
        shape = (samples, *graph.shapes[name])
        self.u, self.i = np.zeros(shape, dtype), np.zeros(shape, dtype)
        self.past: list[np.ndarray] = []
        integers = dtype is np.int64
        if isinstance(self.node, NEURONS):
            self.step = self._integer_neuron if integers else self._float_neuron
            if integers:
                self.bias = np.asarray(neuron_bias(graph, name)).reshape(-1, *(1,) * (len(shape) - 2)) << SHIFT
        elif isinstance(self.node, SYNAPSES):
            self.step = self._integer_synapse if integers else self._float_synapse
        elif isinstance(self.node, Delay):
            self.step = self._delay
        else:
            self.step = lambda x: _STATELESS[type(self.node)](self.node, x, dtype)

    def _float_synapse(self, x: np.ndarray) -> np.ndarray:
        node = self.node
        assert isinstance(node, SYNAPSES)
        return _sums(node, x, self.dtype) + _per_channel(node.bias.astype(self.dtype), x.ndim)

    def _integer_synapse(self, x: np.ndarray) -> np.ndarray:
        """A convolution of Lava wraps at 24 bits; the bias goes to the neuron's v, not through u."""
        node = self.node
        assert isinstance(node, SYNAPSES)
        sums = _sums(node, x, self.dtype)
        return sums if isinstance(node, Linear) else (sums + WRAP // 2) % WRAP - WRAP // 2

    def _float_neuron(self, x: np.ndarray) -> np.ndarray:
        node = self.node
        assert isinstance(node, NEURONS)
        number = {
            f.name: value.astype(self.dtype)
            for f in fields(node)
            if isinstance(value := getattr(node, f.name), np.ndarray)
        }
        if isinstance(node, CubaLIF):
            self.i = x = number["current_decay"] * self.i + number["current_gain"] * x
            self.current.append(self.i)
        u = (number["decay"] * self.u + number["gain"] * x) + number["offset"]
        self.potential.append(u)
        fired = np.zeros(u.shape, self.dtype)
        if isinstance(node, LIF):
            threshold = number["threshold"]
            if node.spikes == "multi":
                fired = np.maximum(np.floor(u / threshold), self.dtype(0))
            else:
                fired = (u >= threshold if node.compare == "ge" else u > threshold).astype(self.dtype)
            u = np.where(fired > 0, number["v_reset"] if node.reset == "to" else u - fired * threshold, u)
        self.u = u
        self.membrane.append(u)
        return fired if isinstance(node, LIF) else u

    def _integer_neuron(self, a: np.ndarray) -> np.ndarray:
        """See :mod:`neurodeploy.ir.machine`."""
        node = self.node
        assert isinstance(node, NEURONS)
        self.i = _leak(self.i, DECAY_UNITY - current_decay(node)) + (a << SHIFT)
        self.i = np.where(self.i > WRAP // 2, self.i - WRAP, np.where(self.i <= -(WRAP // 2), self.i + WRAP, self.i))
        if isinstance(node, CubaLIF):
            self.current.append(self.i)
        v = _leak(self.u, DECAY_UNITY - voltage_decay(node)) + self.i + self.bias
        v = np.clip(v, -STATE_LIMIT, STATE_LIMIT)
        self.potential.append(v)
        fired = v > threshold_mantissa(node) << SHIFT
        self.u = np.where(fired, 0, v)
        self.membrane.append(self.u)
        return fired.astype(self.dtype) if isinstance(node, LIF) else self.u

    def _delay(self, x: np.ndarray) -> np.ndarray:
        node = self.node
        assert isinstance(node, Delay)
        self.past.append(x)
        steps = np.broadcast_to(node.steps, node.shape)
        out = np.zeros_like(x)
        for back in np.unique(steps[steps < len(self.past)]):
            out = np.where(steps == back, self.past[-1 - back], out)
        return out


def _per_channel(array: np.ndarray, ndim: int) -> np.ndarray:
    """``(C,)`` shaped to add to ``(B, C, …)``."""
    return array.reshape(array.shape[0], *(1,) * (ndim - 2))


def _sums(node: Synapse, x: np.ndarray, dtype: Any) -> np.ndarray:
    """Weighted sums without bias, taps in the canonical order; ``x`` is ``(B, *shape)``."""
    weight = node.weight.astype(dtype)
    if isinstance(node, Linear):
        total = np.zeros((x.shape[0], weight.shape[0]), dtype)
        for i in range(weight.shape[1]):
            total += weight[:, i] * x[:, i, None]
        return total
    if isinstance(node, Conv1d):
        return _sums(as_conv2d(node), x[:, :, None], dtype)[:, :, 0]
    ph, pw = node.padding
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    out, per_group, kh, kw = weight.shape
    (sh, sw), (dh, dw) = node.stride, node.dilation
    oh = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1
    ow = (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    total = np.zeros((x.shape[0], out, oh, ow), dtype)
    group_out = out // node.groups
    for ky in range(kh):
        for kx in range(kw):
            window = x[..., ky * dh : ky * dh + sh * (oh - 1) + 1 : sh, kx * dw : kx * dw + sw * (ow - 1) + 1 : sw]
            for group in range(node.groups):
                rows = slice(group * group_out, (group + 1) * group_out)
                for i in range(per_group):
                    tap = weight[rows, i, ky, kx][:, None, None]
                    total[:, rows] += tap * window[:, group * per_group + i, None]
    return total


def _pool(node: SumPool2d, x: np.ndarray, dtype: Any) -> np.ndarray:
    (kh, kw), (sh, sw), (ph, pw) = node.kernel, node.stride, node.padding
    largest = isinstance(node, MaxPool2d)
    lowest = np.iinfo(dtype).min if np.issubdtype(dtype, np.integer) else -np.inf
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=lowest if largest else 0)
    oh, ow = (x.shape[2] - kh) // sh + 1, (x.shape[3] - kw) // sw + 1
    total = np.full((*x.shape[:2], oh, ow), lowest if largest else 0, dtype)
    for ky in range(kh):
        for kx in range(kw):
            window = x[..., ky : ky + sh * (oh - 1) + 1 : sh, kx : kx + sw * (ow - 1) + 1 : sw]
            total = np.maximum(total, window) if largest else total + window
    return total / dtype(kh * kw) if isinstance(node, AvgPool2d) else total


def _norm(node: Norm, x: np.ndarray, dtype: Any) -> np.ndarray:
    scale, mean, bias = (_per_channel(a.astype(dtype), x.ndim) for a in (node.scale(), node.mean, node.bias))
    return scale * (x - mean) + bias


def _threshold(node: Threshold, x: np.ndarray, dtype: Any) -> np.ndarray:
    threshold = node.threshold.astype(dtype)
    return (x >= threshold if node.compare == "ge" else x > threshold).astype(dtype)


_STATELESS: dict[type, Callable[..., np.ndarray]] = {
    Norm: _norm,
    SumPool2d: _pool,
    AvgPool2d: _pool,
    MaxPool2d: _pool,
    Scale: lambda node, x, dtype: node.scale.astype(dtype) * x,
    Threshold: _threshold,
    ReLU: lambda node, x, dtype: np.maximum(x, dtype(0)),
    Flatten: lambda node, x, dtype: x.reshape(x.shape[0], -1),
    Output: lambda node, x, dtype: x,
}


def _leak(state: np.ndarray, factor: int) -> np.ndarray:
    """``state · factor >> 12`` with the shift on the magnitude: truncation toward zero."""
    return np.sign(state) * ((np.abs(state) * factor) >> 12)
