"""Energy of every group on every chip, stacked by term."""

from __future__ import annotations

from collections.abc import Sequence

from neurodeploy.config.profile import BASES
from neurodeploy.energy import TERMS
from neurodeploy.reporting import numbers
from neurodeploy.reporting.figures.base import MUTED, Figure, cut
from neurodeploy.reporting.model import EnergyReport, Report
from neurodeploy.reporting.svg import Canvas, color

#: What people call the energy terms.
TERM_NAMES = {
    "sop": "synaptic operations",
    "sop_graded": "graded operations",
    "mac": "multiply-accumulates",
    "neuron_active": "active neuron updates",
    "neuron_inactive": "idle neuron updates",
    "spike_out": "spikes out",
    "msg_local": "messages",
    "hop": "hops",
    "hop_x": "hops east-west",
    "hop_y": "hops north-south",
    "mem_access": "memory accesses",
    "offchip_msg": "messages between chips",
    "static": "static power",
}
TERM_COLORS = {key: color(f"t{index}") for index, key in enumerate((*TERMS, "mem_access"))}


def energy(report: Report) -> Figure:
    """Dynamic energy stacked by term, one panel per profile with a scale of its own, range of the prices as a line."""
    panels = []
    used: dict[str, None] = {}
    for index, profile in enumerate(report.profiles):
        entries = [(group.label, group.energy[index]) for group in report.groups if group.energy]
        if any(entry.terms for _, entry in entries):
            panels.append(_energy_panel(profile, entries))
            used.update({term.key: None for _, entry in entries for term in entry.terms})
    caption = (
        "Dynamic energy per inference: exact counts times published prices; static power is in the table. "
        "The thin line is the range of the prices. ≥: some terms have no published price. "
        "Each chip has its own scale: their prices stand on different bases, so lengths are compared within a panel."
    )
    legend = tuple((TERM_NAMES[key], TERM_COLORS[key]) for key in TERM_COLORS if key in used)
    return Figure("energy", "Energy per inference", caption, legend, tuple(panels))


def _energy_panel(profile: str, entries: Sequence[tuple[str, EnergyReport]]) -> Canvas:
    first = entries[0][1]
    said = "; ".join(f"{label}: {energy_text(entry)}" for label, entry in entries)
    width = 330.0
    canvas = Canvas(width, f"Dynamic energy on {first.name}", said)
    most = max(entry.dynamic.pj.mean for _, entry in entries)
    highs = [entry.dynamic.high_pj or entry.dynamic.pj.mean for _, entry in entries]
    # Beyond twice the nominal value the range would squeeze the bars: it ends in an arrow and stands in the text.
    top = min(max(most, *highs), 2 * most) or 1.0
    right = width - 12
    canvas.text(0, 14, first.name, weight=600)
    bases = [tag.basis for _, entry in entries for tag in entry.prices if tag.key != "static"]
    tag = f"proxy: {first.proxy}" if first.proxy else max(bases, key=BASES.index, default="")
    canvas.text(width, 14, tag, anchor="end", fill=MUTED, size=11)
    y = 38.0
    for label, entry in entries:
        figure = entry.dynamic
        canvas.text(0, y, cut(label, 28))
        canvas.text(width, y, energy_text(entry), anchor="end", weight=600)
        x = 0.0
        for term in entry.terms:
            length = term.energy.pj / top * right
            tip = f"{label}, {TERM_NAMES[term.key]}: {numbers.energy(term.energy.pj)}"
            canvas.rect(x, y + 7, length, 16, TERM_COLORS[term.key], tip=tip)
            x += length
        start = figure.low_pj / top * right
        end = right + 10 if figure.high_pj is None else min(figure.high_pj / top * right, right + 10)
        middle = y + 28
        canvas.line(start, middle, end, middle, MUTED, width=1.5)
        canvas.line(start, middle - 3, start, middle + 3, MUTED, width=1.5)
        if end > right:
            canvas.path([(end - 5, middle - 4), (end, middle), (end - 5, middle + 4)], stroke=MUTED)
        else:
            canvas.line(end, middle - 3, end, middle + 3, MUTED, width=1.5)
        canvas.text(0, y + 45, f"prices {numbers.energy_range(figure.low_pj, figure.high_pj)}", fill=MUTED, size=11)
        y += 68
    canvas.height = y - 16
    return canvas


def energy_text(entry: EnergyReport) -> str:
    """``≥ 1.58 ± 0.02 nJ``, or that nothing could be priced."""
    if not entry.terms:
        return "unpriced"
    return numbers.energy_stat(entry.dynamic.pj, at_least=entry.dynamic.at_least)
