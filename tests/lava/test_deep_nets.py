"""What the compiler makes, in real Lava: VGG16 and ResNet20 with its skips, one eighth wide, and every kind of neuron.

0 differences of spikes, v and u in every layer.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from graphs import dyadic
from small_nets import CIFAR, settled, small

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import LIF, Conv1d, CubaLIF, Delay, Flatten, Input, Integrator, Linear, Node, Output
from neurodeploy.lowering import lower_module
from neurodeploy.nn.tdbn import TdBatchNorm
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.targets.base import load_target

pytestmark = [pytest.mark.lava, pytest.mark.slow]
SAMPLES, STEPS = 2, 4


def compiled(name: str):
    """The chip's graph of an untrained net whose neurons fire, and the spikes that its encoder makes of noise."""
    model = small(name, net={"width": 8})
    torch.manual_seed(1)
    for norm in (m for m in model.modules() if isinstance(m, TdBatchNorm)):
        torch.nn.init.uniform_(norm.weight, 0.6, 1.6)
        torch.nn.init.uniform_(norm.bias, -0.1, 0.3)
    settled(model, torch.rand(STEPS, 8, *CIFAR))
    compilation = compile_graph(lower_module(model, CIFAR, STEPS), load_target("loihi2").spec)
    images = np.random.default_rng(2).random((SAMPLES, 1, *CIFAR)).repeat(STEPS, axis=1)
    return compilation.graph, interpret(compilation.encoder, images, "float32").output.astype(np.uint8)


def everything() -> Graph:
    """A float network of what the compiler lets through: Conv1d, a current, a recurrent layer, delays per element."""
    rng = np.random.default_rng(0)
    neuron = np.asarray(0.25), np.asarray(0.5)
    nodes: dict[str, Node] = {
        "input": Input((4, 12), "binary"),
        "conv": Conv1d(dyadic(rng, (6, 4, 3)), np.zeros(6), padding=1),
        "a": CubaLIF((6, 12), *neuron, current_decay=np.asarray(0.5)),
        "flatten": Flatten(),
        "later": Delay((72,), np.arange(72) % 3),
        "fc": Linear(dyadic(rng, (5, 72)), dyadic(rng, 5)),
        "b": LIF((5,), *neuron),
        "out": Linear(dyadic(rng, (3, 5)), dyadic(rng, 3)),
        "readout": Integrator((3,)),
        "output": Output(),
    }
    edges = [*pairwise(nodes), ("b", "recurrent"), ("recurrent", "b")]
    nodes["recurrent"] = Linear(dyadic(rng, (5, 5)), np.zeros(5))
    return Graph(nodes, tuple(edges), timesteps=6, recurrent=frozenset([("b", "recurrent")]))


def test_what_the_compiler_lets_through_runs_in_lava(in_lava, same):
    graphs = {target: compile_graph(everything(), load_target(target).spec).graph for target in ("loihi", "loihi2")}
    x = (np.random.default_rng(1).random((3, 6, 4, 12)) < 0.3).astype(np.uint8)
    found = in_lava({target: (graph, x) for target, graph in graphs.items()})
    for target, graph in graphs.items():
        meaning = same(graph, x, found[target])
        assert all(0 < spikes.mean() < 1 for spikes in meaning.spikes.values())


@pytest.mark.parametrize(("name", "layers"), [("vgg16", 12), ("resnet20", 18)])
def test_every_layer_of_a_deep_net(in_lava, same, name, layers):
    graph, x = compiled(name)
    meaning = same(graph, x, in_lava({name: (graph, x)}, timeout=550)[name])
    rates = {key: float(spikes.mean()) for key, spikes in meaning.spikes.items()}
    assert min(rates.values()) > 0.01, rates
    relays = [key for key in rates if "relay" in key]
    compared = sum(spikes.size for spikes in meaning.spikes.values())
    print(f"\n  {name} in Lava: 0 of {compared:,} spikes differ, u and v of {len(meaning.membrane)} layers equal")
    assert len(rates) - len(relays) == layers
    assert bool(relays) == (name == "resnet20")
