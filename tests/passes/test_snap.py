"""Snapping: float32 is exact where the proof says so, and is not where it says so."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from graphs import paper_chain, random_graph, random_input, skip_chain
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import LIF, SYNAPSES, AvgPool2d, CubaLIF, Flatten, Input, Integrator, Linear, Output
from neurodeploy.passes.exact_input import entering, input_limit, is_exact, snap_input
from neurodeploy.passes.exact_sums import Values, fraction_bits, significand_bits, walk
from neurodeploy.passes.pipeline import Context, compile_graph
from neurodeploy.passes.place import CoreLimits
from neurodeploy.passes.snap import missing_bits, snap
from neurodeploy.passes.unit_gain import unit_gain
from neurodeploy.targets.base import load_target


def dense(weight, *, decay=0.25, threshold=0.5, timesteps=4, bias=None, values="binary", **lif):
    """Input → Linear → LIF → Output."""
    weight = np.atleast_2d(np.asarray(weight, np.float64))
    out, inputs = weight.shape
    nodes = {
        "input": Input((inputs,), values),
        "fc": Linear(weight, np.zeros(out) if bias is None else np.asarray(bias)),
        "lif": LIF((out,), np.asarray(decay), np.asarray(threshold), **lif),
        "output": Output(),
    }
    return Graph(nodes, tuple(pairwise(nodes)), timesteps=timesteps)


@given(st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=5), st.integers(-4, 30))
def test_fraction_bits_is_the_denominator(numbers, shift):
    values = [Fraction(n) / Fraction(2) ** shift for n in numbers]
    found = fraction_bits(np.asarray([float(v) for v in values]))
    assert 2**found == max(v.denominator for v in values)


def test_bits_of_a_significand():
    # 5/4 in quarters is 5: three bits; 2^24 - 1 units: 24; one unit more counts as 25 (the bound is not tight there).
    assert significand_bits(1.25, 2) == 3
    assert significand_bits(2.0**24 - 1, 0) == 24
    assert significand_bits(2.0**24, 0) == 25
    assert significand_bits(0.0, 10) == 0


# ---------------------------------------------------------------------------------------------------------------------
# the proof


def norse_step(v, x):
    """``v += 0.75·(x − v)`` as a float32 reader computes it."""
    return np.float32(v + np.float32(np.float32(0.75) * np.float32(x - v)))


@pytest.mark.parametrize("g", [3, 6, 10])
def test_the_rule_for_a_quarter_and_four_steps(g):
    """Weights on 2^-g in (−2^(16−g), 0]: one spike at step 1 of the smallest, one at step 4 of the largest weight.

    By hand: u[4] = 2^-g·4^-3 − X, so 0.75·u takes 3·(X·2^(g+6) − 1) units of 2^-(g+8). It fits 24 bits for
    X·2^(g+6) ≤ 2^22.4; with X four times as large float32 drops the spike of step 1.
    """
    for size, fits in ((2.0 ** (15 - g), True), (2.0 ** (18 - g), False)):
        graph = dense([[2.0**-g, -size]], threshold=2.0**-g + 2.0 ** -(g + 7))
        spikes = np.zeros((1, 4, 2))
        spikes[0, 0, 0] = spikes[0, 3, 1] = 1
        entry = Values(0, np.zeros(2), np.ones(2))
        _, needs = walk(graph, entry)
        (membrane,) = [need for need in needs if need.what.startswith("the membrane")]
        assert (membrane.bits <= membrane.limit) == fits
        v = np.float32(0)
        for x in interpret(graph.without("lif"), spikes, "float64").output[0, :, 0]:
            v = norse_step(v, np.float32(x))
        exact = Fraction(3, 4) * (Fraction(1, 2**g) / 64 - Fraction(size))
        assert (Fraction(float(v)) == exact) == fits


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_float32_is_float64_in_both_forms_in_any_order(seed):
    """Random graphs of every geometry: nothing is missing, and no order of sums or form of the membrane rounds."""
    graph = papers_neurons(random_graph(seed), seed)
    exact, _ = snap(graph)
    assert is_exact(exact)
    assert missing_bits(exact, entering(exact, input_limit(exact))) == []
    for name in exact.names(SYNAPSES):
        assert exact.nodes[name].weight.dtype == np.float32
    x, _ = snap_input(exact, np.random.default_rng(seed).normal(size=(3, 4, *graph.nodes["input"].shape)))
    double, single = interpret(exact, x, "float64"), interpret(exact, x, "float32")
    for key, array in double.arrays().items():
        np.testing.assert_array_equal(single.arrays()[key], array)
    for name in exact.names(LIF):  # no membrane can sit on the threshold, or nearer than half a step of the grid
        units = double.potential[name] * exact.scales[name]
        np.testing.assert_array_equal(units, np.rint(units))
        assert np.all(np.abs(units - exact.nodes[name].threshold * exact.scales[name]) >= 0.5)
        _second_form(exact, name, double)


def _second_form(graph, name, double):
    """v ← v + leak·(x − v) in float32 meets the first form exactly; the current is recovered from the potentials."""
    node = graph.nodes[name]
    u = np.zeros_like(double.potential[name][:, 0])
    v = u.astype(np.float32)
    leak = np.broadcast_to(1.0 - node.decay, node.shape)
    leaking = np.broadcast_to(leak > 0, u.shape)
    for t in range(double.potential[name].shape[1]):
        x = double.potential[name][:, t] - node.decay * u
        v = v + leak.astype(np.float32) * (x.astype(np.float32) - v)
        np.testing.assert_array_equal(v[leaking].astype(np.float64), (leak * double.potential[name][:, t])[leaking])
        u = double.membrane[name][:, t]
        v = (leak * u).astype(np.float32)


def papers_neurons(graph, seed):
    """The random graph with neurons that a grid can be proven for: any binary decay, any threshold, hard resets."""
    rng = np.random.default_rng(seed)
    changed = {}
    for name in graph.names(LIF):
        node = graph.nodes[name]
        decay = np.asarray(rng.choice([0.0, 0.125, 0.25, 0.5, 1.0]))
        changed[name] = replace(node, decay=decay, reset="to", offset=np.asarray(0.0))
    for name in graph.names(SYNAPSES):
        node = graph.nodes[name]
        changed[name] = replace(
            node, weight=rng.normal(size=node.weight.shape) / 4, bias=rng.normal(size=len(node.bias))
        )
    return graph.with_nodes(changed)


def test_a_broken_promise_is_found():
    exact, _ = snap(paper_chain())
    entry = entering(exact, input_limit(exact))
    on_grid = replace(exact.nodes["lif2"], threshold=np.asarray(0.5))
    (found,) = missing_bits(exact.with_nodes({"lif2": on_grid}), entry)
    assert (found.node, found.what) == ("lif2", "a threshold between two grid points")
    weight = exact.nodes["conv2"].weight.copy()
    weight[0, 0, 0, 0] += 2.0**-22
    finer = exact.with_nodes({"conv2": replace(exact.nodes["conv2"], weight=weight)})
    assert any(need.node == "lif2" and need.bits > need.limit for need in missing_bits(finer, entry))


# ---------------------------------------------------------------------------------------------------------------------
# the pass


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), compare=st.sampled_from(["ge", "gt"]), threshold=st.floats(0.05, 4.0))
def test_case_3_the_threshold_has_not_moved(seed, compare, threshold):
    """Spikes of the snapped weights with the threshold as it was, on it or beside it, and with the one written."""
    rng = np.random.default_rng(seed)
    threshold = float(np.rint(threshold * 4) / 4) if seed % 2 else threshold
    graph = dense(rng.integers(-8, 9, (6, 5)) / 4, threshold=threshold, compare=compare)
    exact, _ = snap(graph)
    x = (rng.random((20, 4, 5)) < 0.5).astype(np.uint8)
    as_it_was = exact.with_nodes({"lif": graph.nodes["lif"]})
    found, meant = interpret(exact, x), interpret(as_it_was, x)
    np.testing.assert_array_equal(found.spikes["lif"], meant.spikes["lif"])


def test_case_1_synapses_that_meet_share_the_finest_grid():
    graph = skip_chain()
    rng = np.random.default_rng(0)
    changed = {
        name: replace(node, weight=rng.normal(size=node.weight.shape))
        for name, node in graph.nodes.items()
        if isinstance(node, SYNAPSES)
    }
    exact, findings = snap(graph.with_nodes(changed))
    assert [f.code for f in findings] == ["ND241"]
    assert fraction_bits(exact.nodes["conv3"].weight) == fraction_bits(exact.nodes["skip"].weight)
    entry = entering(exact, input_limit(exact))
    group = {name: changed[name] for name in ("conv3", "skip")}
    bits = fraction_bits(exact.nodes["conv3"].weight)  # spikes come in: the weights are on the grid of the current

    def on(grid):
        return {
            name: replace(
                node,
                weight=np.rint(node.weight * 2.0**grid) / 2.0**grid,
                bias=np.rint(node.bias * 2.0**grid) / 2.0**grid,
            )
            for name, node in group.items()
        }

    for name, node in on(bits).items():
        np.testing.assert_array_equal(exact.nodes[name].weight, node.weight)
        np.testing.assert_array_equal(exact.nodes[name].bias, node.bias)
    finer = [need for need in missing_bits(exact.with_nodes(on(bits + 1)), entry) if need.bits > need.limit]
    assert "lif3" in {
        need.node for need in finer if need.what.startswith("the membrane")
    }  # one step finer does not fit


def test_case_2_a_synapse_behind_a_synapse_finds_bits():
    rng = np.random.default_rng(0)
    nodes = {
        "input": Input((4,), "binary"),
        "one": Linear(rng.normal(size=(5, 4)), rng.normal(size=5)),
        "two": Linear(rng.normal(size=(3, 5)), rng.normal(size=3)),
        "lif": LIF((3,), np.asarray(0.25), np.asarray(0.5)),
        "output": Output(),
    }
    exact, _ = snap(Graph(nodes, tuple(pairwise(nodes)), timesteps=2))
    x = (rng.random((8, 2, 4)) < 0.5).astype(np.uint8)
    np.testing.assert_array_equal(interpret(exact, x, "float32").potential["lif"], interpret(exact, x).potential["lif"])


def test_a_recurrent_layer_and_gains_are_snapped():
    rng = np.random.default_rng(0)
    graph = dense(rng.normal(size=(4, 4)), gain=np.asarray(0.5), offset=np.asarray(0.25))
    nodes = {**graph.nodes, "rec": Linear(rng.normal(size=(4, 4)), np.zeros(4))}
    edges = (*graph.edges, ("rec", "lif"), ("lif", "rec"))
    looped = Graph(nodes, edges, timesteps=4, recurrent=frozenset({("lif", "rec")}))
    exact, _ = snap(looped)
    x = (rng.random((8, 4, 4)) < 0.5).astype(np.uint8)
    single, double = interpret(exact, x, "float32"), interpret(exact, x)
    np.testing.assert_array_equal(single.potential["lif"], double.potential["lif"])
    assert np.all(exact.nodes["lif"].gain == 1.0)
    assert fraction_bits(exact.nodes["rec"].weight) <= fraction_bits(unit_gain(looped).nodes["rec"].weight)


def test_the_input_is_snapped_to_the_grid_of_the_samples():
    """Samples in sixteenths stay as they are; others are rounded; what is beyond the limit is clipped and counted."""
    graph = paper_chain()
    sixteenths = np.random.default_rng(0).integers(-16, 17, (8, 1, 1, 8, 8)) / 16
    exact, (note,) = snap(graph, sixteenths)
    assert exact.scales["input"] == 16
    limit = input_limit(exact)
    assert limit >= 1.0
    assert note.rule.startswith(f"the proof holds for multiples of 2^-4 in ±{limit:g}")
    assert snap_input(exact, sixteenths)[1] == 0
    np.testing.assert_array_equal(snap_input(exact, sixteenths)[0], sixteenths)
    given = np.asarray([0.3, -0.01, limit + 1, -limit - 1])
    snapped, clipped = snap_input(exact, given)
    np.testing.assert_array_equal(snapped, np.asarray([5 / 16, 0, limit, -limit], np.float32))
    assert clipped == 2
    assert snap_input(graph, given)[0] is given  # no exact graph: nothing to snap


def test_counts_at_the_input_are_clipped_at_the_limit_and_spikes_are_left_alone():
    graph = dense(np.random.default_rng(0).normal(size=(3, 4)), values="integer")
    exact, (note,) = snap(graph, np.full((1, 1, 4), 6))
    limit = input_limit(exact)
    assert limit >= 6
    assert note.rule == f"the proof holds for whole numbers from 0 to {limit:g} at the input"
    snapped, clipped = snap_input(exact, np.asarray([[0, 6, int(limit) + 5]]))
    assert (snapped.tolist(), clipped) == ([[0, 6, int(limit)]], 1)
    spikes = np.ones((1, 4, 4), np.uint8)
    assert snap_input(snap(dense(np.eye(4)))[0], spikes)[0] is spikes


def refusal(graph, **changes):
    with pytest.raises(UnsupportedError) as raised:
        snap(replace(graph, **changes))
    assert raised.value.code == "ND240"
    return raised.value


@pytest.mark.parametrize(
    ("lif", "why"),
    [
        ({"decay": 0.9}, "no short binary fraction"),
        ({"decay": -0.5}, "between 0 and 1"),
        ({"reset": "subtract"}, "subtracts"),
        ({"gain": np.asarray(-1.0)}, "gain must be 1"),
    ],
)
def test_case_4_neurons_without_a_grid(lif, why):
    error = refusal(dense([[1.0, 2.0]], **lif))
    assert error.where == "lif"
    assert why in error.message
    assert "--exact" in error.fix


def test_case_4_all_obstacles_at_once():
    nodes = {
        "input": Input((2, 3, 3), "binary"),
        "pool": AvgPool2d((3, 3), (3, 3)),
        "flatten": Flatten(),
        "fc": Linear(np.ones((3, 2)), np.zeros(3)),
        "lif": CubaLIF((3,), np.asarray(0.5), np.asarray(0.5)),
        "readout": Integrator((3,), np.asarray(0.9)),
        "output": Output(),
    }
    error = refusal(Graph(nodes, tuple(pairwise(nodes))))
    assert [f.node for f in error.findings] == ["", "pool", "lif", "readout"]


def test_case_4_too_many_steps_says_how_many_would_fit():
    graph = dense(np.random.default_rng(0).normal(size=(3, 64)), timesteps=16)
    error = refusal(graph)
    (finding,) = error.findings
    assert (finding.node, finding.limit, finding.unit) == ("fc", 24, "bits")
    assert finding.measured > 24
    steps = int(error.fix.split("--timesteps ")[1].split(",")[0])
    snap(replace(graph, timesteps=steps))
    refusal(graph, timesteps=steps + 1)


def test_case_4_weights_that_span_too_much():
    error = refusal(dense([[2.0**20, 1.0]], bias=[0.0], threshold=2.0**-9))
    assert error.findings[0].measured > 22


def test_a_coarse_layer_is_told():
    graph = dense(np.random.default_rng(0).normal(size=(3, 512)), timesteps=6)
    _, findings = snap(graph)
    assert [(f.code, f.node) for f in findings] == [("ND241", "input"), ("ND244", "fc")]
    assert findings[1].measured < findings[1].limit


def test_it_is_a_pass_that_runs_only_when_asked():
    spec = load_target("nir").spec
    graph = paper_chain()
    plain = compile_graph(graph, spec, context=Context(spec, CoreLimits("nir")))
    exact = compile_graph(graph, spec, context=Context(spec, CoreLimits("nir"), exact=True))
    changed = {log["name"]: log["changed"] for log in exact.passes}
    assert not is_exact(plain.graph)
    assert is_exact(exact.graph)
    assert changed["snap"]
    assert not {log["name"]: log["changed"] for log in plain.passes}["snap"]
    assert missing_bits(exact.graph, entering(exact.graph, input_limit(exact.graph))) == []
    x = random_input(graph, 0)
    assert (
        np.mean(
            interpret(plain.graph, x).spikes["lif1"]
            == interpret(exact.graph, snap_input(exact.graph, x)[0]).spikes["lif1"]
        )
        > 0.95
    )
