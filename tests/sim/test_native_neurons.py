"""The compiled kernels of neurons, pools and counts against plain NumPy and the Numba kernels: equal bit for bit."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    CubaLIF,
    Input,
    Integrator,
    Linear,
    MaxPool2d,
    Node,
    Output,
    SumPool2d,
)
from neurodeploy.sim import native, neuron_kernels
from neurodeploy.sim.engine import Engine
from neurodeploy.sim.native import neurons, passing
from neurodeploy.sim.native.arrays import kernels, periodic, place

LIMIT = 2**23 - 1
FILES = sorted(Path(native.__file__).parent.glob("kernels_*.so"))


@pytest.fixture(params=FILES or [None], ids=lambda path: path.stem if path else "none")
def found(request: pytest.FixtureRequest) -> ctypes.CDLL:
    if request.param is None:
        pytest.skip("no compiled kernels here: installed without a C compiler")
    library = ctypes.CDLL(str(request.param))
    if not library.nd_runs_here():
        pytest.skip(f"this CPU cannot run {request.param.stem}")
    return library


def integer_steps(a, bias, factor, threshold, v):
    """ir/machine.py in int64, one step after the other: spikes, membrane, and whether v was clipped or fired."""
    spikes, membrane, wrong = [], [], False
    for step in a.astype(np.int64):
        u = step << 6
        u = np.where(u > 2**23, u - 2**24, np.where(u <= -(2**23), u + 2**24, u))
        v = np.clip(np.sign(v) * (np.abs(v) * factor >> 12) + u + (bias.astype(np.int64) << 6), -LIMIT, LIMIT)
        fires = v > threshold
        wrong |= bool(fires.any() or (np.abs(v) >= LIMIT).any())
        v = np.where(fires, 0, v)
        spikes.append(fires)
        membrane.append(v)
    return np.array(spikes, np.uint8), np.array(membrane, np.int32), wrong


def addresses(counts):
    return [row.ctypes.data for row in counts]


def run_integers(found, arriving, steps, bias, factor, threshold, *, wraps=False, reads=False, v=None):
    shape = (steps, *arriving[0].shape[1:])
    full = np.array(np.broadcast_to(bias, shape[2:]))
    kernel = neurons.integer_neuron(found, full, factor, threshold, wraps=wraps, reads=reads, cores=3)
    spikes, membrane, counts = np.full(shape, 7, np.uint8), np.zeros(shape, np.int32), np.ones((2, steps), np.int64)
    wrong = kernel.run(arriving, steps, (v, spikes, membrane), addresses(counts))
    fired = counts[0] - 1
    np.testing.assert_array_equal(counts[1] - 1, 3 * fired)  # added to what was there
    return spikes, membrane, fired, bool(wrong)


@pytest.mark.parametrize("steps", [1, 2, 4, 7])
@pytest.mark.parametrize("shape", [(1,), (10,), (63,), (64,), (5, 7, 3), (4, 4, 48), (3, 3, 65), (200,)])
def test_integer_neurons_of_every_size(found, shape, steps):
    """One leak of each kind, biases of each period, states carried and not, against NumPy and Numba."""
    rng = np.random.default_rng(steps + sum(shape))
    samples = int(rng.integers(1, 4))
    for factor in (4096, 1024, 0, 1, 3277):
        for bias in (np.int64(5), rng.integers(-50, 50, shape[-1]), rng.integers(-(2**22), 2**22, shape)):
            a = rng.integers(-(2**17) + 1, 2**17, (steps, samples, *shape)).astype(np.int32)
            a[rng.random(a.shape) < 0.5] //= 512
            threshold = int(rng.integers(0, 2000)) << 6
            carried = rng.integers(-LIMIT, LIMIT + 1, (samples, *shape)).astype(np.int32)
            for start in (None, carried):
                state = None if start is None else start.copy()
                before = np.zeros_like(carried) if start is None else start
                want, membrane, _ = integer_steps(a, np.asarray(bias), factor, threshold, before.astype(np.int64))
                got = run_integers(found, [a], steps, bias, factor, threshold, v=state)
                np.testing.assert_array_equal(got[0], want)
                np.testing.assert_array_equal(got[1], membrane)
                np.testing.assert_array_equal(got[2], want.reshape(steps, -1).sum(axis=1))
                if state is not None:
                    np.testing.assert_array_equal(state, membrane[-1])
            other = [np.zeros((steps, samples, int(np.prod(shape))), kind) for kind in (np.uint8, np.int32)]
            flat = np.array(np.broadcast_to(bias, shape)).reshape(-1)
            rows = (samples, flat.size)
            neuron_kernels.neuron_integer(
                a.reshape(steps, *rows), flat, factor, threshold, carried.reshape(rows), other[0], other[1]
            )
            np.testing.assert_array_equal(got[0].reshape(other[0].shape), other[0])
            np.testing.assert_array_equal(got[1].reshape(other[1].shape), other[1])


def test_every_decay_truncates_toward_zero(found):
    """All 4097 factors, at the ends of the range, around multiples of 4096 and anywhere."""
    rng = np.random.default_rng(0)
    around = np.array([k * 4096 + d for k in (0, 1, 2, 1023, 2047) for d in (-2, -1, 0, 1, 2)])
    v = np.concatenate([around, -around, [LIMIT, -LIMIT, LIMIT - 1, 1 - LIMIT], rng.integers(-LIMIT, LIMIT + 1, 42)])
    v = np.clip(v, -LIMIT, LIMIT).astype(np.int32)[None]
    nothing = np.zeros((1, *v.shape), np.int32)
    for factor in range(4097):
        state = v.copy()
        run_integers(found, [nothing], 1, np.int64(0), factor, 2**23, v=state)
        np.testing.assert_array_equal(state, np.sign(v) * (np.abs(v.astype(np.int64)) * factor >> 12))


def test_sums_beyond_24_bits_wrap_once(found):
    edges = [s * (2**17 * k + d) for k in (0, 1, 2, 3, 4, 64) for d in (-1, 0, 1) for s in (1, -1)]
    extremes = [2**31 - 2**24 - 1, -(2**31) + 2**24 + 1, 2**25, -(2**25), 2**24, -(2**24)]
    a = np.array([edges + extremes] * 3, np.int64).astype(np.int32)[:, None]
    for bias in (0, 2**22, -(2**22)):
        for factor in (4096, 512, 4095):
            got = run_integers(found, [a], 3, np.int64(bias), factor, 2**23, wraps=True)
            want = integer_steps(a, np.asarray(bias), factor, 2**23, np.zeros(a.shape[1:], np.int64))
            np.testing.assert_array_equal(got[1], want[1])


def test_integer_neurons_with_a_current(found):
    """Against the Numba kernel: every pair of leaks, currents at the wrap, states carried and not."""
    rng = np.random.default_rng(4)
    for size in (1, 64, 77, 300):
        for current_factor in (4096, 2048, 0, 3001, 4095):
            for factor in (4096, 1024, 777):
                a = rng.integers(-(2**17) + 1, 2**17, (6, 2, size)).astype(np.int32)
                a[:, rng.random((2, size)) < 0.7] //= 300
                a[:, 0, 0] = 2**17 - 1  # the current wraps
                bias = rng.integers(-90, 90, size)
                i = np.clip(rng.integers(-(2**23), 2**23, (2, size)), -(2**23) + 1, 2**23).astype(np.int32)
                i[0, -1] = 2**23  # the end of its range
                i[1, -1], a[0, 1, -1] = -64, -(2**17) + 1  # without leak −2^23: just wrapped
                v = rng.integers(-LIMIT, LIMIT + 1, (2, size)).astype(np.int32)
                want = [i.astype(np.int64), v.copy(), np.zeros(a.shape, np.uint8), np.zeros(a.shape, np.int32)]
                flow = np.zeros(a.shape, np.int64)
                neuron_kernels.cuba_integer(a, current_factor, bias, factor, 5000 << 6, *want, flow)
                got = [i.copy(), v.copy(), np.zeros(a.shape, np.uint8), *np.zeros((2, *a.shape), np.int32)]
                counts = np.zeros((2, 6), np.int64)
                kernel = neurons.integer_cuba(found, bias, current_factor, factor, 5000 << 6, cores=2)
                kernel.run([a], 6, got, addresses(counts))
                for mine, theirs in zip(got, [*want, flow], strict=True):
                    np.testing.assert_array_equal(mine, theirs)
                np.testing.assert_array_equal(counts[0], want[2].reshape(6, -1).sum(axis=1))
                np.testing.assert_array_equal(counts[1], 2 * counts[0])


@pytest.mark.parametrize("shape", [(9,), (4, 4, 20), (129,)])
def test_a_readout_gives_its_state_and_says_when_it_left_its_range(found, shape):
    rng = np.random.default_rng(1)
    for scale, factor in ((2**15, 4096), (2**17 - 1, 4096), (2**10, 4000)):
        a = rng.integers(-scale, scale + 1, (4, 2, *shape)).astype(np.int32)
        got = run_integers(found, [a], 4, np.int64(3), factor, 131071 << 6, reads=True)
        _, membrane, wrong = integer_steps(a, np.asarray(3), factor, 131071 << 6, np.zeros(a.shape[1:], np.int64))
        np.testing.assert_array_equal(got[1], membrane)
        assert got[3] == wrong
    one = np.zeros((4, 1, *shape), np.int32)
    for place_of_one in (0, one[0].size - 1):  # in the first lane, and in the last of an incomplete register
        for value, wrong in ((2**17 - 1, False), (-(2**17) + 1, False), (2**17, True), (-(2**17), True)):
            one[:] = 0
            one.reshape(4, -1)[1, place_of_one] = value
            assert run_integers(found, [one], 4, np.int64(0), 4096, 131071 << 6, reads=True, wraps=True)[3] == wrong
        one.reshape(4, -1)[1:3, place_of_one] = -(2**17) + 1  # clipped below, which no spike shows
        assert run_integers(found, [one], 4, np.int64(0), 4096, 131071 << 6, reads=True)[3]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_arrays_that_arrive_are_added(found, count):
    """int32 and bytes mixed, some the same at every step."""
    rng = np.random.default_rng(count)
    for size in (7, 64, 150):
        for _ in range(6):
            arrays = [
                rng.integers(0, 2, (rows, 2, size)).astype(np.uint8)
                if rng.random() < 0.5
                else rng.integers(-3000, 3000, (rows, 2, size)).astype(np.int32)
                for rows in rng.choice([1, 5], count)
            ]
            total = np.broadcast_to(sum(a.astype(np.int64) for a in arrays), (5, 2, size))
            got = run_integers(found, arrays, 5, np.int64(1), 2048, 1500 << 6)
            want = integer_steps(total, np.asarray(1), 2048, 1500 << 6, np.zeros((2, size), np.int64))
            np.testing.assert_array_equal(got[0], want[0])
            np.testing.assert_array_equal(got[1], want[1])


@pytest.mark.parametrize("compare", ["ge", "gt"])
@pytest.mark.parametrize("reset", ["to", "subtract"])
def test_float_neurons(found, compare, reset):
    """Parameters of every period; values that meet the threshold exactly; sums of up to three arrays in order."""
    rng = np.random.default_rng(5)
    for shape in ((1,), (11,), (64,), (4, 5, 6), (3, 3, 70)):
        for steps in (1, 3, 7):
            samples = int(rng.integers(1, 4))
            sizes = [(), (shape[-1],), shape]
            full = [
                np.array(np.broadcast_to(rng.normal(0.5, 0.3, sizes[rng.integers(3)]).astype(np.float32), shape))
                for _ in range(5)
            ]
            full[3] = np.round(full[3] * 2) / 2
            values = rng.normal(0.2, 1.0, (steps, samples, *shape))
            values[rng.random(values.shape) < 0.3] = 0.5
            more = [
                rng.normal(0, 1e-3, (1, samples, *shape)).astype(np.float32),
                rng.integers(0, 2, (steps, samples, *shape)).astype(np.uint8),
            ]
            arriving = [values.astype(np.float32), *more[: rng.integers(3)]]
            x = arriving[0]
            for other in arriving[1:]:
                x = x + other.astype(np.float32)
            start = rng.normal(0, 0.5, (samples, *shape)).astype(np.float32)
            rows = (steps, samples, int(np.prod(shape)))
            spikes, membrane = np.zeros(rows, np.uint8), np.zeros(rows, np.float32)
            u = start.copy()
            flat = [p.reshape(-1) for p in full]
            neuron_kernels.lif_float(
                x.reshape(rows), *flat, compare == "ge", reset == "subtract", u.reshape(rows[1:]), spikes, membrane
            )
            got, kept = np.zeros(x.shape, np.uint8), np.zeros(x.shape, np.float32)
            fired, state = np.zeros(steps, np.int64), start.copy()
            kernel = neurons.float_lif(found, full, at_threshold=compare == "ge", subtracts=reset == "subtract")
            kernel.run(arriving, steps, (state, got, kept), (fired.ctypes.data, None))
            assert_same_bits(got.reshape(rows), spikes)
            assert_same_bits(kept.reshape(rows), membrane)
            assert_same_bits(state, u)
            np.testing.assert_array_equal(fired, spikes.reshape(steps, -1).sum(axis=1))
            out, integrated, state = np.zeros(x.shape, np.float32), np.zeros(rows, np.float32), start.copy()
            u = start.copy()
            neuron_kernels.integrate_float(x.reshape(rows), *flat[:3], u.reshape(rows[1:]), integrated)
            neurons.float_integrator(found, full[:3]).run(arriving, steps, (state, out))
            assert_same_bits(out.reshape(rows), integrated)
            assert_same_bits(state, u)


def test_float_values_at_the_ends(found):
    """Infinities, NaN, subnormal numbers and both zeros, by the equation in NumPy, one operation after the other."""
    ends = np.float32([np.inf, -np.inf, np.nan, 1e-45, -1e-45, 0.0, -0.0, 3e38, 1.0, 0.5, -1.0])
    x = np.array(np.meshgrid(ends, ends)).reshape(2, 1, -1)
    parameters = [np.full(x.shape[2], p, np.float32) for p in (0.25, 1.0, -0.0, 0.5, 0.0)]
    u, spikes, membrane = np.zeros(x.shape[1:], np.float32), [], []
    with np.errstate(all="ignore"):
        for step in x:
            before = (parameters[0] * u + parameters[1] * step) + parameters[2]
            spikes.append(before >= 0.5)
            u = np.where(spikes[-1], np.float32(0), before)
            membrane.append(u)
    got, kept = np.zeros(x.shape, np.uint8), np.zeros(x.shape, np.float32)
    lif = neurons.float_lif(found, parameters, at_threshold=True, subtracts=False)
    lif.run([x], 2, (None, got, kept), (None, None))  # nothing is counted
    np.testing.assert_array_equal(got, np.array(spikes))
    np.testing.assert_array_equal(kept, np.array(membrane))
    assert (np.signbit(kept) == np.signbit(np.array(membrane)))[~np.isnan(kept)].all()


def test_nothing_is_written_behind_the_end(found):
    """Incomplete registers touch only what is theirs."""
    for size in (1, 15, 31, 63, 65):
        spikes, membrane = np.full(size + 64, 9, np.uint8), np.full(size + 64, 9, np.int32)
        kernel = neurons.integer_neuron(found, np.zeros(size, np.int64), 4096, 0, wraps=False, reads=False)
        a = np.ones((1, 1, size), np.int32)
        kernel.run([a], 1, (None, spikes[:size], membrane[:size]), (None, None))
        assert (spikes[size:] == 9).all()
        assert (membrane[size:] == 9).all()
        assert (spikes[:size] == 1).all()


@pytest.mark.parametrize("kind", [MaxPool2d, SumPool2d, AvgPool2d])
def test_pools(found, kind):
    """Windows that overlap, leave gaps and lie in the padding, against one window after the other."""
    rng = np.random.default_rng(3)
    for kernel, stride, padding in (((2, 2), (2, 2), (0, 0)), ((3, 2), (1, 2), (1, 1)), ((1, 3), (3, 1), (0, 1))):
        for channels in (1, 3, 64, 70):
            node = kind(kernel, stride, padding)
            height, width = 7, 6
            after = node.output_shape((channels, height, width))
            last = (*after[1:], channels)
            pool = passing.Pool(found, node, (height, width, channels), last)
            for entering, leaving in (("u1", "u1"), ("u1", "i4"), ("i4", "i4"), ("u1", "f4"), ("f4", "f4")):
                which = pool.kind(np.dtype(entering), np.dtype(leaving))
                if which is None or (kind is AvgPool2d and leaving == "i4"):
                    continue
                x = rng.integers(0, 2, (2, 3, height, width, channels)).astype(entering)
                if entering == "f4":
                    x = rng.normal(0, 1, x.shape).astype(np.float32)
                out = np.full((2, 3, *last), 77, leaving)
                pool.run(which, x, out)
                padded = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)))
                for oy, ox in np.ndindex(*last[:2]):
                    top, left = oy * stride[0], ox * stride[1]
                    window = padded[:, :, top : top + kernel[0], left : left + kernel[1]]
                    taps = window.reshape(2, 3, -1, channels).astype(leaving)
                    want = np.zeros((2, 3, channels), leaving)
                    for k in range(taps.shape[2]):
                        want = np.maximum(want, taps[:, :, k]) if kind is MaxPool2d else want + taps[:, :, k]
                    if kind is AvgPool2d:
                        want = want / np.float32(kernel[0] * kernel[1])
                    assert_same_bits(out[:, :, oy, ox], want)


def test_active_neurons(found):
    """Events per neuron and per pixel, one or several arrays, static ones, biases of every kind."""
    rng = np.random.default_rng(8)
    for shape in ((10,), (5000,), (4, 4, 3), (9, 7, 64), (3, 5000)):
        for _ in range(8):
            driven = np.zeros((2, *shape), bool)
            driven[1] = rng.random(shape[-1:] if rng.random() < 0.5 else shape) < 0.2
            driven[0] = driven[1] & (rng.random() < 0.5)
            events = []
            for _ in range(rng.integers(0, 4)):
                last = shape if rng.random() < 0.5 else (*shape[:-1], 1)
                rows, samples = rng.choice([1, 3]), rng.choice([1, 2])
                events.append(rng.random((rows, samples, *last)) < 0.1)
            first = int(rng.integers(0, 2))
            reached = np.stack([driven[min(first + t, 1)] for t in range(3)])[:, None]
            for there in events:
                reached = reached | there
            want = np.broadcast_to(reached, (3, 2, *shape)).reshape(3, -1).sum(axis=1)
            counts = np.ones((2, 3), np.int64)
            passing.Activity(found, driven).count(first, 3, 2, events, *addresses(counts))
            np.testing.assert_array_equal(counts[0] - 1, want)
            np.testing.assert_array_equal(counts[1] - 1, 2 * int(np.prod(shape)) - want)


def test_masked_spikes_are_counted(found):
    rng = np.random.default_rng(9)
    for size in (1, 63, 64, 1000, 40000):  # the last one: more registers than a byte counts
        x = (rng.random((3, 2, size)) < 0.9).astype(np.uint8)
        x[2] = 1
        mask = (rng.random(size) < 0.9).astype(np.uint8)
        mask[:20000] = 1
        counts = np.array([1, 2, 3], np.int64)
        passing.count_masked(found, x, mask, 5, counts.ctypes.data)
        np.testing.assert_array_equal(counts, [1, 2, 3] + 5 * (x & mask).reshape(3, -1).sum(axis=1, dtype=np.int64))


@pytest.mark.parametrize("arithmetic", ["loihi", "float32"])
@pytest.mark.parametrize("kind", [LIF, CubaLIF, Integrator])
@pytest.mark.parametrize("weight", [3, 70000])
@pytest.mark.parametrize("bias", [7, 2**22 + 1])
def test_a_population_behind_five_synapses(arithmetic, kind, weight, bias):
    """More edges than a kernel adds; sums that wrap and large biases take other kernels, with the same numbers."""
    rng = np.random.default_rng(weight)
    size, shape = 6, (21,)
    nodes: dict[str, Node] = {"x": Input((size,), "binary")}
    for k in range(5):
        nodes[f"s{k}"] = Linear(rng.integers(-weight, weight, (21, size)).astype(float), np.zeros(21))
    nodes["s0"] = Linear(nodes["s0"].weight, rng.integers(-bias, bias, 21).astype(float))
    limit = 5.0 * min(weight, 20000)
    if kind is Integrator:
        nodes["n"] = Integrator(shape, 1.0)
    elif kind is CubaLIF:
        nodes["n"] = CubaLIF(shape, 0.75, limit, compare="gt", current_decay=0.5)
    else:
        nodes["n"] = LIF(shape, 0.75, limit, compare="gt")
    nodes["y"] = Output()
    edges = [*(("x", f"s{k}") for k in range(5)), *((f"s{k}", "n") for k in range(5)), ("n", "y")]
    graph = Graph(nodes, edges)
    x = rng.integers(0, 2, (3, 4, size)).astype(np.uint8)
    want = interpret(graph, x, arithmetic)
    engine = Engine(graph, arithmetic)
    if kind is Integrator and arithmetic == "loihi" and (weight > 3 or bias > 7):
        with pytest.raises(UnsupportedError, match="24-bit range"):
            engine.run(x, 4)
        return
    got = engine.run(x, 4, keep_membrane=True)
    for mine, theirs in ((got.output, want.output), (got.membrane["n"], want.membrane["n"])):
        np.testing.assert_array_equal(mine, theirs.astype(mine.dtype))


def test_periods_are_found():
    shape = (4, 5, 6)
    one, channel, each = np.full(shape, 2.0), np.zeros(shape), np.arange(120.0).reshape(shape)
    channel[...] = np.arange(6.0)
    assert [periodic([one, a])[0] for a in (one, channel, each)] == [1, 6, 120]
    period, (repeated,) = periodic([channel])
    assert repeated.size == period + 64
    assert all(repeated[k] == k % period for k in range(period + 64))
    signed = np.zeros(shape)
    signed[0, 0, 0] = -0.0
    assert periodic([signed])[0] == 120  # another sign of zero is another number


def test_the_place_of_an_array_leads_to_its_data():
    a = np.arange(12.0).reshape(3, 4)[1:]
    if kernels() is not None:
        assert ctypes.c_void_p.from_address(place(a)).value == a.ctypes.data
    assert place(None) is None


def assert_same_bits(got: np.ndarray, want: np.ndarray) -> None:
    """Equal, and zeros of the same sign."""
    np.testing.assert_array_equal(got.view(np.uint8), np.ascontiguousarray(want).view(np.uint8))
