"""The same network in SpikingJelly, snnTorch and Norse, each in the fastest form that its own documentation shows.

* SpikingJelly: multi-step layers (``step_mode = "m"``), torch backend; time and batch are one in its convolutions.
* snnTorch, Norse: the network is stepped over time, as their tutorials do; what is the same at every step (the static
  image's convolution, where it is cached) is computed at the first.

Their neurons compute the same numbers: SpikingJelly's LIF without decay of the input is ``v − v/τ + x`` with τ = 4/3;
snnTorch's is ``β·v + x`` with β = 1/4, reset to zero at the start of the next step; Norse's ``LIFBox`` is
``v + 3/4·(x − v)``, three quarters of our membrane, so its threshold is three quarters of ours.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, NEURONS, Conv2d, Integrator, Linear, Node
from simulation.torch_nets import (
    Lacking,
    Make,
    Sums,
    Times,
    Whole,
    check_neuron,
    last_silent,
    least_firing,
    stateless,
    with_weights,
)


def spikingjelly_net(graph: Graph, timesteps: int) -> nn.Module:
    """Multi-step SpikingJelly."""
    from spikingjelly.activation_based import functional, layer, neuron

    class Fires(nn.Module):
        """Its neuron, fed with every step."""

        def __init__(self, node: LIF) -> None:
            super().__init__()
            check_neuron(node)
            decay, rest = float(node.decay), {"v_threshold": least_firing(node), "v_reset": 0.0, "step_mode": "m"}
            if decay == 1.0:
                self.node = neuron.IFNode(**rest)
            else:
                decays_input = float(node.gain) == 1.0 - decay and decay != 0.0
                self.node = neuron.LIFNode(tau=1.0 / (1.0 - decay), decay_input=decays_input, **rest)

        def forward(self, x: Tensor) -> Tensor:
            return self.node(x.expand(timesteps, *x.shape[1:]))

    def make(node: Node) -> nn.Module:
        if isinstance(node, LIF):
            return Fires(node)
        if isinstance(node, Integrator):
            return Sums(node, timesteps)
        plain = stateless(node)
        if isinstance(plain, nn.Conv2d):
            assert isinstance(node, Conv2d)
            sides = (plain.kernel_size, plain.stride, plain.padding, plain.dilation, plain.groups)
            return with_weights(layer.Conv2d(plain.in_channels, plain.out_channels, *sides, step_mode="m"), node)
        if isinstance(plain, nn.Linear):
            assert isinstance(node, Linear)
            return with_weights(layer.Linear(plain.in_features, plain.out_features, step_mode="m"), node)
        if isinstance(plain, nn.Flatten):
            return layer.Flatten(step_mode="m")
        return plain if isinstance(plain, (nn.Identity, Times)) else layer.SeqToANNContainer(plain)

    class Net(Whole):
        def forward(self, x: Tensor) -> Tensor:
            functional.reset_net(self)
            return super().forward(x)

    return Net(graph, make)


class Stepped(nn.Module):
    """The whole network at one step, then at the next: ``(1 or T, B, *shape)`` in, ``(T, B, *shape)`` out.

    A neuron module takes ``(x, state)`` and gives ``(spikes or membrane, state)``.
    """

    def __init__(self, graph: Graph, make: Make, timesteps: int) -> None:
        super().__init__()
        if graph.recurrent:
            raise Lacking("recurrent edges")
        self.timesteps = timesteps
        self.steps = nn.ModuleList(make(node) for node in graph.nodes.values())
        static: set[str] = set()  # the same at every step where the input is
        self.order = []
        for name, node in graph.nodes.items():
            sources, neuron = graph.sources(name), isinstance(node, NEURONS)
            if not neuron and all(source in static for source in sources):
                static.add(name)
            self.order.append((name, sources, neuron, isinstance(node, LIF), name in static))
        self.kept: dict[str, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        states: dict[str, object] = {}
        values: dict[str, Tensor] = {}
        outputs = []
        spikes: dict[str, list[Tensor]] = {}
        once = x.shape[0] == 1
        for t in range(self.timesteps):
            for (name, sources, neuron, fires, static), step in zip(self.order, self.steps, strict=True):
                if once and static and t:
                    continue
                total = values[sources[0]] if sources else x[0 if once else t]
                for source in sources[1:]:
                    total = total + values[source]
                if neuron:
                    values[name], states[name] = step(total, states.get(name))
                else:
                    values[name] = step(total)
                if fires and self.kept is not None:
                    spikes.setdefault(name, []).append(values[name])
            outputs.append(values[name])
        if self.kept is not None:
            self.kept.update({name: torch.stack(steps) for name, steps in spikes.items()})
        return torch.stack(outputs)


class Reads(nn.Module):
    """The readout, one step."""

    def __init__(self, node: Integrator) -> None:
        super().__init__()
        Sums(node, 1)  # what it refuses
        self.gain = float(node.gain)

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        u = self.gain * x if state is None else state + self.gain * x
        return u, u


def snntorch_net(graph: Graph, timesteps: int) -> nn.Module:
    """snnTorch, stepped."""
    import snntorch

    class Fires(nn.Module):
        def __init__(self, node: LIF) -> None:
            super().__init__()
            check_neuron(node)
            self.gain = float(node.gain)
            self.node = snntorch.Leaky(
                beta=float(node.decay), threshold=last_silent(node), reset_mechanism="zero", surrogate_disable=True
            )  # fmt: skip

        def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
            state = self.node.reset_mem() if state is None else state
            return self.node(x if self.gain == 1.0 else self.gain * x, state)

    return Stepped(graph, _stepped(Fires), timesteps)


def norse_net(graph: Graph, timesteps: int) -> nn.Module:
    """Norse, stepped."""
    from norse.torch import LIFBoxCell, LIFBoxParameters

    class Fires(nn.Module):
        def __init__(self, node: LIF) -> None:
            super().__init__()
            check_neuron(node)
            rate = 1.0 - float(node.decay)
            if rate == 0.0:
                raise Lacking("neurons without leak")
            # v + rate·(x − v) has the gain 1 − decay: where ours is 1, its membrane is that much smaller.
            scale = rate if float(node.gain) == 1.0 else 1.0
            threshold = np.float32(number_times(scale, node))
            self.node = LIFBoxCell(
                LIFBoxParameters(tau_mem_inv=torch.tensor(rate), v_th=torch.tensor(threshold)), dt=1.0
            )

        def forward(self, x: Tensor, state: object) -> tuple[Tensor, object]:
            return self.node(x, state)

    return Stepped(graph, _stepped(Fires), timesteps)


def number_times(scale: float, node: LIF) -> float:
    """The threshold of a scaled membrane, still the last silent one: thresholds of integer networks scale exactly."""
    return last_silent(node) if scale == 1.0 else scale * float(node.threshold)


def _stepped(fires: type[nn.Module]) -> Make:
    def make(node: Node) -> nn.Module:
        if isinstance(node, LIF):
            return fires(node)
        return Reads(node) if isinstance(node, Integrator) else stateless(node)

    return make
