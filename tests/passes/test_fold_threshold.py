"""Norms in thresholds: the spikes do not change, and where rounding may change one is derived and measured."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from graphs import conv, dyadic, norm, random_graph, random_input, random_lif
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_nets import CIFAR, settled, small

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import LIF, Conv2d, Flatten, Input, Integrator, Linear, Norm, Output, ReLU
from neurodeploy.lowering import lower_module
from neurodeploy.nn.tdbn import TdBatchNorm
from neurodeploy.passes.fold_norm import fold_norm
from neurodeploy.passes.fold_threshold import flip_bound, fold_threshold, units
from neurodeploy.passes.pipeline import Context, compile_graph
from neurodeploy.passes.place import CoreLimits
from neurodeploy.passes.round_weights import round_weights
from neurodeploy.targets.base import load_target


def residual(seed: int) -> Graph:
    """Two residual blocks: a branch with a norm, one with a second norm, one without, and an identity skip, in any
    order; a recurrent synapse into the last neurons; scales that are negative, zero, and powers of two."""
    rng = np.random.default_rng(seed)
    shape = (4, 5, 5)
    nodes = {"input": Input((2, 5, 5), "binary"), "conv0": conv(rng, 4, 2, padding=(1, 1)), "norm0": norm(rng, 4)}
    nodes["lif0"] = random_lif(rng, shape)
    edges = [("input", "conv0"), ("conv0", "norm0"), ("norm0", "lif0")]
    for block in (1, 2):
        before, lif = f"lif{block - 1}", f"lif{block}"
        nodes[lif] = random_lif(rng, shape)
        branches = [(f"norm{block}", f"conv{block}"), (f"norm{block}b", f"down{block}"), ("", f"bare{block}"), ("", "")]
        for which in rng.permutation(4):
            normed, synapse = branches[which]
            if synapse:
                kernel = ((3, 3), (1, 1), (1, 1))[which]
                nodes[synapse] = conv(rng, 4, 4, kernel, padding=(1, 1) if which == 0 else (0, 0))
                edges.append((before, synapse))
            if normed:
                nodes[normed] = norm(rng, 4)
                edges.append((synapse, normed))
            edges.append((normed or synapse or before, lif))
    nodes["back"] = conv(rng, 4, 4, (1, 1))
    edges += [("lif2", "back"), ("back", "lif2")]
    nodes |= {"flatten": Flatten(), "fc": Linear(dyadic(rng, (3, 100)), dyadic(rng, 3)), "readout": Integrator((3,))}
    edges += [*pairwise(["lif2", "flatten", "fc", "readout"]), ("readout", "output")]
    nodes["output"] = Output()
    return Graph(nodes, tuple(edges), timesteps=4, recurrent=frozenset({("lif2", "back")}))


def same_meaning(graph: Graph, x: np.ndarray) -> None:
    folded = fold_threshold(graph)
    assert not folded.names(Norm)
    before, after = interpret(graph, x, "float64"), interpret(folded, x, "float64")
    unit = units(graph)
    for name in graph.names(LIF):
        np.testing.assert_array_equal(after.spikes[name], before.spikes[name])
        factor = unit.get(name, np.ones(1)).reshape(-1, *(1,) * (len(graph.shapes[name]) - 1))
        np.testing.assert_array_equal(after.membrane[name] * factor, before.membrane[name])
        np.testing.assert_array_equal(after.potential[name] * factor, before.potential[name])
    np.testing.assert_array_equal(after.output, before.output)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_equal_bit_for_bit_on_dyadic_numbers(seed):
    """Cases 1 and 3, any reset, compare, offset, pools; spikes and scaled membranes."""
    graph = random_graph(seed, norms=True)
    same_meaning(graph, random_input(graph, seed))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_residual_branches_of_every_kind_equal_bit_for_bit(seed):
    """Cases 1 to 4: two norms, a bare synapse, an identity skip and a recurrent synapse meet in one population."""
    graph = residual(seed)
    x = random_input(graph, seed, samples=4)
    same_meaning(graph, x)
    folded = fold_threshold(graph)
    assert {"lif1-skip", "lif2-skip"} <= set(folded.nodes)
    assert folded.recurrent == graph.recurrent
    assume(interpret(graph, x).spikes["lif2"].any())  # some of the random networks stay silent


def test_the_formula_by_hand():
    """s = 0.5·(−4)/√4 = −1 and 0.5·8/√4 = 2: W' = sgn(s)W, b' = sgn(s)(b − μ + β/s), θ = 0.5/|s|; s = 0: W' = 0, b' = β

    The skip beside it is divided by |s|."""
    weight = np.arange(1.0, 4.0).reshape(3, 1, 1, 1)
    layer = Norm(
        np.array([1.0, 3.0, 5.0]), np.full(3, 4.0), np.array([-4.0, 8.0, 0.0]), np.array([3.0, 6.0, 7.0]), 0.0, 0.5
    )
    nodes = {
        "input": Input((1, 2, 2), "binary"),
        "conv": Conv2d(weight, np.array([0.5, 0.25, 0.125])),
        "norm": layer,
        "skip": Conv2d(weight, np.ones(3)),
        "lif": LIF((3, 2, 2), 0.25, 0.5, v_reset=-1.0, offset=0.5),
        "output": Output(),
    }
    edges = [
        ("input", "conv"),
        ("conv", "norm"),
        ("norm", "lif"),
        ("input", "skip"),
        ("skip", "lif"),
        ("lif", "output"),
    ]
    graph = Graph(nodes, tuple(edges), timesteps=2)
    folded = fold_threshold(graph)
    np.testing.assert_array_equal(folded.nodes["conv"].weight.ravel(), [-1.0, 2.0, 0.0])
    np.testing.assert_array_equal(folded.nodes["conv"].bias, [-(0.5 - 1.0 + 3.0 / -1.0), 0.25 - 3.0 + 6.0 / 2.0, 7.0])
    np.testing.assert_array_equal(folded.nodes["skip"].weight.ravel(), [1.0, 1.0, 3.0])
    np.testing.assert_array_equal(folded.nodes["skip"].bias, [1.0, 0.5, 1.0])
    np.testing.assert_array_equal(folded.nodes["lif"].threshold.ravel(), [0.5, 0.25, 0.5])
    np.testing.assert_array_equal(folded.nodes["lif"].v_reset.ravel(), [-1.0, -0.5, -1.0])
    np.testing.assert_array_equal(folded.nodes["lif"].offset.ravel(), [0.5, 0.25, 0.5])


def layer_with_ties(seed: int) -> Graph:
    """Integer weights and a scale of 0.1: many potentials lie on the threshold 0.5 but for rounding."""
    rng = np.random.default_rng(seed)
    scale = rng.choice([-0.1, 0.1, 0.3], size=8)
    stats = Norm(rng.integers(-2, 3, 8) * 1.0, np.ones(8), scale, 0.1 * rng.integers(-3, 4, 8), 0.0, 1.0)
    second = Norm(np.zeros(8), np.ones(8), 0.1 * rng.integers(1, 4, 8), np.zeros(8), 0.0, 1.0)
    nodes = {
        "input": Input((4, 6, 6), "binary"),
        "conv": Conv2d(rng.integers(-3, 4, (8, 4, 3, 3)) * 1.0, np.zeros(8), padding=(1, 1)),
        "norm": stats,
        "skip": Conv2d(rng.integers(-3, 4, (8, 4, 1, 1)) * 1.0, np.zeros(8)),
        "norm2": second,
        "lif": LIF((8, 6, 6), 0.25, 0.5),
        "output": Output(),
    }
    edges = [("input", "conv"), ("conv", "norm"), ("norm", "lif"), ("input", "skip"), ("skip", "norm2")]
    return Graph(nodes, (*edges, ("norm2", "lif"), ("lif", "output")), timesteps=4)


@pytest.mark.parametrize(("arithmetic", "roundoff"), [("float64", 2.0**-53), ("float32", 2.0**-24)])
@pytest.mark.parametrize("fold", [fold_norm, fold_threshold])
def test_spikes_flip_only_inside_the_derived_bound(fold, arithmetic, roundoff):
    flips = near = 0
    for seed in range(6):
        graph = layer_with_ties(seed)
        folded = round_weights(fold(graph)) if arithmetic == "float32" else fold(graph)
        x = random_input(graph, seed, samples=16)
        before, after = interpret(graph, x, arithmetic), interpret(folded, x, arithmetic)
        bound = flip_bound(graph, "lif", 4, roundoff=roundoff)
        assert bound.max() < 1e5 * roundoff  # it says something: thousands of roundings, not the threshold itself
        different = before.spikes["lif"] != after.spikes["lif"]
        # The bound is about neurons whose earlier spikes agree: only the first difference of each is looked at.
        first = different & (np.cumsum(different, axis=1) == 1)
        distance = np.abs(before.potential["lif"].astype(np.float64) - 0.5)
        assert np.all(distance[first] <= np.broadcast_to(bound, distance.shape)[first])
        flips += int(first.sum())
        near += int((distance <= bound).sum())
    assert 0 < flips < near  # rounding does flip ties here, and not every one


@pytest.mark.parametrize("name", ["vgg16", "resnet20"])
def test_lowered_networks_with_random_norms_do_not_change_one_spike(name):
    """Random statistics and signs, zero scales among them, in float64 on random images: weights and threshold form."""
    model = small(name)
    rng = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, TdBatchNorm):
            with torch.no_grad():
                module.weight.copy_(torch.randn(module.weight.shape, generator=rng))
                module.bias.copy_(torch.randn(module.bias.shape, generator=rng) / 4)
                module.weight[0] = 0.0
    settled(model, torch.randn(1, 4, *CIFAR, generator=rng))
    graph = lower_module(model, CIFAR, 2)
    x = np.repeat(torch.randn(1, 1, *CIFAR, generator=rng).numpy(), 2, axis=1)
    before = interpret(graph, x)
    rates = [float(s.mean()) for s in before.spikes.values()]
    assert 0.05 < np.mean(rates) < 0.6
    for fold in (fold_norm, fold_threshold):
        after = interpret(fold(graph), x)
        assert sum(int((after.spikes[n] != before.spikes[n]).sum()) for n in before.spikes) == 0
        np.testing.assert_allclose(after.output, before.output, rtol=1e-9, atol=1e-9)


def test_real_data_do_not_change_one_spike(digits_runs):
    """A trained network on the digits' test images, in float64: both forms."""
    from neurodeploy.targets.model import load_model

    model = load_model(digits_runs["rmp"] / "seed-0")
    assert model.x is not None
    x = np.repeat(model.x[:128, None].astype(np.float64), model.graph.timesteps or 1, axis=1)
    before = interpret(model.graph, x)
    for fold in (fold_norm, fold_threshold):
        after = interpret(fold(model.graph), x)
        for name, spikes in before.spikes.items():
            assert spikes.any()
            assert np.count_nonzero(after.spikes[name] != spikes) == 0


def chain(*kinds: object) -> Graph:
    rng = np.random.default_rng(0)
    nodes = {"input": Input((2, 3, 3)), "conv": conv(rng, 2, 2, (1, 1)), "norm": norm(rng, 2)}
    nodes |= {f"behind{i}": kind for i, kind in enumerate(kinds)}
    nodes["output"] = Output()
    return Graph(nodes, tuple(pairwise(nodes)), timesteps=2)


@pytest.mark.parametrize("behind", [[], [ReLU()], [Integrator((2, 3, 3))]])
def test_a_norm_before_what_is_read_is_refused(behind):
    """Case 5: an Output, a ReLU, a readout."""
    with pytest.raises(UnsupportedError) as refusal:
        fold_threshold(chain(*behind))
    (finding,) = refusal.value.findings
    assert (finding.code, finding.node) == ("ND235", "norm")
    assert "--fold weights" in finding.fix


def test_a_branch_that_feeds_two_populations_is_refused_with_all_findings():
    graph = residual(0)
    nodes = {**graph.nodes, "other": LIF((4, 5, 5), 0.25, 0.5), "last": Conv2d(np.ones((4, 4, 1, 1)), np.zeros(4))}
    edges = (*graph.edges, ("bare1", "other"), ("bare2", "other"), ("other", "last"), ("last", "lif2"))
    with pytest.raises(UnsupportedError) as refusal:
        fold_threshold(replace(graph, nodes=nodes, edges=edges))
    assert {(f.code, f.node) for f in refusal.value.findings} == {("ND235", "bare1"), ("ND235", "bare2")}


def test_targets_say_whether_they_can_hold_it():
    graph = residual(3)
    done = compile_graph(
        graph, load_target("nir").spec, context=Context(load_target("nir").spec, CoreLimits("nir"), fold="threshold")
    )
    assert [f.code for f in done.findings].count("ND236") == 1
    assert done.graph.nodes["lif1"].threshold.ndim == 3
    loihi = load_target("loihi2").spec
    with pytest.raises(UnsupportedError) as refusal:
        compile_graph(graph, loihi, context=Context(loihi, CoreLimits("loihi2"), fold="threshold"))
    assert refusal.value.code == "ND235"
    assert "one threshold per layer" in refusal.value.message
