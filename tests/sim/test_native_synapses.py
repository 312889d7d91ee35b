"""The compiled kernels of synapses against NumPy, tap by tap, and against the Numba kernels: equal bit for bit.

All libraries that this CPU runs are tested, whichever the engine would choose.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from synapse_layers import (
    LIMIT,
    ROUNDS,
    assert_bits,
    composed,
    entering,
    fields,
    guarded_tile,
    integers,
    random_node,
    reals,
    spikes,
    sums,
    with_weights,
    wrapped,
)

from neurodeploy.ir.nodes import Conv2d, Linear
from neurodeploy.sim import native
from neurodeploy.sim.counts import fan_out, touched
from neurodeploy.sim.native import conv
from neurodeploy.sim.native.conv import VECTORS, SpikeSums
from neurodeploy.sim.native.depthwise import DepthwiseSums
from neurodeploy.sim.native.events import Accumulates, Reached
from neurodeploy.sim.synapse_sums import Geometry, _numba

tile = guarded_tile


def test_every_kernel(tile, monkeypatch):
    """Each kind of weight, each number of registers, narrow events and wide ones, window by window and row by row."""
    rng, met = np.random.default_rng(0), set()
    monkeypatch.setattr(conv, "_VECTORS", 4)
    vector = VECTORS[native.kernels_name()]
    for kind, vectors, wide, by_rows in itertools.product(
        ("shorts", "bytes", "floats"), (1, 2, 3, 4), *[(False, True)] * 2
    ):
        monkeypatch.setattr(conv, "_LARGE", 0 if kind == "bytes" else 2**19)
        lanes, row = (vector // 4, vectors * vector) if kind == "floats" else (vector // 2, vectors * vector)
        row = row // 2 if kind == "bytes" else row
        outputs = vectors * lanes // 4 if by_rows else vectors * lanes - int(rng.integers(0, lanes))
        channels, height = (130, 1) if wide else (int(rng.integers(1, 131)), 4)
        width = 8 * 2**16 // row // channels + 2 if wide else int(rng.integers(4, 10))
        dilation = (1, 1) if by_rows else (1, 2)
        node = Conv2d(np.zeros((outputs, channels, min(height, 2), 3)), np.zeros(outputs), (1, 1), (1, 2), dilation)
        before = (channels, height, width)
        after = node.output_shape(before)
        if kind == "floats":
            weight = rng.normal(size=node.weight.shape).astype(np.float32)
        else:
            largest = min(127, LIMIT // node.weight[0].size)  # so that sums stay in 16 bits
            weight = rng.integers(-largest, largest + 1, node.weight.shape)
        found = SpikeSums(with_weights(node, weight), before, after, weight, None, False)
        at = fields(found)
        met.add((at["kind"], at["vectors"], at["short_events"], at["by_rows"]))
        s = spikes(rng, 3, *entering(node, before))
        assert_bits(found.run(tile, s), sums(node, s, after, weight), str(at))
        tile.check()
    assert len(met) == 48


def test_random_integers(tile, monkeypatch):
    """Any geometry, weights up to ±32767, sums that move to 32 bits or wrap, more images than are listed at once."""
    rng, met = np.random.default_rng(1), set()
    for _ in range(ROUNDS):
        node, before, images = random_node(rng)
        weight = integers(rng, node.weight.shape)
        node, wrap = with_weights(node, weight), isinstance(node, Conv2d)
        if wrap and node.dilation == (1, 1) and rng.random() < 0.5:
            node, before, weight = composed(rng, node, before, weight)
        monkeypatch.setattr(conv, "_LARGE", int(rng.choice([0, 2**12, 2**19])))
        monkeypatch.setattr(conv, "_WAITING", int(rng.choice([0, 2**10, 2**14])))
        after = node.output_shape(before)
        found = SpikeSums(node, before, after, weight, None, wrap)
        s, at = spikes(rng, images, *entering(node, before)), fields(found)
        plain = sums(node, s, after, weight)
        assert_bits(found.run(tile, s), wrapped(plain) if wrap else plain, str(at))
        tile.check()
        met |= {("kind", at["kind"]), ("moved", at["most"] > 0), ("at once", at["at_once"] < images)}
        met |= {("together", at["together"]), ("cut", after[-1] % at["together"] > 0), ("groups", at["groups"] > 1)}
        met |= {("shift", at["shift"]), ("pool", at["pool"]), ("strips", at["strip"] < at["out_height"])}
    assert len(met) == 2 + 2 + 2 + 4 + 2 + 2 + 9 + 4 + 2  # every case was met


def test_random_floats(tile, monkeypatch):
    """The canonical order, without a bit of difference: sums begin at +0, and the bias comes last."""
    rng = np.random.default_rng(2)
    for _ in range(ROUNDS):
        node, before, images = random_node(rng, floats=True)
        after, weight = node.output_shape(before), reals(rng, node.weight.shape)
        monkeypatch.setattr(conv, "_LARGE", int(rng.choice([0, 2**19])))
        monkeypatch.setattr(conv, "_WAITING", int(rng.choice([0, 2**14])))
        bias = reals(rng, after[0]) if rng.random() < 0.7 else None
        found = SpikeSums(node, before, after, weight, bias, False)
        s = spikes(rng, images, *entering(node, before))
        want = sums(node, s, after, weight)
        assert_bits(found.run(tile, s), want if bias is None else want + bias, str(fields(found)))
        tile.check()


@pytest.mark.parametrize("floats", [False, True])
def test_the_numba_kernels_agree(tile, floats):
    rng = np.random.default_rng(3)
    for _ in range(ROUNDS // 4):
        node, before, images = random_node(rng, floats)
        after, weight = node.output_shape(before), (reals if floats else integers)(rng, node.weight.shape)
        geometry = Geometry(
            dataclasses.replace(with_weights(node, weight), bias=rng.normal(size=after[0])),
            before,
            after,
            np.float32 if floats else np.int32,
            machine=not floats,
        )
        s = spikes(rng, images, *entering(node, before))
        found = SpikeSums(geometry.node, before, after, weight, geometry.bias, geometry.wraps)
        assert_bits(found.run(tile, s), _numba(geometry, spikes=True)(tile, s), str(fields(found)))


def test_a_kernel_per_channel(tile):
    """Identity skips among them: one tap, in which a spike is let through."""
    rng = np.random.default_rng(4)
    for round in range(ROUNDS // 2):
        channels = int(rng.choice([1, 3, 16, 32, 64, 65, rng.integers(1, 131)]))
        height, width = map(int, rng.integers(1, 12, 2))
        kernel, stride, dilation = (tuple(map(int, rng.integers(1, high, 2))) for high in (4, 4, 3))
        padding = tuple(int(d * (k - 1) + rng.integers(0, 3)) for k, d in zip(kernel, dilation, strict=True))
        if round % 3 == 0:
            kernel, stride, padding = (1, 1), (1, 1), (0, 0)
        node = Conv2d(np.zeros((channels, 1, *kernel)), np.zeros(channels), stride, padding, dilation, channels)
        before = (channels, height, width)
        after, s = node.output_shape(before), spikes(rng, 5, height, width, channels)
        weight = integers(rng, node.weight.shape)
        assert_bits(DepthwiseSums(node, before, after, weight, None, True).run(tile, s), sums(node, s, after, weight))
        floats = reals(rng, node.weight.shape)
        for bias in (None, reals(rng, channels)):
            want = sums(node, s, after, floats)
            got = DepthwiseSums(node, before, after, floats, bias, False).run(tile, s)
            assert_bits(got, want if bias is None else want + bias, f"{node.stride} {kernel} {before}")
        tile.check()


def test_reached_outputs(tile):
    """Weights play no role, zero or not."""
    rng = np.random.default_rng(7)
    for _ in range(ROUNDS // 2):
        node, before, images = random_node(rng)
        if isinstance(node, Linear) or node.groups > 1:
            continue
        after, s = node.output_shape(before), spikes(rng, min(images, 4), *entering(node, before))
        ones = Conv2d(np.ones((1, *node.weight.shape[1:])), np.zeros(1), node.stride, node.padding, node.dilation)
        want = sums(ones, s, (1, *after[1:]), ones.weight.astype(np.int64)) > 0
        got = Reached(node, before, after).run(tile, s)
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(
            np.broadcast_to(touched(node, s, after), (*want.shape[:3], after[0])), got | want.repeat(after[0], 3)
        )
        tile.check()


def test_no_images(tile):
    node = Conv2d(np.ones((2, 3, 3, 3)), np.zeros(2), padding=(1, 1))
    s, weight = np.zeros((0, 4, 4, 3), np.uint8), np.ones((2, 3, 3, 3), np.int64)
    assert SpikeSums(node, (3, 4, 4), (2, 4, 4), weight, None, True).run(tile, s).shape == (0, 4, 4, 2)
    assert Accumulates(*fan_out(node, (3, 4, 4), (2, 4, 4))).count(s, 4, None, None) == 0
