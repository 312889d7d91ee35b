"""What the top of the page says: accuracy, cost and quantization error of every group, and how sure each change is."""

from __future__ import annotations

from dataclasses import dataclass

from neurodeploy.reporting import headline
from neurodeploy.reporting.model import Comparison, Report
from neurodeploy.reporting.svg import group_color

#: What is answered, the first that every other group was compared in.
_ANSWERS = (("accuracy_chip", "accuracy_float"), ("energy.",), ("quantization_error",), ("sop",))
_WORDS = {"better": "better", "worse": "worse", "equal": "the same"}


@dataclass(frozen=True)
class Answer:
    """One metric of one group: its value, and its change against the baseline (empty for the baseline itself)."""

    title: str
    value: str
    baseline: str = ""
    change: str = ""
    verdict: str = ""
    word: str = ""
    sure: str = ""
    short: str = ""
    interval: str = ""
    samples: str = ""
    samples_short: str = ""


@dataclass(frozen=True)
class Answers:
    """The answers of one group, in the same order for all; None where the group was not compared in that."""

    label: str
    color: str
    note: str
    cells: tuple[Answer | None, ...]


def answers(report: Report) -> tuple[Answers, ...]:
    """Every group with its answers, the baseline first; nothing for a group alone."""
    metrics = [metric for wanted in _ANSWERS if (metric := _metric(report, wanted)) is not None]
    found = {(c.group, c.metric): c for c in report.comparisons}
    made = []
    for index, group in enumerate(report.groups if len(report.groups) > 1 else ()):
        cells: list[Answer | None] = []
        for metric in metrics:
            if index == 0:
                other = next(c for c in report.comparisons if c.metric == metric)
                cells.append(Answer(other.title, headline.value(other, "baseline")))
            else:
                comparison = found.get((group.label, metric))
                cells.append(None if comparison is None else _answer(comparison))
        n = len(group.runs)
        purity = "" if group.not_exported else f", {group.purity}"
        note = f"{n} {'seed' if n == 1 else 'seeds'}{purity}" + (", not exported" if group.not_exported else "")
        made.append(Answers(group.label, group_color(index), note, tuple(cells)))
    return tuple(made)


def _metric(report: Report, wanted: tuple[str, ...]) -> str | None:
    """The first metric whose name starts as wanted and that every group was compared in, else in that any was."""
    others = len(report.groups) - 1
    names = [c.metric for start in wanted for c in report.comparisons if c.metric.startswith(start)]
    return next((name for name in names if names.count(name) == others), names[0] if names else None)


def _answer(c: Comparison) -> Answer:
    verdict = headline.sure_verdict(c)
    return Answer(
        title=c.title,
        value=headline.value(c, "group"),
        baseline=headline.value(c, "baseline"),
        change=headline.change(c),
        verdict=verdict,
        word=_WORDS.get(verdict, ""),
        sure=headline.how_sure(c),
        interval=headline.interval(c),
        short=headline.short(c),
        samples=headline.on_samples(c),
        samples_short="" if c.paired is None else f"same samples: {headline.p_text(c.paired.p_value)}",
    )
