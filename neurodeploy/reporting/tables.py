"""The tables of a report, once for the terminal, the page, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from neurodeploy.energy import Amount
from neurodeploy.reporting import headline, numbers
from neurodeploy.reporting.figures import TERM_NAMES, energy_text
from neurodeploy.reporting.model import EnergyReport, Report
from neurodeploy.reporting.statistics import Statistic


@dataclass(frozen=True)
class Cell:
    """What is shown, and the number it sorts by (None: sorts by text)."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A titled table. Columns in ``numeric`` align right."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Per column: whether every cell is a number or a dash."""
        columns = zip(*self.rows, strict=True) if self.rows else ()
        found = tuple(all(c.value is not None or c.text == "-" for c in column) for column in columns)
        return found or (False,) * len(self.columns)


def tables(report: Report) -> dict[str, Table]:
    """Every table that has rows, by name."""
    made = (
        _changes(report),
        _comparisons(report),
        _groups(report),
        _runs(report),
        _layers(report),
        _operations(report),
        _energy(report),
        _terms(report),
        _unpriced(report),
        _prices(report),
        _deployment(report),
        _findings(report),
    )
    return {table.name: table for table in made if table.rows}


def text(value: Any) -> Cell:
    """A cell of words; None is a dash."""
    return Cell("-" if value is None else "yes" if value is True else "no" if value is False else str(value))


def integer(value: float | None) -> Cell:
    """A whole number with thousands separated."""
    return Cell("-") if value is None else Cell(f"{value:,.0f}", float(value))


def stat(value: Statistic | None, *, percent: bool = False, whole: bool = False) -> Cell:
    """``mean ± std``."""
    if value is None:
        return Cell("-")
    if percent:
        return Cell(numbers.percent_stat(value), value.mean)
    show = (lambda v: f"{v:,.0f}") if whole else numbers.digits
    return Cell(numbers.number_stat(value, show), value.mean)


def _changes(report: Report) -> Table:
    base = report.groups[0].label
    rows = [
        (text(group.label), text(change.key), _setting(change.baseline), _setting(change.value))
        for group in report.groups[1:]
        for change in group.changes
    ]
    return Table("changes", "What changed", ("group", "recipe key", base, "there"), tuple(rows))


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
            text(headline.how_sure(c)),
        )
        for c in report.comparisons
    ]
    base = report.groups[0].label
    columns = ("metric", "group", "value", base, "change", "95 % interval", "how sure")
    return Table("comparisons", f"Compared with {base}", columns, tuple(rows), "Welch's t interval over seeds.")


def _groups(report: Report) -> Table:
    rows = [
        (
            text(g.label),
            integer(len(g.runs)),
            stat(g.accuracy_float, percent=True),
            stat(g.accuracy_chip, percent=True),
            stat(g.quantization_error),
            stat(g.firing_rate, percent=True),
            stat(g.counts["sop"], whole=True),
            text(g.purity),
        )
        for g in report.groups
    ]
    columns = (
        "group",
        "n",
        "accuracy, float",
        f"accuracy, {report.target}",
        "quantization error",
        "firing rate",
        "synaptic operations",
        "purity",
    )
    return Table(
        "groups",
        "Results",
        columns,
        tuple(rows),
        f"{report.samples:,} test samples: one is {100 / report.samples:.2f} points. ± is the standard deviation over "
        "seeds.",
    )


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
            text(run.git_commit[:10] if run.git_commit else None),
        )
        for group in report.groups
        for run in group.runs
    ]
    columns = ("run", "seed", "accuracy, float", f"accuracy, {report.target}", "quantization error", "commit")
    return Table("runs", "Runs", columns, tuple(rows))


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


def _energies(report: Report) -> Iterator[tuple[str, EnergyReport]]:
    for index in range(len(report.groups[0].energy)):
        for group in report.groups:
            yield group.label, group.energy[index]


def _energy(report: Report) -> Table:
    rows = []
    for label, e in _energies(report):
        static = fastest = chips = Cell("-")
        if e.static is not None:
            real = e.static
            static = Cell(
                f"{numbers.energy(real.real_time.pj)} in {numbers.seconds(real.real_time_s)}", real.real_time.pj
            )
            if real.fastest is not None and real.fastest_s is not None:
                fastest = Cell(
                    f"{numbers.energy(real.fastest.pj)} in {numbers.seconds(real.fastest_s)}", real.fastest.pj
                )
            why = "" if real.chips_from == e.profile else f"as on {real.chips_from}"
            if real.chips_assumed:
                why = "assumed"
            chips = Cell(f"{real.chips} ({why})" if why else str(real.chips), float(real.chips))
        known = bool(e.terms)
        spread = numbers.energy_range(e.dynamic.low_pj, e.dynamic.high_pj) if known else "-"
        rows.append(
            (
                text(e.name),
                text(label),
                Cell(energy_text(e), e.dynamic.pj.mean) if known else text("UNPRICED"),
                text(spread),
                static if e.static is not None else text("inside" if e.scope == "all_in" else "unknown"),
                fastest,
                chips,
                text(f"PROXY {e.proxy}" if e.proxy else e.basis),
                text(e.confidence),
            )
        )
    columns = (
        "chip",
        "group",
        "dynamic",
        "range of prices",
        "static, real time",
        "static, fastest",
        "chips",
        "weakest basis",
        "confidence",
    )
    note = (
        "Per inference. ≥: a lower bound, because something has no published price. "
        "Chips are not compared with each other: their prices stand on different bases."
    )
    return Table("energy", "Energy", columns, tuple(rows), note)


def _terms(report: Report) -> Table:
    rows = []
    for label, e in _energies(report):
        for term in e.terms:
            rows.append(
                (
                    text(e.name),
                    text(label),
                    text(TERM_NAMES[term.key]),
                    Cell(_count(term.count), term.count),
                    _amount(term.energy),
                    text(numbers.energy_range(term.energy.low_pj, term.energy.high_pj)),
                )
            )
        if e.host is not None:
            work = e.host.mac_once or e.host.mac
            cost = Cell("-") if e.host.energy is None else _amount(e.host.energy)
            rows.append(
                (
                    text(e.name),
                    text(label),
                    text("host multiply-accumulates, not in the total"),
                    Cell("-") if work is None else Cell(_count(work), work),
                    cost,
                    text("-"),
                )
            )
    columns = ("chip", "group", "term", "events", "energy", "range of prices")
    return Table("terms", "Energy by term", columns, tuple(rows), "Per inference, mean over seeds.")


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else numbers.digits(value)


def _amount(amount: Amount) -> Cell:
    return Cell(numbers.energy(amount.pj), amount.pj)


def _unpriced(report: Report) -> Table:
    seen: dict[tuple[str, str, str], None] = {}
    for _, e in _energies(report):
        seen.update({(e.name, f"UNPRICED {TERM_NAMES[key]}", reason): None for key, reason in e.unpriced.items()})
        seen.update(
            {(e.name, TERM_NAMES[key], f"not charged apart: {why}"): None for key, why in e.not_charged.items()}
        )
        if e.host is not None:
            seen[(e.name, "host work", e.host.note)] = None
    rows = tuple((text(chip), text(term), text(reason)) for chip, term, reason in seen)
    return Table("unpriced", "Not in these totals", ("chip", "term", "why"), rows)


def _prices(report: Report) -> Table:
    seen: dict[tuple[str, str], tuple[Cell, ...]] = {}
    for _, e in _energies(report):
        for tag in e.prices:
            spread = f"{numbers.digits(tag.low)} to {numbers.digits(tag.high)}" if tag.high is not None else "≥"
            if tag.low == tag.high:
                spread = "-"
            seen[(e.profile, tag.key)] = (
                text(e.name),
                text(TERM_NAMES[tag.key]),
                Cell(numbers.digits(tag.value), tag.value),
                text(spread),
                text(tag.unit),
                text(tag.basis),
                text(tag.confidence),
                text(tag.source),
                text(tag.note or "-"),
            )
    columns = ("chip", "price of", "value", "range", "unit", "basis", "confidence", "source", "note")
    note = "Basis, strongest first: measured, simulated, derived, vendor, estimated."
    return Table("prices", "Where the prices come from", columns, tuple(seen.values()), note)


def _deployment(report: Report) -> Table:
    rows = []
    for g in report.groups:
        r = g.resources
        kib = None if r.synaptic_memory_bytes is None else r.synaptic_memory_bytes / 1024
        rows.append(
            (
                text(g.label),
                text(g.purity),
                integer(r.neurons),
                integer(r.synapses),
                Cell("-") if kib is None else Cell(f"{kib:,.1f} KiB", kib),
                integer(r.cores),
                integer(r.chips),
            )
        )
    columns = ("group", "purity", "neurons", "synapses", "synaptic memory", "cores", "chips")
    return Table(
        "deployment",
        f"On {report.target}",
        columns,
        tuple(rows),
        "Placement by our model of the chip, not by its vendor's compiler.",
    )


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
