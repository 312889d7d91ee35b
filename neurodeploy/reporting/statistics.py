"""Means over seeds, and how sure a difference of two means is.

``Statistic``: mean and sample standard deviation (``ddof = 1``) of n values. ``compare``: Welch's t interval of the
difference ``mean(b) − mean(a)``, which does not assume equal spread and does not pretend that equal seeds make pairs.
With one seed on a side nothing can be said about the method, and that is what it says. ``paired``: the same two groups
on the same test samples, which says something about the networks at hand with one seed too. ``holm``: p values of
several groups against one baseline.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

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


@dataclass(frozen=True)
class Paired:
    """Two groups of networks on the same samples: who is right where.

    It says whether *these* networks would differ on other samples of the kind; whether other seeds would give networks
    that differ is what :func:`compare` says.

    Attributes:
        samples: Test samples.
        only_group: Samples that the group has right and the baseline wrong, mean over all pairs of seeds.
        only_baseline: The other way round.
        low: Lower end of the 95 % interval of the difference of the accuracies.
        high: Upper end.
        p_value: Two-sided.
        test: Its name.
    """

    samples: int
    only_group: float
    only_baseline: float
    low: float
    high: float
    p_value: float
    test: str


def paired(baseline: Sequence[np.ndarray], group: Sequence[np.ndarray]) -> Paired:
    """Paired test over samples; each array is ``(N,)`` bool, whether a network has a sample right.

    ``d_i = mean_seeds(group_i) − mean_seeds(baseline_i)``; interval ``mean(d) ± 1.96·std(d)/√N``. With one network on
    each side d is −1, 0 or 1 and p is McNemar's, exact: the binomial of the samples on which one alone is right. With
    more p is that of ``mean(d)·√N/std(d)``, normal.
    """
    a, b = np.mean(np.stack(baseline), axis=0), np.mean(np.stack(group), axis=0)
    n = len(a)
    difference = b - a
    mean, error = float(difference.mean()), float(difference.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    only_group, only_baseline = float((b * (1 - a)).sum()), float((a * (1 - b)).sum())
    from scipy.stats import binom, norm

    if len(baseline) == len(group) == 1:
        test, discordant = "McNemar, exact", round(only_group + only_baseline)
        least = round(min(only_group, only_baseline))
        p_value = min(1.0, 2 * float(binom.cdf(least, discordant, 0.5))) if discordant else 1.0
    else:
        test = "paired over samples, mean over seeds"
        p_value = float(2 * norm.sf(abs(mean) / error)) if error else 1.0 if mean == 0 else 0.0
    half = float(norm.ppf(1 - LEVEL / 2)) * error
    return Paired(n, only_group, only_baseline, mean - half, mean + half, p_value, test)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values corrected for their number (Holm 1979): the k-th smallest of m times ``m − k + 1``, never falling."""
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        corrected[index] = highest
    return corrected
