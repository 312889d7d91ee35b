"""What reaches a chip synapse, and where the host ends."""

from itertools import pairwise

import numpy as np
import pytest
from graphs import paper_chain, random_graph, random_input, skip_chain
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import LIF, Conv2d, Flatten, Input, Integrator, Linear, Output
from neurodeploy.passes.fold_pool import fold_pool
from neurodeploy.passes.partition import partition
from neurodeploy.passes.purity import purity


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_chip_after_encoder_is_the_graph(seed):
    """Case 2: composing the two parts again gives the same output."""
    graph = random_graph(seed)
    encoder, chip = partition(graph)
    assert encoder is not None
    x = random_input(graph, seed)
    spikes = interpret(encoder, x).output
    assert set(np.unique(spikes)) <= {0.0, 1.0}
    np.testing.assert_array_equal(interpret(chip, spikes).output, interpret(graph, x).output)


def test_a_binary_input_needs_no_encoder():
    """Case 1."""
    graph = paper_chain(real=False)
    assert partition(graph) == (None, graph)


def test_an_input_that_cannot_be_cut_off_is_refused():
    """Case 3, both kinds."""
    lif = LIF((2,), 0.25, 0.5)
    fc = Linear(np.eye(2), np.zeros(2))
    straight = Graph({"input": Input((2,)), "fc": fc, "output": Output()}, (("input", "fc"), ("fc", "output")))
    with pytest.raises(UnsupportedError, match="without passing a spiking neuron") as refusal:
        partition(straight)
    assert refusal.value.code == "ND305"
    nodes = {"input": Input((2,)), "a": fc, "b": fc, "lif_a": lif, "lif_b": lif, "c": fc, "d": fc, "out": lif}
    nodes["output"] = Output()
    edges = [("input", "a"), ("input", "b"), ("a", "lif_a"), ("b", "lif_b"), ("lif_a", "c"), ("lif_b", "d")]
    edges += [("c", "out"), ("d", "out"), ("out", "output")]
    with pytest.raises(UnsupportedError, match="2 populations leave it"):
        partition(Graph(nodes, tuple(edges)))


def codes(graph):
    return {f.node: f.code for f in purity(graph)}


def test_pure_after_folding_and_partition():
    _, chip = partition(fold_pool(paper_chain()))
    assert purity(chip) == []


def test_every_cause_has_its_code_and_its_way_out():
    assert codes(paper_chain()) == {"conv1": "ND301", "fc": "ND302"}
    assert codes(skip_chain()) == {}
    lif, fc = LIF((2,), 0.25, 0.5), Linear(np.eye(2), np.zeros(2))
    nodes = {"input": Input((2,), "binary"), "a": lif, "b": lif, "fc": fc, "output": Output()}
    edges = (("input", "a"), ("input", "b"), ("a", "fc"), ("b", "fc"), ("fc", "output"))
    sew = Graph(nodes, edges)
    assert codes(sew) == {"fc": "ND303"}
    assert purity(sew)[0].measured == "integer(2)"
    nodes = {"input": Input((2,), "binary"), "a": fc, "sum": Integrator((2,)), "fc": fc, "output": Output()}
    deep = Graph(nodes, (("input", "a"), ("a", "sum"), ("sum", "fc"), ("fc", "output")))
    assert codes(deep) == {"fc": "ND304"}
    assert all(f.fix for graph in (sew, deep, paper_chain()) for f in purity(graph))


def test_the_cause_is_found_behind_a_flatten():
    nodes = {
        "input": Input((1, 2, 2)),
        "flatten": Flatten(),
        "fc": Linear(np.ones((2, 4)), np.zeros(2)),
        "output": Output(),
    }
    names = list(nodes)
    assert codes(Graph(nodes, tuple(pairwise(names)))) == {"fc": "ND301"}


def test_kinds_do_not_look_at_values():
    """A convolution of zeros is still real."""
    zero = Conv2d(np.zeros((1, 1, 1, 1)), np.zeros(1))
    nodes = {"input": Input((1, 2, 2), "binary"), "a": zero, "b": zero, "output": Output()}
    graph = Graph(nodes, (("input", "a"), ("a", "b"), ("b", "output")))
    assert codes(graph) == {"b": "ND304"}
