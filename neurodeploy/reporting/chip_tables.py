"""The tables of what a network takes on the chip: in all, on every chip that we know, layer by layer."""

from __future__ import annotations

from neurodeploy.reporting.cells import Cell, Table, integer, stat, text
from neurodeploy.reporting.model import Report


def deployment_table(report: Report) -> Table:
    """Purity, operations, and what each group takes on the report's target."""
    rows = []
    for g in report.groups:
        r = g.resources
        rows.append(
            (
                text(g.label),
                text(g.purity),
                stat(g.counts["sop"], whole=True),
                integer(r.neurons),
                integer(r.synapses),
                _kib(r.synaptic_memory_bytes),
                integer(r.cores),
                integer(r.chips),
            )
        )
    columns = ("group", "purity", "synaptic operations", "neurons", "synapses", "synaptic memory", "cores", "chips")
    notes = ["Operations per inference. Placement by our model of the chip, not by its vendor's compiler."]
    notes += [f"{g.label} is not exported: {g.not_exported}." for g in report.groups if g.not_exported]
    return Table("deployment", f"On {report.target}", columns, tuple(rows), " ".join(notes))


def fits_table(report: Report) -> Table:
    """Every group on every chip that has limits."""
    names = dict.fromkeys(fit.target for group in report.groups for fit in group.fits)
    rows = [
        (
            text(name),
            text(group.label),
            text(fit.fits),
            integer(fit.neurons),
            _kib(fit.synaptic_memory_bytes),
            integer(fit.cores),
            integer(fit.chips),
            text(fit.bottleneck),
            text(fit.why or "-"),
        )
        for name in names
        for group in report.groups
        for fit in group.fits
        if fit.target == name
    ]
    columns = (
        "chip",
        "group",
        "fits",
        "neurons",
        "synaptic memory",
        "cores",
        "chips",
        "bottleneck",
        "what stands in the way",
    )
    note = (
        "By our models of the chips, as `neurodeploy check` says of the first seed; a dash: the chip's limits are not "
        "published, or something stands in the way."
    )
    return Table("fits", "Cores and memory on every chip", columns, tuple(rows), note)


def places_table(report: Report) -> Table:
    """Every layer on the report's target."""
    names = dict.fromkeys(place.name for group in report.groups for place in group.places)
    rows = []
    for name in names:
        for group in report.groups:
            for place in group.places:
                if place.name == name:
                    rows.append(
                        (
                            text(name),
                            text(group.label),
                            integer(place.neurons),
                            integer(place.synapses),
                            _kib(place.synaptic_memory_bytes),
                            integer(place.cores),
                            text(place.limited_by),
                        )
                    )
    columns = ("layer", "group", "neurons", "synapses", "synaptic memory", "cores", "cores limited by")
    return Table("places", f"Layer by layer on {report.target}", columns, tuple(rows), "Placement of the first seed.")


def _kib(size: int | None) -> Cell:
    return Cell("-") if size is None else Cell(f"{size / 1024:,.1f} KiB", size / 1024)
