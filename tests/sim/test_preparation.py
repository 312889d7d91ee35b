"""What is found out about weights before a run: bounds of sums, how many events 16 bits hold, whether sums can wrap."""

from __future__ import annotations

import numpy as np
import pytest

from neurodeploy.ir.machine import accumulator_bounds
from neurodeploy.ir.nodes import Conv2d, Linear
from neurodeploy.sim.native.conv import _SOME, most_events
from neurodeploy.sim.squares import squares
from neurodeploy.sim.synapse_sums import Geometry


def by_hand(weight: np.ndarray, limit: int) -> int:
    """The definition of :func:`most_events`, one event after the other."""
    fewest = weight[0].size
    for row in weight.reshape(len(weight), -1).tolist():
        for signed in (sorted(row, reverse=True), [-w for w in sorted(row)]):
            total = 0
            for n, w in enumerate(signed):
                total += max(w, 0)
                if total > limit:
                    fewest = min(fewest, n)
                    break
    return 0 if fewest == weight[0].size else fewest


@pytest.mark.parametrize("largest", [1, 100, 32767])
@pytest.mark.parametrize("size", [1, 7, _SOME - 1, _SOME, _SOME + 1, 3 * _SOME])
def test_most_events_is_its_definition(largest: int, size: int) -> None:
    rng = np.random.default_rng(size)
    for lowest in (-largest, 0, largest):  # both signs, one sign, all alike
        weight = rng.integers(lowest, largest, (3, size), endpoint=True).astype(np.int16)
        for signed in (weight, -weight):
            assert most_events(signed) == by_hand(signed, 2**15 - 1)
            assert most_events(signed, 2 * largest) == by_hand(signed, 2 * largest)


def test_most_events_by_hand() -> None:
    assert most_events(np.array([[16384, 16383, 1]])) == 2  # 32767 fits, 32768 does not
    assert most_events(np.array([[16384, 16383, -1]])) == 0  # all may come
    assert most_events(np.array([[1, 1, 1], [-20000, 5, -20000]])) == 1


def test_accumulator_bounds_are_exact() -> None:
    rng = np.random.default_rng(0)
    for largest in (1, 127, 2**31):
        weight = rng.integers(-largest, largest, (5, 300), endpoint=True)
        rows = weight.tolist()
        expected = min(sum(min(w, 0) for w in row) for row in rows), max(sum(max(w, 0) for w in row) for row in rows)
        for dtype in (np.float64, np.int64):
            assert accumulator_bounds(Linear(weight.astype(dtype), np.zeros(5))) == expected


@pytest.mark.parametrize(("largest", "wraps"), [(2**21 - 1, False), (2**21, True)])
def test_sums_wrap_from_two_to_the_23(largest: int, wraps: bool) -> None:
    """Four weights of 2^21 reach 2^23; where one of them is smaller, four times the largest does not decide it."""
    weight = np.full((2, 1, 2, 2), float(largest))
    weight[1] = -1.0
    shapes = (1, 4, 4), (2, 3, 3)
    assert Geometry(Conv2d(weight, np.zeros(2)), *shapes, np.int32, machine=True).wraps is wraps
    weight[0, 0, 0, 0] -= 1
    assert not Geometry(Conv2d(weight, np.zeros(2)), *shapes, np.int32, machine=True).wraps
    assert not Geometry(Conv2d(weight * 8, np.zeros(2)), *shapes, np.float32, machine=False).wraps


def test_squares_are_seen_only_where_every_weight_agrees() -> None:
    small = np.random.default_rng(0).integers(-5, 5, (3, 2, 2, 1)).astype(float)
    weight = small.repeat(2, axis=2).repeat(2, axis=3)
    pool, node, before = squares(Conv2d(weight, np.zeros(3), stride=(2, 2)), (2, 8, 6))
    assert (pool, before) == (2, (2, 4, 3))
    np.testing.assert_array_equal(node.weight, small)
    weight[2, 1, 3, 1] += 1
    assert squares(Conv2d(weight, np.zeros(3), stride=(2, 2)), (2, 8, 6)).pool == 1
