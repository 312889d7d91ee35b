"""Ratios of energies: on one chip with shared prices, across chips refused or marked."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from priced import HELD, price, profile, row

from neurodeploy.diagnostics import UsageError
from neurodeploy.energy import Estimate, energy_ratio, estimate

BOTH = f'scope = "per_term"\nsop = {price(2, 1, 4)}\nneuron_active = {price(3, 3, 5)}\n{HELD}'


def on(energy: str = BOTH, **counts: int) -> Estimate:
    return estimate([row(**counts)], profile(energy), samples=1, timesteps=1)


def other(energy: str, **counts: int) -> Estimate:
    text = profile(energy).model_copy(update={"chip": profile(energy).chip.model_copy(update={"id": "y", "name": "Y"})})
    return estimate([row(**counts)], text, samples=1, timesteps=1)


def test_one_chip_by_hand() -> None:
    """30 and 20 operations, 10 updates each: 90 to 70 pJ. Prices err together, so 70/60 … 150/110 bound it."""
    ratio = energy_ratio(on(sop=30, neuron_updates_active=10), on(sop=20, neuron_updates_active=10))
    assert ratio.value == pytest.approx(90 / 70)
    # operations cheap and updates dear: (30 + 50) / (20 + 50); the other way round: (120 + 30) / (80 + 30)
    assert (ratio.low, ratio.high) == pytest.approx((80 / 70, 150 / 110))
    assert ratio.marks == ()


def test_one_price_alone_cannot_change_a_ratio() -> None:
    ratio = energy_ratio(on(sop=30), on(sop=20))
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((1.5, 1.5, 1.5))


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=4, max_size=4),
    ranges=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9)), min_size=4, max_size=4),
)
def test_the_range_is_that_of_all_corners_of_the_prices(
    counts: list[tuple[int, int]], ranges: list[tuple[int, int, int]]
) -> None:
    prices = [(low + more, low, low + more + most) for low, more, most in ranges]
    keys = ("sop", "sop_graded", "neuron_active", "spike_out")
    names = ("sop", "sop_graded", "neuron_updates_active", "spikes_out")
    chip = "\n".join(f"{key} = {price(*p)}" for key, p in zip(keys, prices, strict=True))
    energy = f'scope = "per_term"\n{chip}\n{HELD}'
    a, b = (on(energy, **dict(zip(names, side, strict=True))) for side in zip(*counts, strict=True))
    corners = []
    for corner in product(*[(p[1], p[2]) for p in prices]):
        top, bottom = (sum(n * e for n, e in zip(side, corner, strict=True)) for side in zip(*counts, strict=True))
        corners.append(top / bottom)
    ratio = energy_ratio(a, b)
    assert (ratio.low, ratio.high) == pytest.approx((min(corners), max(corners)))


def test_gaps_on_one_chip_are_marked() -> None:
    ratio = energy_ratio(on(sop=30, spikes_out=2), on(sop=20))
    assert len(ratio.marks) == 1
    assert "spike_out" in ratio.marks[0]


def test_two_chips_on_one_basis_can_be_compared() -> None:
    ratio = energy_ratio(on(sop=30), other(BOTH, sop=20))
    assert ratio.value == pytest.approx(1.5)
    assert (ratio.low, ratio.high) == pytest.approx((30 / 80, 120 / 20)), "their prices err apart"
    assert ratio.marks == ()


@pytest.mark.parametrize(
    ("energy", "counts", "why"),
    [
        (f'scope = "marginal"\nsop = {price(2)}', {}, "hold different costs"),
        (f'scope = "all_in"\nsop = {price(2)}\noperating_point = "20 Hz"', {}, "20 Hz"),
        (f'scope = "per_term"\nsop = {price(2, basis="estimated")}\n{HELD}', {}, "estimated"),
        (f'scope = "per_term"\nsop = {price(2)}', {}, "lower bound: no price of mem_access"),
        (BOTH, {"neuron_updates_active": 1}, "priced on one side only: neuron_active"),
    ],
)
def test_two_chips_on_different_bases_are_refused_or_marked(energy: str, counts: dict[str, int], why: str) -> None:
    one, two = on(sop=30), other(energy, sop=20, **counts)
    with pytest.raises(UsageError) as refused:
        energy_ratio(one, two)
    assert refused.value.code == "ND113"
    assert any(why in finding.rule for finding in refused.value.findings)
    assert any(why in mark for mark in energy_ratio(one, two, marked=True).marks)


def test_a_proxy_is_never_compared_unmarked() -> None:
    one, two = (estimate([row(sop=9)], n, samples=1, timesteps=1, allow_proxy=True) for n in ("loihi", "loihi2"))
    with pytest.raises(UsageError) as refused:
        energy_ratio(one, two)
    assert any("proxy" in finding.rule for finding in refused.value.findings)
    assert energy_ratio(one, two, marked=True).value == pytest.approx(1)


def test_nothing_priced_is_no_denominator() -> None:
    with pytest.raises(UsageError, match="cannot be divided"):
        energy_ratio(on(sop=1), on(spikes_out=1), marked=True)
