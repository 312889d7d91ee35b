"""The host's tail: where the chip ends, and that both parts together mean what the network meant."""

from itertools import pairwise

import numpy as np
import pytest
from graphs import dyadic, paper_chain, random_graph, random_input
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.machine import machine_findings
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv2d,
    Delay,
    Flatten,
    Input,
    Integrator,
    Linear,
    MaxPool2d,
    Node,
    Output,
    ReLU,
    Scale,
)
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.passes.tail import split_tail
from neurodeploy.targets.base import load_target
from neurodeploy.targets.export import golden_vectors


def lif(*shape: int) -> LIF:
    return LIF(shape, np.asarray(0.25), np.asarray(0.5))


def fc(seed: int, out: int, inputs: int) -> Linear:
    rng = np.random.default_rng(seed)
    return Linear(dyadic(rng, (out, inputs)), dyadic(rng, out))


def ending(**tail: Node) -> Graph:
    """``input → fc → lif`` of six features, then ``tail`` in a row, then the Output; dyadic weights."""
    nodes: dict[str, Node] = {"input": Input((4,), "binary"), "fc": fc(0, 6, 4), "lif": lif(6), **tail}
    nodes["output"] = Output()
    return Graph(nodes, tuple(pairwise(nodes)), timesteps=4)


def together(chip: Graph, tail: Graph | None, x: np.ndarray) -> np.ndarray:
    between = interpret(chip, x).output
    return between if tail is None else interpret(tail, between).output


def same(graph: Graph, chip: Graph, tail: Graph | None) -> None:
    x = random_input(graph, 5, samples=4, timesteps=6)
    expected = interpret(graph, x)
    assert 0 < np.mean([s.mean() for s in expected.spikes.values()]) < 1
    np.testing.assert_array_equal(together(chip, tail, x), expected.output)


#: What stands behind the last spikes -> the nodes that stay on the chip behind it, and those of the tail.
REPACT = {"pre": fc(1, 5, 6), "relu": ReLU(), "fc2": fc(2, 3, 5), "readout": Integrator((3,))}
TAKEN = ["previous", "minus", "units"]
ENDINGS: list[tuple[dict[str, Node], list[str], list[str]]] = [
    ({"pre": fc(1, 5, 6), "readout": Integrator((5,))}, ["pre", "readout"], []),  # case 1
    ({}, [], []),  # spikes are the output
    (REPACT, ["pre", "accumulator"], [*TAKEN, "relu", "fc2", "readout"]),  # case 2
    ({"pre": fc(1, 5, 6)}, ["pre", "accumulator"], TAKEN),  # a synapse read by nobody but the user
    ({"pre": fc(1, 5, 6), "two": fc(2, 3, 5)}, ["pre", "accumulator"], [*TAKEN, "two"]),
    ({"pre": fc(1, 5, 6), "leaky": Integrator((5,), 0.5)}, ["pre", "accumulator"], [*TAKEN, "leaky"]),
    ({"pre": fc(1, 5, 6), "gain": Integrator((5,), gain=0.5)}, ["pre", "accumulator"], [*TAKEN, "gain"]),
    ({"pre": fc(1, 5, 6), "sum": Integrator((5,)), "relu": ReLU()}, ["pre", "sum"], ["units", "relu"]),  # case 3
    ({"scale": Scale((6,), 0.5), "pre": fc(1, 5, 6)}, [], ["scale", "pre"]),  # case 3: spikes
    ({"wait": Delay((6,), 2), "scale": Scale((6,), 0.5)}, [], ["wait", "scale"]),
    ({"wait": Delay((6,), 2), "pre": fc(1, 5, 6), "sum": Integrator((5,))}, ["wait", "pre", "sum"], []),
]


@pytest.mark.parametrize(("tail", "on_chip", "on_host"), ENDINGS, ids=lambda value: ",".join(value) or "nothing")
def test_where_the_chip_ends(tail, on_chip, on_host):
    graph = ending(**tail)
    chip, host = split_tail(graph, accumulate=True)
    assert [n for n in chip.nodes if n not in ("input", "fc", "lif", "output")] == on_chip
    assert [n for n in (host.nodes if host else {}) if n not in ("input", "output")] == on_host
    same(graph, chip, host)


#: How far an error of 1 in each x[t] gets in four steps: sums of 5 rows with |w| ≤ 1, of steps, of a leak of 1/2.
AMPLIFIED = {"pre,relu,fc2,readout": 20, "pre": 1, "pre,two": 5, "pre,leaky": 2, "pre,gain": 2, "pre,sum,relu": 4}


@pytest.mark.parametrize("tail", [tail for tail, _, on_host in ENDINGS if on_host], ids=",".join)
def test_a_chip_of_neurons_can_be_quantized_and_the_units_come_back(tail):
    """End to end through the target: from the chip's own spikes on, the tail ends within the integers' rounding."""
    graph = ending(**tail)
    done = compile_graph(graph, load_target("loihi2").spec)
    assert not list(machine_findings(done.graph))
    assert done.tail is not None
    x = random_input(graph, 5, samples=8)
    golden = golden_vectors(done, x, 4)
    nodes: dict[str, Node] = {"lif": Input((6,), "binary"), **tail, "output": Output()}
    meant = interpret(Graph(nodes, tuple(pairwise(nodes))), golden["spikes/lif"])
    # A weight is off by at most 1/S (even integers, rounded), a bias by 1/(2S): six weights and a bias by 6.5/S. Where
    # the chip ends in spikes nothing is off.
    off = 6.5 / done.graph.scales[done.graph.sources("output")[0]] * AMPLIFIED.get(",".join(tail), 0)
    np.testing.assert_allclose(golden["host_output"], meant.output, atol=off, rtol=1e-6)
    assert np.abs(meant.output).max() > 10 * off


def test_relu_of_the_sum_is_not_the_sum_of_relus():
    """The reason why the accumulator is read every step: one that is read at the end would give another network."""
    graph = ending(**REPACT)
    chip, host = split_tail(graph, accumulate=True)
    assert host is not None
    x = random_input(graph, 5, samples=4)
    states = interpret(chip, x).output
    once = states.copy()
    once[:, :-1] = 0  # only the last state is read
    assert np.any(interpret(host, once).output[:, -1] != interpret(host, states).output[:, -1])


def residual_repact(identity: bool) -> Graph:
    """The last block of a RepAct ResNet: ``relu(conv2(lif1) + shortcut(lif0))``, pooled, classified."""
    rng = np.random.default_rng(0)

    def conv(kernel: int) -> Conv2d:
        return Conv2d(dyadic(rng, (2, 2, kernel, kernel)), dyadic(rng, 2), padding=(kernel // 2,) * 2)

    shape = (2, 4, 4)
    nodes: dict[str, Node] = {"input": Input(shape, "binary"), "conv0": conv(3), "lif0": lif(*shape), "conv1": conv(3)}
    nodes |= {"lif1": lif(*shape), "conv2": conv(3)}
    nodes |= {} if identity else {"shortcut": conv(1)}
    nodes |= {"relu": ReLU(), "pool": AvgPool2d((4, 4), (4, 4)), "flatten": Flatten(), "fc": fc(1, 3, 2)}
    nodes |= {"readout": Integrator((3,)), "output": Output()}
    edges = list(pairwise([n for n in nodes if n != "shortcut"]))
    edges += [("lif0", "relu")] if identity else [("lif0", "shortcut"), ("shortcut", "relu")]
    return Graph(nodes, tuple(edges), timesteps=4)


@pytest.mark.parametrize("identity", [True, False])
def test_the_last_residual_add_is_the_accumulator(identity):
    graph = residual_repact(identity)
    chip, host = split_tail(graph, accumulate=True)
    assert set(chip.sources("accumulator")) == {"conv2", "lif0" if identity else "shortcut"}
    same(graph, chip, host)
    done = compile_graph(graph, load_target("loihi2").spec)
    assert not list(machine_findings(done.graph))
    assert "lif0-relay-1" in done.graph.nodes
    assert [n.kind for n in done.tail.nodes.values()][-6:] == [
        "relu",
        "avgpool2d",
        "flatten",
        "linear",
        "integrator",
        "output",
    ]


@pytest.mark.parametrize("identity", [True, False])
def test_a_portable_file_ends_in_the_pre_activation(identity):
    """nir has synapses that the user reads: no accumulator, no difference."""
    graph = residual_repact(identity)
    done = compile_graph(graph, load_target("nir").spec)
    assert set(done.graph.sources("output")) == {"conv2", "lif0" if identity else "shortcut"}
    assert done.tail is not None
    assert list(done.tail.nodes)[:2] == ["input", "relu"]
    same(graph, done.graph, done.tail)


def test_two_readers_of_one_sum():
    """Case 4: the readout beside the ReLU looks at the same sum, so it goes to the host too."""
    nodes = {**ending(**REPACT).nodes, "beside": Integrator((5,)), "fc3": fc(3, 3, 5), "output": Output()}
    edges = [*ending(**REPACT).edges, ("pre", "beside"), ("beside", "fc3"), ("fc3", "output")]
    graph = Graph(nodes, tuple(edges), timesteps=4)
    chip, host = split_tail(graph, accumulate=True)
    assert chip.sources("accumulator") == ("pre",)
    assert host is not None
    assert "beside" in host.nodes
    same(graph, chip, host)


def test_two_sums_are_refused():
    nodes: dict[str, Node] = {**ending(a=fc(1, 5, 6)).nodes, "relu_a": ReLU(), "b": fc(2, 5, 6), "relu_b": ReLU()}
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "a"), ("lif", "b"), ("a", "relu_a"), ("b", "relu_b")]
    edges += [("relu_a", "output"), ("relu_b", "output")]
    with pytest.raises(UnsupportedError, match="2 different sums") as refusal:
        split_tail(Graph(nodes, tuple(edges)), accumulate=True)
    assert (refusal.value.code, refusal.value.where) == ("ND307", "a, b")


def test_an_ann_is_refused_with_one_message():
    nodes = {"input": Input((4,)), "fc": fc(0, 6, 4), "relu": ReLU(), "fc2": fc(1, 3, 6), "output": Output()}
    graph = Graph(nodes, tuple(pairwise(nodes)))
    for target in ("loihi2", "nir"):
        done = compile_graph(graph, load_target(target).spec, collect=True)
        assert [f.code for f in done.findings] == ["ND306"]
        with pytest.raises(UnsupportedError, match="it is an ANN"):
            compile_graph(graph, load_target(target).spec)


def test_a_relu_between_spiking_layers_is_no_tail():
    """What a spiking layer follows cannot go to the host."""
    graph = ending(pre=fc(1, 5, 6), relu=ReLU(), fc2=fc(2, 5, 5), lif2=lif(5))
    assert split_tail(graph, accumulate=True) == (graph, None)
    codes = {f.code for f in compile_graph(graph, load_target("loihi2").spec, collect=True).findings}
    assert {"ND304", "ND217"} <= codes


def test_recurrent_edges_behind_the_last_spikes_and_across_the_cut():
    """A loop in the tail; and a sum of which one term arrives a step late."""
    nodes = {**ending(**REPACT).nodes, "again": fc(4, 5, 5)}
    edges = [*ending(**REPACT).edges, ("relu", "again"), ("again", "relu")]
    loop = Graph(nodes, tuple(edges), timesteps=4, recurrent=frozenset({("relu", "again")}))
    same(loop, *split_tail(loop, accumulate=True))
    nodes = {**ending(**REPACT).nodes, "late": fc(4, 5, 6)}
    edges = [*ending(**REPACT).edges, ("lif", "late"), ("late", "relu")]
    late = Graph(nodes, tuple(edges), timesteps=4, recurrent=frozenset({("late", "relu")}))
    chip, host = split_tail(late, accumulate=True)
    assert ("late", "accumulator") in chip.recurrent
    same(late, chip, host)


def test_a_max_pool_of_averages_goes_to_the_host():
    graph = residual_repact(identity=False).with_nodes({"relu": AvgPool2d((1, 1), (1, 1))})
    graph = graph.with_nodes({"pool": MaxPool2d((4, 4), (4, 4))})
    chip, host = split_tail(graph, accumulate=True)
    assert host is not None
    assert "pool" in host.nodes
    same(graph, chip, host)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), relu=st.booleans(), leak=st.sampled_from([1.0, 0.5]), readout=st.booleans())
def test_random_graphs_mean_the_same(seed, relu, leak, readout):
    graph = random_graph(seed, real=False, readout=False)
    nodes: dict[str, Node] = {name: node for name, node in graph.nodes.items() if name != "output"}
    edges = [edge for edge in graph.edges if edge[1] != "output"]
    last = "fc"
    for name, node in (
        *([("relu", ReLU())] if relu else []),
        ("fc2", fc(seed, 2, 3)),
        *([("readout", Integrator((2,), leak))] if readout else []),
        ("output", Output()),
    ):
        nodes[name] = node
        edges.append((last, name))
        last = name
    graph = Graph(nodes, tuple(edges), timesteps=4)
    x = random_input(graph, seed)
    chip, host = split_tail(graph, accumulate=True)
    assert host is not None
    np.testing.assert_array_equal(together(chip, host, x), interpret(graph, x).output)


def test_a_network_without_a_tail_is_left_alone():
    graph = paper_chain(real=False)
    assert split_tail(graph, accumulate=True) == (graph, None)
    assert split_tail(graph, load_target("nir").spec.nodes, accumulate=False)[1] is not None, "its AvgPool2d is foreign"
