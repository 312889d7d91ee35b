"""Bars layer by layer: quantization error, synaptic operations, energy stacked by term."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from neurodeploy.reporting import numbers
from neurodeploy.reporting.figures.base import GRID, INK, MUTED, Figure, cut, group_legend, sentence
from neurodeploy.reporting.figures.energy import TERM_COLORS, TERM_NAMES
from neurodeploy.reporting.model import EnergyReport, GroupReport, Report
from neurodeploy.reporting.statistics import Statistic
from neurodeploy.reporting.svg import Canvas, group_color, ticks


def quantization(report: Report) -> Figure:
    """Quantization error of each hidden layer, grouped bars."""
    series = [
        {layer.name: layer.quantization_error for layer in group.trained_layers if layer.quantization_error}
        for group in report.groups
    ]
    caption = (
        "Mean of |o − u|² over elements, timesteps and test samples, before reset (RMP-Loss Eq. 8); float network."
    )
    return _layer_bars(
        "quantization", "Quantization error per layer", caption, report.groups, series, numbers.number_stat, _tick
    )


def operations(report: Report) -> Figure:
    """Synaptic operations of each synapse on the chip, grouped bars."""
    series = []
    for group in report.groups:
        counted = {layer.name: layer.counts["sop"] for layer in group.chip_layers if not layer.on_host}
        series.append({name: stat for name, stat in counted.items() if stat is not None and stat.mean > 0})
    caption = (
        f"Spike-triggered accumulates per inference, counted on the graph emitted for {report.target}; "
        "host work is left out."
    )
    return _layer_bars(
        "operations", "Synaptic operations per layer", caption, report.groups, series, numbers.count_stat, numbers.count
    )


def layer_energy(report: Report) -> Figure:
    """Dynamic energy of each layer stacked by term, one panel per chip that has prices."""
    panels = []
    used: dict[str, None] = {}
    for index, _ in enumerate(report.profiles):
        entries = [
            (number, group.label, group.energy[index]) for number, group in enumerate(report.groups) if group.energy
        ]
        if any(entry.layers for *_, entry in entries):
            panels.append(_layer_energy_panel(entries))
            used.update({key: None for *_, entry in entries for terms in entry.layers.values() for key in terms})
    caption = (
        "Dynamic energy per inference of each layer on the chip, mean over seeds; within a layer the groups stand in "
        "the order of the legend, marked by the square in front. The thin line is the range of the prices."
    )
    legend = (
        *group_legend(report.groups),
        *((TERM_NAMES[key], TERM_COLORS[key]) for key in TERM_COLORS if key in used),
    )
    return Figure("layer_energy", "Energy per layer", caption, legend, tuple(panels))


def _layer_energy_panel(entries: Sequence[tuple[int, str, EnergyReport]]) -> Canvas:
    name = entries[0][2].name
    layers = list(dict.fromkeys(layer for *_, entry in entries for layer in entry.layers))
    totals = [(number, label, entry, entry.layer_totals) for number, label, entry in entries]
    said = "; ".join(
        f"{layer}, {label}: {numbers.energy(total[layer].pj)}"
        for layer in layers
        for _, label, _, total in totals
        if layer in total
    )
    canvas = Canvas(320, f"Energy per layer on {name}", said)
    most = max(total[layer].pj for *_, total in totals for layer in total)
    highs = [total[layer].high_pj or 0.0 for *_, total in totals for layer in total]
    # As in the sum over layers: beyond twice the nominal value the range ends in an arrow.
    top = min(max(most, *highs), 2 * most) or 1.0
    left, right, bar = 14.0, 246.0, 15.0
    canvas.text(0, 13, name, weight=600)
    y = 36.0
    for layer in layers:
        there = [found for found in totals if layer in found[-1]]
        canvas.text(0, y - 4, cut(layer, 40), fill=MUTED, size=11)
        for number, label, entry, total in there:
            canvas.rect(0, y + 3, 8, 8, group_color(number))
            x = left
            for key, pj in entry.layers[layer].items():
                length = pj / top * (right - left)
                tip = f"{layer}, {label}, {TERM_NAMES[key]}: {numbers.energy(pj)}"
                canvas.rect(x, y + 1, length, bar - 6, TERM_COLORS[key], tip=tip)
                x += length
            amount, middle = total[layer], y + bar - 3
            start = left + amount.low_pj / top * (right - left)
            high = right + 1 if amount.high_pj is None else left + amount.high_pj / top * (right - left)
            end = min(high, right)
            canvas.line(start, middle, end, middle, MUTED, width=1.2)
            if high > right:
                canvas.path([(end - 3, middle - 3), (end, middle), (end - 3, middle + 3)], stroke=MUTED)
            canvas.text(320, y + 10, numbers.energy(amount.pj), anchor="end", size=11)
            y += bar
        y += 22
    canvas.height = y - 12
    return canvas


def _layer_bars(
    name: str,
    title: str,
    caption: str,
    groups: Sequence[GroupReport],
    series: Sequence[dict[str, Statistic]],
    show: Callable[[Statistic], str],
    show_tick: Callable[[float], str],
) -> Figure:
    layers = list(dict.fromkeys(layer for values in series for layer in values))
    if not layers:
        return Figure(name, title, caption, (), ())
    top = max(stat.mean + (stat.std or 0) for values in series for stat in values.values()) or 1.0
    described = [
        (group.label, layer, values[layer], "")
        for group, values in zip(groups, series, strict=True)
        for layer in layers
        if layer in values
    ]
    canvas = Canvas(460, title, sentence(described, show))
    left, right, bar = 112.0, 352.0, 15.0
    block = bar * len(groups) + 12
    canvas.height = block * len(layers) + 22

    def at(value: float) -> float:
        return left + value / top * (right - left)

    for tick in ticks(0, top, 4):
        canvas.line(at(tick), 0, at(tick), canvas.height - 20, GRID)
        canvas.text(at(tick), canvas.height - 6, show_tick(tick), anchor="middle", fill=MUTED, size=11)
    for row, layer in enumerate(layers):
        y = row * block + 4
        canvas.text(left - 10, y + bar * len(groups) / 2 + 4, cut(layer, 16), anchor="end", size=12)
        for index, values in enumerate(series):
            stat = values.get(layer)
            if stat is None:
                continue
            middle = y + bar * (index + 0.5)
            tip = f"{layer}, {groups[index].label}: {show(stat)}"
            canvas.rect(left, middle - bar / 2 + 1, at(stat.mean) - left, bar - 2, group_color(index), tip=tip)
            if stat.std:
                canvas.line(at(stat.mean - stat.std), middle, at(stat.mean + stat.std), middle, INK, width=1.2)
            canvas.text(at(stat.mean + (stat.std or 0)) + 6, middle + 4, show(stat), size=11)
    return Figure(name, title, caption, group_legend(groups), (canvas,))


def _tick(value: float) -> str:
    return f"{value:,g}"
