"""The first sentences of a report: which is more accurate, which costs less, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from neurodeploy.reporting import numbers
from neurodeploy.reporting.statistics import LEVEL, Verdict

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
    """The answer in one line: accuracy and cost of the second group against the first, or of the best of several."""
    if len(groups) == 1:
        return _alone(groups[0], target)
    if len(groups) > 2:
        return _best_of(groups, comparisons, target)
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


def _best_of(groups: Sequence[GroupReport], comparisons: Sequence[Comparison], target: str) -> str:
    """Which of several groups is more accurate, and which costs less: what is significant, else what lies highest."""
    baseline = groups[0].label
    accuracy = [c for c in comparisons if c.metric == "accuracy_chip"]
    if len(accuracy) < len(groups) - 1:  # some are not exported: all are compared in float
        accuracy = [c for c in comparisons if c.metric == "accuracy_float"]
    line = _capital(_best(accuracy, "more accurate", "highest", baseline))
    costs = [_cost_of({d.metric: d for d in comparisons if d.group == c.group}) for c in accuracy]
    known = [c for c in costs if c is not None]
    if known and len({c.metric for c in known}) == 1:
        what = known[0].title if known[0].unit == "pJ" else "synaptic operations"
        line += f" By {what}, {_best(known, 'cheaper', 'lowest', baseline)}"
    missing = [group.label for group in groups if group.not_exported]
    if missing:
        names = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'}"
        line += f" Accuracy in float: {names} not exported for {target}."
    return line


def _capital(sentence: str) -> str:
    """Of a sentence that starts with ``none``; a group keeps its name."""
    return f"N{sentence[1:]}" if sentence.startswith("none is ") else sentence


def _best(found: Sequence[Comparison], adjective: str, extreme: str, baseline: str) -> str:
    """``rmp (+0.40 points) is more accurate than vanilla.``, or that none is, and which lies highest."""
    ordered = sorted(found, key=lambda c: c.difference.absolute, reverse=found[0].higher_is_better)
    winners = [c for c in ordered if sure_verdict(c) == "better"]
    if winners:
        names = " and ".join(f"{c.group} ({change(c)})" for c in winners)
        return f"{names} {'is' if len(winners) == 1 else 'are'} {adjective} than {baseline}."
    first = ordered[0]
    ahead = first.difference.absolute > 0 if first.higher_is_better else first.difference.absolute < 0
    if not ahead:
        return f"none is {adjective} than {baseline}."
    why = first.difference.verdict if first.difference.verdict in ("one seed", "no spread") else "not significant"
    return f"none is clearly {adjective} than {baseline} ({extreme}: {first.group}, {change(first)}, {why})."


def sure_verdict(comparison: Comparison) -> Verdict:
    """The verdict, corrected for the number of groups that the report tests against the baseline."""
    corrected = comparison.p_corrected
    if corrected is not None and corrected >= LEVEL:  # a difference without a p value has none that is corrected
        return "not significant"
    return comparison.difference.verdict


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
    corrected = comparison.p_corrected
    if sure_verdict(comparison) == "not significant":
        several = d.verdict != "not significant"
        return f"not significant with {n}" + (" once corrected for the number of tests" if several else "")
    assert d.p_value is not None
    several = corrected is not None and corrected != d.p_value
    return f"significant, {p_text(d.p_value if corrected is None else corrected)}{' corrected' if several else ''}, {n}"


def p_text(p_value: float) -> str:
    """``p = 0.012``; below a thousandth that alone."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def short(comparison: Comparison) -> str:
    """:func:`how_sure` in a few words, where n stands beside it."""
    verdict, p = sure_verdict(comparison), comparison.p_corrected or comparison.difference.p_value
    if p is None:
        return {"one seed": "one seed", "no spread": "no spread over seeds"}.get(verdict, "the same in every seed")
    return f"{'not significant' if verdict == 'not significant' else 'significant'}, {p_text(p)}"


def on_samples(comparison: Comparison) -> str:
    """The paired test in words; empty where there is none."""
    p = comparison.paired
    if p is None:
        return ""
    mine, theirs = (f"{count:,.1f}".removesuffix(".0") for count in (p.only_group, p.only_baseline))
    alone = f"{comparison.group} alone is right on {mine} of the {p.samples:,} test samples"
    return f"{alone}, {comparison.baseline} alone on {theirs}: {p_text(p.p_value)} ({p.test})"


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
    paired = f" {on_samples(c)}." if c.paired is not None else ""
    return f"{verdicts[sure_verdict(c)]} ({change(c)}; {how_sure(c)}).{paired}"


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
    return f"{verdicts[sure_verdict(c)]} ({change(c)}; {how_sure(c)}).{bound}"


def _quantization(c: Comparison) -> str:
    values = f"{value(c, 'group')} against {value(c, 'baseline')}"
    verdicts = {"better": "lower", "worse": "higher", "equal": "the same"}
    word = verdicts.get(sure_verdict(c))
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
