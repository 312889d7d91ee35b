"""Quantization: ranges are proven, thresholds mean the same, nothing that Lava would change is emitted."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from graphs import paper_chain, random_input, skip_chain
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.machine import BIAS_LIMIT, accumulator_bounds, machine_findings
from neurodeploy.ir.nodes import LIF, SYNAPSES, Conv2d, CubaLIF, Input, Integrator, Linear, Output
from neurodeploy.passes.fold_pool import fold_pool
from neurodeploy.passes.parallel_synapses import parts
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
        (network(np.ones((2, 3)), decay=1.25), "ND215", "0…1"),
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


def cuba(seed=0, **numbers):
    """Two inputs' worth of synapses into neurons with a current, one of them from the neurons themselves."""
    rng = np.random.default_rng(seed)
    settings = {"decay": 0.7, "current_decay": 0.4, "threshold": 1.0, **numbers}
    nodes = {
        "input": Input((6,), "binary"),
        "fc": Linear(rng.normal(size=(5, 6)), np.zeros(5)),
        "back": Linear(rng.normal(size=(5, 5)) / 2, np.zeros(5)),
        "lif": CubaLIF((5,), **settings),
        "out": Linear(rng.normal(size=(3, 5)), rng.normal(size=3)),
        "readout": Integrator((3,)),
        "output": Output(),
    }
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "out"), ("out", "readout")]
    edges = (*edges, ("readout", "output"))
    return Graph(nodes, edges, timesteps=10, recurrent=frozenset({("lif", "back")}))


def test_a_current_and_a_recurrent_synapse_quantize():
    """Decays become multiples of 1/4096 (noted); spikes stay near those of the float network, ranges are kept."""
    graph = cuba()
    integer, findings = quantize(graph)
    assert {(f.code, f.severity) for f in findings if f.node == "lif"} == {("ND238", "note"), ("ND216", "note")}
    assert float(integer.nodes["lif"].decay) == 2867 / 4096
    assert float(integer.nodes["lif"].current_decay) == 1638 / 4096
    assert integer.recurrent == graph.recurrent
    x = random_input(graph, 1, samples=64, timesteps=10)
    real, chip = interpret(graph, x), interpret(integer, x, "loihi")
    assert 0.02 < real.spikes["lif"].mean() < 0.9
    assert np.mean(real.spikes["lif"] != chip.spikes["lif"]) < 0.02  # 8-bit weights
    assert np.abs(chip.current["lif"]).max() < 2**23


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    decay=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    memory=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
)
def test_the_worst_input_keeps_the_proven_ranges(seed, decay, memory):
    """The inputs that drive one neuron each down, or up, at every step, for all T: no wrap of u, no clip of v, IF and a
    current without decay included; the readout behind them neither fires nor saturates."""
    graph = replace(cuba(seed, decay=decay, current_decay=memory, threshold=40.0), timesteps=12)
    graph = graph.with_nodes({"fc": Linear(graph.nodes["fc"].weight, np.zeros(5))})
    integer, _ = quantize(graph, Limits(accumulator=2**17 - 1))
    weight = integer.nodes["fc"].weight
    for sign in (-1, 1):
        rows = (sign * weight > 0).astype(np.uint8)
        found = interpret(integer, np.repeat(rows[:, None], 12, axis=1), "loihi")
        assert np.abs(found.current["lif"]).max() < 2**23
        assert np.abs(found.potential["lif"]).max() < 2**23 - 1
        assert np.abs(found.membrane["readout"]).max() < 131071 * 64


def test_a_growing_current_bounds_the_scale():
    """Current and membrane without leak: T = 64 steps of Σ|w| count T·(T + 1)/2 times at most; proven by T·T."""
    slow = replace(cuba(decay=1.0, current_decay=1.0, threshold=1e3), timesteps=64)
    fast = replace(slow, timesteps=2)
    assert quantize(slow)[0].scales["lif"] < quantize(fast)[0].scales["lif"]
    integer = quantize(slow)[0]
    low = sum(accumulator_bounds(integer.nodes[s])[0] for s in ("fc", "back"))
    assert -low * 64 * 64 < 2**17


def test_an_offset_of_a_current_neuron_becomes_a_bias_and_a_bias_is_refused():
    """The machine adds a bias to v, behind the current: that is an offset, and not the bias of a synapse."""
    graph = cuba(offset=0.125)
    integer, _ = quantize(graph)
    assert integer.nodes["fc"].bias[0] == np.rint(0.125 * integer.scales["lif"])
    assert float(integer.nodes["lif"].offset) == 0.0
    with pytest.raises(UnsupportedError) as refusal:
        quantize(graph.with_nodes({"fc": Linear(graph.nodes["fc"].weight, np.ones(5))}))
    (finding,) = refusal.value.findings
    assert (finding.code, finding.node) == ("ND215", "lif")
    assert "passes through the current" in finding.rule


def test_a_bias_that_arrives_late_is_refused():
    graph = cuba(current_decay=0.0)
    late = replace(graph, recurrent=frozenset({("back", "lif")}))
    quantize(late)
    with pytest.raises(UnsupportedError, match="one step late"):
        quantize(late.with_nodes({"back": Linear(graph.nodes["back"].weight, np.ones(5))}))


def skip_into(weight, skip=1.0, lif=None):
    """A convolution and an identity skip into the same neurons."""
    channels = weight.shape[0]
    nodes = {
        "input": Input((channels, 4, 4), "binary"),
        "conv": Conv2d(weight, np.zeros(channels), padding=(1, 1)),
        "skip": Conv2d(np.full((channels, 1, 1, 1), skip), np.zeros(channels), groups=channels),
        "lif": lif or LIF((channels, 4, 4), 0.25, 0.5),
        "output": Output(),
    }
    edges = (("input", "conv"), ("conv", "lif"), ("input", "skip"), ("skip", "lif"), ("lif", "output"))
    return Graph(nodes, edges, timesteps=4)


def test_an_identity_skip_becomes_parallel_synapses():
    """Largest weight 0.25: vThMant = ⌊254/0.25/2 − 1/64⌋ = 507, S = 1014.03; the skip is 2·507 = 1014, so
    ⌈1014/254⌉ = 4 synapses. A single one would have bounded vThMant by 126."""
    weight = np.random.default_rng(0).uniform(-0.25, 0.25, (3, 3, 3, 3))
    weight[0, 0, 0, 0] = 0.25
    graph = skip_into(weight)
    integer, _ = quantize(graph)
    mantissa = int(integer.nodes["lif"].threshold)
    assert mantissa == int((254 / 0.25) * 0.5 - 1 / 64) == 507
    copies = [n for n in integer.nodes if n.startswith("skip")]
    assert copies == ["skip", "skip-2", "skip-3", "skip-4"]
    values = [int(integer.nodes[n].weight[0, 0, 0, 0]) for n in copies]
    assert sum(values) == 2 * mantissa
    assert max(values) - min(values) <= 2
    assert max(values) <= WEIGHT_LIMIT
    assert all(integer.sources("lif").count(n) == 1 and integer.sources(n) == ("input",) for n in copies)
    x = random_input(graph, 0, samples=32)
    real, chip = interpret(graph, x), interpret(integer, x, "loihi")
    assert np.mean(real.spikes["lif"] != chip.spikes["lif"]) < 0.01


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), most=st.integers(1, 2000))
def test_parallel_synapses_add_up_exactly(seed, most):
    rng = np.random.default_rng(seed)
    node = Conv2d(2.0 * rng.integers(-most, most + 1, (4, 2, 2, 2)), rng.integers(-9, 9, 4) * 1.0)
    copies = parts(node)
    np.testing.assert_array_equal(sum(c.weight.astype(np.int64) for c in copies), node.weight.astype(np.int64))
    np.testing.assert_array_equal(sum(c.bias for c in copies), node.bias)
    assert len(copies) == max(1, -(-int(np.abs(node.weight).max()) // 254))
    assert all(np.abs(c.weight).max() <= 254 and np.all(c.weight % 2 == 0) for c in copies)


def test_a_relay_is_small():
    """Case 3: w = 2, vThMant = 1, the spikes pass unchanged."""
    shape = (3, 4, 4)
    nodes = {
        "input": Input(shape, "binary"),
        "hop": Conv2d(np.ones((3, 1, 1, 1)), np.zeros(3), groups=3),
        "relay": LIF(shape, 0.0, 0.5),
        "output": Output(),
    }
    graph = Graph(nodes, tuple(pairwise(nodes)), timesteps=4)
    integer, findings = quantize(graph)
    assert findings == []
    assert np.all(integer.nodes["hop"].weight == 2)
    assert float(integer.nodes["relay"].threshold) == 1
    x = random_input(graph, 0)
    np.testing.assert_array_equal(interpret(integer, x, "loihi").spikes["relay"], x)


def test_a_branch_that_rounds_to_nothing_is_refused():
    """Beside weights of 1 a layer of 1e-4 is less than half a step."""
    graph = skip_into(np.random.default_rng(0).uniform(-1, 1, (2, 2, 3, 3)), skip=1e-4)
    with pytest.raises(UnsupportedError) as refusal:
        quantize(graph)
    (finding,) = refusal.value.findings
    assert (finding.code, finding.node) == ("ND205", "skip")
    assert "round to zero" in finding.rule


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
