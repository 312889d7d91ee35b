"""Which edge of a NIR cycle is the late one: every case of the rule, by hand, and what it means step by step."""

import nir
import numpy as np
import pytest

from neurodeploy.diagnostics import UnsupportedError, UsageError
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nir_cycles import late_edges
from neurodeploy.ir.nir_io import from_nir
from neurodeploy.ir.nodes import Delay

KINDS = {"in": "Input", "a": "Affine", "b": "Affine", "lif": "LIF", "lif2": "LIF", "li": "LI", "t": "Threshold"}
KINDS |= {"f": "Flatten", "d": "Delay", "out": "Output", "cuba": "CubaLIF"}


def late(*paths, delayed=()):
    """The late edges of a graph given as paths ``"in a lif out"``."""
    edges = [pair for path in paths for pair in zip(path.split(), path.split()[1:], strict=False)]
    return set(late_edges(KINDS, list(dict.fromkeys(edges)), delayed))


def test_no_cycle_has_no_late_edge():
    assert late("in a lif out", "lif b out") == set()


def test_a_delay_on_the_cycle_is_the_delay_and_every_edge_into_it_is_late():
    """Case 1; the same Delay also fed from outside the cycle, whose path must not be shortened."""
    assert late("in a lif out", "lif d b lif", delayed=["d"]) == {("lif", "d")}
    assert late("in a lif out", "lif d b lif", "a d", delayed=["d"]) == {("lif", "d"), ("a", "d")}
    assert late("in d a lif out", "lif b lif", delayed=["d"]) == {("lif", "b")}  # in front of the cycle: not on it


def test_a_recurrent_layer_is_late_where_it_leaves_the_neuron():
    """Case 2: the paper's Braille network, a filter in the loop, a node without memory in between."""
    assert late("in a cuba out", "cuba b cuba") == {("cuba", "b")}
    assert late("in a lif out", "lif b li lif") == {("lif", "b")}
    assert late("in a lif out", "lif f b lif") == {("f", "b")}
    assert late("in a li t out", "t b li") == {("t", "b")}  # LI + Threshold: a neuron in two nodes
    assert late("in lif out", "lif a lif", "lif b lif") == {("lif", "a"), ("lif", "b")}
    assert late("in lif out", "lif a f b lif") == {("lif", "a")}  # two synapses, one late edge


def test_a_cycle_without_a_synapse_is_late_where_it_leaves_the_neuron():
    """Case 3."""
    assert late("in lif out", "lif lif") == {("lif", "lif")}
    assert late("in li t out", "t li") == {("li", "t")}


def test_two_layers_each_with_a_loop_are_two_cycles():
    assert late("in lif b lif2 out", "lif a lif", "lif2 lif2") == {("lif", "a"), ("lif2", "lif2")}


def test_feedback_over_two_neurons_is_ambiguous_and_a_delay_decides():
    """Case 4."""
    with pytest.raises(UnsupportedError) as refusal:
        late("in lif a lif2 out", "lif2 b lif")
    assert refusal.value.code == "ND230"
    assert "`lif` -> `a`" in refusal.value.message
    assert "`lif2` -> `b`" in refusal.value.message
    assert late("in lif a lif2 out", "lif2 d b lif", delayed=["d"]) == {("lif2", "d")}


def test_a_cycle_of_synapses_stays_and_the_graph_refuses_it():
    assert late("in a b a", "b out") == set()


def braille(**changes):
    """Two neurons, spiking input, a recurrent Affine with a bias; dt = 1e-4."""
    cell = {"tau_syn": 1e-4, "tau_mem": 2e-4, "r": 2.0, "v_leak": 0.0, "v_threshold": 0.9, "v_reset": 0.0, "w_in": 1.0}
    nodes = {
        "in": nir.Input({"input": np.array([2])}),
        "fc": nir.Affine(np.eye(2), np.zeros(2)),
        "lif": nir.CubaLIF(**{key: np.full(2, value) for key, value in cell.items()}),
        "rec": nir.Affine(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0.0, 0.25])),
        "out": nir.Output({"output": np.array([2])}),
        **changes,
    }
    edges = [("in", "fc"), ("fc", "lif"), ("lif", "rec"), ("rec", "lif"), ("lif", "out")]
    return nir.NIRGraph(nodes, edges, type_check=False)


def test_the_bias_of_a_recurrent_layer_counts_from_the_first_step():
    """By hand: decay 0.5, current decay 0, both gains 1, so v = v/2 + x + W s[t-1] + (0, 0.25), reset to 0 above 0.9.

    t0: x = (1, 0): v = (1, .25), spikes (1, 0). t1: x = 0: v = (0, .125 + 1 + .25), spikes (0, 1).
    t2: v = (1, .25), spikes (1, 0). t3: v = (0, .125 + 1 + .25), spikes (0, 1). Without the bias at t = 0, v[0] would
    be (1, 0).
    """
    graph = from_nir(braille())
    assert graph.recurrent == {("lif", "rec")}
    x = np.zeros((1, 4, 2))
    x[0, 0, 0] = 1
    run = interpret(graph, x)
    np.testing.assert_array_equal(run.potential["lif"][0], [[1, 0.25], [0, 1.375], [1, 0.25], [0, 1.375]])
    np.testing.assert_array_equal(run.spikes["lif"][0], [[1, 0], [0, 1], [1, 0], [0, 1]])


def test_a_delay_of_d_steps_in_the_cycle_is_d_steps_in_all():
    """Three steps: the late edge takes one, two are left in the node; the answer to t = 0 comes at t = 3."""
    read = braille(delay=nir.Delay(np.full(2, 3e-4)), rec=nir.Linear(np.array([[0.0, 1.0], [1.0, 0.0]])))
    read.edges = [("in", "fc"), ("fc", "lif"), ("lif", "delay"), ("delay", "rec"), ("rec", "lif"), ("lif", "out")]
    graph = from_nir(read)
    assert graph.recurrent == {("lif", "delay")}
    assert graph.nodes["delay"] == Delay((2,), 2)
    x = np.zeros((1, 5, 2))
    x[0, 0, 0] = 1
    np.testing.assert_array_equal(interpret(graph, x).spikes["lif"][0], [[1, 0], [0, 0], [0, 0], [0, 1], [0, 0]])


def test_a_delay_that_is_no_whole_number_of_steps_is_refused_with_both_numbers():
    read = braille(delay=nir.Delay(np.full(2, 2.5e-4)))
    read.edges = [("in", "delay"), ("delay", "fc"), ("fc", "lif"), ("lif", "rec"), ("rec", "lif"), ("lif", "out")]
    with pytest.raises(UsageError) as refusal:
        from_nir(read)
    assert refusal.value.code == "ND114"
    assert "2.5 steps of dt = 0.0001 s" in refusal.value.message


def test_the_same_loop_in_a_subgraph_is_written_out_flat():
    """As snnTorch writes RLeaky and RSynaptic: input -> lif, lif <-> w_rec, lif -> output."""
    whole = braille()
    inner = nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([2])}),
            "lif": whole.nodes["lif"],
            "w_rec": whole.nodes["rec"],
            "output": nir.Output({"output": np.array([2])}),
        },
        [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
        type_check=False,
    )
    nodes = {key: whole.nodes[key] for key in ("in", "fc", "out")} | {"cell": inner}
    graph = from_nir(nir.NIRGraph(nodes, [("in", "fc"), ("fc", "cell"), ("cell", "out")], type_check=False))
    assert list(graph.nodes) == ["in", "fc", "cell_w_rec", "cell_lif", "out"]
    assert graph.recurrent == {("cell_lif", "cell_w_rec")}
    x = (np.random.default_rng(0).random((4, 6, 2)) < 0.4).astype(float)
    flat = interpret(from_nir(whole), x).spikes["lif"]
    np.testing.assert_array_equal(interpret(graph, x).spikes["cell_lif"], flat)
