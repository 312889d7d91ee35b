"""Accuracy of every group, and accuracy against energy."""

from __future__ import annotations

from neurodeploy.reporting import numbers
from neurodeploy.reporting.figures.base import GRID, MUTED, SURFACE, Figure, cut, group_legend, sentence
from neurodeploy.reporting.model import GroupReport, Report
from neurodeploy.reporting.statistics import Statistic
from neurodeploy.reporting.svg import Canvas, group_color, ticks

#: Left, top, right, bottom.
_Box = tuple[float, float, float, float]


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
    canvas = Canvas(460, "Accuracy", sentence(rows, lambda s: numbers.percent_stat(s)))
    left, right, row_height = 124.0, 340.0, 30.0

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    canvas.height = 14 + row_height * len(rows) + 22
    for tick in ticks(low, high, 6):
        canvas.line(at(tick), 8, at(tick), canvas.height - 20, GRID)
        canvas.text(at(tick), canvas.height - 6, f"{100 * tick:.6g} %", anchor="middle", fill=MUTED, size=11)
    for index, (label, where, stat, fill) in enumerate(rows):
        y = 8 + row_height * (index + 0.5)
        canvas.text(0, y + 4, cut(label, 11), weight=600, size=12)
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


def trade(report: Report) -> Figure:
    """Accuracy against dynamic energy, a dot for each group, one panel per chip that has prices."""
    chip = all(group.accuracy_chip is not None for group in report.groups if group.energy)
    panels = []
    for index, _ in enumerate(report.profiles):
        shown = []
        for number, group in enumerate(report.groups):
            stat = group.accuracy_chip if chip else group.accuracy_float
            if group.energy and group.energy[index].terms and stat is not None:
                shown.append((number, group, stat, group.energy[index].dynamic.pj))
        if len(shown) > 1:
            panels.append(_trade_panel(shown, index))
    bound = any(group.energy and any(e.dynamic.at_least for e in group.energy) for group in report.groups)
    caption = (
        f"Accuracy {f'on {report.target}' if chip else 'in float'} against dynamic energy per inference; up and to the "
        "left is better. Lines: ± one standard deviation over seeds; groups of one seed have none. The range of the "
        "prices is left out here: it moves all groups of a panel together."
        + (" ≥: a lower bound, some terms have no published price." if bound else "")
    )
    return Figure("trade", "Accuracy against energy", caption, group_legend(report.groups), tuple(panels))


def _trade_panel(shown: list[tuple[int, GroupReport, Statistic, Statistic]], profile: int) -> Canvas:
    entry = shown[0][1].energy[profile]
    said = "; ".join(
        f"{group.label}: {numbers.percent_stat(a)}, {numbers.energy_stat(e, at_least=entry.dynamic.at_least)}"
        for _, group, a, e in shown
    )
    canvas = Canvas(320, f"Accuracy against energy on {entry.name}", said)
    canvas.height = 232
    scale, unit = numbers.energy_unit(max(e.mean for *_, e in shown))
    xs = [(e.mean - (e.std or 0)) / scale for *_, e in shown] + [(e.mean + (e.std or 0)) / scale for *_, e in shown]
    ys = [a.mean - (a.std or 0) for *_, a, _ in shown] + [a.mean + (a.std or 0) for *_, a, _ in shown]
    (x_low, x_high), (y_low, y_high) = _padded(xs), _padded(ys)
    left, right, upper, lower = 52.0, 310.0, 26.0, 188.0

    def at_x(value: float) -> float:
        return left + (value - x_low) / (x_high - x_low) * (right - left)

    def at_y(value: float) -> float:
        return lower - (value - y_low) / (y_high - y_low) * (lower - upper)

    canvas.text(0, 13, entry.name, weight=600)
    for tick in ticks(y_low, y_high, 4):
        canvas.line(left, at_y(tick), right, at_y(tick), GRID)
        canvas.text(left - 6, at_y(tick) + 4, f"{100 * tick:.6g} %", anchor="end", fill=MUTED, size=11)
    for tick in ticks(x_low, x_high, 4):
        canvas.line(at_x(tick), upper, at_x(tick), lower, GRID)
        canvas.text(at_x(tick), lower + 17, f"{tick:g}", anchor="middle", fill=MUTED, size=11)
    at_least = "≥ " if entry.dynamic.at_least else ""
    canvas.text(right, lower + 36, f"{at_least}{unit} per inference", anchor="end", fill=MUTED, size=11)
    for number, group, accuracy_, energy_ in shown:
        fill = group_color(number)
        x, y = at_x(energy_.mean / scale), at_y(accuracy_.mean)
        if energy_.std:
            low, high = (at_x((energy_.mean + sign * energy_.std) / scale) for sign in (-1, 1))
            canvas.line(low, y, high, y, fill, width=1.5)
        if accuracy_.std:
            canvas.line(
                x, at_y(accuracy_.mean - accuracy_.std), x, at_y(accuracy_.mean + accuracy_.std), fill, width=1.5
            )
        canvas.circle(x, y, 5, fill, tip=f"{group.label}: {numbers.percent_stat(accuracy_)}")
    places = [(at_x(energy_.mean / scale), at_y(accuracy_.mean)) for *_, accuracy_, energy_ in shown]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    for (*_, accuracy_, energy_), (x, y) in zip(shown, places, strict=True):  # lines of the spread are in the way
        half_x, half_y = (energy_.std or 0) / scale / (x_high - x_low), (accuracy_.std or 0) / (y_high - y_low)
        taken.append((x - half_x * (right - left), y - 1, x + half_x * (right - left), y + 1))
        taken.append((x - 1, y - half_y * (lower - upper), x + 1, y + half_y * (lower - upper)))
    for (_, group, *_), (x, y) in zip(shown, places, strict=True):
        label = cut(group.label, 18)
        box, anchor, at = _free(x, y, 6.6 * len(label), taken, (left, upper - 8, right, lower))
        taken.append(box)
        canvas.text(*at, label, anchor=anchor, size=11, weight=600)
    return canvas


def _free(x: float, y: float, width: float, taken: list[_Box], frame: _Box) -> tuple[_Box, str, tuple[float, float]]:
    """The place of a label beside a dot that hides least: its box, anchor and baseline."""
    made = []
    for dx, dy in ((8, -6), (8, 14), (-8, -6), (-8, 14), (8, 4), (-8, 4), (8, -18), (-8, 26)):
        start = x + dx if dx > 0 else x + dx - width
        box = (start, y + dy - 10, start + width, y + dy + 2)
        outside = max(0.0, frame[0] - box[0], box[2] - frame[2], frame[1] - box[1], box[3] - frame[3])
        hidden = sum(
            max(0.0, min(box[2], b[2]) - max(box[0], b[0])) * max(0.0, min(box[3], b[3]) - max(box[1], b[1]))
            for b in taken
        )
        made.append((hidden + 1000 * outside, box, "start" if dx > 0 else "end", (x + dx, y + dy)))
    _, box, anchor, at = min(made, key=lambda found: found[0])
    return box, anchor, at


def _padded(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = (high - low) * 0.15 or max(abs(high) * 0.02, 1e-9)
    return low - pad, high + pad
