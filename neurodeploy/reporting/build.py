"""From collected groups of runs to a :class:`~neurodeploy.reporting.model.Report`: statistics, prices, comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from neurodeploy.energy import Amount, Estimate, estimate
from neurodeploy.manifest import version
from neurodeploy.reporting.collect import GroupData, RunData
from neurodeploy.reporting.model import (
    CURVES,
    FIRING,
    SCHEMA_VERSION,
    Change,
    ChipLayer,
    Comparison,
    Curve,
    EnergyFigure,
    EnergyReport,
    EnergyTerm,
    GroupReport,
    Histogram,
    Report,
    Resources,
    RunReport,
    TrainedLayer,
)
from neurodeploy.reporting.statistics import Statistic, compare, statistic
from neurodeploy.sim.trace import COUNT_KEYS
from neurodeploy.training.run_files import MembraneHistogram


def build(groups: Sequence[GroupData], *, target: str, profiles: Sequence[str], allow_proxy: bool = False) -> Report:
    """The report of collected groups, priced with ``profiles`` (names or paths)."""
    from neurodeploy.config.profile import load_profile
    from neurodeploy.reporting.headline import headline, verdict

    loaded = [load_profile(profile) for profile in profiles]
    labels = short_labels([group.name for group in groups])
    reports = tuple(
        _group(group, label, groups[0], [_estimates(group, profile, target, allow_proxy) for profile in loaded])
        for group, label in zip(groups, labels, strict=True)
    )
    first = groups[0].runs[0]
    comparisons = tuple(_comparisons(reports, target))
    return Report(
        schema_version=SCHEMA_VERSION,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        version=version("neurodeploy") or "unknown",
        target=target,
        arithmetic=first.simulation["arithmetic"],
        dataset=first.recipe.data.name,
        data_sha256=first.data_sha256,
        samples=first.simulation["samples"],
        timesteps=tuple(group.runs[0].simulation["timesteps"] for group in groups),
        profiles=tuple(profile.chip.id for profile in loaded),
        title=verdict(reports, comparisons, target),
        headline=tuple(headline(reports, comparisons, target)),
        comparisons=comparisons,
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


def _estimates(group: GroupData, profile: Any, target: str, allow_proxy: bool) -> list[Estimate]:
    return [
        estimate(
            run.simulation["layers"],
            profile,
            samples=run.simulation["samples"],
            timesteps=run.simulation["timesteps"],
            chips=_resources(run).chips,
            chips_from=target,
            host_layers=run.simulation["host_layers"],
            allow_proxy=allow_proxy,
        )
        for run in group.runs
    ]


def _group(group: GroupData, label: str, baseline: GroupData, energies: Sequence[list[Estimate]]) -> GroupReport:
    runs = tuple(_run(run) for run in group.runs)
    first = group.runs[0]
    changes = [] if group is baseline else baseline.runs[0].recipe.diff(first.recipe)
    accuracy = statistic(run.accuracy_float for run in runs)
    assert accuracy is not None
    return GroupReport(
        name=group.name,
        label=label,
        changes=tuple(Change(key, a, b) for key, a, b in changes if key != "seed"),
        runs=runs,
        accuracy_float=accuracy,
        accuracy_chip=statistic(run.accuracy_chip for run in runs),
        quantization_error=statistic(run.quantization_error for run in runs),
        firing_rate=statistic(run.firing_rate for run in runs),
        counts={key: _count_total(group, key) for key in COUNT_KEYS},
        trained_layers=tuple(_trained_layers(group)),
        chip_layers=tuple(_chip_layers(group)),
        curves=tuple(_curves(group)),
        energy=tuple(_energy(estimates) for estimates in energies),
        resources=_resources(first),
        purity=_purity(group),
        violations=tuple(dict.fromkeys(v for run in group.runs for v in run.simulation["violations"])),
        findings=tuple(first.compiled.get("findings", ())),
        v_threshold=first.recipe.neuron.v_threshold,
        recipe=first.recipe.flat(),
    )


def _run(run: RunData) -> RunReport:
    commit = (run.manifest.get("git") or {}).get("commit")
    return RunReport(
        name=run.name,
        path=str(run.path),
        seed=run.recipe.seed,
        git_commit=commit,
        accuracy_float=run.evaluation.accuracy,
        accuracy_chip=run.simulation["accuracy"],
        quantization_error=run.evaluation.quantization_error,
        firing_rate=run.evaluation.firing_rate,
    )


def _purity(group: GroupData) -> str:
    return "pure" if all(run.simulation["purity"] == "pure" for run in group.runs) else "impure"


def _resources(run: RunData) -> Resources:
    found = run.compiled.get("resources") or {}
    total = found.get("total", found)
    chips = run.compiled.get("chips", found.get("chips"))
    return Resources(
        neurons=total.get("neurons"),
        synapses=total.get("synapses"),
        synaptic_memory_bytes=total.get("synaptic_memory_bytes"),
        cores=total.get("cores"),
        chips=chips,
    )


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
        rows = [{row.epoch: float(getattr(row, metric)) for row in run.metrics} for run in group.runs]
        epochs = [epoch for epoch in rows[0] if all(epoch in row for row in rows)]
        if len(epochs) > 1:
            columns = [[row[epoch] for row in rows] for epoch in epochs]
            mean, low, high = (tuple(f(column) for column in columns) for f in (_mean, min, max))
            curves.append(Curve(metric, tuple(epochs), mean, low, high))
    return curves


def _energy(estimates: Sequence[Estimate]) -> EnergyReport:
    """The mean over seeds; provenance and reasons are those of all seeds together."""
    first = estimates[0]

    def figure(amount: Callable[[Estimate], Amount], at_least: Callable[[Estimate], bool]) -> EnergyFigure:
        amounts = [amount(e) for e in estimates]
        pj = statistic(a.pj for a in amounts)
        assert pj is not None
        mean = _mean_amount(amounts, len(amounts))
        return EnergyFigure(pj, mean.low_pj, mean.high_pj, any(at_least(e) for e in estimates))

    terms: dict[str, list[tuple[float, Amount]]] = {}
    layers: dict[str, dict[str, float]] = {}
    for e in estimates:
        for term in e.terms:
            terms.setdefault(term.key, []).append((term.count, term.energy))
            layer = layers.setdefault(term.layer, {})
            layer[term.key] = layer.get(term.key, 0.0) + term.energy.pj / len(estimates)
    return EnergyReport(
        profile=first.profile,
        name=first.name,
        scope=first.scope,
        operating_point=first.operating_point,
        dynamic=figure(lambda e: e.dynamic, lambda e: e.dynamic_is_lower_bound),
        static=first.static,
        static_note=first.static_note,
        total=figure(lambda e: e.total, lambda e: e.total_is_lower_bound),
        terms=tuple(
            EnergyTerm(
                key,
                sum(count for count, _ in entries) / len(estimates),
                _mean_amount([amount for _, amount in entries], len(estimates)),
            )
            for key, entries in terms.items()
        ),
        layers=layers,
        unpriced={key: reason for e in estimates for key, reason in e.unpriced_keys().items()},
        not_charged={key: reason for e in estimates for key, reason in e.not_charged.items()},
        host=first.host,
        prices=tuple({tag.key: tag for e in estimates for tag in e.prices}.values()),
        basis=first.basis,
        confidence=first.confidence,
        proxy=first.proxy,
    )


def _mean_amount(amounts: Sequence[Amount], n: int) -> Amount:
    highs = [amount.high_pj for amount in amounts]
    high = None if None in highs else sum(h for h in highs if h is not None) / n
    return Amount(sum(a.pj for a in amounts) / n, sum(a.low_pj for a in amounts) / n, high)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _comparisons(groups: Sequence[GroupReport], target: str) -> list[Comparison]:
    """Every group against the first: accuracy, energy per profile, operations, quantization error."""
    baseline = groups[0]
    found = []
    for group in groups[1:]:
        pairs: list[tuple[str, str, str, bool, Statistic | None, Statistic | None, bool]] = [
            (
                "accuracy_chip",
                f"accuracy on {target}",
                "fraction",
                True,
                baseline.accuracy_chip,
                group.accuracy_chip,
                False,
            ),
            (
                "accuracy_float",
                "accuracy in float",
                "fraction",
                True,
                baseline.accuracy_float,
                group.accuracy_float,
                False,
            ),
        ]
        for a, b in zip(baseline.energy, group.energy, strict=True):
            both = {term.key for term in a.terms} == {term.key for term in b.terms}
            if a.terms and b.terms and both:
                at_least = a.dynamic.at_least or b.dynamic.at_least
                title = f"dynamic energy on {a.name}"
                pairs.append((f"energy.{a.profile}", title, "pJ", False, a.dynamic.pj, b.dynamic.pj, at_least))
        pairs += [
            ("sop", "synaptic operations", "1", False, baseline.counts["sop"], group.counts["sop"], False),
            ("quantization_error", "quantization error", "1", False, baseline.quantization_error,
             group.quantization_error, False),
        ]  # fmt: skip
        for metric, title, unit, higher, a_value, b_value, at_least in pairs:
            if a_value is not None and b_value is not None:
                difference = compare(a_value, b_value, higher_is_better=higher)
                found.append(
                    Comparison(
                        metric, title, unit, group.label, baseline.label, a_value, b_value, at_least, higher, difference
                    )
                )
    return found
