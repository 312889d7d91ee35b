"""Folding pools: equal on exact numbers for every geometry where it is right, refused where it is wrong."""

from itertools import pairwise

import numpy as np
import pytest
from graphs import conv, dyadic, random_graph, random_input
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import AvgPool2d, Conv2d, Flatten, Input, Linear, Output, SumPool2d
from neurodeploy.passes.fold_pool import _compose_conv, average_to_sum, fold_pool


def pool_then_conv(pool, node, shape):
    nodes = {"input": Input(shape, "binary"), "pool": pool, "conv": node, "output": Output()}
    return Graph(nodes, (("input", "pool"), ("pool", "conv"), ("conv", "output")), timesteps=2)


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    window=st.sampled_from([(2, 2), (1, 2), (4, 2)]),
    stride=pairs,
    pool_padding=st.sampled_from([(0, 0), (1, 0)]),
    kernel=pairs,
    conv_stride=pairs,
    dilation=pairs,
    padding=st.sampled_from([(0, 0), (1, 1), (0, 2)]),
    groups=st.sampled_from([1, 2]),
    average=st.booleans(),
)
def test_composed_kernels_mean_the_same(
    seed, window, stride, pool_padding, kernel, conv_stride, dilation, padding, groups, average
):
    """Cases 1 and 2: whenever the pass does not refuse, nothing changes (dyadic: compared exactly)."""
    rng = np.random.default_rng(seed)
    shape = (2, int(rng.integers(4, 10)), int(rng.integers(4, 10)))
    pool = (AvgPool2d if average else SumPool2d)(window, stride, pool_padding)
    node = conv(rng, 4, 2, kernel, groups, stride=conv_stride, dilation=dilation, padding=padding)
    try:
        graph = pool_then_conv(pool, node, shape)
    except Exception:
        assume(False)  # a window larger than the input
    tiles = window == stride and pool_padding == (0, 0) and all(shape[1 + a] % stride[a] == 0 for a in (0, 1))
    if padding != (0, 0) and not tiles:
        with pytest.raises(UnsupportedError, match="cannot be folded"):
            fold_pool(graph)
        return
    folded = fold_pool(graph)
    assert not folded.names(SumPool2d)
    x = random_input(graph, seed, timesteps=2)
    np.testing.assert_array_equal(interpret(folded, x).output, interpret(graph, x).output)


def test_the_refused_border_would_be_wrong():
    """A 5x5 input pooled by 2 drops a row; folded all the same, the padding tap would read it."""
    pool, node = AvgPool2d((2, 2), (2, 2)), Conv2d(np.ones((1, 1, 3, 3)), np.zeros(1), padding=(1, 1))
    graph = pool_then_conv(pool, node, (1, 5, 5))
    with pytest.raises(UnsupportedError) as refusal:
        fold_pool(graph)
    assert refusal.value.code == "ND302"
    assert "do not tile its 5x5 input" in refusal.value.message
    nodes = {"input": Input((1, 5, 5), "binary"), "conv": _compose_conv(pool, node), "output": Output()}
    wrong = Graph(nodes, (("input", "conv"), ("conv", "output")), timesteps=1)
    x = np.ones((1, 1, 1, 5, 5), np.uint8)
    meant, naive = interpret(graph, x).output, interpret(wrong, x).output
    assert np.any(meant != naive[..., : meant.shape[-2], : meant.shape[-1]])


@pytest.mark.parametrize(
    "pool", [AvgPool2d((2, 2), (2, 2)), SumPool2d((3, 2), (1, 2), (1, 0)), AvgPool2d((2, 2), (1, 1))]
)
def test_pool_flatten_linear(pool):
    """Case 3, overlapping and padded windows too."""
    rng = np.random.default_rng(0)
    size = int(np.prod(pool.output_shape((2, 5, 6))))
    nodes = {
        "input": Input((2, 5, 6), "binary"),
        "pool": pool,
        "flatten": Flatten(),
        "fc": Linear(dyadic(rng, (3, size)), dyadic(rng, 3)),
        "output": Output(),
    }
    names = list(nodes)
    graph = Graph(nodes, tuple(pairwise(names)), timesteps=2)
    folded = fold_pool(graph)
    assert not folded.names(SumPool2d)
    x = random_input(graph, 1, timesteps=2)
    np.testing.assert_array_equal(interpret(folded, x).output, interpret(graph, x).output)


def test_a_pool_before_a_neuron_is_left_alone():
    """Case 4."""
    from neurodeploy.ir.nodes import LIF

    nodes = {
        "input": Input((1, 4, 4), "binary"),
        "pool": SumPool2d((2, 2), (2, 2)),
        "lif": LIF((1, 2, 2), 0.25, 0.5),
        "output": Output(),
    }
    names = list(nodes)
    graph = Graph(nodes, tuple(pairwise(names)))
    assert fold_pool(graph) == graph
    assert average_to_sum(graph) == graph


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_average_to_sum_means_the_same_on_random_graphs(seed):
    graph = random_graph(seed)
    summed = average_to_sum(graph)
    assert not summed.names(AvgPool2d)
    x = random_input(graph, seed)
    np.testing.assert_array_equal(interpret(summed, x).output, interpret(graph, x).output)
