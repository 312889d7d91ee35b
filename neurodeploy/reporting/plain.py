"""A report as Markdown and as CSV: the same tables, for a pull request or a spreadsheet."""

from __future__ import annotations

import csv
import io

from neurodeploy.reporting.cells import Table
from neurodeploy.reporting.model import Report
from neurodeploy.reporting.tables import tables


def markdown(report: Report) -> str:
    """Title, sentences, then every table."""
    blocks = [f"# {report.title}", "\n".join(f"- {sentence}" for sentence in report.headline)]
    blocks += [_markdown_table(table) for table in tables(report).values()]
    return "\n\n".join(blocks) + "\n"


def csv_files(report: Report) -> dict[str, str]:
    """File name -> content, one file for each table; a number has a second column with its bare value."""
    return {f"{name}.csv": _csv(table) for name, table in tables(report).items()}


def _markdown_table(table: Table) -> str:
    rule = "|".join("---:" if numeric else "---" for numeric in table.numeric)
    lines = [f"## {table.title}", "", _markdown_row(table.columns), f"|{rule}|"]
    lines += [_markdown_row(tuple(cell.text for cell in row)) for row in table.rows]
    return "\n".join([*lines, *(["", table.note] if table.note else [])])


def _markdown_row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _csv(table: Table) -> str:
    bare = [any(row[k].value is not None for row in table.rows) for k in range(len(table.columns))]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    heads: list[str] = []
    for column, has_value in zip(table.columns, bare, strict=True):
        heads += [column, f"{column} (value)"] if has_value else [column]
    writer.writerow(heads)
    for row in table.rows:
        cells: list[str] = []
        for cell, has_value in zip(row, bare, strict=True):
            value = "" if cell.value is None else repr(cell.value)
            cells += [cell.text, value] if has_value else [cell.text]
        writer.writerow(cells)
    return stream.getvalue()
