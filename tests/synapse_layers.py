"""Random synapse layers, what they must give, and memory with guards: for tests of the compiled kernels.

Inputs lie at odd addresses; outputs and scratch memory are full of garbage and lie between guards, so that a kernel
that writes beside them, or not everywhere, fails.
"""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from neurodeploy.ir.nodes import Conv2d, Linear
from neurodeploy.sim import native
from neurodeploy.sim.native import arrays, conv, events

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
def guarded_tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
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
