"""The pictures of a report, each one or several narrow panels, so that a phone shows them at full size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neurodeploy.config.profile import BASES
from neurodeploy.energy import TERMS
from neurodeploy.reporting import numbers
from neurodeploy.reporting.model import Curve, EnergyReport, GroupReport, Histogram, Report
from neurodeploy.reporting.statistics import Statistic
from neurodeploy.reporting.svg import COLORS, Canvas, color, group_color, standalone, ticks

INK, MUTED, GRID, SURFACE = color("ink"), color("muted"), color("grid"), color("surface")

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
CURVE_NAMES = {
    "test_accuracy": "test accuracy",
    "train_loss": "training loss",
    "quantization_error": "quantization error",
    "firing_rate": "firing rate",
}


@dataclass(frozen=True)
class Figure:
    """A picture: ``panels`` under one title, one legend (label, color), one caption."""

    name: str
    title: str
    caption: str
    legend: tuple[tuple[str, str], ...]
    panels: tuple[Canvas, ...]

    def file(self) -> str:
        """The figure as one SVG file, for a paper."""
        return standalone(self.title, self.caption, self.legend, self.panels)


def figures(report: Report) -> dict[str, Figure]:
    """Every figure for which the report has data, by name."""
    made = [make(report) for make in (accuracy, quantization, membranes, firing, operations, energy, curves)]
    return {figure.name: figure for figure in made if figure.panels}


def accuracy(report: Report) -> Figure:
    """Float and target accuracy: dots for seeds, a bar for mean ± one standard deviation."""
    rows: list[tuple[str, str, Statistic, str]] = []
    for index, group in enumerate(report.groups):
        rows.append((group.label, "float", group.accuracy_float, group_color(index)))
        if group.accuracy_chip is not None:
            rows.append((group.label, report.target, group.accuracy_chip, group_color(index)))
    every = [
        v for *_, stat, _ in rows for v in (*stat.values, stat.mean - (stat.std or 0), stat.mean + (stat.std or 0))
    ]
    low, high = min(every), max(every)
    pad = max((high - low) * 0.12, 0.002)
    low, high = low - pad, min(high + pad, 1 + pad)
    canvas = Canvas(460, "Accuracy", _sentence(rows, lambda s: numbers.percent_stat(s)))
    left, right, row_height = 124.0, 340.0, 30.0

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    canvas.height = 14 + row_height * len(rows) + 22
    for tick in ticks(low, high, 4):
        canvas.line(at(tick), 8, at(tick), canvas.height - 20, GRID)
        canvas.text(at(tick), canvas.height - 6, f"{100 * tick:g} %", anchor="middle", fill=MUTED, size=11)
    for index, (label, where, stat, fill) in enumerate(rows):
        y = 8 + row_height * (index + 0.5)
        canvas.text(0, y + 4, _cut(label, 11), weight=600, size=12)
        canvas.text(left - 12, y + 4, where, anchor="end", fill=MUTED, size=11)
        if stat.std is not None:
            canvas.line(at(stat.mean - stat.std), y, at(stat.mean + stat.std), y, fill, width=2)
        if stat.n > 1:
            for value in stat.values:
                canvas.circle(at(value), y, 2.6, SURFACE, stroke=fill, tip=numbers.percent(value))
        canvas.circle(at(stat.mean), y, 5, fill, tip=f"{label}, {where}: {numbers.percent_stat(stat)}")
        canvas.text(460, y + 4, numbers.percent_stat(stat), anchor="end", size=12)
    caption = (
        "Filled dot: mean; line: ± one standard deviation over seeds; open dots: seeds. "
        f"One of the {report.samples:,} test samples is {100 / report.samples:.2f} points."
    )
    return Figure("accuracy", "Accuracy", caption, (), (canvas,))


def quantization(report: Report) -> Figure:
    """Quantization error of each hidden layer, grouped bars."""
    series = [
        {layer.name: layer.quantization_error for layer in group.trained_layers if layer.quantization_error}
        for group in report.groups
    ]
    caption = (
        "Mean of |o − u|² over elements, timesteps and test samples, before reset (RMP-Loss Eq. 8); float network."
    )
    return _layer_bars("quantization", "Quantization error per layer", caption, report.groups, series, numbers.digits)


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
        "operations", "Synaptic operations per layer", caption, report.groups, series, lambda v: f"{v:,.0f}"
    )


def _layer_bars(
    name: str,
    title: str,
    caption: str,
    groups: Sequence[GroupReport],
    series: Sequence[dict[str, Statistic]],
    show: Callable[[float], str],
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
    canvas = Canvas(460, title, _sentence(described, lambda s: numbers.number_stat(s, show)))
    left, right, bar = 112.0, 352.0, 15.0
    block = bar * len(groups) + 12
    canvas.height = block * len(layers) + 22

    def at(value: float) -> float:
        return left + value / top * (right - left)

    for tick in ticks(0, top, 4):
        canvas.line(at(tick), 0, at(tick), canvas.height - 20, GRID)
        canvas.text(at(tick), canvas.height - 6, f"{tick:,g}", anchor="middle", fill=MUTED, size=11)
    for row, layer in enumerate(layers):
        y = row * block + 4
        canvas.text(left - 10, y + bar * len(groups) / 2 + 4, _cut(layer, 16), anchor="end", size=12)
        for index, values in enumerate(series):
            stat = values.get(layer)
            if stat is None:
                continue
            middle = y + bar * (index + 0.5)
            tip = f"{layer}, {groups[index].label}: {numbers.number_stat(stat, show)}"
            canvas.rect(left, middle - bar / 2 + 1, at(stat.mean) - left, bar - 2, group_color(index), tip=tip)
            if stat.std:
                canvas.line(at(stat.mean - stat.std), middle, at(stat.mean + stat.std), middle, INK, width=1.2)
            canvas.text(at(stat.mean + (stat.std or 0)) + 6, middle + 4, numbers.number_stat(stat, show), size=11)
    return Figure(name, title, caption, _group_legend(groups), (canvas,))


def membranes(report: Report) -> Figure:
    """Membrane potential before reset, one panel per layer, all groups laid over each other (RMP-Loss Fig. 2)."""
    layers: dict[str, list[tuple[int, Histogram]]] = {}
    for index, group in enumerate(report.groups):
        for layer in group.trained_layers:
            if layer.membrane is not None and any(layer.membrane.counts):
                layers.setdefault(layer.name, []).append((index, layer.membrane))
    panels = tuple(_membrane_panel(name, shown, report.groups) for name, shown in layers.items())
    caption = (
        "Share of membrane potentials before reset, on the test set, all seeds together. A potential near 0 or 1 loses "
        "little when it becomes a spike; the dashed line is the threshold."
    )
    legend = _group_legend(report.groups)
    return Figure("membranes", "Membrane potentials per layer", caption, legend, panels)


def _membrane_panel(name: str, shown: Sequence[tuple[int, Histogram]], groups: Sequence[GroupReport]) -> Canvas:
    labels = ", ".join(groups[index].label for index, _ in shown)
    canvas = Canvas(300, f"Membrane potential of {name}", f"Histograms of {labels} with the firing threshold marked.")
    canvas.height = 176
    low, high = min(h.low for _, h in shown), max(h.high for _, h in shown)
    shares = []
    for index, histogram in shown:
        total = sum(histogram.counts) + histogram.below + histogram.above
        width = (histogram.high - histogram.low) / len(histogram.counts)
        shares.append((index, histogram, [count / total for count in histogram.counts], width))
    top = max(max(share) for *_, share, _ in shares)
    left, right, upper, lower = 4.0, 296.0, 36.0, 150.0

    def at_x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    def at_y(value: float) -> float:
        return lower - value / top * (lower - upper)

    canvas.text(left, 13, _cut(name, 30), weight=600)
    for index, histogram, share, width in shares:
        edges = [(at_x(histogram.low), lower)]
        for k, value in enumerate(share):
            edges += [
                (at_x(histogram.low + k * width), at_y(value)),
                (at_x(histogram.low + (k + 1) * width), at_y(value)),
            ]
        edges.append((at_x(histogram.high), lower))
        canvas.path(edges, fill=group_color(index), opacity=0.22, stroke=group_color(index), width=1.5)
    canvas.line(left, lower, right, lower, MUTED)
    for tick in ticks(low, high, 6):
        canvas.line(at_x(tick), lower, at_x(tick), lower + 4, MUTED)
        anchor = "start" if at_x(tick) < left + 8 else "end" if at_x(tick) > right - 8 else "middle"
        canvas.text(at_x(tick), lower + 17, f"{tick:g}", anchor=anchor, fill=MUTED, size=11)
    for threshold in sorted({groups[index].v_threshold for index, _ in shown}):
        canvas.line(at_x(threshold), 20, at_x(threshold), lower, INK, dash="4 3")
        canvas.text(at_x(threshold) + 5, 30, f"V_th = {threshold:g}", size=11)
    outside = max(1 - sum(share) for *_, share, _ in shares)
    if outside >= 0.0005:
        canvas.text(right, 13, f"up to {numbers.percent(outside, 1)} outside", anchor="end", fill=MUTED, size=11)
    return canvas


def firing(report: Report) -> Figure:
    """Firing rate heat map, layers by timesteps, one panel per group on one color scale."""
    rates = [
        [
            (layer.name, layer.firing_rate_per_timestep)
            for layer in group.trained_layers
            if layer.firing_rate_per_timestep
        ]
        for group in report.groups
    ]
    top = max((rate for rows in rates for _, steps in rows for rate in steps), default=0.0) or 1.0
    panels = tuple(
        _heat(group.label, rows, top, group_color(index))
        for index, (group, rows) in enumerate(zip(report.groups, rates, strict=True))
        if rows
    )
    caption = (
        "Spikes per neuron at each timestep, in percent, float network on the test set; "
        f"full color is {numbers.percent(top, 1)}."
    )
    return Figure("firing", "Firing rates", caption, (), panels)


def _heat(label: str, rows: Sequence[tuple[str, tuple[float, ...]]], top: float, mark: str) -> Canvas:
    said = "; ".join(f"{name}: {', '.join(numbers.percent(r, 1) for r in steps)}" for name, steps in rows)
    canvas = Canvas(460, f"Firing rates of {label}", said)
    steps_most = max(len(steps) for _, steps in rows)
    left, cell = 112.0, min(64.0, 348.0 / steps_most)
    canvas.rect(0, 4, 11, 11, mark)
    canvas.text(17, 14, _cut(label, 34), weight=600)
    for step in range(steps_most):
        if steps_most <= 10 or step % 5 == 0:
            canvas.text(left + cell * (step + 0.5), 34, f"t={step + 1}", anchor="middle", fill=MUTED, size=11)
    for row, (name, steps) in enumerate(rows):
        y = 40 + 27 * row
        canvas.text(left - 10, y + 17, _cut(name, 16), anchor="end")
        for step, rate in enumerate(steps):
            strength = 0.06 + 0.94 * rate / top
            tip = f"{name}, timestep {step + 1}: {numbers.percent(rate)}"
            canvas.rect(left + cell * step, y, cell - 2, 25, color("heat"), opacity=strength, tip=tip)
            if cell >= 34:
                # Strong cells are light enough for dark text in both modes.
                ink = COLORS["ink"][0] if strength > 0.6 else INK
                canvas.text(
                    left + cell * (step + 0.5) - 1, y + 17, f"{100 * rate:.1f}", anchor="middle", fill=ink, size=11
                )
    canvas.height = 44 + 27 * len(rows)
    return canvas


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
        canvas.text(0, y, _cut(label, 28))
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


def curves(report: Report) -> Figure:
    """Metrics over epochs: mean as a line, lowest to highest seed as a band."""
    panels = []
    for metric, title in CURVE_NAMES.items():
        found = [
            (index, curve) for index, g in enumerate(report.groups) for curve in g.curves if curve.metric == metric
        ]
        if found:
            panels.append(_curve_panel(title, found, report.groups))
    caption = "Mean over seeds; the band reaches from the lowest to the highest seed."
    return Figure("curves", "Training", caption, _group_legend(report.groups), tuple(panels))


def _curve_panel(title: str, found: Sequence[tuple[int, Curve]], groups: Sequence[GroupReport]) -> Canvas:
    said = "; ".join(
        f"{groups[i].label}: from {numbers.digits(c.mean[0])} to {numbers.digits(c.mean[-1])}" for i, c in found
    )
    canvas = Canvas(380, f"{title.capitalize()} over epochs", said)
    canvas.height = 196
    first, last = min(c.epochs[0] for _, c in found), max(c.epochs[-1] for _, c in found)
    low, high = min(min(c.low) for _, c in found), max(max(c.high) for _, c in found)
    pad = (high - low) * 0.06 or max(abs(high) * 0.1, 1e-6)
    low, high = low - pad, high + pad
    left, right, upper, lower = 44.0, 372.0, 26.0, 172.0

    def at(epoch: float, value: float) -> tuple[float, float]:
        return left + (epoch - first) / (last - first) * (right - left), lower - (value - low) / (high - low) * (
            lower - upper
        )

    canvas.text(0, 13, title, weight=600)
    is_share = title in ("test accuracy", "firing rate")
    for tick in ticks(low, high, 4):
        _, y = at(first, tick)
        canvas.line(left, y, right, y, GRID)
        label = f"{100 * tick:g} %" if is_share else f"{tick:g}"
        canvas.text(left - 6, y + 4, label, anchor="end", fill=MUTED, size=11)
    for tick in ticks(first, last, 6):
        if tick == int(tick):
            canvas.text(at(tick, low)[0], lower + 17, f"{tick:g}", anchor="middle", fill=MUTED, size=11)
    for index, curve in found:
        upwards = [at(e, v) for e, v in zip(curve.epochs, curve.high, strict=True)]
        back = [at(e, v) for e, v in zip(reversed(curve.epochs), reversed(curve.low), strict=True)]
        canvas.path([*upwards, *back], fill=group_color(index), opacity=0.15, closed=True)
        dash = "" if index % 2 == 0 else "6 2"
        points = [at(e, v) for e, v in zip(curve.epochs, curve.mean, strict=True)]
        canvas.path(points, stroke=group_color(index), width=2, dash=dash)
    canvas.text(right, canvas.height - 1, "epoch", anchor="end", fill=MUTED, size=11)
    canvas.height += 4
    return canvas


def _group_legend(groups: Sequence[GroupReport]) -> tuple[tuple[str, str], ...]:
    return tuple((group.label, group_color(index)) for index, group in enumerate(groups))


def _sentence(rows: Sequence[tuple[str, str, Statistic, str]], show: Callable[[Statistic], str]) -> str:
    return "; ".join(f"{label}, {where}: {show(stat)}" for label, where, stat, _ in rows)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
