"""Folding norms: the meaning does not change, exactly where the numbers are exact; refusals."""

import numpy as np
import pytest
from graphs import conv, paper_chain, random_graph, random_input
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import LIF, Input, Norm, Output
from neurodeploy.passes.fold_norm import fold_norm


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_equal_bit_for_bit_on_dyadic_numbers(seed):
    """Case 1, residual branches and negative and zero scales included: no rounding, so no difference at all."""
    graph = random_graph(seed, norms=True)
    folded = fold_norm(graph)
    assert not folded.names(Norm)
    x = random_input(graph, seed)
    before, after = interpret(graph, x, "float64"), interpret(folded, x, "float64")
    for name in before.spikes:
        np.testing.assert_array_equal(after.spikes[name], before.spikes[name])
        np.testing.assert_array_equal(after.potential[name], before.potential[name])
    np.testing.assert_array_equal(after.output, before.output)


def test_the_formula_with_negative_and_zero_scales():
    """s = gain·λ/√(σ² + ε): 0.5·(−2)/√(4 + 0) = −0.5 and 0; W' = sW, b' = s(b − μ) + β."""
    rng = np.random.default_rng(0)
    layer = conv(rng, 2, 1)
    norm = Norm(np.array([1.0, 3.0]), np.array([4.0, 4.0]), np.array([-2.0, 0.0]), np.array([0.25, 7.0]), 0.0, 0.5)
    nodes = {"input": Input((1, 4, 4)), "conv": layer, "norm": norm, "output": Output()}
    graph = Graph(nodes, (("input", "conv"), ("conv", "norm"), ("norm", "output")))
    folded = fold_norm(graph).nodes["conv"]
    np.testing.assert_array_equal(folded.weight[0], -0.5 * layer.weight[0])
    np.testing.assert_array_equal(folded.weight[1], 0.0 * layer.weight[1])
    np.testing.assert_array_equal(folded.bias, [-0.5 * (layer.bias[0] - 1.0) + 0.25, 7.0])


def test_a_graph_without_norms_is_left_alone():
    assert fold_norm(paper_chain()) == paper_chain()


def test_a_norm_after_something_else_or_a_shared_synapse_is_refused_with_all_findings():
    """Case 2, twice in one graph."""
    rng = np.random.default_rng(0)
    norm = Norm(np.zeros(2), np.ones(2), np.ones(2), np.zeros(2))
    nodes = {
        "input": Input((1, 4, 4)),
        "conv": conv(rng, 2, 1),
        "norm": norm,
        "lif": LIF((2, 2, 2), 0.25, 0.5),
        "late": norm,
        "output": Output(),
    }
    edges = [("input", "conv"), ("conv", "norm"), ("norm", "lif"), ("conv", "lif"), ("lif", "late"), ("late", "output")]
    with pytest.raises(UnsupportedError) as refusal:
        fold_norm(Graph(nodes, tuple(edges)))
    assert refusal.value.code == "ND214"
    assert {f.node for f in refusal.value.findings} == {"norm", "late"}
