"""A network as a torch module: in torch's own operations over all steps at once, and what the peers share with it.

``(T, B, …)`` tensors, or ``(1, B, …)`` where every step is the same: of a static image that is computed once.
Spikes are float32, as every one of these libraries has them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv2d,
    CubaLIF,
    Flatten,
    Input,
    Integrator,
    Linear,
    MaxPool2d,
    Node,
    Output,
    SumPool2d,
)
from simulation.nets import Network
from simulation.pooled import unfold_pools

#: Node -> the module that runs it.
Make = Callable[[Node], nn.Module]


class Lacking(Exception):
    """A simulator that cannot express a network; the message says what."""


def joined(network: Network) -> Graph:
    """Encoder and chip as one graph, in the form that costs a dense simulator least."""
    chip = unfold_pools(network.chip)
    if network.encoder is None:
        return chip
    host = network.encoder
    # Both have an input and an output; populations keep their names, under which spikes are compared.
    before = {n: f"host-{n}" if n in chip.nodes else n for n in host.nodes}
    nodes = {before[n]: node for n, node in host.nodes.items() if n != host.output}
    nodes |= {n: node for n, node in chip.nodes.items() if n != chip.input}
    (last,) = host.sources(host.output)
    edges = [(before[a], before[b]) for a, b in host.edges if b != host.output]
    edges += [(before[last] if a == chip.input else a, b) for a, b in chip.edges]
    return Graph(nodes, tuple(edges), timesteps=chip.timesteps, recurrent=chip.recurrent)


def number(value: np.ndarray, what: str) -> float:
    """A parameter that is one number for the layer."""
    if np.ndim(value):
        raise Lacking(f"{what} differs between neurons of a layer")
    return float(value)


def least_firing(node: LIF) -> float:
    """θ such that ``v ≥ θ`` in float32 is when the neuron fires."""
    threshold = np.float32(number(node.threshold, "the threshold"))
    return float(threshold if node.compare == "ge" else np.nextafter(threshold, np.float32(np.inf)))


def last_silent(node: LIF) -> float:
    """θ such that ``v > θ`` in float32 is when the neuron fires."""
    threshold = np.float32(number(node.threshold, "the threshold"))
    return float(threshold if node.compare == "gt" else np.nextafter(threshold, np.float32(-np.inf)))


def check_neuron(node: LIF | Integrator) -> None:
    """Raise where a neuron is more than the papers': a decay, a gain of 1 or 1 − decay, reset to zero."""
    gain, decay = number(node.gain, "the gain"), number(node.decay, "the decay")
    if isinstance(node, CubaLIF) or np.any(node.offset) or gain not in (1.0, 1.0 - decay):
        raise Lacking("neurons with a current, an offset or another gain")
    if isinstance(node, LIF) and (node.reset != "to" or np.any(node.v_reset) or node.spikes != "single"):
        raise Lacking("neurons with another reset than to zero")


class Over(nn.Module):
    """A stateless module over ``(T, B, …)``: time and batch as one."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class Times(nn.Module):
    """An identity synapse: its weight times the spikes."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class SumPool(nn.Module):
    """Sums over windows."""

    def __init__(self, node: SumPool2d) -> None:
        super().__init__()
        self.node, self.divisor = node, None if isinstance(node, AvgPool2d) else 1

    def forward(self, x: Tensor) -> Tensor:
        node = self.node
        return F.avg_pool2d(x, node.kernel, node.stride, node.padding, divisor_override=self.divisor)


class Lif(nn.Module):
    """LIF over all steps in torch's operations."""

    def __init__(self, node: LIF, timesteps: int) -> None:
        super().__init__()
        check_neuron(node)
        self.decay, self.gain, self.threshold = float(node.decay), float(node.gain), least_firing(node)
        self.timesteps = timesteps

    def forward(self, x: Tensor) -> Tensor:
        spikes = []
        v = None
        for t in range(self.timesteps):
            now = x[t if x.shape[0] > 1 else 0]
            now = now if self.gain == 1.0 else self.gain * now
            v = now if v is None else self.decay * v + now
            fired = v >= self.threshold
            v = v.masked_fill(fired, 0.0)
            spikes.append(fired)
        return torch.stack(spikes).to(x.dtype)


class CompiledLif(Lif):
    """The same in the form that the compiler fuses best (of seven tried): concatenated float steps, no bool kept."""

    def forward(self, x: Tensor) -> Tensor:
        spikes = []
        v = None
        for t in range(self.timesteps):
            now = x[t : t + 1] if x.shape[0] > 1 else x
            now = now if self.gain == 1.0 else self.gain * now
            v = now if v is None else self.decay * v + now
            spikes.append(torch.where(v >= self.threshold, 1.0, 0.0))
            v = torch.where(v >= self.threshold, 0.0, v)
        return torch.cat(spikes)


class Sums(nn.Module):
    """An integrator over all steps."""

    def __init__(self, node: Integrator, timesteps: int) -> None:
        super().__init__()
        check_neuron(node)
        if float(node.decay) != 1.0:
            raise Lacking("a readout that leaks")
        self.gain, self.timesteps = float(node.gain), timesteps

    def forward(self, x: Tensor) -> Tensor:
        return (self.gain * x.expand(self.timesteps, *x.shape[1:])).cumsum(0)


def stateless(node: Node) -> nn.Module:
    """The torch module of a node without memory, on ``(N, …)``."""
    if isinstance(node, Conv2d):
        channels = node.weight.shape[0]
        ones = node.weight.shape == (channels, 1, 1, 1) and node.groups == channels
        plain = node.padding == (0, 0) and node.stride == (1, 1) and not np.any(node.bias)
        if ones and plain and np.all(node.weight == node.weight.flat[0]):
            return Times(float(node.weight.flat[0]))
        inputs = node.weight.shape[1] * node.groups
        made = nn.Conv2d(
            inputs, channels, node.weight.shape[2:], node.stride, node.padding, node.dilation, node.groups
        )  # fmt: skip
        return with_weights(made, node)
    if isinstance(node, Linear):
        return with_weights(nn.Linear(*node.weight.shape[::-1]), node)
    if isinstance(node, MaxPool2d):
        return nn.MaxPool2d(node.kernel, node.stride, node.padding)
    if isinstance(node, SumPool2d):
        return SumPool(node)
    if isinstance(node, Flatten):
        return nn.Flatten()
    if isinstance(node, (Input, Output)):
        return nn.Identity()
    raise Lacking(f"no module for a {node.kind}")


def with_weights(made: nn.Module, node: Conv2d | Linear) -> nn.Module:
    """``made`` with the weights of ``node``, not trained."""
    values = {"weight": node.weight, "bias": node.bias}
    if not np.any(node.bias):
        made.bias = None
        del values["bias"]
    made.load_state_dict({key: torch.from_numpy(np.array(value, np.float32)) for key, value in values.items()})
    return made.requires_grad_(False)


def torch_make(timesteps: int, fires: type[Lif] = Lif) -> Make:
    """torch's own operations."""

    def make(node: Node) -> nn.Module:
        if isinstance(node, LIF):
            return fires(node, timesteps)
        if isinstance(node, Integrator):
            return Sums(node, timesteps)
        module = stateless(node)
        return module if isinstance(module, (nn.Identity, Times)) else Over(module)

    return make


class Whole(nn.Module):
    """Layer after layer, each over all steps: ``(1 or T, B, *shape)`` in, ``(T, B, *shape)`` out.

    ``kept``, where it is a dict, receives the spikes of every population.
    """

    def __init__(self, graph: Graph, make: Make) -> None:
        super().__init__()
        if graph.recurrent:
            raise Lacking("recurrent edges")
        modules = {name: make(node) for name, node in graph.nodes.items()}
        self.steps = nn.ModuleList(modules.values())
        self.order = [(name, graph.sources(name), name in graph.names(LIF)) for name in graph.nodes]
        self.last = {source: name for name, sources, _ in self.order for source in sources}
        self.kept: dict[str, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        values: dict[str, Tensor] = {}
        for (name, sources, fires), step in zip(self.order, self.steps, strict=True):
            total = values[sources[0]] if sources else x
            for source in sources[1:]:
                total = total + values[source]
            values[name] = x = step(total)
            if fires and self.kept is not None:
                self.kept[name] = x
            for source in sources:
                if self.last[source] == name:
                    del values[source]
        return x
