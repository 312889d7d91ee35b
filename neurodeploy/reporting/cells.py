"""A table and its cells: what is shown, and the number behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neurodeploy.reporting import numbers
from neurodeploy.reporting.statistics import Statistic


@dataclass(frozen=True)
class Cell:
    """What is shown, and the number it sorts by (None: sorts by text)."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A titled table. Columns in ``numeric`` align right."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Per column: whether every cell is a number or a dash."""
        columns = zip(*self.rows, strict=True) if self.rows else ()
        found = tuple(all(c.value is not None or c.text == "-" for c in column) for column in columns)
        return found or (False,) * len(self.columns)


def text(value: Any) -> Cell:
    """A cell of words; None is a dash."""
    return Cell("-" if value is None else "yes" if value is True else "no" if value is False else str(value))


def integer(value: float | None) -> Cell:
    """A whole number with thousands separated."""
    return Cell("-") if value is None else Cell(f"{value:,.0f}", float(value))


def stat(value: Statistic | None, *, percent: bool = False, whole: bool = False) -> Cell:
    """``mean ± std``."""
    if value is None:
        return Cell("-")
    if percent:
        return Cell(numbers.percent_stat(value), value.mean)
    show = (lambda v: f"{v:,.0f}") if whole else numbers.digits
    return Cell(numbers.number_stat(value, show), value.mean)
