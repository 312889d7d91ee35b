"""The first sentences of a report: which is more accurate, which costs less, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from neurodeploy.reporting import numbers

if TYPE_CHECKING:
    from neurodeploy.reporting.model import Comparison, GroupReport


def headline(groups: Sequence[GroupReport], comparisons: Sequence[Comparison], target: str) -> Iterator[str]:
    """One sentence on accuracy and one on cost for each group beside the baseline; one for a group alone.

    Then one for each group that the target does not take: what is missing above, and why.
    """
    if len(groups) == 1:
        yield _alone(groups[0], target)
        yield from _not_exported(groups, target)
        return
    for group in groups[1:]:
        mine = {c.metric: c for c in comparisons if c.group == group.label}
        accuracy = mine.get("accuracy_chip") or mine["accuracy_float"]
        yield _accuracy(accuracy, target)
        cost = _cost_of(mine)
        if cost is not None:
            yield _cost(cost)
        if "quantization_error" in mine:
            yield _quantization(mine["quantization_error"])
    yield from _not_exported(groups, target)


def _not_exported(groups: Sequence[GroupReport], target: str) -> Iterator[str]:
    for group in groups:
        if group.not_exported:
            reason = group.not_exported.rstrip(".")
            yield f"{group.label} is not exported for {target}, so nothing is said of it there: {reason}."


def verdict(groups: Sequence[GroupReport], comparisons: Sequence[Comparison], target: str) -> str:
    """The answer in one line: accuracy and cost of the second group against the first; names alone for more groups."""
    if len(groups) == 1:
        return _alone(groups[0], target)
    if len(groups) > 2:
        return f"{', '.join(g.label for g in groups[1:])} against {groups[0].label}"
    mine = {c.metric: c for c in comparisons}
    accuracy = mine.get("accuracy_chip") or mine["accuracy_float"]
    points = change(accuracy).lstrip("+−")
    phrases = {
        "better": f"more accurate than {accuracy.baseline} by {points}",
        "worse": f"less accurate than {accuracy.baseline} by {points}",
        "equal": f"as accurate as {accuracy.baseline}",
        "not significant": f"no clear difference in accuracy to {accuracy.baseline}",
        "one seed": f"{change(accuracy)} of accuracy against {accuracy.baseline}",
        "no spread": f"{change(accuracy)} of accuracy against {accuracy.baseline}",
    }
    line = f"{accuracy.group}: {phrases[accuracy.difference.verdict]}"
    cost = _cost_of(mine)
    if cost is not None:
        what = f"dynamic energy on {cost.title.rpartition(' on ')[2]}" if cost.unit == "pJ" else "synaptic operations"
        unclear = cost.difference.verdict == "not significant"
        if unclear and accuracy.difference.verdict == "not significant":
            line = f"{accuracy.group}: no clear difference to {accuracy.baseline} in accuracy or in {what}"
        elif unclear:
            line += f", no clear difference in {what}"
        elif cost.difference.verdict == "equal":
            line += f", the same {what}"
        else:
            line += f", {_less_or_more(cost)} {what}"
    error = mine.get("quantization_error")
    if error is not None and error.difference.verdict in ("better", "worse"):
        line += f", {_less_or_more(error)} quantization error"
    missing = [group.label for group in groups if group.not_exported]
    if missing:
        line += f"; in float, {' and '.join(missing)} not exported for {target}"
    return f"{line}{_one_seed(accuracy)}."


def _less_or_more(comparison: Comparison) -> str:
    return f"{change(comparison).lstrip('+−')} {'less' if comparison.difference.absolute < 0 else 'more'}"


def _one_seed(comparison: Comparison) -> str:
    return " (one seed)" if comparison.difference.verdict == "one seed" else ""


def _cost_of(mine: Mapping[str, Comparison]) -> Comparison | None:
    """The comparison that stands for cost: energy on the first profile that has a price, else operations."""
    return next((c for metric, c in mine.items() if metric.startswith("energy.")), mine.get("sop"))


def how_sure(comparison: Comparison) -> str:
    """``significant, p = 0.004, n = 3 + 3``, or why nothing can be said."""
    a, b = comparison.baseline_value.n, comparison.group_value.n
    n = f"n = {a}" if a == b else f"n = {a} and {b}"
    d = comparison.difference
    if d.verdict == "one seed":
        return f"one seed: no statement on significance, {n}"
    if d.verdict == "no spread":
        return f"every seed gives the same: no statement on significance, {n}"
    if d.verdict == "equal":
        return f"the same in every seed, {n}"
    if d.verdict == "not significant":
        return f"not significant with {n}"
    assert d.p_value is not None
    p = "p < 0.001" if d.p_value < 0.001 else f"p = {d.p_value:.2g}"
    return f"significant, {p}, {n}"


def change(comparison: Comparison) -> str:
    """The difference itself: ``+0.37 points``, ``−12.3 %``."""
    d = comparison.difference
    if comparison.unit == "fraction":
        return f"{numbers.signed(100 * d.absolute, lambda v: f'{v:.2f}')} points"
    if d.relative is None:
        return numbers.signed(d.absolute)
    return f"{numbers.signed(100 * d.relative, lambda v: f'{v:.1f}')} %"


def interval(comparison: Comparison) -> str:
    """The 95 % interval in the terms of :func:`change`; empty with one seed."""
    d = comparison.difference
    if d.low is None or d.high is None:
        return ""
    if comparison.unit == "fraction":
        scale, unit = 100.0, "points"
    elif comparison.baseline_value.mean:
        scale, unit = 100 / comparison.baseline_value.mean, "%"
    else:
        scale, unit = 1.0, ""
    ends = [
        numbers.signed(scale * end, lambda v: f"{v:.2f}" if unit == "points" else f"{v:.1f}") for end in (d.low, d.high)
    ]
    return f"95 % interval {ends[0]} to {ends[1]} {unit}".strip()


def value(comparison: Comparison, which: str) -> str:
    """``98.70 ± 0.21 %`` or ``≥ 1.58 ± 0.02 nJ``: of the ``baseline`` or the ``group``."""
    stat = comparison.baseline_value if which == "baseline" else comparison.group_value
    if comparison.unit == "fraction":
        return numbers.percent_stat(stat)
    if comparison.unit == "pJ":
        return numbers.energy_stat(stat, at_least=comparison.at_least)
    return numbers.number_stat(stat)


def _accuracy(c: Comparison, target: str) -> str:
    where = f"on {target}" if c.metric == "accuracy_chip" else "in float"
    values = f"{value(c, 'group')} against {value(c, 'baseline')}"
    verdicts = {
        "better": f"{c.group} is more accurate than {c.baseline} {where}: {values}",
        "worse": f"{c.group} is less accurate than {c.baseline} {where}: {values}",
        "equal": f"{c.group} and {c.baseline} are equally accurate {where}: {values}",
        "not significant": f"{c.group} and {c.baseline} show no clear difference in accuracy {where}: {values}",
        "one seed": f"{c.group} scores {values} of {c.baseline} {where}",
        "no spread": f"{c.group} scores {values} of {c.baseline} {where}",
    }
    return f"{verdicts[c.difference.verdict]} ({change(c)}; {how_sure(c)})."


def _cost(c: Comparison) -> str:
    values = f"{value(c, 'group')} against {value(c, 'baseline')} per inference"
    of = f"{c.title}" if c.unit == "pJ" else "synaptic operations"
    verdicts = {
        "better": f"{c.group} costs less, {of}: {values}",
        "worse": f"{c.group} costs more, {of}: {values}",
        "equal": f"{c.group} costs the same, {of}: {values}",
        "not significant": f"The costs show no clear difference, {of}: {values}",
        "one seed": f"{c.group} takes {values}, {of}",
        "no spread": f"{c.group} takes {values}, {of}",
    }
    bound = " The unpriced terms are left out on both sides." if c.at_least else ""
    return f"{verdicts[c.difference.verdict]} ({change(c)}; {how_sure(c)}).{bound}"


def _quantization(c: Comparison) -> str:
    values = f"{value(c, 'group')} against {value(c, 'baseline')}"
    verdicts = {"better": "lower", "worse": "higher", "equal": "the same"}
    word = verdicts.get(c.difference.verdict)
    start = f"The quantization error of {c.group} is {word}" if word else f"Quantization error of {c.group}"
    return f"{start}: {values} ({change(c)}; {how_sure(c)})."


def _alone(group: GroupReport, target: str) -> str:
    accuracy = group.accuracy_chip or group.accuracy_float
    where = f"on {target}" if group.accuracy_chip else "in float"
    sentence = f"{group.label} reaches {numbers.percent_stat(accuracy)} {where} (n = {accuracy.n})"
    priced = next((e for e in group.energy if e.terms), None)
    if priced is not None:
        energy = numbers.energy_stat(priced.dynamic.pj, at_least=priced.dynamic.at_least)
        sentence += f", at {energy} of dynamic energy per inference on {priced.name}"
    return sentence + "."
