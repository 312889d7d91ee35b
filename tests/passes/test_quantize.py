"""Quantization: ranges are proven, thresholds mean the same, nothing that Lava would change is emitted."""

from dataclasses import replace

import numpy as np
import pytest
from graphs import paper_chain, random_input, skip_chain
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.machine import BIAS_LIMIT, machine_findings
from neurodeploy.ir.nodes import LIF, SYNAPSES, Input, Integrator, Linear, Output
from neurodeploy.passes.fold_pool import fold_pool
from neurodeploy.passes.quantize import WEIGHT_LIMIT, Limits, exact_steps, quantize


def spiking(seed, **changes):
    return fold_pool(paper_chain(seed, real=False, **changes))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), bits=st.sampled_from([17, 15, 11]))
def test_every_number_keeps_its_range_and_no_sum_leaves_the_bound(seed, bits):
    graph, _ = quantize(spiking(seed), Limits(accumulator=2**bits - 1))
    assert not list(machine_findings(graph))
    for name in graph.names(SYNAPSES):
        node = graph.nodes[name]
        assert np.all(node.weight % 2 == 0)
        assert np.max(np.abs(node.weight)) <= WEIGHT_LIMIT
        assert np.max(np.abs(node.bias)) <= BIAS_LIMIT
        flat = node.weight.reshape(node.weight.shape[0], -1)
        assert max(np.maximum(flat, 0).sum(1).max(), -np.minimum(flat, 0).sum(1).min()) <= 2**bits - 1
    found = interpret(graph, random_input(graph, seed, samples=8), "loihi")
    assert max(np.abs(v).max() for v in found.membrane.values()) < 2**23 - 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_scale_makes_the_strict_threshold_mean_at_or_above(seed):
    """S·V_th = vThMant + 1/64: on the integer grid v > vThMant·64 is v ≥ S·V_th·64."""
    graph = spiking(seed)
    integer, _ = quantize(graph)
    for name in integer.names(LIF):
        mantissa = float(integer.nodes[name].threshold)
        assert integer.scales[name] * 0.5 == pytest.approx(mantissa + 1 / 64, rel=1e-15)


def test_spikes_are_those_of_the_rounded_network_in_floats():
    """Dividing the integers by their scale gives a float network with ties on the threshold: same spikes, T = 4."""
    graph = spiking(5)
    integer, _ = quantize(graph)
    nodes = dict(graph.nodes)
    for name in graph.names((LIF, Integrator)):
        for source in graph.sources(name):
            node, scale = integer.nodes[source], integer.scales[name]
            nodes[source] = replace(node, weight=np.float64(node.weight) / scale, bias=np.float64(node.bias) / scale)
    rounded = replace(graph, nodes=nodes)
    x = random_input(graph, 1, samples=16)
    found, expected = interpret(integer, x, "loihi"), interpret(rounded, x, "float64")
    for name in graph.names(LIF):
        # float64 cannot hold S exactly: leave out the potentials within its rounding of the threshold
        clear = np.abs(expected.potential[name] - 0.5) > 1e-9
        np.testing.assert_array_equal(found.spikes[name][clear], expected.spikes[name][clear])
    logits = found.output / 64.0 / integer.scales["readout"]
    np.testing.assert_allclose(logits, expected.output, atol=1e-9)


def test_parallel_synapses_into_one_population_share_its_scale():
    graph, _ = quantize(skip_chain())
    original = skip_chain()
    scale = graph.scales["lif3"]
    for name in ("conv3", "skip"):
        exact = original.nodes[name].weight * scale
        assert np.max(np.abs(graph.nodes[name].weight - exact)) <= 1.0  # rounding to even integers


def test_the_leak_note_appears_beyond_four_steps():
    assert [f.code for f in quantize(spiking(0))[1]] == []
    longer = replace(spiking(0), timesteps=8)
    assert {f.code for f in quantize(longer)[1]} == {"ND216"}
    assert [exact_steps(d) for d in (0.5, 0.25, 0.125, 0.3)] == [7, 4, 3, 1]


def network(weight, bias=None, **lif):
    size = weight.shape[0]
    numbers = {"decay": 0.25, "threshold": 0.5, **lif}
    nodes = {
        "input": Input((weight.shape[1],), "binary"),
        "fc": Linear(weight, np.zeros(size) if bias is None else bias),
        "lif": LIF((size,), **numbers),
        "output": Output(),
    }
    return Graph(nodes, (("input", "fc"), ("fc", "lif"), ("lif", "output")), timesteps=4)


@pytest.mark.parametrize(
    ("graph", "code", "words"),
    [
        (network(np.zeros((2, 3))), "ND205", "all weights"),
        (network(np.full((2, 3), np.nan)), "ND205", "not finite"),
        (network(np.full((2, 3), 1e4)), "ND207", "threshold"),
        (network(np.ones((2, 3)), np.full(2, 1e5)), "ND206", "bias"),
        (network(np.ones((2, 3)), decay=0.3), "ND215", "4096"),
        (network(np.ones((2, 3)), decay=1.0), "ND215", "leak"),
        (network(np.ones((2, 3)), threshold=np.array([0.5, 0.75])), "ND215", "one threshold"),
        (network(np.ones((2, 3)), reset="subtract"), "ND215", "reset to 0"),
    ],
)
def test_refusals_name_layer_rule_and_way_out(graph, code, words):
    with pytest.raises(UnsupportedError) as refusal:
        quantize(graph)
    finding = refusal.value.findings[0]
    assert finding.code == code
    assert finding.node in ("fc", "lif")
    assert words in finding.rule + str(finding.measured)
    assert finding.fix


def test_all_layers_are_reported_not_only_the_first():
    graph = spiking(0)
    zero = {name: replace(graph.nodes[name], weight=graph.nodes[name].weight * 0) for name in ("conv1", "fc")}
    with pytest.raises(UnsupportedError) as refusal:
        quantize(graph.with_nodes(zero))
    assert {f.node for f in refusal.value.findings} == {"conv1", "fc"}


def test_a_readout_neither_fires_nor_saturates_within_t():
    graph = spiking(0)
    integer, _ = quantize(graph)
    node = integer.nodes["fc"]
    reach = np.abs(node.weight).sum(1).max() + np.abs(node.bias).max()
    assert 4 * reach < 131071
