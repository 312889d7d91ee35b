"""Folding pools: equal on exact numbers for every geometry where it is right, refused where it is wrong."""

from dataclasses import replace
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
from neurodeploy.passes.fold_pool import _compose_conv, average_to_sum, fold_pool, fold_where_right, merge_pools


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
    x = random_input(graph, seed, timesteps=2)
    folded, refused = fold_where_right(graph)
    if refused:  # only where it would be wrong: with ones everywhere a tap too many shows
        assert [(f.code, f.node) for f in refused] == [("ND302", "conv")]
        ones = replace(node, weight=np.ones_like(node.weight), bias=np.zeros(4))
        nodes = {"input": Input(shape, "binary"), "conv": _compose_conv(pool, ones), "output": Output()}
        naive = Graph(nodes, tuple(pairwise(nodes)), timesteps=2)
        meant = interpret(pool_then_conv(pool, ones, shape), np.ones_like(x)).output
        assume(np.any(meant))  # a kernel that reads nothing but padding along one axis hides the other
        assert np.any(interpret(naive, np.ones_like(x)).output > meant)
        assert folded == graph
        return
    assert not folded.names(SumPool2d)
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


@pytest.mark.parametrize(("size", "right"), [(32, False), (33, True)])
def test_the_pool_of_an_imagenet_stem_folds_on_odd_maps_only(size, right):
    """AvgPool 3/2/1 before a 3x3 convolution: on an even map the window beyond the border holds the last row."""
    pool, node = AvgPool2d((3, 3), (2, 2), (1, 1)), conv(np.random.default_rng(0), 2, 2, padding=(1, 1))
    graph = pool_then_conv(pool, node, (2, size, size))
    if not right:
        with pytest.raises(UnsupportedError, match="cannot be folded"):
            fold_pool(graph)
        return
    x = random_input(graph, 1, samples=1, timesteps=1)
    # ninths are not dyadic: the sums are equal up to rounding
    np.testing.assert_allclose(interpret(fold_pool(graph), x).output, interpret(graph, x).output, atol=1e-12)


def test_a_pool_is_folded_into_each_reader_and_stays_for_the_one_that_cannot_take_it():
    from neurodeploy.ir.nodes import LIF

    rng = np.random.default_rng(0)
    nodes = {"input": Input((2, 4, 4), "binary"), "pool": AvgPool2d((2, 2), (2, 2)), "a": conv(rng, 2, 2, (1, 1))}
    nodes |= {"flatten": Flatten(), "b": Linear(dyadic(rng, (8, 8)), dyadic(rng, 8)), "flat": Flatten()}
    nodes |= {"lif": LIF((2, 2, 2), 0.25, 0.5), "output": Output()}
    edges = [("input", "pool"), ("pool", "a"), ("pool", "flatten"), ("flatten", "b"), ("pool", "lif"), ("a", "lif")]
    edges += [("lif", "flat"), ("flat", "output"), ("b", "output")]
    graph = Graph(nodes, tuple(edges), timesteps=4)
    folded = fold_pool(graph)
    assert folded.targets("pool") == ("lif",)
    assert (folded.sources("a"), folded.sources("flatten")) == (("input",), ("input",))
    assert folded.sources("lif") == ("pool", "a"), "the order of the sum"
    x = random_input(graph, 1)
    np.testing.assert_array_equal(interpret(folded, x).output, interpret(graph, x).output)


def test_two_pools_in_a_row_are_one():
    """Case 4 (VGG16 on large images: the last pool and the global one)."""
    rng = np.random.default_rng(0)
    nodes = {"input": Input((2, 8, 8), "binary"), "pool": AvgPool2d((2, 2), (2, 2)), "all": AvgPool2d((4, 4), (4, 4))}
    nodes |= {"flatten": Flatten(), "fc": Linear(dyadic(rng, (3, 2)), dyadic(rng, 3)), "output": Output()}
    graph = Graph(nodes, tuple(pairwise(nodes)), timesteps=2)
    assert merge_pools(graph).nodes["all"] == AvgPool2d((8, 8), (8, 8))
    folded = fold_pool(graph)
    assert not folded.names(SumPool2d)
    x = random_input(graph, 1, timesteps=2)
    np.testing.assert_array_equal(interpret(folded, x).output, interpret(graph, x).output)


def test_a_pool_before_a_neuron_is_left_alone():
    """Case 5."""
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
