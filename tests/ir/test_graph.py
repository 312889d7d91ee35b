"""The graph: shapes, order, and what it refuses."""

from itertools import pairwise

import numpy as np
import pytest
from graphs import paper_chain, random_graph, skip_chain

from neurodeploy.diagnostics import UnsupportedError, UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.kinds import value_kinds
from neurodeploy.ir.nodes import (
    LIF,
    Conv2d,
    Delay,
    Flatten,
    Input,
    Linear,
    MaxPool2d,
    Output,
    Scale,
    ShapeError,
    SumPool2d,
    Threshold,
)


def test_shapes_of_a_chain_and_of_non_square_grouped_kernels():
    """nir 1.0.8 infers (4, 8, 8) and one channel here: the reason why shapes are ours."""
    conv = Conv2d(np.ones((4, 1, 3, 5)), np.zeros(4), groups=2)
    graph = Graph(
        {"input": Input((2, 10, 10)), "conv": conv, "output": Output()}, (("input", "conv"), ("conv", "output"))
    )
    assert graph.shapes["conv"] == (4, 8, 6)
    assert paper_chain().shapes["flatten"] == (64,)


def test_nodes_come_in_topological_order_whatever_was_given():
    graph = skip_chain()
    shuffled = Graph(dict(reversed(graph.nodes.items())), graph.edges, graph.timesteps)
    place = {name: index for index, name in enumerate(shuffled.nodes)}
    assert all(place[a] < place[b] for a, b in shuffled.edges)


def test_equality_is_by_value():
    assert random_graph(3) == random_graph(3)
    graph = random_graph(3)
    name = graph.names(Conv2d)[0]
    node = graph.nodes[name]
    other = Conv2d(node.weight + 1, node.bias, node.stride, node.padding, node.dilation, node.groups)
    assert graph.with_nodes({name: other}) != graph


def test_neuron_parameters_are_kept_in_their_smallest_form():
    full = np.full((3, 2, 2), 0.5)
    assert LIF((3, 2, 2), full, full).threshold.shape == ()
    per_channel = np.broadcast_to(np.array([1.0, 2.0, 3.0])[:, None, None], (3, 2, 2))
    assert LIF((3, 2, 2), full, per_channel).threshold.shape == (3, 1, 1)


@pytest.mark.parametrize(
    ("nodes", "edges", "code"),
    [
        ({"input": Input((2,)), "output": Output()}, [("input", "nowhere")], "ND105"),
        ({"input": Input((2,)), "output": Output()}, [("input", "output"), ("input", "output")], "ND105"),
        ({"input": Input((2,)), "output": Output()}, [], "ND105"),
        ({"input": Input((2,)), "fc": Linear(np.ones((1, 3)), np.zeros(1))}, [("input", "fc")], "ND105"),
        ({"input": Input((1, 2, 2)), "c": Conv2d(np.ones((1, 1, 3, 3)), np.zeros(1))}, [("input", "c")], "ND105"),
        ({"input": Input((1, 2, 2)), "p": SumPool2d((3, 3), (3, 3))}, [("input", "p")], "ND105"),
        ({"a": LIF((2,), 0.5, 1.0), "b": LIF((2,), 0.5, 1.0)}, [("a", "b"), ("b", "a")], "ND211"),
    ],
)
def test_refusals_name_the_node(nodes, edges, code):
    with pytest.raises((UsageError, UnsupportedError)) as refusal:
        Graph(nodes, tuple(edges))
    assert refusal.value.code == code
    assert refusal.value.where or "edge" in refusal.value.message


def test_edges_of_different_shapes_may_not_meet():
    nodes = {
        "input": Input((4, 4, 4)),
        "flatten": Flatten(),
        "pool": SumPool2d((2, 2), (2, 2)),
        "output": Output(),
    }
    edges = (("input", "flatten"), ("input", "pool"), ("flatten", "output"), ("pool", "output"))
    with pytest.raises(UsageError, match="different shapes"):
        Graph(nodes, edges)


def test_value_kinds_come_from_the_graph():
    kinds = value_kinds(paper_chain())
    assert str(kinds["input"]) == "real"
    assert str(kinds["lif1"]) == "binary"
    assert str(kinds["pool2"]) == "graded"
    graph = paper_chain()
    summed = graph.with_nodes({"pool2": SumPool2d((2, 2), (2, 2))})
    assert str(value_kinds(summed)["flatten"]) == "integer(4)"


def test_two_spike_edges_that_meet_are_an_integer():
    lif = LIF((2,), 0.5, 1.0)
    nodes = {"input": Input((2,), "binary"), "a": lif, "b": lif, "output": Output()}
    edges = (("input", "a"), ("input", "b"), ("a", "output"), ("b", "output"))
    assert str(value_kinds(Graph(nodes, edges))["output"]) == "integer(2)"


def recurrent_pair():
    """input → a ⇄ b, b → output: the neurons' shape is known before any order is."""
    nodes = {"input": Input((2,)), "a": LIF((2,), 0.5, 1.0), "b": LIF((2,), 0.5, 1.0), "output": Output()}
    edges = (("input", "a"), ("a", "b"), ("b", "a"), ("b", "output"))
    return nodes, edges


def test_a_cycle_needs_a_recurrent_edge():
    nodes, edges = recurrent_pair()
    with pytest.raises(UnsupportedError) as refusal:
        Graph(nodes, edges)
    assert refusal.value.code == "ND211"
    graph = Graph(nodes, edges, recurrent=frozenset({("b", "a")}))
    assert list(graph.nodes) == ["input", "a", "b", "output"]
    assert graph.cycles == (frozenset({"a", "b"}),)


def test_a_late_edge_without_a_cycle_is_no_cycle():
    nodes = {"input": Input((2,)), "a": LIF((2,), 0.5, 1.0), "output": Output()}
    graph = Graph(nodes, (("input", "a"), ("a", "output")), recurrent=frozenset({("a", "output")}))
    assert graph.cycles == ()


def test_taking_a_node_out_keeps_the_delay():
    nodes, edges = recurrent_pair()
    nodes["one"] = Scale((2,), np.asarray(1.0))
    edges = (*(e for e in edges if e != ("b", "a")), ("b", "one"), ("one", "a"))
    graph = Graph(nodes, edges, recurrent=frozenset({("b", "one")}))
    assert graph.without("one").recurrent == {("b", "a")}
    late_twice = Graph(nodes, edges, recurrent=frozenset({("b", "one"), ("one", "a")}))
    with pytest.raises(UnsupportedError, match="two delays"):
        late_twice.without("one")


def test_a_recurrent_layer_must_fit_its_neurons():
    nodes, edges = recurrent_pair()
    nodes["back"] = Linear(np.ones((3, 2)), np.zeros(3))
    edges = (*(e for e in edges if e != ("b", "a")), ("b", "back"), ("back", "a"))
    with pytest.raises(UsageError) as refusal:
        Graph(nodes, edges, recurrent=frozenset({("b", "back")}))
    assert refusal.value.code == "ND105"
    assert refusal.value.where == "a"


@pytest.mark.parametrize("steps", [0.5, -1])
def test_delays_are_whole_steps(steps):
    with pytest.raises(ShapeError, match="whole steps"):
        Delay((2,), np.asarray(steps))


def test_several_spikes_at_once_need_a_reset_that_subtracts():
    with pytest.raises(ShapeError, match="subtracts"):
        LIF((2,), 0.5, 1.0, spikes="multi")


def test_kinds_of_spikes_on_their_way():
    nodes = {
        "input": Input((1, 4, 4), "binary"),
        "max": MaxPool2d((2, 2), (2, 2)),
        "late": Delay((1, 2, 2), np.asarray(1)),
        "scale": Scale((1, 2, 2), np.asarray(0.5)),
        "threshold": Threshold((1, 2, 2), np.asarray(0.1)),
        "many": LIF((1, 2, 2), 0.5, 1.0, reset="subtract", spikes="multi"),
        "output": Output(),
    }
    names = list(nodes)
    kinds = value_kinds(Graph(nodes, tuple(pairwise(names))))
    said = [str(kinds[name]) for name in names]
    assert said == ["binary", "binary", "binary", "graded", "binary", "integer", "integer"]
