"""What every figure is made of: a title, a legend, a caption, and panels narrow enough for a phone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neurodeploy.reporting.model import GroupReport
from neurodeploy.reporting.statistics import Statistic
from neurodeploy.reporting.svg import Canvas, color, group_color, standalone

INK, MUTED, GRID, SURFACE = color("ink"), color("muted"), color("grid"), color("surface")


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

    def png(self) -> bytes:
        """The same as a PNG file."""
        from neurodeploy.reporting.raster import png

        return png(self.file())


def group_legend(groups: Sequence[GroupReport]) -> tuple[tuple[str, str], ...]:
    return tuple((group.label, group_color(index)) for index, group in enumerate(groups))


def sentence(rows: Sequence[tuple[str, str, Statistic, str]], show: Callable[[Statistic], str]) -> str:
    """``label, where: value``, for the description of a drawing."""
    return "; ".join(f"{label}, {where}: {show(stat)}" for label, where, stat, _ in rows)


def cut(text: str, most: int) -> str:
    """At most so many characters; what is left out is left out in the middle: layers differ in their last letters."""
    if len(text) <= most:
        return text
    tail = most // 2
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"
