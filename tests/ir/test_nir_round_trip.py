"""``from_nir(to_nir(g)) == g`` for every node kind, late edges included; and what a plain reader of the file sees."""

import itertools
from dataclasses import replace

import nir
import numpy as np
import pytest
from graphs import random_input
from hypothesis import given, settings
from hypothesis import strategies as st
from nir_graphs import random_net

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nir_io import ReadOptions, from_nir, read_nir, to_nir, write_nir
from neurodeploy.ir.nodes import (
    LIF,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Integrator,
    Linear,
    MaxPool2d,
    Output,
    ReLU,
)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_from_nir_of_to_nir_is_the_graph(seed):
    graph = random_net(seed)
    again = from_nir(to_nir(graph))
    assert again == graph
    assert list(again.nodes) == list(graph.nodes)


def test_a_file_is_the_graph_again_byte_for_byte(tmp_path):
    for seed in range(8):
        graph = random_net(seed)
        write_nir(graph, tmp_path / "a.nir")
        again = read_nir(tmp_path / "a.nir")
        assert again == graph
        write_nir(again, tmp_path / "b.nir")
        assert (tmp_path / "a.nir").read_bytes() == (tmp_path / "b.nir").read_bytes()


def plainly(graph):
    """The file without our notes: what a reader of NIR sees."""
    written = to_nir(graph)
    written.metadata = {}
    for node in written.nodes.values():
        node.metadata = {}
    return written


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_without_our_notes_a_plain_reader_sees_the_same_spikes(seed):
    """Euler, ``>``, reset to v_reset; cycles by the rule. Dyadic weights put many membranes on the threshold."""
    graph = random_net(seed, plain=True)
    foreign = from_nir(plainly(graph), ReadOptions(input_kind="binary"))
    x = random_input(graph, seed, samples=3, timesteps=6)
    ours, theirs = interpret(graph, x, "float32"), interpret(foreign, x, "float32")
    for name, spikes in ours.spikes.items():
        np.testing.assert_array_equal(spikes, theirs.spikes[name], err_msg=name)


@pytest.mark.parametrize("node", [ReLU(), MaxPool2d((2, 2), (2, 2))])
def test_what_is_no_nir_node_is_refused_by_every_plain_reader(node, tmp_path):
    shape = node.output_shape((1, 4, 4))
    nodes = {"input": Input((1, 4, 4)), "host": node, "flatten": Flatten()}
    nodes |= {"fc": Linear(np.ones((2, int(np.prod(shape)))), np.zeros(2)), "output": Output()}
    names = list(nodes)
    graph = Graph(nodes, tuple(itertools.pairwise(names)))
    write_nir(graph, tmp_path / "tail.nir")
    assert read_nir(tmp_path / "tail.nir") == graph
    with pytest.raises((AssertionError, KeyError)):
        nir.read(tmp_path / "tail.nir", type_check=False)


@pytest.mark.parametrize(
    "node",
    [
        LIF((2,), np.array([0.5, 1.0]), 0.5),
        LIF((2,), 1.0, 0.5, offset=0.25),
        CubaLIF((2,), 1.0, 0.5),
        CubaLIF((2,), 0.5, 0.5, current_decay=1.0),
        Integrator((2,), 1.0, offset=0.25),
        Integrator((2,), np.array([0.5, 1.0])),
    ],
)
def test_what_nir_cannot_say_is_refused_by_name(node):
    nodes = {"input": Input((2,)), "cell": node, "fc": Linear(np.eye(2), np.zeros(2)), "output": Output()}
    graph = Graph(nodes, (("input", "cell"), ("cell", "fc"), ("fc", "output")))
    with pytest.raises(UnsupportedError) as refusal:
        to_nir(graph)
    assert (refusal.value.code, refusal.value.where) == ("ND201", "cell")


def test_only_a_plain_accumulator_is_left_to_the_host():
    """One that leaks, or weighs its input, is a node of the file: a host that only adds would read something else."""
    for readout, kind in ((Integrator((2,)), None), (Integrator((2,), 0.5), "LI"), (Integrator((2,), gain=0.5), "I")):
        nodes = {"input": Input((2,)), "fc": Linear(np.eye(2), np.zeros(2)), "sum": readout, "output": Output()}
        graph = Graph(nodes, (("input", "fc"), ("fc", "sum"), ("sum", "output")))
        written = to_nir(graph)
        assert type(written.nodes["sum"]).__name__ == kind if kind else "sum" not in written.nodes
        assert from_nir(written) == graph


def test_the_numbers_written_for_a_current_based_neuron():
    """By hand: decay 0.75 -> tau_mem 4e-4, current 0.5 -> tau_syn 2e-4, r = 4, w_in = 2; ge -> just below 1."""
    cell = CubaLIF((1,), 0.75, 1.0, offset=0.25, v_reset=-1.0, current_decay=0.5)
    nodes = {"input": Input((1,)), "cell": cell, "output": Output()}
    written = to_nir(Graph(nodes, (("input", "cell"), ("cell", "output")))).nodes["cell"]
    assert [float(getattr(written, key)[0]) for key in ("tau_mem", "tau_syn", "r", "w_in", "v_leak", "v_reset")] == [
        4e-4,
        2e-4,
        4.0,
        2.0,
        1.0,
        -1.0,
    ]
    assert written.v_threshold.dtype == np.float32
    assert written.v_threshold[0] == np.float32(1) - np.float32(2) ** -24


def test_another_tool_that_drops_a_late_edge_is_noticed():
    nodes = {
        "input": Input((2,)),
        "lif": LIF((2,), 0.5, 0.5),
        "rec": Linear(np.eye(2), np.zeros(2)),
        "output": Output(),
    }
    edges = (("input", "lif"), ("lif", "rec"), ("rec", "lif"), ("lif", "output"))
    written = to_nir(Graph(nodes, edges, recurrent=frozenset({("lif", "rec")})))
    written.edges = [edge for edge in written.edges if edge != ("lif", "rec")]
    written.edges.append(("input", "rec"))
    with pytest.raises(Exception, match="a recurrent edge, but the file has no such edge"):
        from_nir(written)


def test_another_dt_finds_the_same_late_edges_and_longer_delays():
    """Twice the steps a second: a Delay of 2 steps is one of 4, the cycle is late where it was."""
    nodes = {
        "input": Input((2,)),
        "delay": Delay((2,), 2),
        "lif": LIF((2,), 0.5, 0.5),
        "rec": Linear(np.eye(2), np.zeros(2)),
        "output": Output(),
    }
    edges = (("input", "delay"), ("delay", "lif"), ("lif", "rec"), ("rec", "lif"), ("lif", "output"))
    graph = Graph(nodes, edges, recurrent=frozenset({("lif", "rec")}))
    other = from_nir(to_nir(graph), ReadOptions(dt=5e-5))
    assert other.recurrent == graph.recurrent
    assert other.nodes["delay"] == Delay((2,), 4)
    assert other.nodes["lif"] == replace(graph.nodes["lif"], decay=np.asarray(0.75), gain=np.asarray(0.5))
