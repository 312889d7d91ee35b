"""Dense sums equal the event-driven ones bit for bit, in every geometry; and when they are chosen."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from neurodeploy.diagnostics import UsageError
from neurodeploy.ir.nodes import Conv2d, Linear
from neurodeploy.sim import dense, kernels
from neurodeploy.sim.counts import packed_columns, taps
from neurodeploy.sim.dense import DOT_PRODUCTS, MATRIX_UNIT, digits, prepare, setting
from neurodeploy.sim.dense_choice import DenseChoice
from neurodeploy.sim.real_values import prepare_values

UNITS = [pytest.param(MATRIX_UNIT, id="matrix-unit"), pytest.param(DOT_PRODUCTS, id="dot-products")]


def needs(unit):
    if dense.unit() < unit:
        pytest.skip("this CPU, or these kernels, lack the unit")


def sums(s, weight, stride, padding, after):
    """``Σ w·s`` tap by tap, in doubles, which hold these integers: ``s`` (N, H, W, C), ``weight`` (O, C, kH, kW)."""
    (ph, pw), (sh, sw), (_, oh, ow) = padding, stride, after
    padded = np.pad(s.astype(np.float64), ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    out = np.zeros((len(s), oh, ow, weight.shape[0]))
    for ky in range(weight.shape[2]):
        for kx in range(weight.shape[3]):
            seen = padded[:, ky : ky + (oh - 1) * sh + 1 : sh, kx : kx + (ow - 1) * sw + 1 : sw]
            out += seen @ weight[:, :, ky, kx].T.astype(np.float64)
    return out.astype(np.int64)


def conv(weight, stride=(1, 1), padding=(1, 1), **rest):
    return Conv2d(weight.astype(np.float64), np.zeros(len(weight)), stride, padding, **rest)


def factors(weight, most):
    return dense.factors(weight, int(weight.min()), int(weight.max()), most)


def random_layer(rng):
    """A conv on an image of 1 to 40 columns, 1 to 130 channels, often a round number of them; its weights, a batch."""
    channels, outputs = (int(rng.choice([3, 16, 32, 64, 128, rng.integers(1, 131)])) for _ in range(2))
    while True:
        height, width = int(rng.integers(1, 12)), int(rng.choice([1, 2, 4, 8, 14, 16, 17, 28, 32, rng.integers(1, 41)]))
        kernel, stride = rng.integers(1, 6, 2), tuple(map(int, rng.integers(1, 4, 2)))
        padding = tuple(map(int, rng.integers(0, 4, 2)))
        if height + 2 * padding[0] >= kernel[0] and width + 2 * padding[1] >= kernel[1]:
            break
    span, factor = [(127, 1), (127, 2), (127, 64), (3000, 1)][rng.integers(4)]
    weight = rng.integers(-span, span + 1, (outputs, channels, *kernel)) * factor
    return conv(weight, stride, padding), (channels, height, width), weight


@pytest.mark.parametrize("kind", UNITS)
def test_random_geometries(kind):
    needs(kind)
    rng = np.random.default_rng(0)
    layouts = set()
    for _ in range(180):
        node, before, weight = random_layer(rng)
        after, most = node.output_shape(before), int(rng.choice([1, 1, 1, 3]))
        found = prepare(node, before, after, weight, most=most, kind=kind)
        if found is None:
            assert factors(weight, most) is None
            continue
        numbers = found.numbers
        layouts.add((numbers["interleaved"], numbers["c"] % 64 == 0, numbers["f1"] > 0))
        s = rng.integers(0, most + 1, (int(rng.choice([1, 2, 3, 4, 5, 16, 35])), *before[1:], before[0])).astype(
            np.uint8
        )
        out = np.full((len(s), *after[1:], after[0]), 77, np.int32)
        found.run(s, out)
        np.testing.assert_array_equal(out, sums(s, weight, node.stride, node.padding, after), err_msg=str(numbers))
    assert len(layouts) == 8  # by rows and interleaved, wide and thin, one digit and two: all were met


@pytest.mark.parametrize("kind", UNITS)
def test_more_images_than_are_copied_at_once(kind, monkeypatch):
    needs(kind)
    monkeypatch.setattr(dense, "CHUNK", 1 << 14)
    rng = np.random.default_rng(1)
    for before in ((64, 4, 4), (16, 3, 32), (5, 2, 7)):
        weight = rng.integers(-128, 128, (20, before[0], 3, 3))
        node = conv(weight)
        found = prepare(node, before, (20, *before[1:]), weight, kind=kind)
        assert 1 <= found.numbers["chunk"] < 150
        s = rng.integers(0, 2, (150, *before[1:], before[0])).astype(np.uint8)
        out = np.empty((150, *before[1:], 20), np.int32)
        found.run(s, out)
        np.testing.assert_array_equal(out, sums(s, weight, (1, 1), (1, 1), (20, *before[1:])))


@pytest.mark.parametrize("kind", UNITS)
@pytest.mark.parametrize("images", [1, 4, 15, 16, 17, 40])
def test_linear(kind, images):
    needs(kind)
    rng = np.random.default_rng(images)
    for inputs, outputs in ((1, 1), (64, 16), (70, 10), (512, 33)):
        weight = rng.integers(-128, 128, (outputs, inputs))
        node = Linear(weight.astype(np.float64), np.zeros(outputs))
        s = rng.integers(0, 2, (images, inputs)).astype(np.uint8)
        out = np.empty((images, outputs), np.int32)
        prepare(node, (inputs,), (outputs,), weight, kind=kind).run(s, out)
        np.testing.assert_array_equal(out, s.astype(np.int64) @ weight.T)


def test_equal_to_the_event_driven_kernels_in_threads():
    needs(DOT_PRODUCTS)
    rng = np.random.default_rng(2)
    layers = []
    for before, outputs in (((64, 8, 8), 32), ((16, 16, 16), 16), ((32, 16, 16), 48)):
        weight = rng.integers(-128, 128, (outputs, before[0], 3, 3))
        node = conv(weight)
        after = node.output_shape(before)
        s = (rng.random((6, *before[1:], before[0])) < 0.2).astype(np.uint8)
        wanted = np.empty((6, *after[1:], after[0]), np.int32)
        rows, cols = taps(node, before, after, 0), taps(node, before, after, 1)
        per_input = np.ascontiguousarray(weight.transpose(1, 2, 3, 0)).astype(np.int16)
        kernels.conv_spikes(s, per_input, rows, cols, before[0], wanted)
        layers.append((prepare(node, before, after, weight), s, wanted))

    def work(first):
        for turn in range(60):
            found, s, wanted = layers[(first + turn) % 3]
            out = np.empty_like(wanted)
            found.run(s, out)
            np.testing.assert_array_equal(out, wanted)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_digits_write_the_weight():
    for most in (1, 2, 7, 255):
        for numbers in ([-128, 127], [0, 0], [64 * 127, -64 * 128], [1, -3000], [-254, 254, 2], [255, -32000, 7]):
            weight = np.array([numbers])
            found = factors(weight, most)
            if found is not None:
                assert max(found) * most <= 255
                places = digits(weight, *found)
                total = sum(f * place.astype(np.int64) for f, place in zip(found, places, strict=False))
                np.testing.assert_array_equal(total, weight)
    assert factors(np.array([64, -128 * 64]), 1) == (64, 0)
    assert factors(np.array([127 * 255 + 127, -128 * 255 - 127]), 1) == (1, 255)
    assert factors(np.array([127 * 255 + 128]), 1) is None
    assert factors(np.array([64, -128 * 64]), 4) is None  # 4·64 is no byte, 8192 not two digits up to 63


def test_left_to_the_events(monkeypatch):
    needs(DOT_PRODUCTS)
    weight, shapes = np.ones((4, 4, 3, 3), int), ((4, 5, 5), (4, 5, 5))
    assert prepare(conv(weight), *shapes, weight) is not None
    assert prepare(conv(weight[:, :2], groups=2), *shapes, weight[:, :2]) is None
    assert prepare(conv(weight, padding=(2, 2), dilation=(2, 2)), *shapes, weight) is None
    assert prepare(conv(weight), *shapes, weight, most=256) is None
    # 29 · 9 · 32512 > 2^23 − 1 ≥ 28 · 9 · 32512: the sum of 28 channels cannot wrap at 24 bits
    for channels, there in ((28, True), (29, False)):
        large = np.full((1, channels, 3, 3), -32512)
        found = prepare(conv(large), (channels, 5, 5), (1, 5, 5), large, wrap=True)
        assert (found is not None) == there
    monkeypatch.setenv("NEURODEPLOY_DENSE", "0")
    assert prepare(conv(weight), *shapes, weight) is None
    monkeypatch.setenv("NEURODEPLOY_DENSE", "no")
    with pytest.raises(UsageError, match="ND100"):
        setting()


class Times:
    """A layer whose sums take as long as somebody says."""

    def __init__(self, per_operation, per_image, monkeypatch):
        needs(DOT_PRODUCTS)
        weight = np.ones((64, 64, 3, 3), int)
        self.choice = DenseChoice(prepare(conv(weight), (64, 16, 16), (64, 16, 16), weight), 64 * 256, (64, 16, 16))
        self.per_operation, self.per_image = per_operation, per_image

    def run(self, operations, images=4, slower=1):
        """Whether the dense sums ran."""
        dense_ran = self.choice.wins(operations, images)
        time = self.per_image * images if dense_ran else self.per_operation * operations
        self.choice.took(dense_ran, operations, images, int(slower * time))
        return dense_ran


def test_the_faster_way_is_found_and_follows_the_events(monkeypatch):
    times = Times(0.02, 40_000, monkeypatch)  # dense pays above 8 million operations in 4 images
    for _ in range(40):
        times.run(6_000_000), times.run(10_000_000)
    few = [times.run(2_000_000) for _ in range(40)]
    many = [times.run(40_000_000) for _ in range(40)]
    assert sum(few) <= 1
    assert sum(many) >= 39  # one trial


def test_a_slow_first_call_is_forgiven(monkeypatch):
    times = Times(0.02, 40_000, monkeypatch)
    for _ in range(3):
        times.run(12_000_000, slower=3)
    taken = [times.run(12_000_000) for _ in range(100)]
    assert sum(taken[20:]) >= 75  # all but the trials


def test_trials_are_rare(monkeypatch):
    times = Times(0.02, 40_000, monkeypatch)
    taken = [times.run(7_000_000) for _ in range(1024)]
    assert sum(taken) <= 12


def test_always(monkeypatch):
    monkeypatch.setenv("NEURODEPLOY_DENSE", "always")
    times = Times(0.02, 10**9, monkeypatch)
    assert all(times.run(1) for _ in range(10))


def bits(x):
    return x.view(np.int32)


def test_real_values_have_the_canonical_order():
    rng = np.random.default_rng(4)
    for _ in range(25):
        node, before, weight = random_layer(rng)
        weight = (weight * rng.random(weight.shape)).astype(np.float32)
        bias = rng.standard_normal(len(weight)).astype(np.float32)
        node = conv(weight, node.stride, node.padding)
        after = node.output_shape(before)
        x = rng.standard_normal((2, *before[1:], before[0])).astype(np.float32)
        x[rng.random(x.shape) < 0.3] = 0
        x[rng.random(x.shape) < 0.1] = -0.0
        wanted = np.empty((2, *after[1:], after[0]), np.float32)
        order, runs = packed_columns(node, before, after)
        packed = np.ascontiguousarray(weight.transpose(1, 2, 3, 0)[:, :, order]).reshape(*weight.shape[1:3], -1)
        kernels.conv_values_packed(x, packed, taps(node, before, after, 0), runs, wanted.reshape(*wanted.shape[:2], -1))
        for added in (None, bias):
            found = prepare_values(node, before, after, added)
            if found is None:
                pytest.skip("no compiled kernels")
            out = np.full_like(wanted, np.nan)
            found.run(x, out)
            np.testing.assert_array_equal(bits(out), bits(wanted if added is None else wanted + bias))


def test_real_values_with_dilation_and_of_a_linear():
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((21, 3, 3, 2)).astype(np.float32)
    node = conv(weight, (1, 2), (2, 1), dilation=(2, 3))
    before = (3, 9, 30)
    after = node.output_shape(before)
    x = rng.standard_normal((2, 9, 30, 3)).astype(np.float32)
    wanted, out = (np.empty((2, *after[1:], 21), np.float32) for _ in range(2))
    per_input = np.ascontiguousarray(weight.transpose(1, 2, 3, 0))
    kernels.conv_values(x, per_input, taps(node, before, after, 0), taps(node, before, after, 1), 3, wanted)
    found = prepare_values(node, before, after)
    if found is None:
        pytest.skip("no compiled kernels")
    found.run(x, out)
    np.testing.assert_array_equal(bits(out), bits(wanted))

    matrix, v = rng.standard_normal((10, 40)).astype(np.float32), rng.standard_normal((5, 40)).astype(np.float32)
    wanted, out = np.empty((5, 10), np.float32), np.empty((5, 10), np.float32)
    kernels.linear_values(v, np.ascontiguousarray(matrix.T), wanted)
    prepare_values(Linear(matrix, np.zeros(10)), (40,), (10,)).run(v, out)
    np.testing.assert_array_equal(bits(out), bits(wanted))


def test_real_values_need_finite_weights():
    weight = np.ones((1, 1, 3, 3))
    weight[0, 0, 1, 1] = np.inf
    assert prepare_values(conv(weight), (1, 5, 5), (1, 5, 5)) is None
