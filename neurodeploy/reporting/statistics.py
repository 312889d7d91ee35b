"""Means over seeds, and how sure a difference of two means is.

``Statistic``: mean and sample standard deviation (``ddof = 1``) of n values. ``compare``: Welch's t interval of the
difference ``mean(b) − mean(a)``, which does not assume equal spread and does not pretend that equal seeds make pairs.
With one seed on a side nothing can be said, and that is what it says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

#: Two-sided level of significance, and the interval that goes with it.
LEVEL = 0.05

Verdict = Literal["better", "worse", "not significant", "equal", "one seed", "no spread"]


@dataclass(frozen=True)
class Statistic:
    """Mean over n runs; ``std`` None when n is 1."""

    mean: float
    std: float | None
    n: int
    values: tuple[float, ...]


def statistic(values: Iterable[float | None]) -> Statistic | None:
    """Mean and standard deviation; None if a value is unknown or there is none."""
    known = tuple(values)
    if not known or any(value is None for value in known):
        return None
    numbers = tuple(float(value) for value in known if value is not None)
    n = len(numbers)
    mean = math.fsum(numbers) / n
    std = math.sqrt(math.fsum((x - mean) ** 2 for x in numbers) / (n - 1)) if n > 1 else None
    return Statistic(mean, std, n, numbers)


@dataclass(frozen=True)
class Difference:
    """``b − a`` of two means, with its 95 % interval.

    Attributes:
        absolute: Difference of the means.
        relative: The same over the mean of ``a``; None where that is 0.
        low: Lower end of the interval; None with one seed, or without any spread.
        high: Upper end.
        p_value: Of Welch's test; None like the interval.
        verdict: ``better`` or ``worse`` only when significant.
    """

    absolute: float
    relative: float | None
    low: float | None
    high: float | None
    p_value: float | None
    verdict: Verdict


def compare(a: Statistic, b: Statistic, *, higher_is_better: bool) -> Difference:
    """How ``b`` differs from ``a``.

    Two means without any spread on either side (a small test set makes that likely) leave nothing to measure a
    difference against: the verdict is ``equal`` or ``no spread``, never significance.
    """
    absolute = b.mean - a.mean
    relative = absolute / a.mean if a.mean else None
    if a.std is None or b.std is None:
        return Difference(absolute, relative, None, None, None, "one seed")
    variance_a, variance_b = a.std**2 / a.n, b.std**2 / b.n
    error = math.sqrt(variance_a + variance_b)
    if error == 0:
        return Difference(absolute, relative, None, None, None, "no spread" if absolute else "equal")
    from scipy.stats import t as student

    freedom = (variance_a + variance_b) ** 2 / (variance_a**2 / (a.n - 1) + variance_b**2 / (b.n - 1))
    half = float(student.ppf(1 - LEVEL / 2, freedom)) * error
    p_value = float(2 * student.sf(abs(absolute) / error, freedom))
    low, high = absolute - half, absolute + half
    verdict: Verdict
    if p_value >= LEVEL:
        verdict = "not significant"
    else:
        verdict = "better" if (absolute > 0) == higher_is_better else "worse"
    return Difference(absolute, relative, low, high, p_value, verdict)
