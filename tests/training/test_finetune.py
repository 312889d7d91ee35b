"""Fine-tuning: the torch forward is the integer machine bit for bit, and training lowers the loss on the chip."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from graphs import paper_chain, random_input, skip_chain
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.diagnostics import UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import LIF, SYNAPSES, Conv1d, Conv2d, CubaLIF, Delay, Input, Integrator, Linear, Output
from neurodeploy.passes.fold_pool import fold_pool
from neurodeploy.passes.partition import partition
from neurodeploy.passes.pipeline import Compilation, Context
from neurodeploy.passes.place import CoreLimits
from neurodeploy.passes.quantize import populations, quantize
from neurodeploy.targets.base import load_target
from neurodeploy.training.finetune import FineTuning, TrainingData, finetuner, logits
from neurodeploy.training.integer_machine import IntegerMachine


def recurrent(seed: int) -> Graph:
    """A current, odd decays, a delay, a recurrent synapse, an identity skip that is split, a relay; T = 9."""
    rng = np.random.default_rng(seed)
    shape = (3, 6)
    nodes = {
        "input": Input(shape, "binary"),
        "conv": Conv1d(rng.normal(size=(3, 3, 3)) / 4, np.zeros(3), padding=1),
        "delay": Delay(shape, rng.integers(0, 3, shape)),
        "hop": Conv1d(np.ones((3, 1, 1)), np.zeros(3), groups=3),
        "relay": LIF(shape, 0.0, 0.5),
        "skip": Conv1d(np.ones((3, 1, 1)), np.zeros(3), groups=3),
        "back": Conv1d(rng.normal(size=(3, 3, 1)) / 4, np.zeros(3)),
        "lif": CubaLIF(shape, 0.7, 0.9, current_decay=0.3, offset=0.125),
        "last": Conv1d(rng.normal(size=(2, 3, 6)), rng.normal(size=2)),
        "readout": Integrator((2, 1)),
        "output": Output(),
    }
    edges = [("input", "delay"), ("delay", "conv"), ("conv", "lif"), ("input", "hop"), ("hop", "relay")]
    edges += [("relay", "skip"), ("skip", "lif"), ("lif", "back"), ("back", "lif")]
    edges += [("lif", "last"), ("last", "readout"), ("readout", "output")]
    return Graph(nodes, tuple(edges), timesteps=9, recurrent=frozenset({("lif", "back")}))


def on_machine(graph: Graph) -> IntegerMachine:
    net = IntegerMachine(graph)
    net.take(populations(graph)[0])
    return net


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(["chain", "skip", "recurrent"]), long=st.booleans())
def test_the_forward_pass_is_the_integer_machine_bit_for_bit(seed, kind, long):
    """Logits of random networks; T = 9 lets the leak truncate, which the forward pass does too."""
    make = {"chain": lambda s: fold_pool(paper_chain(s, real=False)), "skip": skip_chain, "recurrent": recurrent}[kind]
    graph = make(seed)
    graph = replace(graph, timesteps=9 if long else graph.timesteps)
    x = random_input(graph, seed, samples=4, timesteps=graph.timesteps)
    integer, _ = quantize(graph)
    expected = interpret(integer, x, "loihi").output / 64.0
    found = on_machine(graph)(torch.from_numpy(np.moveaxis(x, 1, 0).astype(np.float32)))
    scale = np.float32(1.0 / integer.scales["readout"])
    np.testing.assert_array_equal(found.detach().numpy(), np.moveaxis(expected, 1, 0).astype(np.float32) * scale)


def test_a_gradient_is_that_of_the_unrounded_layer():
    """Straight through: one linear readout over T = 3 steps, d(Σ output)/dW = Σ_t (T − t)·x[t], none where clipped."""
    weight = np.array([[0.5, -0.25, 1.0]])
    nodes = {"input": Input((3,), "binary"), "fc": Linear(weight, np.ones(1)), "readout": Integrator((1,))}
    graph = Graph({**nodes, "output": Output()}, tuple(pairwise([*nodes, "output"])), timesteps=3)
    net = on_machine(graph)
    with torch.no_grad():
        net.weights["fc"][0, 2] = 3.0  # beyond ±254 at the scale that was chosen for 1
    x = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])[:, None]
    net(x).sum().backward()
    np.testing.assert_allclose(net.weights["fc"].grad.numpy(), [[3 + 2, 2 + 1, 0]], rtol=1e-6)
    np.testing.assert_allclose(net.biases["fc"].grad.numpy(), [3 + 2 + 1], rtol=1e-6)


def test_zero_weights_and_skips_are_not_trained():
    graph = recurrent(0)
    weight = graph.nodes["conv"].weight.copy()
    weight[:, :, 0] = 0.0
    data, how = toy(graph), FineTuning(epochs=1, batch=16, rate=0.1)
    tuned = run(graph.with_nodes({"conv": replace(graph.nodes["conv"], weight=weight)}), data, how).graph
    assert np.all(tuned.nodes["conv"].weight[:, :, 0] == 0.0)
    assert np.all(tuned.nodes["conv"].weight[:, :, 1:] != weight[:, :, 1:])
    for name in ("hop", "skip"):
        assert np.array_equal(tuned.nodes[name].weight, graph.nodes[name].weight)
    assert np.any(tuned.nodes["last"].bias != graph.nodes["last"].bias)
    assert tuned.recurrent == graph.recurrent


def toy(graph: Graph, samples: int = 128) -> TrainingData:
    """Two classes: spikes in the first or in the second half of the positions."""
    rng = np.random.default_rng(0)
    entry = graph.nodes[graph.input]
    y = rng.integers(0, 2, samples)
    flat = int(np.prod(entry.shape))
    rate = np.where((np.arange(flat) < flat // 2)[None] == (y == 0)[:, None], 0.5, 0.1)
    x = (rng.random((samples, graph.timesteps, flat)) < rate[:, None]).astype(np.uint8)
    x = x.reshape(samples, graph.timesteps, *entry.shape)
    return TrainingData(lambda indices: x[indices], y, "toy")


def run(graph: Graph, data: TrainingData, how: FineTuning, encoder: Graph | None = None) -> Compilation:
    state = Compilation(graph, encoder=encoder)
    return finetuner(data, how)(state, Context(load_target("loihi2").spec, CoreLimits("loihi2")))


def loss_on_chip(graph: Graph, data: TrainingData) -> float:
    """Cross-entropy of the exported integers, computed apart from the training code."""
    integer, _ = quantize(graph)
    out = interpret(integer, data.read(np.arange(len(data.y))), "loihi").output[:, -1].reshape(len(data.y), -1)
    scores = out / 64.0 / integer.scales["readout"] / (graph.timesteps or 1)
    scores = scores - scores.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(data.y)), data.y]))


def test_training_lowers_the_loss_of_the_exported_integers():
    graph = recurrent(1)
    data = toy(graph)
    done = run(graph, data, FineTuning(epochs=3, batch=16, rate=0.05))
    assert loss_on_chip(done.graph, data) < 0.7 * loss_on_chip(graph, data)
    log = done.training
    assert log["epochs"] == 3
    assert log["samples"] == 128
    assert log["data"] == "toy"
    assert len(log["train_loss"]) == 3
    assert log["train_loss"][-1] < log["train_loss"][0]


def test_the_same_seed_gives_the_same_weights_and_leaves_the_input_alone():
    graph = skip_chain(0)
    data = toy(graph, 32)
    before = {name: graph.nodes[name].weight.copy() for name in graph.names(SYNAPSES)}
    first, again = (run(graph, data, FineTuning(batch=8)) for _ in range(2))
    assert first.graph == again.graph
    assert first.graph != graph
    for name, weight in before.items():
        assert np.array_equal(graph.nodes[name].weight, weight)


def test_samples_go_through_the_encoder_and_static_ones_are_repeated():
    graph = fold_pool(paper_chain(0))
    encoder, chip = partition(graph)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 1, 1, 8, 8)).astype(np.float32)
    done = run(chip, TrainingData(lambda i: x[i], rng.integers(0, 10, 16), "x"), FineTuning(batch=8), encoder)
    assert done.encoder is encoder
    assert any(not np.array_equal(done.graph.nodes[n].weight, chip.nodes[n].weight) for n in chip.names(SYNAPSES))


def test_a_tail_is_run_in_float_and_not_trained():
    """Cut at an accumulator, the rest (difference, ReLU, pool, classifier) on the host: the compiled RepAct form."""
    from neurodeploy.ir.nodes import AvgPool2d, Flatten, ReLU, Scale

    rng = np.random.default_rng(0)
    shape = (2, 4, 4)
    chip = {
        "input": Input(shape, "binary"),
        "conv": Conv2d(rng.normal(size=(2, 2, 3, 3)), np.ones(2) / 8, padding=(1, 1)),
    }
    chip |= {"acc": Integrator(shape), "output": Output()}
    host = {"input": Input(shape), "before": Delay(shape, 1), "minus": Scale(shape, -1.0), "relu": ReLU()}
    host |= {"pool": AvgPool2d((2, 2), (2, 2)), "flat": Flatten(), "fc": Linear(rng.normal(size=(2, 8)), np.ones(2))}
    host |= {"readout": Integrator((2,)), "output": Output()}
    edges = [("input", "before"), ("before", "minus"), ("minus", "relu"), ("input", "relu")]
    edges += pairwise(["relu", "pool", "flat", "fc", "readout", "output"])
    graph = Graph(chip, tuple(pairwise(chip)), timesteps=4)
    tail = Graph(host, tuple(edges), timesteps=4)
    net = IntegerMachine(graph, tail)
    net.take(populations(graph)[0])
    x = random_input(graph, 0, samples=8)
    integer, _ = quantize(graph)
    state = interpret(integer, x, "loihi").output / 64.0 / integer.scales["acc"]
    expected = interpret(tail, state.astype(np.float32), "float32").output
    out = net(torch.from_numpy(np.moveaxis(x, 1, 0).astype(np.float32)))
    np.testing.assert_allclose(out.detach().numpy(), np.moveaxis(expected, 1, 0), rtol=1e-5, atol=1e-5)  # float32 sums
    logits(tail, out).sum().backward()
    assert net.weights["conv"].grad.abs().sum() > 0
    assert set(net.weights) == {"conv"}


@pytest.mark.parametrize(("epochs", "samples"), [(0, 4), (1, 0)])
def test_nothing_to_do_is_refused(epochs, samples):
    with pytest.raises(UsageError) as refusal:
        finetuner(toy(skip_chain(), samples), FineTuning(epochs=epochs))
    assert refusal.value.code == "ND239"
