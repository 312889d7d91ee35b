"""Output features of every group in two dimensions (EnOF-SNN Fig. 2)."""

from __future__ import annotations

from neurodeploy.reporting import numbers
from neurodeploy.reporting.features import Features
from neurodeploy.reporting.figures.base import MUTED, Figure, cut
from neurodeploy.reporting.model import Report
from neurodeploy.reporting.svg import CLASS_COLORS, Canvas, class_color


def features(report: Report) -> Figure:
    """The two principal components of what enters the classifier, a dot for each sample, one panel per group."""
    shown = [(group.label, group.features) for group in report.groups if group.features is not None]
    classes = sorted({label for _, found in shown for label in found.labels})
    panels = tuple(_panel(label, found) for label, found in shown)
    repeated = f"; colors repeat after {CLASS_COLORS} classes" if len(classes) > CLASS_COLORS else ""
    samples = shown[0][1].samples if shown else 0
    caption = (
        f"What enters the last weights on {report.target}, mean over timesteps, first {samples:,} test samples, first "
        "seed; two principal components of each group's own features, axes not comparable between panels; color: class"
        f"{repeated}. Above each panel: the share of the variance that it shows, and the share in all dimensions that "
        "lies between the means of the classes (higher: better separated)."
    )
    legend = tuple((str(label), class_color(label)) for label in classes[:CLASS_COLORS])
    return Figure("features", "Output features, colored by class", caption, legend, panels)


def _panel(label: str, found: Features) -> Canvas:
    both = numbers.percent(sum(found.explained), 1)
    apart = numbers.percent(found.between_classes, 1)
    canvas = Canvas(
        300,
        f"Output features of {label}",
        f"{found.samples:,} samples of {found.dimensions:,} dimensions; the two components hold {both} of the variance "
        f"({', '.join(numbers.percent(share, 1) for share in found.explained)}); {apart} lies between classes.",
    )
    canvas.height = 316
    canvas.text(0, 13, cut(label, 30), weight=600)
    canvas.text(0, 30, f"{both} of the variance", fill=MUTED, size=11)
    canvas.text(300, 30, f"{apart} between classes", anchor="end", fill=MUTED, size=11)
    left, upper, side = 4.0, 40.0, 270.0
    x_middle, y_middle = ((max(v) + min(v)) / 2 for v in (found.x, found.y))
    reach = max(max(found.x) - min(found.x), max(found.y) - min(found.y)) or 1.0
    dots: dict[int, list[tuple[float, float]]] = {}
    for x, y, label_ in zip(found.x, found.y, found.labels, strict=True):
        place = (
            left + side / 2 + 10 + (x - x_middle) / reach * side,
            upper + side / 2 - (y - y_middle) / reach * side,
        )
        dots.setdefault(label_ % CLASS_COLORS, []).append(place)
    for index in sorted(dots):
        canvas.dots(dots[index], 2, class_color(index))
    return canvas
