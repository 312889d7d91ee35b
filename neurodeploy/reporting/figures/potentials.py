"""Membrane potentials and firing rates of the float network, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

from neurodeploy.reporting import numbers
from neurodeploy.reporting.figures.base import INK, MUTED, Figure, cut, group_legend
from neurodeploy.reporting.model import GroupReport, Histogram, Report
from neurodeploy.reporting.svg import COLORS, Canvas, color, group_color, ticks


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
    legend = group_legend(report.groups)
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

    canvas.text(left, 13, cut(name, 30), weight=600)
    for index, histogram, share, width in shares:
        edges = [(at_x(histogram.low), lower)]
        for k, value in enumerate(share):
            edges += [
                (at_x(histogram.low + k * width), at_y(value)),
                (at_x(histogram.low + (k + 1) * width), at_y(value)),
            ]
        edges.append((at_x(histogram.high), lower))
        filled = group_color(index) if len(shown) < 3 or index == shown[0][0] else "none"
        canvas.path(edges, fill=filled, opacity=0.22, stroke=group_color(index), width=1.5)
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
    steps_most = max(len(steps) for _, steps in rows)
    width, left = (300.0 if steps_most <= 4 else 460.0), 92.0
    canvas = Canvas(width, f"Firing rates of {label}", said)
    cell = min(64.0, (width - left) / steps_most)
    canvas.rect(0, 4, 11, 11, mark)
    canvas.text(17, 14, cut(label, 34), weight=600)
    for step in range(steps_most):
        if steps_most <= 10 or step % 5 == 0:
            canvas.text(left + cell * (step + 0.5), 34, f"t={step + 1}", anchor="middle", fill=MUTED, size=11)
    for row, (name, steps) in enumerate(rows):
        y = 40 + 27 * row
        canvas.text(left - 10, y + 17, cut(name, 13), anchor="end")
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
