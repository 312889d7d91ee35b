"""Metrics over epochs."""

from __future__ import annotations

from collections.abc import Sequence

from neurodeploy.reporting import numbers
from neurodeploy.reporting.figures.base import GRID, MUTED, Figure, group_legend
from neurodeploy.reporting.model import Curve, GroupReport, Report
from neurodeploy.reporting.svg import Canvas, group_color, ticks

CURVE_NAMES = {
    "test_accuracy": "test accuracy",
    "train_loss": "training loss",
    "quantization_error": "quantization error",
    "firing_rate": "firing rate",
}


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
    return Figure("curves", "Training", caption, group_legend(report.groups), tuple(panels))


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
