"""The integer machine in torch, with gradients: what a chip would do, and how the float weights behind it matter.

Forward, every number is the machine's (:mod:`neurodeploy.ir.machine`), in weight units, so that states are multiples of
1/64 below 2^17 and float32 holds them exactly::

    w = clip(2·round(S·W/2), ±254)    b = round(S·B)          W, B are trained, S is the population's scale
    i = trunc64(i·(1 − iDecay/4096)) + Σ w·s                  trunc64: toward zero, to multiples of 1/64
    v = trunc64(v·(1 − vDecay/4096)) + i + b
    s = v > vThMant;  v = 0 where s

Backward, rounding and truncation count as the identity (straight-through; Bengio et al. 2013), weights beyond the range
get no gradient, and a spike has the slope of the surrogate at ``v/S``.

Weights that are zero stay zero (a composed pool keeps its shape), and one-to-one synapses (skips, relays) are not
trained. The 24-bit wrap and the clip of v are left out: :mod:`neurodeploy.passes.ranges` proves that neither happens.

Shape legend: T time, B batch; a name without T is one step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir import nodes as ir
from neurodeploy.ir.graph import Graph
from neurodeploy.nn.surrogate import SLOPES
from neurodeploy.passes.parallel_synapses import MOST_COPIES, one_to_one
from neurodeploy.passes.quantizable import integer_decay, synapses_into
from neurodeploy.passes.quantize import Population
from neurodeploy.passes.ranges import WEIGHT_LIMIT


class _Round(torch.autograd.Function):
    """``step·clip(round(S·W/step), ±most/step)``; the gradient of ``S·W`` where it is not clipped."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: float, step: float, most: float) -> Tensor:
        # In float64, as quantize rounds: float32 could fall on the other side of a half.
        exact = weight.double() * scale
        ctx.save_for_backward(exact.abs() <= most + step / 2)
        ctx.scale = scale
        return (step * (exact / step).round().clamp(-most / step, most / step)).float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside * ctx.scale, None, None, None


class _Leak(torch.autograd.Function):
    """``trunc64(v·decay)``; the gradient of ``v·decay``."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, decay: float) -> Tensor:
        ctx.decay = decay
        # float64 because v·64 has 23 bits and a decay up to 12 more.
        return ((v.double() * (64.0 * decay)).trunc() / 64.0).float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.decay, None


class _Fire(torch.autograd.Function):
    """``s = v > vThMant``; the slope of the surrogate at ``v/S`` beside the threshold ``vThMant/S``."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, mantissa: float, scale: float, surrogate: str) -> Tensor:
        ctx.save_for_backward(v)
        ctx.settings = mantissa, scale, surrogate
        return (v > mantissa).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (v,) = ctx.saved_tensors
        mantissa, scale, surrogate = ctx.settings
        return gradients[0] * SLOPES[surrogate](v / scale, mantissa / scale) / scale, None, None, None


class IntegerMachine(nn.Module):
    """A float graph that runs as its quantized form.

    Args:
        graph: What quantize takes; its synapses' weights and biases become parameters.
        tail: The host's part behind it, in float; not trained, gradients pass.
        surrogate: Name of the surrogate gradient.

    Raises:
        UnsupportedError: A node that cannot be trained here (ND239).
    """

    def __init__(self, graph: Graph, tail: Graph | None = None, surrogate: str = "tanh") -> None:
        super().__init__()
        self.graph, self.tail, self.surrogate = graph, tail, surrogate
        self.found: dict[str, Population] = {}
        self.weights, self.biases = nn.ParameterDict(), nn.ParameterDict()
        self.masks: dict[str, Tensor] = {}
        #: A CubaLIF's offset, which quantize adds to the bias of its first synapse.
        self.drives: dict[str, Tensor] = {}
        for name in graph.names(ir.CubaLIF):
            neuron = graph.nodes[name]
            assert isinstance(neuron, ir.CubaLIF)
            drive = np.broadcast_to(neuron.offset, neuron.shape).reshape(neuron.shape[0], -1)[:, 0]
            self.drives[graph.sources(name)[0]] = torch.from_numpy(drive.copy())
        for name in graph.names(ir.SYNAPSES):
            node = graph.nodes[name]
            assert isinstance(node, ir.SYNAPSES)
            fixed = one_to_one(node)
            # Contiguous copies: a graph's arrays must not be written to.
            weight = torch.from_numpy(np.array(node.weight, np.float64))
            self.masks[name] = weight != 0
            self.weights[name] = nn.Parameter(weight, requires_grad=not fixed)
            bias = torch.from_numpy(np.array(node.bias, np.float64))
            self.biases[name] = nn.Parameter(bias, requires_grad=not fixed and bool(bias.any()))
        for part in (graph, tail):
            for name, node in part.nodes.items() if part is not None else ():
                if not isinstance(node, (*_RUN, *ir.SYNAPSES, ir.LIF, ir.Integrator, ir.Delay, ir.Input)):
                    fix = "export without --finetune"
                    raise UnsupportedError("ND239", f"`{node.kind}` cannot be fine-tuned", where=name, fix=fix)

    def as_graph(self) -> Graph:
        """The float graph with the parameters as they are."""
        changed: dict[str, ir.Node] = {}
        for name in self.weights:
            node = self.graph.nodes[name]
            assert isinstance(node, ir.SYNAPSES)
            weight, bias = (p[name].detach().numpy().copy() for p in (self.weights, self.biases))
            changed[name] = replace(node, weight=weight, bias=bias)
        return self.graph.with_nodes(changed)

    def take(self, found: dict[str, Population]) -> None:
        """Run at these scales and thresholds from now on."""
        self.found = found

    @torch.no_grad()
    def clip(self) -> None:
        """Bring every parameter back into the range of its scale."""
        for name, weight in self.weights.items():
            reach = self._copies(name) * WEIGHT_LIMIT / self._scale(name)
            weight.clamp_(-reach, reach)

    def _scale(self, synapse: str) -> float:
        return self.found[self.graph.targets(synapse)[0]].scale

    def _copies(self, synapse: str) -> int:
        """As quantize: a skip beside other synapses is split into several."""
        nodes = synapses_into(self.graph, self.graph.targets(synapse)[0])
        return MOST_COPIES if one_to_one(nodes[synapse]) and not all(map(one_to_one, nodes.values())) else 1

    def forward(self, x_TB: Tensor) -> Tensor:
        """``(T, B, *shape)`` spikes -> what leaves the chip, or its tail, in real units, ``(T, B, *shape)``."""
        integers = {}
        for name in self.weights:
            scale, most = self._scale(name), float(self._copies(name) * WEIGHT_LIMIT)
            weight = _Round.apply(self.weights[name] * self.masks[name], scale, 2.0, most)
            bias = self.biases[name] + self.drives.get(name, 0.0)
            integers[name] = weight, _Round.apply(bias, scale, 1.0, float("inf"))
        units: dict[str, float] = {}

        def step(name: str, state: dict[str, Tensor], x: Tensor) -> Tensor:
            node = self.graph.nodes[name]
            if isinstance(node, ir.SYNAPSES):
                return _sums(node, x, integers[name][0])
            assert isinstance(node, (ir.LIF, ir.Integrator))
            bias = sum(integers[source][1] for source in self.graph.sources(name))
            return self._neuron(name, node, state, x, _per_channel(bias, x))

        for name in self.graph.names(ir.Integrator):
            units[name] = 1.0 / self.found[name].scale
        out = _run(self.graph, x_TB, step)
        reads = self.graph.sources(self.graph.output)
        out = out * units.get(reads[0], 1.0)
        return out if self.tail is None else _run(self.tail, out, _float_step(self.tail))

    def _neuron(
        self, name: str, node: ir.LIF | ir.Integrator, state: dict[str, Tensor], x: Tensor, bias: Tensor
    ) -> Tensor:
        i = x
        if isinstance(node, ir.CubaLIF):
            i = _leaked(state.get("i"), integer_decay(float(node.current_decay)), x)
            state["i"] = i
        v = _leaked(state.get("v"), integer_decay(float(node.decay)), i + bias)
        if isinstance(node, ir.Integrator):
            state["v"] = v
            return v
        population = self.found[name]
        assert isinstance(population.neuron, ir.LIF)
        s: Tensor = _Fire.apply(v, float(population.neuron.threshold), population.scale, self.surrogate)
        state["v"] = v * (1 - s)
        return s


def _leaked(state: Tensor | None, decay: float, x: Tensor) -> Tensor:
    if state is None or decay == 0.0:
        return x
    if decay == 1.0:
        return state + x
    leaked: Tensor = _Leak.apply(state, decay)
    return leaked + x


Step = Callable[[str, dict[str, Tensor], Tensor], Tensor]


def _run(graph: Graph, x_TB: Tensor, step: Step) -> Tensor:
    """Step through time as the interpreter does; ``step`` runs synapses and neurons, ``(T, B, *shape)`` comes out."""
    states: dict[str, dict[str, Tensor]] = {name: {} for name in graph.nodes}
    past: dict[str, list[Tensor]] = {name: [] for name in graph.nodes}
    for x in x_TB.unbind(0):
        now: dict[str, Tensor] = {}
        for name, node in graph.nodes.items():
            if isinstance(node, ir.Input):
                now[name] = x
                continue
            incoming = [
                now[s] if (s, name) not in graph.recurrent else past[s][-1] if past[s] else x.new_zeros(())
                for s in graph.sources(name)
            ]
            total = incoming[0] if len(incoming) == 1 else sum(incoming[1:], incoming[0])
            shape = (x.shape[0], *graph.input_shape(name))
            total = total.expand(shape) if total.shape != shape else total
            if isinstance(node, ir.Delay):
                history = states[name].setdefault("x", total[None]) if not past[name] else states[name]["x"]
                history = history if not past[name] else torch.cat([history, total[None]])
                states[name]["x"] = history
                now[name] = _delayed(node, history)
            elif isinstance(node, (*ir.SYNAPSES, ir.LIF, ir.Integrator)):
                now[name] = step(name, states[name], total)
            else:
                now[name] = _RUN[type(node)](node, total)
        for name, value in now.items():
            past[name].append(value)
    return torch.stack(past[graph.output])


def _float_step(graph: Graph) -> Step:
    """The host's part: layers and integrators in float32."""

    def step(name: str, state: dict[str, Tensor], x: Tensor) -> Tensor:
        node = graph.nodes[name]
        if isinstance(node, ir.SYNAPSES):
            weight, bias = (torch.from_numpy(np.array(a, np.float32)) for a in (node.weight, node.bias))
            sums = _sums(node, x, weight)
            return sums + _per_channel(bias, sums)
        if not isinstance(node, ir.Integrator):
            raise UnsupportedError("ND239", f"`{node.kind}` cannot be fine-tuned", where=name, fix="leave it out")
        gain, offset = (_constant(a, node.shape) for a in (node.gain, node.offset))
        u = gain * x + offset
        if "v" in state:
            u = u + _constant(node.decay, node.shape) * state["v"]
        state["v"] = u
        return u

    return step


def _sums(node: ir.Synapse, x: Tensor, weight: Tensor) -> Tensor:
    if isinstance(node, ir.Linear):
        return functional.linear(x, weight)
    convolve = functional.conv1d if isinstance(node, ir.Conv1d) else functional.conv2d
    return convolve(x, weight, None, node.stride, node.padding, node.dilation, node.groups)


def _delayed(node: ir.Delay, history: Tensor) -> Tensor:
    steps = torch.from_numpy(np.broadcast_to(node.steps, node.shape).copy())
    out = torch.zeros_like(history[-1])
    for back in range(min(int(steps.max()) + 1, len(history))):
        out = torch.where(steps == back, history[-1 - back], out)
    return out


def _constant(array: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.broadcast_to(array, shape).astype(np.float32))


def _per_channel(array: Any, like: Tensor) -> Tensor:
    shaped: Tensor = array.reshape(-1, *(1,) * (like.dim() - 2))
    return shaped


def _pooled(node: Any, x: Tensor) -> Tensor:
    largest = isinstance(node, ir.MaxPool2d)
    if largest:
        return functional.max_pool2d(x, node.kernel, node.stride, node.padding)
    area = 1 if isinstance(node, ir.AvgPool2d) else node.kernel[0] * node.kernel[1]
    return functional.avg_pool2d(x, node.kernel, node.stride, node.padding) * area


#: Nodes without state or weights.
_RUN: dict[type, Callable[[Any, Tensor], Tensor]] = {
    ir.SumPool2d: _pooled,
    ir.AvgPool2d: _pooled,
    ir.MaxPool2d: _pooled,
    ir.Scale: lambda node, x: _constant(node.scale, node.shape) * x,
    ir.ReLU: lambda node, x: functional.relu(x),
    ir.Flatten: lambda node, x: x.flatten(1),
    ir.Output: lambda node, x: x,
}
