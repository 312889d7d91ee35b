"""From collected groups of runs to a :class:`~neurodeploy.reporting.model.Report`: statistics, prices, comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from neurodeploy.config.method import method_name
from neurodeploy.config.profile import Profile
from neurodeploy.manifest import version
from neurodeploy.reporting.collect import GroupData, RunData
from neurodeploy.reporting.compared import compared
from neurodeploy.reporting.model import (
    CURVES,
    FIRING,
    SCHEMA_VERSION,
    Change,
    ChipLayer,
    Curve,
    EnergyReport,
    GroupReport,
    Histogram,
    Report,
    Resources,
    RunReport,
    TrainedLayer,
)
from neurodeploy.reporting.pricing import energy_report, load_profiles, places, priced, resources
from neurodeploy.reporting.published import published_row
from neurodeploy.reporting.statistics import Statistic, statistic
from neurodeploy.sim.trace import COUNT_KEYS
from neurodeploy.training.run_files import MembraneHistogram


def build(groups: Sequence[GroupData], *, target: str, profiles: Sequence[str], allow_proxy: bool = False) -> Report:
    """The report of collected groups, priced with ``profiles`` (names or paths)."""
    from neurodeploy.reporting.headline import headline, verdict
    from neurodeploy.targets.base import load_target

    loaded = load_profiles(profiles, allow_proxy=allow_proxy)
    labels = short_labels([group.name for group in groups])
    reports = tuple(
        _group(group, label, groups[0], _energies(group, loaded, target, allow_proxy))
        for group, label in zip(groups, labels, strict=True)
    )
    first = groups[0].runs[0]
    comparisons = compared(groups, reports, target)
    return Report(
        schema_version=SCHEMA_VERSION,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        version=version("neurodeploy") or "unknown",
        target=target,
        arithmetic=load_target(target).spec.arithmetic,
        dataset=first.recipe.data.name,
        data_sha256=first.data_sha256,
        samples=first.evaluation.samples,
        timesteps=tuple(group.runs[0].recipe.timesteps for group in groups),
        profiles=tuple(profile.chip.id for profile in loaded),
        title=verdict(reports, comparisons, target),
        headline=tuple(headline(reports, comparisons, target)),
        comparisons=comparisons,
        published=tuple(
            row for group, label in zip(groups, labels, strict=True) if (row := published_row(group, label)) is not None
        ),
        groups=reports,
    )


def short_labels(names: Sequence[str]) -> list[str]:
    """Names without the words (split at ``-``) that all share at the front: digits-conv-rmp -> rmp."""
    words = [name.split("-") for name in names]
    if len(names) < 2 or len(set(names)) < len(names):
        return list(names)
    shared = 0
    while all(len(parts) > shared + 1 for parts in words) and len({parts[shared] for parts in words}) == 1:
        shared += 1
    return ["-".join(parts[shared:]) for parts in words]


def _energies(
    group: GroupData, profiles: Sequence[Profile], target: str, allow_proxy: bool
) -> tuple[EnergyReport, ...]:
    estimates = priced(group, profiles, target, allow_proxy)
    return tuple(energy_report(made, group, profile) for made, profile in zip(estimates, profiles, strict=False))


def _group(group: GroupData, label: str, baseline: GroupData, energies: tuple[EnergyReport, ...]) -> GroupReport:
    runs = tuple(_run(run) for run in group.runs)
    first = group.runs[0]
    changes = [] if group is baseline else baseline.runs[0].recipe.diff(first.recipe)
    accuracy = statistic(run.accuracy_float for run in runs)
    assert accuracy is not None
    exported = not group.not_exported
    return GroupReport(
        name=group.name,
        label=label,
        method=method_name(first.recipe),
        not_exported=group.not_exported or None,
        changes=tuple(Change(key, a, b) for key, a, b in changes if key != "seed"),
        runs=runs,
        accuracy_float=accuracy,
        accuracy_chip=statistic(run.accuracy_chip for run in runs),
        conversion=statistic(
            None if run.accuracy_chip is None else run.accuracy_chip - run.accuracy_float for run in runs
        ),
        quantization_error=statistic(run.quantization_error for run in runs),
        firing_rate=statistic(run.firing_rate for run in runs),
        counts={key: _count_total(group, key) if exported else None for key in COUNT_KEYS},
        trained_layers=tuple(_trained_layers(group)),
        chip_layers=tuple(_chip_layers(group)) if exported else (),
        curves=tuple(_curves(group)),
        energy=energies,
        resources=resources(first) if exported else Resources(None, None, None, None, None),
        places=places(first) if exported else (),
        fits=first.fits,
        features=first.features if exported else None,
        purity=_purity(group),
        violations=tuple(dict.fromkeys(v for run in group.runs for v in run.simulation.get("violations", ()))),
        findings=tuple(first.compiled.get("findings", ())) if exported else (),
        v_threshold=first.recipe.neuron.v_threshold,
        recipe=first.recipe.flat(),
    )


def _run(run: RunData) -> RunReport:
    commit = (run.manifest.get("git") or {}).get("commit")
    best = run.evaluation.best
    return RunReport(
        name=run.name,
        path=str(run.path),
        seed=run.recipe.seed,
        git_commit=commit,
        accuracy_float=run.evaluation.accuracy,
        accuracy_chip=run.simulation.get("accuracy"),
        quantization_error=run.evaluation.quantization_error,
        firing_rate=run.evaluation.firing_rate,
        best_accuracy=best.accuracy if best else None,
        best_epoch=best.epoch if best else None,
    )


def _purity(group: GroupData) -> str:
    if group.not_exported:
        return "not exported"
    return "pure" if all(run.simulation["purity"] == "pure" for run in group.runs) else "impure"


def _per_inference(run: RunData, row: Mapping[str, Any], key: str) -> float | None:
    return None if row[key] is None else row[key] / run.simulation["samples"]


def _count_total(group: GroupData, key: str) -> Statistic | None:
    def total(run: RunData) -> float | None:
        counts = [_per_inference(run, row, key) for row in run.simulation["layers"]]
        return None if None in counts else sum(count for count in counts if count is not None)

    return statistic(total(run) for run in group.runs)


def _trained_layers(group: GroupData) -> list[TrainedLayer]:
    layers = []
    for index, first in enumerate(group.runs[0].evaluation.layers):
        rows = [run.evaluation.layers[index] for run in group.runs]
        steps = [row.firing_rate_per_timestep for row in rows]
        layers.append(
            TrainedLayer(
                name=first.name,
                quantization_error=statistic(row.quantization_error for row in rows),
                firing_rate=statistic(row.firing_rate for row in rows),
                firing_rate_per_timestep=tuple(_mean(values) for values in zip(*steps, strict=True)),
                membrane=_histogram([row.membrane_histogram for row in rows]),
            )
        )
    return layers


def _histogram(rows: Sequence[MembraneHistogram]) -> Histogram | None:
    if len({(row.low, row.high, len(row.counts)) for row in rows}) > 1:
        return None  # seeds with different bins cannot be added up
    counts = tuple(map(sum, zip(*(row.counts for row in rows), strict=True)))
    return Histogram(rows[0].low, rows[0].high, counts, sum(r.below for r in rows), sum(r.above for r in rows))


def _chip_layers(group: GroupData) -> list[ChipLayer]:
    layers = []
    for part, on_host in (("host_layers", True), ("layers", False)):
        for index, first in enumerate(group.runs[0].simulation[part]):
            rows = [run.simulation[part][index] for run in group.runs]
            counts = {
                key: statistic(_per_inference(run, row, key) for run, row in zip(group.runs, rows, strict=True))
                for key in COUNT_KEYS
            }
            steps = [
                [spikes / (run.simulation["samples"] * row["size"]) for spikes in run.spikes_per_step[row["name"]]]
                for run, row in zip(group.runs, rows, strict=True)
                if not on_host and row["kind"] in FIRING and row["name"] in run.spikes_per_step and row["size"]
            ]
            per_step = tuple(_mean(values) for values in zip(*steps, strict=True)) if len(steps) == len(rows) else ()
            rate = statistic(_mean(run_steps) for run_steps in steps) if per_step else None
            layers.append(ChipLayer(first["name"], first["kind"], first["size"], on_host, counts, rate, per_step))
    return layers


def _curves(group: GroupData) -> list[Curve]:
    curves = []
    for metric in CURVES:
        rows = [
            {row.epoch: float(value) for row in run.metrics if (value := getattr(row, metric)) is not None}
            for run in group.runs
        ]
        epochs = [epoch for epoch in rows[0] if all(epoch in row for row in rows)]
        if len(epochs) > 1:
            columns = [[row[epoch] for row in rows] for epoch in epochs]
            mean, low, high = (tuple(f(column) for column in columns) for f in (_mean, min, max))
            curves.append(Curve(metric, tuple(epochs), mean, low, high))
    return curves


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
