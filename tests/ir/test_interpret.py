"""The interpreter: trajectories worked out by hand, and torch as an oracle for the layers."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from graphs import conv, dyadic

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.machine import accumulator_bounds
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv1d,
    Conv2d,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Integrator,
    Linear,
    MaxPool2d,
    Output,
    ReLU,
    Scale,
    SumPool2d,
    Threshold,
)


def chain(*nodes, values="real", shape=(1,), **rest):
    named = {"input": Input(shape, values)}
    named.update({f"n{i}": node for i, node in enumerate(nodes)})
    named["output"] = Output()
    names = list(named)
    return Graph(named, tuple(pairwise(names)), **rest)


def current(x):
    return np.asarray(x, np.float64)[None, :, None]


def test_lif_by_hand():
    """τ = 0.25, V_th = 0.5: u_pre = 0.4, 0.1 + 0.4 = 0.5 fires at the threshold, then from zero again."""
    graph = chain(LIF((1,), 0.25, 0.5))
    found = interpret(graph, current([0.375, 0.40625, 0.25, 1.0]))
    assert found.potential["n0"][0, :, 0].tolist() == [0.375, 0.5, 0.25, 1.0625]
    assert found.spikes["n0"][0, :, 0].tolist() == [0, 1, 0, 1]
    assert found.membrane["n0"][0, :, 0].tolist() == [0.375, 0.0, 0.25, 0.0]


def test_strictly_above_does_not_fire_at_the_threshold():
    graph = chain(LIF((1,), 0.25, 0.5, compare="gt"))
    assert interpret(graph, current([0.5, 0.5])).spikes["n0"][0, :, 0].tolist() == [0, 1]


def test_reset_by_subtraction_to_a_value_gain_and_offset():
    subtract = chain(LIF((1,), 0.5, 1.0, reset="subtract"))
    assert interpret(subtract, current([1.5, 0.0])).membrane["n0"][0, :, 0].tolist() == [0.5, 0.25]
    to_value = chain(LIF((1,), 0.5, 1.0, v_reset=np.asarray(-0.5)))
    assert interpret(to_value, current([1.5, 0.0])).membrane["n0"][0, :, 0].tolist() == [-0.5, -0.25]
    scaled = chain(LIF((1,), 0.5, 9.0, gain=np.asarray(2.0), offset=np.asarray(0.25)))
    assert interpret(scaled, current([1.0, 1.0])).membrane["n0"][0, :, 0].tolist() == [2.25, 3.375]


def test_readout_accumulates():
    graph = chain(Linear(np.array([[2.0]]), np.array([0.5])), Integrator((1,)))
    assert interpret(graph, current([1.0, 0.0, 2.0])).output[0, :, 0].tolist() == [2.5, 3.0, 7.5]


@pytest.mark.parametrize(
    "geometry",
    [
        {},
        {"padding": (1, 0)},
        {"stride": (2, 1)},
        {"dilation": (1, 2)},
        {"groups": 2},
        {"stride": (2, 3), "padding": (2, 1), "dilation": (2, 1), "groups": 4},
    ],
)
def test_convolution_is_torchs(geometry):
    rng = np.random.default_rng(0)
    node = conv(rng, 8, 4, (3, 2), **geometry)
    x = dyadic(rng, (2, 3, 4, 9, 8))
    found = interpret(chain(node, shape=(4, 9, 8)), x).output
    expected = torch.nn.functional.conv2d(
        torch.tensor(x).flatten(0, 1),
        torch.tensor(node.weight),
        torch.tensor(node.bias),
        node.stride,
        node.padding,
        node.dilation,
        node.groups,
    )
    np.testing.assert_array_equal(found.reshape(expected.shape), expected.numpy())  # dyadic: exact in any order


@pytest.mark.parametrize("kind", [AvgPool2d, SumPool2d])
def test_pooling_is_torchs(kind):
    rng = np.random.default_rng(1)
    x = dyadic(rng, (2, 3, 2, 7, 5))
    found = interpret(chain(kind((2, 3), (2, 1), (1, 0)), shape=(2, 7, 5)), x).output
    expected = torch.nn.functional.avg_pool2d(torch.tensor(x).flatten(0, 1), (2, 3), (2, 1), (1, 0)).numpy()
    scale = 6.0 if kind is SumPool2d else 1.0
    np.testing.assert_allclose(found.reshape(expected.shape), expected * scale, rtol=1e-15)  # one division


def test_max_pooling_is_torchs_and_padding_is_never_the_largest():
    x = -1.0 - np.random.default_rng(2).random((2, 3, 2, 7, 5))  # all below the zeros of a padded border
    found = interpret(chain(MaxPool2d((2, 3), (2, 1), (1, 1)), shape=(2, 7, 5)), x).output
    expected = torch.nn.functional.max_pool2d(torch.tensor(x).flatten(0, 1), (2, 3), (2, 1), (1, 1)).numpy()
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("geometry", [{}, {"padding": 2, "stride": 3}, {"dilation": 2, "groups": 2}])
def test_convolution_in_one_dimension_is_torchs(geometry):
    rng = np.random.default_rng(3)
    node = Conv1d(dyadic(rng, (6, 4 // geometry.get("groups", 1), 3)), dyadic(rng, (6,)), **geometry)
    x = dyadic(rng, (2, 3, 4, 11))
    found = interpret(chain(node, shape=(4, 11)), x).output
    expected = torch.nn.functional.conv1d(
        torch.tensor(x).flatten(0, 1), torch.tensor(node.weight), torch.tensor(node.bias), **geometry
    )
    np.testing.assert_array_equal(found.reshape(expected.shape), expected.numpy())


def test_nodes_without_weights_by_hand():
    x = np.array([[[-1.0, 2.0], [0.5, 1.0], [3.0, -4.0]]])
    assert interpret(chain(Scale((2,), [2.0, -1.0]), shape=(2,)), x).output[0].tolist() == [[-2, -2], [1, -1], [6, 4]]
    assert interpret(chain(ReLU(), shape=(2,)), x).output[0].tolist() == [[0, 2], [0.5, 1], [3, 0]]
    above, at = Threshold((2,), np.asarray(1.0)), Threshold((2,), np.asarray(1.0), "ge")
    assert interpret(chain(above, shape=(2,)), x).output[0].tolist() == [[0, 1], [0, 0], [1, 0]]
    assert interpret(chain(at, shape=(2,)), x).output[0].tolist() == [[0, 1], [0, 1], [1, 0]]
    assert interpret(chain(Delay((2,), [0, 2]), shape=(2,)), x).output[0].tolist() == [[-1, 0], [0.5, 0], [3, 2]]


def test_cuba_lif_by_hand():
    """The membrane sees the updated current, and a spike leaves the current alone."""
    node = CubaLIF((1,), 0.5, 1.0, current_decay=np.asarray(0.5), current_gain=np.asarray(2.0))
    found = interpret(chain(node), current([0.25, 0.25, 0.25, 0.0]))
    assert found.current["n0"][0, :, 0].tolist() == [0.5, 0.75, 0.875, 0.4375]
    assert found.potential["n0"][0, :, 0].tolist() == [0.5, 1.0, 0.875, 0.875]
    assert found.spikes["n0"][0, :, 0].tolist() == [0, 1, 0, 0]


def test_several_spikes_at_once():
    node = LIF((1,), 0.5, 1.0, reset="subtract", spikes="multi")
    found = interpret(chain(node), current([3.25, 1.0, -5.0, 0.0]))
    assert found.spikes["n0"][0, :, 0].tolist() == [3, 1, 0, 0]
    assert found.membrane["n0"][0, :, 0].tolist() == [0.25, 0.125, -4.9375, -2.46875]


def test_leaky_integrator_by_hand():
    node = Integrator((1,), np.asarray(0.5), np.asarray(2.0), np.asarray(1.0))
    assert interpret(chain(node), current([1.0, 0.0, 2.0])).output[0, :, 0].tolist() == [3.0, 2.5, 6.25]


def test_a_recurrent_edge_delivers_one_step_late_and_a_bias_on_it_counts_from_the_first():
    """u_pre = x + (−2·o[t−1] + 0.25): 1.25 fires; 1 − 2 + 0.25 = −0.75; 1.25 fires again."""
    nodes = {
        "input": Input((1,)),
        "lif": LIF((1,), 0.0, 1.0),
        "back": Linear(np.array([[-2.0]]), np.array([0.25])),
        "output": Output(),
    }
    edges = (("input", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output"))
    graph = Graph(nodes, edges, recurrent=frozenset({("lif", "back")}))
    found = interpret(graph, current([1.0, 1.0, 1.0]))
    assert found.potential["lif"][0, :, 0].tolist() == [1.25, -0.75, 1.25]
    assert found.spikes["lif"][0, :, 0].tolist() == [1, 0, 1]
    assert graph.cycles == (frozenset({"lif", "back"}),)


def test_an_unrolled_recurrence_is_the_recurrent_graph():
    """The same weights in a stack of feed-forward copies, one per step, give the same spikes."""
    rng = np.random.default_rng(4)
    inner, outer = dyadic(rng, (5, 5)), dyadic(rng, (5, 3))
    nodes = {"input": Input((3,)), "fc": Linear(outer, np.zeros(5)), "lif": LIF((5,), 0.0, 0.5)}
    nodes |= {"back": Linear(inner, dyadic(rng, (5,))), "output": Output()}
    edges = (("input", "fc"), ("fc", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output"))
    x = dyadic(rng, (6, 4, 3))
    found = interpret(Graph(nodes, edges, recurrent=frozenset({("lif", "back")})), x).spikes["lif"]
    last = np.zeros((6, 5))
    for t in range(4):
        last = (x[:, t] @ outer.T + last @ inner.T + nodes["back"].bias >= 0.5).astype(float)
        np.testing.assert_array_equal(found[:, t], last)


def test_flatten_is_c_h_w():
    x = np.arange(8.0).reshape(1, 1, 2, 2, 2)
    assert interpret(chain(Flatten(), shape=(2, 2, 2)), x).output[0, 0].tolist() == list(range(8))


class TestIntegerMachine:
    """Numbers worked out from the equations of neurodeploy.ir.machine."""

    def run(self, weight, bias, spikes, threshold=100.0, decay=0.25):
        graph = chain(
            Linear(np.array([[weight]]), np.array([bias])),
            LIF((1,), decay, threshold, compare="gt"),
            values="binary",
            arithmetic="loihi",
        )
        found = interpret(graph, np.asarray(spikes, np.uint8)[None, :, None], "loihi")
        return found.potential["n1"][0, :, 0].tolist(), found.spikes["n1"][0, :, 0].tolist()

    def test_state_has_six_fraction_bits_and_the_leak_truncates_toward_zero(self):
        # v = 3·64 = 192; 192·1024 >> 12 = 48, 12, 3, then 0 (0.75 cut off)
        assert self.run(3.0, 0.0, [1, 0, 0, 0, 0])[0] == [192, 48, 12, 3, 0]
        assert self.run(-3.0, 0.0, [1, 0, 0, 0, 0])[0] == [-192, -48, -12, -3, 0]

    def test_fires_above_the_threshold_and_resets_to_zero(self):
        assert self.run(100.0, 0.0, [1, 1, 0]) == ([6400, 8000, 0], [0, 1, 0])

    def test_bias_is_added_to_v_every_step(self):
        assert self.run(4.0, 2.0, [0, 1]) == ([128, 32 + 256 + 128], [0, 0])

    def test_v_saturates_and_u_wraps_once(self):
        assert self.run(2.0**18 - 2, 0.0, [1], threshold=131071.0)[0] == [(2**18 - 2) * 64 - 2**24]
        top = self.run(0.0, 4095.0, [0] * 60, threshold=131071.0, decay=1.0)[0]
        assert max(top) == 2**23 - 1

    def test_a_convolution_wraps_at_24_bits(self):
        graph = chain(
            Conv2d(np.full((1, 1, 1, 1), 2.0**23 + 2), np.zeros(1)),
            LIF((1, 1, 1), 0.25, 100.0, compare="gt"),
            values="binary",
            arithmetic="loihi",
            shape=(1, 1, 1),
        )
        found = interpret(graph, np.ones((1, 1, 1, 1, 1), np.uint8), "loihi")
        a = -(2**23) + 2
        assert found.potential["n1"].item() == max(a * 64 + 2**24, -(2**23 - 1))

    def test_a_current_that_decays(self):
        """iDecay 2048: u = 64·4 = 256, then 128 + 256; v = u + v/4, truncated."""
        graph = chain(
            Linear(np.array([[4.0]]), np.zeros(1)),
            CubaLIF((1,), 0.25, 100.0, compare="gt", current_decay=np.asarray(0.5)),
            values="binary",
            arithmetic="loihi",
        )
        found = interpret(graph, np.array([[[1], [1], [0], [0]]], np.uint8), "loihi")
        assert found.current["n1"][0, :, 0].tolist() == [256, 384, 192, 96]
        assert found.potential["n1"][0, :, 0].tolist() == [256, 448, 304, 172]

    def test_exact_for_four_steps_at_a_quarter(self):
        """The integer membrane equals the float one for T ≤ 4, and truncation shows at T = 5."""
        rng = np.random.default_rng(0)
        spikes = (rng.random((500, 5, 1)) < 0.5).astype(np.uint8)
        graph = chain(
            Linear(np.array([[7.0]]), np.array([-3.0])),
            LIF((1,), 0.25, 131071.0, compare="gt"),
            values="binary",
            arithmetic="loihi",
        )
        integer = interpret(graph, spikes, "loihi").membrane["n1"] / 64.0
        real = interpret(graph, spikes, "float64").membrane["n1"]
        np.testing.assert_array_equal(integer[:, :4], real[:, :4])
        assert np.any(integer[:, 4] != real[:, 4])


def test_accumulator_bounds_are_reached_by_the_worst_input():
    node = Linear(np.array([[3.0, -5.0, 2.0], [1.0, 1.0, 1.0]]), np.zeros(2))
    assert accumulator_bounds(node) == (-5, 5)
