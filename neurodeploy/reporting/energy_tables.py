"""The tables of energies and prices."""

from __future__ import annotations

from collections.abc import Iterator

from neurodeploy.energy import Amount, Crossover
from neurodeploy.reporting import numbers
from neurodeploy.reporting.cells import Cell, Table, text
from neurodeploy.reporting.figures import TERM_NAMES, energy_text
from neurodeploy.reporting.model import EnergyReport, Report


def _energies(report: Report) -> Iterator[tuple[str, EnergyReport]]:
    for index in range(len(report.profiles)):
        for group in report.groups:
            if group.energy:
                yield group.label, group.energy[index]


def energy_table(report: Report) -> Table:
    """Dynamic and static energy of every group on every chip."""
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
    missing = [group.label for group in report.groups if group.not_exported]
    if missing:
        note += f" Not exported, so without an energy: {', '.join(missing)}."
    misfits = list(_misfits(report))
    if misfits:
        note += (
            f" Counted on {report.target} and priced, though by our models the chip does not take the network: "
            f"{'; '.join(misfits)}."
        )
    return Table("energy", "Energy", columns, tuple(rows), note)


def _misfits(report: Report) -> Iterator[str]:
    """``Intel Loihi (vanilla, rmp)`` for each chip that is priced and that ``check`` says does not take the group."""
    for index, profile in enumerate(report.profiles):
        groups = [group for group in report.groups if group.energy and group.energy[index].terms]
        labels = [g.label for g in groups if any(fit.target == profile and not fit.fits for fit in g.fits)]
        if labels:
            yield f"{groups[0].energy[index].name} ({', '.join(labels)})"


def terms_table(report: Report) -> Table:
    """The parts of the dynamic energy, events and price."""
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


def ann_table(report: Report) -> Table:
    """The ANN of the same topology, and the firing rate below which the spiking network costs less."""
    rows = []
    for label, e in _energies(report):
        for ann in e.ann:
            rate = ann.crossover.measured_rate
            rows.append(
                (
                    text(e.name),
                    text(label),
                    text("the same chip" if ann.profile == e.profile else ann.name),
                    Cell(_count(ann.macs), ann.macs),
                    _amount(ann.energy),
                    text(numbers.energy_range(ann.energy.low_pj, ann.energy.high_pj)),
                    Cell("-") if ann.ratio is None else Cell(f"{numbers.digits(ann.ratio)} x", ann.ratio),
                    Cell("-") if rate is None else Cell(numbers.percent(rate), rate),
                    Cell(_wins(ann.crossover), ann.crossover.rate),
                    text("; ".join((*ann.marks, *([ann.crossover.note] if ann.crossover.note else []))) or "-"),
                )
            )
    columns = (
        "chip",
        "group",
        "ANN on",
        "multiply-accumulates",
        "ANN energy",
        "range of prices",
        "spiking / ANN",
        "firing rate",
        "wins below",
        "what the number assumes",
    )
    note = (
        "The ANN of the same topology runs once; its layers alone are counted. Dynamic energy; the host's part of the "
        "spiking network is charged at the ANN's price. The rate is in spikes per neuron and timestep: every event "
        "scaled alike, all else held. [ ]: range of the prices."
    )
    return Table("ann", "Against the ANN of the same topology", columns, tuple(rows), note)


def _wins(found: Crossover) -> str:
    if found.verdict != "below" or found.factor is None:
        return found.verdict
    bound = "≤ " if found.at_most else "≥ " if found.at_least else ""
    if found.rate is None or found.measured_rate is None:
        return f"{bound}{numbers.digits(found.factor)} x the events"
    ends = [
        "no bound" if factor is None else numbers.percent(factor * found.measured_rate)
        for factor in (found.low, found.high)
    ]
    return f"{bound}{numbers.percent(found.rate)} [{', '.join(ends)}]"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else numbers.digits(value)


def _amount(amount: Amount) -> Cell:
    return Cell(numbers.energy(amount.pj), amount.pj)


def unpriced_table(report: Report) -> Table:
    """What the totals leave out, and why."""
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


def prices_table(report: Report) -> Table:
    """Every price that was used, with its source."""
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
