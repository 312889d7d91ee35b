"""Counts: worked out by hand, and edge by edge on random graphs."""

from itertools import pairwise

import numpy as np
from graphs import paper_chain, random_graph, random_input
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import LIF, NEURONS, SYNAPSES, AvgPool2d, Conv2d, Flatten, Input, Integrator, Linear, Output
from neurodeploy.passes.fold_pool import fold_pool
from neurodeploy.passes.quantize import quantize
from neurodeploy.sim.engine import Engine


def counts(graph, x, **how):
    return {layer.name: layer for layer in Engine(graph, **how).run(x, x.shape[1]).layers}


def one_conv(weight, values="binary", size=7, bias=0.0, **geometry):
    conv = Conv2d(weight, np.full(weight.shape[0], bias), **geometry)
    shape = conv.output_shape((weight.shape[1] * conv.groups, size, size))
    nodes = {
        "input": Input((weight.shape[1] * conv.groups, size, size), values),
        "conv": conv,
        "lif": LIF(shape, np.asarray(0.25), np.asarray(0.5)),
        "output": Output(),
    }
    return Graph(nodes, (("input", "conv"), ("conv", "lif"), ("lif", "output")), timesteps=1)


def test_a_padded_convolution_counts_no_border():
    """6x6 input of ones, 3x3, padding 1, 2 channels out: 16 inner, 16 edge, 4 corner pixels have 9, 6, 4 taps."""
    graph = one_conv(np.ones((2, 1, 3, 3)), size=6, padding=(1, 1))
    layer = counts(graph, np.ones((1, 1, 1, 6, 6), np.uint8))["conv"]
    assert layer.total("sop") == (16 * 9 + 16 * 6 + 4 * 4) * 2 == 512


def test_one_spike_in_the_corner_reaches_four_outputs():
    x = np.zeros((1, 1, 1, 6, 6), np.uint8)
    x[..., 0, 0] = 1
    layer = counts(one_conv(np.ones((3, 1, 3, 3)), size=6, padding=(1, 1)), x)
    assert layer["conv"].total("sop") == 4 * 3
    assert layer["lif"].total("neuron_updates_active") == 4 * 3
    assert layer["lif"].total("neuron_updates_idle") == 36 * 3 - 4 * 3


def test_stride_and_groups():
    """7x7, 3x3, stride 2: 9 outputs x 9 taps; 4 channels in 2 groups, 6 out: 3 outputs a spike and tap."""
    graph = one_conv(np.ones((6, 2, 3, 3)), stride=(2, 2), groups=2)
    layer = counts(graph, np.ones((1, 1, 4, 7, 7), np.uint8))["conv"]
    assert layer.total("sop") == 9 * 9 * 4 * 3


def test_zero_weights_count_as_operations_and_apart():
    weight = np.ones((1, 1, 3, 3))
    weight[0, 0, 1, 1] = 0
    layer = counts(one_conv(weight, size=3, padding=(1, 1)), np.ones((1, 1, 1, 3, 3), np.uint8))["conv"]
    assert layer.total("sop") == 4 * 4 + 4 * 6 + 9  # corners, edges, center: outputs reached
    assert layer.total("sop_nonzero") == layer.total("sop") - 9  # each of the 9 outputs misses its middle tap


def test_a_bias_makes_every_update_active():
    x = np.zeros((2, 1, 1, 5, 5), np.uint8)
    layer = counts(one_conv(np.ones((2, 1, 3, 3)), size=5, bias=0.25), x)["lif"]
    assert (layer.total("neuron_updates_active"), layer.total("neuron_updates_idle")) == (2 * 2 * 9, 0)
    layer = counts(one_conv(np.ones((2, 1, 3, 3)), size=5), x)["lif"]
    assert (layer.total("neuron_updates_active"), layer.total("neuron_updates_idle")) == (0, 2 * 2 * 9)


def test_real_values_are_macs_whatever_they_are():
    """An all-zero real frame and a 0/1 one are still real: the kind comes from the graph, never from values."""
    for value in (0.0, 1.0, 0.5):
        layer = counts(one_conv(np.ones((2, 1, 3, 3)), "real", 5), np.full((3, 1, 1, 5, 5), value))["conv"]
        assert layer.total("mac") == 3 * 9 * 9 * 2
        assert layer.total("sop") == layer.total("sop_graded") == 0


def test_pooled_spikes_are_graded_events():
    nodes = {
        "input": Input((1, 4, 4), "binary"),
        "pool": AvgPool2d((2, 2), (2, 2)),
        "flatten": Flatten(),
        "fc": Linear(np.ones((5, 4)), np.zeros(5)),
        "readout": Integrator((5,)),
        "output": Output(),
    }
    names = list(nodes)
    graph = Graph(nodes, tuple(pairwise(names)), timesteps=1)
    x = np.zeros((1, 1, 1, 4, 4), np.uint8)
    x[0, 0, 0, 0, :3] = 1  # three spikes in two windows
    layer = counts(graph, x)["fc"]
    assert (layer.total("sop"), layer.total("sop_graded")) == (0, 2 * 5)


def test_messages_need_a_placement():
    graph, _ = quantize(fold_pool(paper_chain(0, real=False)))
    x = random_input(graph, 0)
    unplaced = counts(graph, x, arithmetic="loihi")
    placed = counts(graph, x, arithmetic="loihi", cores={"lif1": 1, "lif2": 3, "readout": 2})
    spikes = {name: placed[name].total("spikes_out") for name in ("lif1", "lif2")}
    assert spikes["lif1"] > 0
    assert unplaced["lif1"].total("messages") is None
    assert placed["lif1"].total("messages") == 3 * spikes["lif1"]
    assert placed["lif2"].total("messages") == 2 * spikes["lif2"]
    assert placed["lif1"].total("hops") is None


def edges_of(node, before, after):
    """Every connection ``(input index, output index, weight)`` of a synapse node, one by one."""
    if isinstance(node, Linear):
        return [(i, o, node.weight[o, i]) for o in range(node.weight.shape[0]) for i in range(node.weight.shape[1])]
    found = []
    per_group_in, per_group_out = node.weight.shape[1], node.weight.shape[0] // node.groups
    for o, oy, ox in np.ndindex(after):
        for i, ky, kx in np.ndindex(node.weight.shape[1:]):
            c = (o // per_group_out) * per_group_in + i
            y = oy * node.stride[0] - node.padding[0] + ky * node.dilation[0]
            x = ox * node.stride[1] - node.padding[1] + kx * node.dilation[1]
            if 0 <= y < before[1] and 0 <= x < before[2]:
                source = np.ravel_multi_index((c, y, x), before)
                found.append((source, np.ravel_multi_index((o, oy, ox), after), node.weight[o, i, ky, kx]))
    return found


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_equals_a_brute_force_count_edge_by_edge(seed):
    graph = random_graph(seed, real=False, pools=False)
    x = random_input(graph, seed, samples=2, timesteps=3)
    found = counts(graph, x)
    meaning = interpret(graph, x, "float32")
    values = {graph.input: x, **meaning.spikes, "flatten": None}
    events = {}
    for name in graph.names(SYNAPSES):
        node, source = graph.nodes[name], graph.sources(name)[0]
        spikes = values[source] if values[source] is not None else values[graph.sources(source)[0]]
        flat = spikes.reshape(2, 3, -1).astype(bool)
        connections = edges_of(node, graph.input_shape(name), graph.shapes[name])
        sop = sum(int(flat[:, :, i].sum()) for i, _, _ in connections)
        nonzero = sum(int(flat[:, :, i].sum()) for i, _, w in connections if w != 0)
        assert (found[name].total("sop"), found[name].total("sop_nonzero")) == (sop, nonzero), name
        reached = np.zeros((2, 3, int(np.prod(graph.shapes[name]))), bool)
        for i, o, _ in connections:
            reached[:, :, o] |= flat[:, :, i]
        events[name] = reached
    for name in graph.names(NEURONS):
        node = graph.nodes[name]
        size = int(np.prod(node.shape))
        bias = sum(
            np.broadcast_to(graph.nodes[s].bias.reshape(-1, *(1,) * (len(node.shape) - 1)), node.shape)
            for s in graph.sources(name)
        )
        offset = node.offset if isinstance(node, LIF) else 0.0
        driven = ((bias != 0) | (np.broadcast_to(offset, node.shape) != 0)).reshape(-1)
        active = np.logical_or.reduce([events[s] for s in graph.sources(name)]) | driven
        assert found[name].total("neuron_updates_active") == int(active.sum()), name
        assert found[name].total("neuron_updates_idle") == 2 * 3 * size - int(active.sum()), name
        if isinstance(node, LIF):
            assert found[name].total("spikes_out") == int(meaning.spikes[name].sum())
