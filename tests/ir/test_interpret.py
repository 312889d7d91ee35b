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
    Conv2d,
    Flatten,
    Input,
    Integrator,
    Linear,
    Output,
    SumPool2d,
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
