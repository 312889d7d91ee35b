"""What feeds a neuron on a chip: identity synapses, pools in front of neurons, max pools as spiking layers."""

from itertools import pairwise

import numpy as np
import pytest
from graphs import conv, dyadic, random_input
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.kinds import BINARY, incoming_kind, value_kinds
from neurodeploy.ir.nodes import (
    LIF,
    NEURONS,
    SYNAPSES,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    Input,
    Integrator,
    Linear,
    MaxPool2d,
    Output,
    SumPool2d,
)
from neurodeploy.passes.fold_pool import average_to_sum, fold_pool
from neurodeploy.passes.purity import purity
from neurodeploy.passes.skip_synapses import skip_synapses
from neurodeploy.passes.spiking_pool import spiking_pool


def lif(*shape: int) -> LIF:
    return LIF(shape, np.asarray(0.25), np.asarray(0.5))


def stem_and_skip(seed: int, between: dict, shape=(2, 6, 6)) -> Graph:
    """ResNet20's stem: what ``between`` makes of the spikes of lif1 is read by a convolution and by the skip."""
    rng = np.random.default_rng(seed)
    nodes = {"input": Input(shape, "binary"), "conv1": conv(rng, 2, 2, padding=(1, 1)), "lif1": lif(*shape), **between}
    names = list(nodes)
    edges = list(pairwise(names))
    last = Graph(nodes | {"output": Output()}, (*edges, (names[-1], "output"))).shapes[names[-1]]
    nodes |= {"conv2": conv(rng, 2, 2, padding=(1, 1)), "lif2": lif(*last), "conv3": conv(rng, 2, 2, padding=(1, 1))}
    nodes |= {
        "lif3": lif(*last),
        "flatten": Flatten(),
        "fc": Linear(dyadic(rng, (3, int(np.prod(last)))), dyadic(rng, 3)),
    }
    nodes |= {"readout": Integrator((3,)), "output": Output()}
    edges += pairwise((names[-1], "conv2", "lif2", "conv3", "lif3", "flatten", "fc", "readout", "output"))
    edges.append((names[-1], "lif3"))
    return Graph(nodes, tuple(edges), timesteps=4)


def fed_by_synapses(graph: Graph) -> bool:
    return all(isinstance(graph.nodes[s], SYNAPSES) for n in graph.names(NEURONS) for s in graph.sources(n))


@pytest.mark.parametrize(
    "between",
    [
        {},
        {"pool": AvgPool2d((2, 2), (2, 2))},
        {"pool": SumPool2d((3, 2), (3, 2))},
        {"pool": MaxPool2d((3, 3), (2, 2), (1, 1))},
        {"pool": MaxPool2d((2, 2), (1, 1))},
        {"wait": Delay((2, 6, 6), 2)},
        {"wait": Delay((2, 6, 6), 1), "pool": MaxPool2d((2, 2), (2, 2))},
    ],
    ids=str,
)
def test_stem_skip_and_pool_reach_the_chip_with_the_same_spikes(between):
    """Dyadic numbers: compared exactly, in every layer that both graphs have."""
    graph = stem_and_skip(1, between)
    done = fold_pool(skip_synapses(spiking_pool(graph)))
    assert fed_by_synapses(done)
    assert not done.names((SumPool2d, MaxPool2d))
    assert purity(done) == []
    x = random_input(graph, 3)
    before, after = interpret(graph, x), interpret(done, x)
    assert 0 < np.mean([s.mean() for s in before.spikes.values()]) < 1
    for name, spikes in before.spikes.items():
        np.testing.assert_array_equal(after.spikes[name], spikes, err_msg=name)
    np.testing.assert_array_equal(after.output, before.output)


def test_names_weights_and_edges_of_an_identity_skip():
    """Case 1, by hand: lif1 feeds lif3 through a depthwise 1x1 convolution of weight 1."""
    done = skip_synapses(stem_and_skip(0, {}))
    skip = done.nodes["lif1-to-lif3"]
    assert isinstance(skip, Conv2d)
    assert (skip.weight.shape, skip.groups) == ((2, 1, 1, 1), 2)
    assert np.all(skip.weight == 1)
    assert not np.any(skip.bias)
    assert done.sources("lif3") == ("conv3", "lif1-to-lif3")
    assert done.sources("lif1-to-lif3") == ("lif1",)


def test_a_pool_into_a_neuron_becomes_its_window():
    """Case 2: 1/4 in each of the 2x2 weights, stride 2."""
    done = fold_pool(skip_synapses(stem_and_skip(0, {"pool": AvgPool2d((2, 2), (2, 2))})))
    skip = done.nodes["pool-to-lif3"]
    np.testing.assert_array_equal(skip.weight, np.full((2, 1, 2, 2), 0.25))
    assert (skip.stride, skip.groups, done.sources("pool-to-lif3")) == ((2, 2), 2, ("lif1",))
    assert done.nodes["conv2"].weight.shape == (2, 2, 6, 6)


@pytest.mark.parametrize(("shape", "kind"), [((5,), Linear), ((2, 7), Conv1d), ((2, 3, 4), Conv2d)])
def test_identities_of_every_shape(shape, kind):
    nodes = {"input": Input(shape, "binary"), "lif": lif(*shape), "output": Output()}
    graph = Graph(nodes, tuple(pairwise(nodes)))
    done = skip_synapses(graph)
    assert isinstance(done.nodes["input-to-lif"], kind)
    x = random_input(graph, 0)
    np.testing.assert_array_equal(interpret(done, x).output, interpret(graph, x).output)
    assert skip_synapses(done) == done


def test_real_values_get_no_synapse():
    """Case 4: an integrator in front of a neuron is left for the target to refuse."""
    nodes = {"input": Input((2,), "binary"), "fc": Linear(np.eye(2), np.zeros(2)), "sum": Integrator((2,))}
    nodes |= {"lif": lif(2), "output": Output()}
    graph = Graph(nodes, tuple(pairwise(nodes)))
    assert skip_synapses(graph) == graph


def test_a_shared_synapse_is_copied():
    """Case 5."""
    nodes = {"input": Input((2,), "binary"), "fc": Linear(dyadic(np.random.default_rng(0), (2, 2)), np.zeros(2))}
    nodes |= {
        "a": lif(2),
        "b": LIF((2,), 0.5, 0.25),
        "join": Linear(np.eye(2), np.zeros(2)),
        "c": lif(2),
        "output": Output(),
    }
    edges = [("input", "fc"), ("fc", "a"), ("fc", "b"), ("a", "join"), ("join", "c"), ("b", "c"), ("c", "output")]
    graph = Graph(nodes, tuple(edges))
    done = skip_synapses(graph)
    assert done.sources("b") == ("fc-2",)
    assert all(len(done.targets(name)) == 1 for name in done.names(SYNAPSES))
    x = random_input(graph, 0)
    np.testing.assert_array_equal(interpret(done, x).output, interpret(graph, x).output)


def test_the_late_edge_stays_the_one_that_leaves_the_neuron():
    nodes = {"input": Input((3,), "binary"), "fc": Linear(np.eye(3), np.zeros(3)), "lif": lif(3), "output": Output()}
    edges = (*pairwise(nodes), ("lif", "lif"))
    graph = Graph(nodes, edges, recurrent=frozenset({("lif", "lif")}))
    done = skip_synapses(graph)
    assert done.recurrent == {("lif", "lif-to-lif")}
    x = random_input(graph, 0, timesteps=6)
    np.testing.assert_array_equal(interpret(done, x).spikes["lif"], interpret(graph, x).spikes["lif"])


def test_portable_files_get_synapses_for_pools_only():
    graph = stem_and_skip(0, {"pool": AvgPool2d((2, 2), (2, 2))})
    assert skip_synapses(stem_and_skip(0, {}), pools_only=True) == stem_and_skip(0, {})
    done = average_to_sum(skip_synapses(graph, pools_only=True))
    assert not done.names(AvgPool2d)
    assert set(done.targets("pool")) == {"conv2", "pool-to-lif3"}
    x = random_input(graph, 0)
    np.testing.assert_array_equal(interpret(done, x).output, interpret(graph, x).output)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padded=st.booleans(),
)
def test_a_spiking_pool_is_the_max_pool(seed, window, stride, padded):
    padding = (min(1, window[0] - 1), min(1, window[1] - 1)) if padded else (0, 0)
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), int(rng.integers(3, 8)), int(rng.integers(3, 8)))
    nodes = {"input": Input(shape, "binary"), "pool": MaxPool2d(window, stride, padding), "output": Output()}
    graph = Graph(nodes, tuple(pairwise(nodes)))
    done = spiking_pool(graph)
    assert isinstance(done.nodes["pool"], LIF)
    assert incoming_kind(done, "pool-window", value_kinds(done)) == BINARY
    x = random_input(graph, seed)
    np.testing.assert_array_equal(interpret(done, x).output, interpret(graph, x).output)


def test_a_max_pool_of_real_numbers_is_left_alone():
    nodes = {"input": Input((1, 4, 4), "real"), "pool": MaxPool2d((2, 2), (2, 2)), "output": Output()}
    graph = Graph(nodes, tuple(pairwise(nodes)))
    assert spiking_pool(graph) is graph
