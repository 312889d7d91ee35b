"""What may stand in one report: every run once, seeds of one recipe, one dataset, the same test samples (ND113)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neurodeploy.diagnostics import Finding, UsageError

if TYPE_CHECKING:
    from neurodeploy.reporting.collect import GroupData


def refuse_twice(groups: Sequence[tuple[Path, list[Path]]]) -> None:
    """ND113 for a run that is counted twice, on its own, in two groups or under two names."""
    seen: dict[Path, Path] = {}
    for folder, runs in groups:
        for run in runs:
            first = seen.get(run.resolve())
            if first is not None:
                what, where = f"the same run is given twice: {run}", f"{first} and {folder}"
                raise UsageError("ND113", what, where=where, fix="name each run once")
            seen[run.resolve()] = folder


def refuse_mixed_seeds(group: GroupData) -> None:
    """ND113 for seeds of one group that differ in more than the seed."""
    findings = []
    first = group.runs[0]
    for run in group.runs[1:]:
        keys = [key for key, _, _ in first.recipe.diff(run.recipe) if key != "seed"]
        if keys:
            pair = f"{first.path.name} and {run.path.name}"
            rule = f"seeds of one group share one recipe; {pair} differ in {', '.join(keys)}"
            findings.append(Finding("ND113", "error", str(group.path), rule, fix="give them as runs of their own"))
    _raise(findings)


def refuse_other_datasets(groups: Sequence[GroupData]) -> None:
    """ND113 for groups on different datasets."""
    findings = []
    first = groups[0].runs[0].recipe.data.name
    for group in groups[1:]:
        name = group.runs[0].recipe.data.name
        if name != first:
            rule, fix = "runs are compared on one dataset", "make one report for each dataset"
            findings.append(Finding("ND113", "error", str(group.path), rule, measured=name, limit=first, fix=fix))
    _raise(findings)


def refuse_other_test_sets(groups: Sequence[GroupData]) -> None:
    first = groups[0].runs[0]
    findings = []
    for run in (run for group in groups for run in group.runs):
        here = run.evaluation.samples
        there = run.simulation["samples"] if run.simulation else here
        if here != there:
            rule = "training and simulation are measured on the same test samples"
            findings.append(Finding("ND113", "error", run.name, rule, here, there, "samples", "train the run again"))
        trained_on = run.manifest.get("data", {}).get("test")
        if trained_on is not None and trained_on != run.data_sha256:
            rule = "the run was evaluated on other bytes of the test split than are there now"
            findings.append(Finding("ND113", "error", run.name, rule, fix="restore the data, or train the run again"))
        if here != first.evaluation.samples or run.data_sha256 != first.data_sha256:
            rule = "runs are compared on the same test samples"
            findings.append(Finding("ND113", "error", run.name, rule, fix="simulate them on the same data"))
    _raise(findings)


def _raise(findings: Sequence[Finding]) -> None:
    if findings:
        raise UsageError(
            "ND113",
            "these runs cannot be compared",
            where=findings[0].node,
            fix=findings[0].fix,
            findings=findings,
        )
