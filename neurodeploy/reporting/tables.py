"""The tables of a report, once for the terminal, the page, Markdown and CSV."""

from __future__ import annotations

from typing import Any

from neurodeploy.reporting import headline, numbers
from neurodeploy.reporting.cells import Cell, Table, integer, stat, text
from neurodeploy.reporting.chip_tables import deployment_table, fits_table, places_table
from neurodeploy.reporting.energy_tables import ann_table, energy_table, prices_table, terms_table, unpriced_table
from neurodeploy.reporting.model import PublishedRow, Report
from neurodeploy.reporting.published import differences
from neurodeploy.reporting.statistics import Statistic


def tables(report: Report) -> dict[str, Table]:
    """Every table that has rows, by name."""
    made = (
        _changes(report),
        _comparisons(report),
        _paired(report),
        _groups(report),
        _published(report),
        _differences(report),
        _runs(report),
        _layers(report),
        _operations(report),
        energy_table(report),
        terms_table(report),
        ann_table(report),
        unpriced_table(report),
        prices_table(report),
        deployment_table(report),
        fits_table(report),
        places_table(report),
        _findings(report),
    )
    return {table.name: table for table in made if table.rows}


def _changes(report: Report) -> Table:
    """Recipe keys down, groups across: what differs from the first group in any of them."""
    keys: dict[str, Cell] = {}
    for group in report.groups[1:]:
        keys.update({change.key: _setting(change.baseline) for change in group.changes})
    rows = []
    for key, base in keys.items():
        there = [{change.key: change.value for change in group.changes} for group in report.groups[1:]]
        rows.append((text(key), base, *(_setting(changed[key]) if key in changed else base for changed in there)))
    columns = ("recipe key", *(group.label for group in report.groups))
    return Table("changes", "What changed", columns, tuple(rows))


def _setting(value: Any) -> Cell:
    return text("absent" if value is None else value)


def _comparisons(report: Report) -> Table:
    rows = [
        (
            text(c.title),
            text(c.group),
            Cell(headline.value(c, "group"), c.group_value.mean),
            Cell(headline.value(c, "baseline"), c.baseline_value.mean),
            Cell(headline.change(c), c.difference.absolute if c.difference.relative is None else c.difference.relative),
            text(headline.interval(c).removeprefix("95 % interval ") or "-"),
            text(headline.short(c)),
            text(_pair(c.baseline_value.n, c.group_value.n)),
        )
        for c in report.comparisons
    ]
    base = report.groups[0].label
    columns = ("metric", "group", "value", base, "change", "95 % interval", "how sure", "n")
    note = "Welch's t interval and test over seeds: would other seeds show it too?"
    if len(report.groups) > 2:
        note += " p is corrected for the number of tests of a metric by Holm's method, the interval is not."
    return Table("comparisons", f"Compared with {base}", columns, tuple(rows), note)


def _pair(baseline: int, group: int) -> str:
    return str(group) if baseline == group else f"{baseline} and {group}"


def _paired(report: Report) -> Table:
    rows = []
    for c in report.comparisons:
        if c.paired is not None:
            p = c.paired
            ends = [numbers.signed(100 * end, lambda v: f"{v:.2f}") for end in (p.low, p.high)]
            rows.append(
                (
                    text(c.group),
                    Cell(headline.change(c), c.difference.absolute),
                    text(f"{ends[0]} to {ends[1]} points"),
                    Cell(f"{p.only_group:,.0f}", p.only_group),
                    Cell(f"{p.only_baseline:,.0f}", p.only_baseline),
                    Cell(headline.p_text(p.p_value), p.p_value),
                    text(p.test),
                )
            )
    base = report.groups[0].label
    columns = ("group", "change", "95 % interval", "right alone", f"{base} right alone", "p", "test")
    note = (
        f"Accuracy on {report.target} of the networks at hand, sample by sample: would they differ on other samples? "
        "It says nothing of other seeds. Right alone: samples, mean over all pairs of seeds. p is not corrected."
    )
    return Table("paired", f"Paired over the same {report.samples:,} test samples", columns, tuple(rows), note)


def _groups(report: Report) -> Table:
    rows = [
        (
            text(g.label),
            text(g.method),
            integer(len(g.runs)),
            stat(g.accuracy_float, percent=True),
            text("not exported") if g.not_exported else stat(g.accuracy_chip, percent=True),
            _points(g.conversion),
            stat(g.quantization_error),
            stat(g.firing_rate, percent=True),
        )
        for g in report.groups
    ]
    columns = (
        "group",
        "method",
        "n",
        "accuracy, float",
        f"accuracy, {report.target}",
        f"{report.target} less float",
        "quantization error",
        "firing rate",
    )
    return Table(
        "groups",
        "Results",
        columns,
        tuple(rows),
        f"{report.samples:,} test samples: one is {100 / report.samples:.2f} points. ± is the standard deviation over "
        "seeds.",
    )


def _points(value: Statistic | None) -> Cell:
    """A difference of accuracies in points."""
    if value is None:
        return Cell("-")
    spread = "" if value.std is None else f" ± {100 * value.std:.2f}"
    return Cell(f"{numbers.signed(100 * value.mean, lambda v: f'{v:.2f}')}{spread} points", value.mean)


def _published(report: Report) -> Table:
    rows = [
        (
            text(row.group),
            stat(row.accuracy, percent=True),
            Cell(_published_accuracy(row), row.published_accuracy),
            Cell(f"{numbers.signed(100 * row.difference, lambda v: f'{v:.2f}')} points", row.difference),
            stat(row.quantization_error),
            Cell("-")
            if row.published_quantization_error is None
            else Cell(numbers.digits(row.published_quantization_error), row.published_quantization_error),
            text(row.source + (f" ({row.note})" if row.note else "")),
        )
        for row in report.published
    ]
    columns = (
        "group",
        "accuracy, ours",
        "published",
        "difference",
        "quantization error, ours",
        "published error",
        "source",
    )
    notes = ["Ours is the last epoch; whether the paper's is the last or the best on the test set is not stated."]
    notes += dict.fromkeys(f"Our data: {row.data_note}." for row in report.published if row.data_note)
    return Table("published", "Ours beside the published figure", columns, tuple(rows), " ".join(notes))


def _differences(report: Report) -> Table:
    rows = []
    for row in report.published:
        found = [(text(what), _setting(paper), _setting(ours)) for what, paper, ours in differences(row)]
        rows += [
            (text(row.group), *cells) for cells in found or [(text("nothing in the recipe"), text(None), text(None))]
        ]
    title = "What differs from the published run"
    note = "The paper's settings are those of the shipped recipe that the run was started from."
    return Table("differences", title, ("group", "what", "published", "ours"), tuple(rows), note)


def _published_accuracy(row: PublishedRow) -> str:
    spread = "" if row.published_std is None else f" ± {100 * row.published_std:.2f}"
    return f"{100 * row.published_accuracy:.2f}{spread} %"


def _runs(report: Report) -> Table:
    rows = [
        (
            text(run.name),
            integer(run.seed),
            Cell(numbers.percent(run.accuracy_float), run.accuracy_float),
            Cell("-") if run.accuracy_chip is None else Cell(numbers.percent(run.accuracy_chip), run.accuracy_chip),
            Cell("-")
            if run.quantization_error is None
            else Cell(numbers.digits(run.quantization_error), run.quantization_error),
            Cell("-")
            if run.best_accuracy is None
            else Cell(f"{numbers.percent(run.best_accuracy)} (epoch {run.best_epoch})", run.best_accuracy),
            text(run.git_commit[:10] if run.git_commit else None),
        )
        for group in report.groups
        for run in group.runs
    ]
    columns = (
        "run",
        "seed",
        "accuracy, float",
        f"accuracy, {report.target}",
        "quantization error",
        "best epoch",
        "commit",
    )
    note = "The best epoch is chosen on the test set: a side note, never the result."
    return Table("runs", "Runs", columns, tuple(rows), note)


def _layers(report: Report) -> Table:
    names = dict.fromkeys(layer.name for group in report.groups for layer in group.trained_layers)
    rows = []
    for name in names:
        for group in report.groups:
            for layer in group.trained_layers:
                if layer.name == name:
                    error, rate = stat(layer.quantization_error), stat(layer.firing_rate, percent=True)
                    rows.append((text(name), text(group.label), error, rate))
    columns = ("layer", "group", "quantization error", "firing rate")
    return Table("layers", "Layer by layer, float network", columns, tuple(rows))


_COUNTS = ("sop", "sop_nonzero", "mac", "neuron_updates_active", "neuron_updates_idle", "spikes_out")


def _operations(report: Report) -> Table:
    rows = []
    for group in report.groups:
        for layer in group.chip_layers:
            counts = [layer.counts[key] for key in _COUNTS]
            if any(count is None or count.mean for count in counts):
                cells = [stat(count, whole=True) for count in counts]
                place = "host" if layer.on_host else report.target
                rows.append((text(layer.name), text(group.label), text(layer.kind), text(place), *cells))
    columns = (
        "layer",
        "group",
        "kind",
        "runs on",
        "SOP",
        "SOP, nonzero",
        "MAC",
        "active updates",
        "idle updates",
        "spikes out",
    )
    note = "Per inference. SOP: spike-triggered accumulates from the real fan-out of the emitted graph."
    return Table("operations", "Operations", columns, tuple(rows), note)


def _findings(report: Report) -> Table:
    rows = [
        (
            text(g.label),
            text(f["code"]),
            text(f["severity"]),
            text(f["node"] or "-"),
            text(f["rule"]),
            text(f["fix"] or "-"),
        )
        for g in report.groups
        for f in g.findings
    ]
    rows += [
        (text(g.label), text("-"), text("impure"), text("-"), text(v), text("-"))
        for g in report.groups
        for v in g.violations
    ]
    return Table(
        "findings", "What the compiler said", ("group", "code", "severity", "layer", "rule", "what to do"), tuple(rows)
    )
