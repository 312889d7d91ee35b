"""Where integers end: sums that leave 16 bits or 24, counts that leave 8 or 32. One below, at the end, one beyond."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from synapse_layers import (
    LIMIT,
    ROUNDS,
    entering,
    fields,
    guarded_tile,
    integers,
    random_node,
    spikes,
    sums,
    with_weights,
    wrapped,
)

from neurodeploy.ir.nodes import Conv2d, Linear
from neurodeploy.sim.counts import fan_out
from neurodeploy.sim.native.conv import SpikeSums, most_events
from neurodeploy.sim.native.depthwise import DepthwiseSums
from neurodeploy.sim.native.events import Accumulates

tile = guarded_tile


def test_most_events_is_proven_and_tight():
    """Every subset of the weights of an output, for small layers: the largest size of which none leaves the range."""
    rng = np.random.default_rng(5)
    met = set()
    for _ in range(400):
        limit = int(rng.integers(5, 30))
        largest = limit // int(rng.integers(1, 7))
        weight = rng.integers(largest // 2, largest + 1, (int(rng.integers(1, 4)), int(rng.integers(1, 8))))
        weight *= rng.choice([1, 1, 0, -1], weight.shape)
        size, most = weight.shape[1], 0
        while most < size and all(
            abs(sum(some)) <= limit for row in weight.tolist() for some in itertools.combinations(row, most + 1)
        ):
            most += 1
        assert most_events(weight, limit) == (most if most < size else 0), weight
        met.add(most_events(weight, limit))
    assert met >= {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("largest", "most"), [(4681, 7), (4682, 6), (LIMIT, 1), (16384, 1), (16383, 2), (1, LIMIT)])
def test_sums_reach_the_bound_and_no_further(tile, sign, largest, most):
    """7·4681 = 32767: seven events stay in 16 bits, the eighth finds them moved. One event later would be too late."""
    inputs = 3 * most + 2
    weight = np.full((5, inputs), sign * largest)
    weight[1:, :] = np.random.default_rng(0).integers(-1, 2, (4, inputs))  # odd ones: nothing is halved
    node = Linear(weight.astype(float), np.zeros(5))
    found = SpikeSums(node, (inputs,), (5,), weight, None, False)
    assert fields(found)["most"] == most
    counts = [0, 1, most - 1, most, most + 1, 2 * most, 2 * most + 1, inputs]
    s = np.array([np.arange(inputs) < n for n in counts]).astype(np.uint8)
    np.testing.assert_array_equal(found.run(tile, s).reshape(len(s), 5), s.astype(np.int64) @ weight.T)
    if sign > 0 or (most + 1) * largest > 2**15:  # 16 bits hold -32768 too
        found._op.most = most + 1
        assert (found.run(tile, s).reshape(len(s), 5) != s.astype(np.int64) @ weight.T).any()


@pytest.mark.parametrize("step", [1, 2, 256])
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_wrap_at_24_bits(tile, step, sign):
    """One below 2^23, at it and one above, on both sides; ``step`` is what all weights are multiples of."""
    largest = LIMIT // step * step
    whole = 2**23 // largest
    rest = [2**23 - whole * largest, step, step]
    weight = sign * np.array([[*(largest,) * whole, *rest], [step, *(0,) * (whole + 2)]])
    count = weight.shape[1]
    node = Conv2d(weight[:, :, None, None].astype(float), np.zeros(2))
    found = SpikeSums(node, (count, 1, 1), (2, 1, 1), weight[:, :, None, None], None, True)
    s = np.ones((4, 1, 1, count), np.uint8)
    s[0, 0, 0, -3:] = s[1, 0, 0, -2:] = s[2, 0, 0, -1:] = 0
    s[0, 0, 0, -1] = rest[0] > step
    plain = s[:, 0, 0].astype(np.int64) @ weight.T
    assert sorted(abs(plain[:, 0]))[1:] == [2**23, 2**23 + step, 2**23 + 2 * step]
    np.testing.assert_array_equal(found.run(tile, s).reshape(4, 2), wrapped(plain))
    taps = Conv2d(np.zeros((1, 1, 1, count)), np.zeros(1))  # the same along x, one channel: a kernel per channel
    alone = DepthwiseSums(taps, (1, 1, count), (1, 1, 1), weight[:1, None, None, :], None, True)
    np.testing.assert_array_equal(alone.run(tile, s.reshape(4, 1, count, 1)).reshape(4), wrapped(plain[:, 0]))


def test_sums_fill_31_bits(tile):
    """A Linear does not wrap: 65000 weights of 32767, all events; nearly 2^31."""
    weight = np.full((2, 65000), LIMIT) * np.array([[1], [-1]])
    node = Linear(weight.astype(float), np.zeros(2))
    found = SpikeSums(node, (65000,), (2,), weight, None, False)
    got = found.run(tile, np.ones((1, 65000), np.uint8))
    assert got.reshape(-1).tolist() == [65000 * LIMIT, -65000 * LIMIT]


def count(found, s, steps):
    """What a counter adds to numbers that are not 0, and what it returns."""
    at = np.full((2, steps), 10, np.int64)
    operations = found.count(s, steps, at[0].ctypes.data, at[1].ctypes.data)
    assert found.count(s, steps, None, None) == operations
    return operations, *(at - 10)


def test_accumulates_of_random_layers(tile):
    """Every tap of every output that sees an event is one."""
    rng = np.random.default_rng(6)
    for _ in range(ROUNDS // 2):
        node, before, images = random_node(rng)
        after, weight = node.output_shape(before), integers(rng, node.weight.shape)
        steps = int(rng.choice([n for n in range(1, images + 1) if images % n == 0]))
        s = spikes(rng, images, *entering(node, before))
        every, nonzero = (
            sums(node, s, after, w).reshape(steps, -1).sum(axis=1) for w in (np.ones_like(weight), weight != 0)
        )
        found = Accumulates(*fan_out(with_weights(node, weight), before, after))
        operations, *got = count(found, s, steps)
        assert operations == every.sum()
        np.testing.assert_array_equal(got, [every, nonzero])


@pytest.mark.parametrize("channels", [1, 2, 3, 8, 16, 31, 64, 65, 130])
@pytest.mark.parametrize("largest", [1, 2**10, (2**31 - 1) // (255 * 1024)])
def test_accumulates_of_any_table(tile, channels, largest):
    """Rows and pixels alike and not, sums far beyond 32 bits where all bytes are spikes."""
    rng = np.random.default_rng(channels)
    sizes = (1, 1), (1, 600), (600, 1), (7, 5), (300, 3), (40, 40)
    for (height, width), kinds in itertools.product(sizes, ([1, 0, 0], [0.7, 0.1, 0.2])):
        every = np.repeat(rng.choice([largest, 0, largest // 2], (height, 1, 1), p=kinds), width, axis=1)
        every = np.where(rng.random((height, width, 1)) < rng.choice([0, 0.1]), 1, every)
        every = np.repeat(every, channels, axis=2)
        nonzero = every // rng.integers(1, 3, channels)
        if not Accumulates.fits(every):
            continue
        found = Accumulates(every, nonzero)
        s = spikes(rng, 6, height, width, channels)
        s[0] = 1
        want = np.stack(
            [s.reshape(3, 2, -1).sum(axis=1, dtype=np.int64) @ table.reshape(-1) for table in (every, nonzero)]
        )
        operations, *got = count(found, s, 3)
        assert operations == want[0].sum()
        np.testing.assert_array_equal(got, want)
