"""Means, spreads, and what may be said about a difference."""

from __future__ import annotations

import math

import numpy as np
import pytest

from neurodeploy.reporting import numbers
from neurodeploy.reporting.statistics import compare, holm, paired, statistic


def stat(*values: float):
    found = statistic(values)
    assert found is not None
    return found


def test_sample_standard_deviation() -> None:
    s = stat(1, 2, 3, 4)
    assert (s.mean, s.n) == (2.5, 4)
    assert s.std == pytest.approx((5 / 3) ** 0.5)


def test_one_value_has_no_spread_and_an_unknown_one_no_mean() -> None:
    assert stat(1).std is None
    assert statistic([1.0, None]) is None
    assert statistic([]) is None


def test_welch_against_a_worked_example() -> None:
    """a = 1..3, b = 4, 6, 8: difference 4, variances 1/3 and 4/3, t = 4/sqrt(5/3) = 3.098, 50/17 degrees of freedom."""
    d = compare(stat(1, 2, 3), stat(4, 6, 8), higher_is_better=True)
    assert d.absolute == 4
    assert d.relative == 2
    from scipy.stats import t

    assert d.p_value == pytest.approx(2 * t.sf(4 / (5 / 3) ** 0.5, 50 / 17))
    assert d.low is not None
    assert d.high is not None
    assert (d.low + d.high) / 2 == pytest.approx(4)
    assert d.verdict == "not significant"
    assert d.low < 0 < d.high, "not significant at 5 % is the same as an interval around 0"


def test_direction_decides_better_and_worse() -> None:
    a, b = stat(1.0, 1.1, 0.9), stat(2.0, 2.1, 1.9)
    assert compare(a, b, higher_is_better=True).verdict == "better"
    assert compare(a, b, higher_is_better=False).verdict == "worse"
    assert compare(b, a, higher_is_better=False).verdict == "better"


def test_one_seed_says_nothing() -> None:
    d = compare(stat(1), stat(2, 3), higher_is_better=True)
    assert (d.verdict, d.low, d.high, d.p_value) == ("one seed", None, None, None)


def test_no_spread_is_no_significance() -> None:
    """Three seeds that classify the same 355 of 360 samples do not make a difference certain."""
    assert compare(stat(1, 1, 1), stat(2, 2, 2), higher_is_better=True).verdict == "no spread"
    assert compare(stat(1, 1), stat(1, 1), higher_is_better=True).verdict == "equal"


@pytest.mark.parametrize(
    ("pj", "text"),
    [(0.1, "0.100 pJ"), (1.58e3, "1.58 nJ"), (999.6, "1.00 nJ"), (416e6, "416 µJ"), (2.4e15, "2,400 J"), (0, "0 pJ")],
)
def test_energy(pj: float, text: str) -> None:
    assert numbers.energy(pj) == text


def test_spread_stands_in_the_decimals_of_its_mean() -> None:
    assert numbers.energy_stat(stat(1500, 1600, 1700), at_least=True) == "≥ 1.60 ± 0.10 nJ"
    assert numbers.percent_stat(stat(0.98, 0.99)) == "98.50 ± 0.71 %"
    assert numbers.number_stat(stat(100, 100.001)) == "100 ± 0.0007", "never ± 0 where there is a spread"


def test_open_range() -> None:
    assert numbers.energy_range(1000, 2000) == "[1.00, 2.00] nJ"
    assert numbers.energy_range(1000, None) == "[1.00 nJ, no upper bound]"


def right(n: int, wrong: set[int]) -> np.ndarray:
    return np.array([index not in wrong for index in range(n)])


def test_mcnemar_by_hand() -> None:
    """One network each: 1 sample that the baseline alone has right, 6 that the group alone has: 2·(1 + 7)/2^7."""
    found = paired([right(20, {0, 1, 2, 3, 4, 5})], [right(20, {19})])
    assert (found.samples, found.only_group, found.only_baseline, found.test) == (20, 6, 1, "McNemar, exact")
    assert found.p_value == pytest.approx(2 * 8 / 128)
    d = np.array([1.0] * 6 + [0.0] * 13 + [-1.0])
    assert (found.low + found.high) / 2 == pytest.approx(5 / 20)
    assert found.high - found.low == pytest.approx(2 * 1.959964 * d.std(ddof=1) / 20**0.5)


def test_paired_with_several_seeds_by_hand() -> None:
    """d = mean over the group's seeds less mean over the baseline's; alone right counts all pairs of seeds."""
    baseline = [right(4, {0, 1}), right(4, {0})]  # right in 0, 1/2, 1, 1 of the seeds
    group = [right(4, set()), right(4, {3})]  # 1, 1, 1, 1/2
    found = paired(baseline, group)
    d = np.array([1, 0.5, 0, -0.5])
    assert found.only_group == pytest.approx(1 + 0.5)
    assert found.only_baseline == pytest.approx(0.5)
    z = d.mean() / (d.std(ddof=1) / 2)
    assert found.p_value == pytest.approx(math.erfc(z / 2**0.5))
    assert found.test.startswith("paired over samples")


def test_the_same_predictions_differ_in_nothing() -> None:
    one = right(50, {3, 7})
    assert paired([one], [one]).p_value == 1
    several = paired([one, one], [one])
    assert (several.p_value, several.low, several.high) == (1, 0, 0)


def test_pairing_finds_what_two_accuracies_hide() -> None:
    """12 of 1,000 more, none fewer: two proportions of 95 % and 96.2 % are no difference (p = 0.2), the pairs are."""
    found = paired([right(1000, set(range(50)))], [right(1000, set(range(38)))])
    assert found.p_value == pytest.approx(2 / 2**12)


def test_holm_by_hand() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
