"""The compiled kernels of synapses against NumPy, tap by tap, and against the Numba kernels: equal bit for bit.

All libraries that this CPU runs are tested, whichever the engine would choose. Inputs lie at odd addresses; outputs and
scratch memory are full of garbage and lie between guards, so that a kernel that writes beside them, or not everywhere,
fails here.
"""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from neurodeploy.ir.nodes import Conv2d, Linear
from neurodeploy.sim import native
from neurodeploy.sim.counts import fan_out, touched
from neurodeploy.sim.native import arrays, conv, events
from neurodeploy.sim.native.conv import VECTORS, SpikeSums, most_events
from neurodeploy.sim.native.depthwise import DepthwiseSums
from neurodeploy.sim.native.events import Accumulates, Reached
from neurodeploy.sim.synapse_sums import Geometry, _numba

FILES = sorted(Path(native.__file__).parent.glob("kernels_*.so"))
LIMIT = 2**15 - 1
ROUNDS = 120


class Guarded:
    """Stands in for a tile, and for a thread's scratch memory."""

    def __init__(self) -> None:
        self._given: list[tuple[np.ndarray, int, int]] = []

    def _bytes(self, size: int, past: int) -> np.ndarray:
        raw = np.full(size + 768, 0xA5, np.uint8)
        start = 256 - raw.ctypes.data % 64 + past
        raw[start : start + size] = 0x77
        self._given.append((raw, start, start + size))
        return raw[start : start + size]

    def empty(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """No better aligned than its numbers must be."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self._bytes(size, 4).view(dtype).reshape(shape)

    def scratch(self, size: int) -> int:
        """Aligned, as the kernels are promised."""
        return self._bytes(size, 0).ctypes.data

    def check(self) -> None:
        for raw, start, end in self._given:
            assert (raw[:start] == 0xA5).all(), "written before an array"
            assert (raw[end:] == 0xA5).all(), "written behind an array"
        self._given.clear()


@pytest.fixture(params=FILES or [None], ids=lambda path: path.stem if path else "none")
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
    """The engine's choice is each library in turn."""
    if request.param is None:
        pytest.skip("no compiled kernels here: installed without a C compiler")
    if not ctypes.CDLL(str(request.param)).nd_runs_here():
        pytest.skip(f"this CPU cannot run {request.param.stem}")
    monkeypatch.setenv("NEURODEPLOY_KERNELS", request.param.stem.removeprefix("kernels_"))
    guarded, caches = Guarded(), (native.library, arrays.kernels, arrays.function)
    monkeypatch.setattr(conv, "scratch", guarded.scratch)
    monkeypatch.setattr(events, "scratch", guarded.scratch)
    for cache in caches:
        cache.cache_clear()
    yield guarded
    for cache in caches:
        cache.cache_clear()


def spikes(rng, *shape):
    """Some images silent, some full, the rest anything between; at an odd address."""
    size = int(np.prod(shape))
    s = np.frombuffer(bytearray(size + 1), np.uint8, offset=1).reshape(shape)
    rates = rng.choice([0.0, 0.02, 0.1, 0.5, 1.0], len(s))
    s[:] = rng.random(shape) < rates.reshape(-1, *(1,) * (len(shape) - 1))
    return s


def seen(node, s, after, ky, kx):
    """What all outputs see through a tap: ``(N, OH, OW, C)``."""
    (ph, pw), (sh, sw), (dh, dw) = node.padding, node.stride, node.dilation
    padded = np.pad(s, ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    return padded[:, ky * dh :: sh, kx * dw :: sw][:, : after[1], : after[2]]


def sums(node, s, after, weight):
    """``Σ w·s``: integers by matrix products in doubles; floats spike by spike in the canonical order."""
    if isinstance(node, Linear):
        node, after, s = Conv2d(node.weight[:, :, None, None], node.bias), (*after, 1, 1), s[:, None, None]
        weight = weight[:, :, None, None]
    inputs, outputs = weight.shape[1], after[0] // node.groups
    out = np.zeros((len(s), *after[1:], after[0]), np.float32 if weight.dtype == np.float32 else np.float64)
    for ky, kx in np.ndindex(*weight.shape[2:]):
        image = seen(node, s, after, ky, kx)
        for g in range(node.groups):
            total, group = out[..., g * outputs : (g + 1) * outputs], image[..., g * inputs : (g + 1) * inputs]
            rows = weight[g * outputs : (g + 1) * outputs, :, ky, kx].T
            if weight.dtype != np.float32:
                total += group.astype(np.float64) @ rows.astype(np.float64)
                continue
            for c in range(inputs):
                np.add(total, rows[c], out=total, where=group[..., c : c + 1] != 0)
    return out if weight.dtype == np.float32 else out.astype(np.int64)


def wrapped(a):
    """24 bits with sign."""
    return (a + 2**23) % 2**24 - 2**23


def assert_bits(got, want, message=""):
    got = got.reshape(want.shape)
    if want.dtype == np.float32:  # -0 is not 0
        got, want = got.view(np.int32), np.ascontiguousarray(want).view(np.int32)
    np.testing.assert_array_equal(got, want, err_msg=message)


def with_weights(node, weight):
    return dataclasses.replace(node, weight=weight.astype(np.float64))


def entering(node, before):
    return (*before[1:], before[0])


def fields(found):
    return {name: getattr(found._op, name) for name, kind in found._op._fields_ if kind is ctypes.c_int64}


def random_node(rng, floats=False):
    """A convolution, now and then a Linear, and its input shape; no more than some million taps."""
    if rng.random() < 0.15:
        inputs, outputs = int(rng.integers(1, 400)), int(rng.integers(1, 301))
        return Linear(np.zeros((outputs, inputs)), np.zeros(outputs)), (inputs,), int(rng.integers(1, 71))
    while True:
        groups = int(rng.choice([1, 1, 1, 2, 3, 5]))
        inputs = int(rng.choice([1, 2, 3, 15, 16, 17, 32, 33, 64, rng.integers(1, 131)]))
        outputs = int(rng.choice([1, 2, 8, 10, 16, 32, 33, 64, 65, 128, rng.integers(1, 301)]))
        kernel, stride, dilation = (tuple(map(int, rng.integers(1, high, 2))) for high in (6, 4, 4))
        if rng.random() < 0.6:
            dilation = (dilation[0], 1)
        padding = tuple(int(rng.integers(0, 2 * k)) for k in kernel)
        height, width = int(rng.integers(1, 10)), int(rng.choice([1, 2, 7, 8, 28, rng.integers(1, 41)]))
        images = int(rng.choice([1, 2, 3, 5, 33, rng.integers(60, 71)]))
        node = Conv2d(
            np.zeros((groups * outputs, inputs, *kernel)), np.zeros(groups * outputs), stride, padding, dilation, groups
        )
        room = [
            size + 2 * p - d * (k - 1) for size, p, d, k in zip((height, width), padding, dilation, kernel, strict=True)
        ]
        if min(room) < 1:
            continue
        before = (groups * inputs, height, width)
        after = node.output_shape(before)
        if images * np.prod(after[1:]) * node.weight.size < (4e6 if floats else 5e7):
            return node, before, images


def composed(rng, node, before, weight):
    """The same behind a sum pool of ``f`` by ``f``, as one convolution: every weight stands there f² times."""
    f = int(rng.integers(2, 5))
    stride, padding = (tuple(f * size for size in pair) for pair in (node.stride, node.padding))
    weight = weight.repeat(f, axis=2).repeat(f, axis=3)
    node = Conv2d(weight.astype(np.float64), node.bias, stride, padding, node.dilation, node.groups)
    return node, (before[0], f * before[1], f * before[2]), weight


def integers(rng, shape):
    """Of every size, all multiples of up to 2^10 or not; some 0, some at the ends of the range."""
    span, factor = int(rng.choice([1, 3, 100, 127, 128, 2000, LIMIT])), 2 ** int(rng.integers(0, 11))
    span = min(span, LIMIT // factor)
    weight = rng.integers(-span, span + 1, shape) * factor
    weight[rng.random(shape) < rng.choice([0, 0.5])] = 0
    weight[rng.random(shape) < 0.01] = span * factor
    return LIMIT - np.abs(weight) // 8 if rng.random() < 0.4 else weight


def reals(rng, shape):
    """Of every size at once: denormal, huge, ±0, and pairs that cancel."""
    weight = rng.normal(size=shape) * 2.0 ** rng.choice([-145, -130, -20, 0, 0, 0, 3, 24, 100], shape)
    weight[rng.random(shape) < 0.1] = -0.0
    weight[rng.random(shape) < 0.1] = rng.choice([1, -1]) * 2.0**60
    if rng.random() < 0.1:
        weight[rng.random(shape) < 0.01] = np.inf  # a spike that does not come brings no 0·∞
    return weight.astype(np.float32)


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
    for _ in range(ROUNDS // 3):
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
    for round in range(ROUNDS):
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
    for _ in range(ROUNDS):
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
    for height, width in ((1, 1), (1, 600), (600, 1), (7, 5), (300, 3), (40, 40)):
        every = np.repeat(rng.choice([0, largest // 2, largest], (height, 1, 1), p=[0.1, 0.2, 0.7]), width, axis=1)
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


def test_reached_outputs(tile):
    """Weights play no role, zero or not."""
    rng = np.random.default_rng(7)
    for _ in range(ROUNDS):
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
