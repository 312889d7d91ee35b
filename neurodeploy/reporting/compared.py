"""Every group against the first: accuracy, energy on each chip, operations, quantization error; how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from neurodeploy.reporting.collect import GroupData
from neurodeploy.reporting.model import Comparison, GroupReport
from neurodeploy.reporting.statistics import Paired, Statistic, compare, holm, paired


@dataclass(frozen=True)
class _Metric:
    """What is compared of two groups; a value is None where a group has none."""

    name: str
    title: str
    unit: str
    baseline: Statistic | None
    group: Statistic | None
    higher_is_better: bool = False
    at_least: bool = False


def compared(data: Sequence[GroupData], groups: Sequence[GroupReport], target: str) -> tuple[Comparison, ...]:
    """All comparisons with ``groups[0]``, group by group; ``data`` are the same groups as they were collected."""
    found = []
    for collected, group in zip(data[1:], groups[1:], strict=True):
        for metric in _metrics(groups[0], group, target):
            if metric.baseline is not None and metric.group is not None:
                found.append(
                    Comparison(
                        metric.name,
                        metric.title,
                        metric.unit,
                        group.label,
                        groups[0].label,
                        metric.baseline,
                        metric.group,
                        metric.at_least,
                        metric.higher_is_better,
                        compare(metric.baseline, metric.group, higher_is_better=metric.higher_is_better),
                        paired=_paired(data[0], collected) if metric.name == "accuracy_chip" else None,
                    )
                )
    return tuple(_corrected(found)) if len(groups) > 2 else tuple(found)


def _metrics(baseline: GroupReport, group: GroupReport, target: str) -> Iterator[_Metric]:
    chip, in_float = f"accuracy on {target}", "accuracy in float"
    yield _Metric("accuracy_chip", chip, "fraction", baseline.accuracy_chip, group.accuracy_chip, True)
    yield _Metric("accuracy_float", in_float, "fraction", baseline.accuracy_float, group.accuracy_float, True)
    both_exported = baseline.energy and group.energy
    for a, b in zip(baseline.energy, group.energy, strict=True) if both_exported else ():
        same_terms = {term.key for term in a.terms} == {term.key for term in b.terms}
        if a.terms and b.terms and same_terms:
            at_least = a.dynamic.at_least or b.dynamic.at_least
            title = f"dynamic energy on {a.name}"
            yield _Metric(f"energy.{a.profile}", title, "pJ", a.dynamic.pj, b.dynamic.pj, at_least=at_least)
    yield _Metric("sop", "synaptic operations", "1", baseline.counts["sop"], group.counts["sop"])
    errors = (baseline.quantization_error, group.quantization_error)
    yield _Metric("quantization_error", "quantization error", "1", *errors)


def _paired(baseline: GroupData, group: GroupData) -> Paired | None:
    sides = [[run.correct for run in side.runs if run.correct is not None] for side in (baseline, group)]
    complete = len(sides[0]) == len(baseline.runs) and len(sides[1]) == len(group.runs)
    return paired(*sides) if complete else None


def _corrected(found: Sequence[Comparison]) -> Iterator[Comparison]:
    """With the p values of each metric corrected for the number of groups."""
    corrected: dict[int, float | None] = {}
    for metric in dict.fromkeys(c.metric for c in found):
        rows = [index for index, c in enumerate(found) if c.metric == metric]
        corrected.update(zip(rows, holm([found[row].difference.p_value for row in rows]), strict=True))
    for index, comparison in enumerate(found):
        yield replace(comparison, p_corrected=corrected[index])
