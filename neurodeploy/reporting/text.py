"""Terminal text: tables, findings and errors. The only place beside ``cli/`` that makes text for a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from neurodeploy.diagnostics import NeurodeployError

if TYPE_CHECKING:
    from neurodeploy.reporting.model import Report


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, width: int = 120) -> str:
    """A plain table; numbers align right, None prints as a dash."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    rows = [[cell(value) for value in row] for row in rows]
    grid = Table(title=title or None, title_justify="left", box=box.SIMPLE, pad_edge=False)
    for index, name in enumerate(columns):
        texts = [row[index] for row in rows]
        grid.add_column(name, justify="right" if texts and all(map(_numeric, texts)) else "left")
    for row in rows:
        grid.add_row(*row)
    stream = io.StringIO()
    Console(file=stream, width=width, no_color=True, highlight=False, markup=False).print(grid)
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().splitlines())


def cell(value: Any) -> str:
    """One table cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def _numeric(text: str) -> bool:
    return text == "-" or text[:1].isdigit() or (text[:1] in "-≥±" and text[1:2].strip()[:1].isdigit())


def findings_text(findings: Iterable[dict[str, Any]]) -> str:
    """Findings, one block each: code, layer, rule, numbers, the way out."""
    blocks = []
    for finding in findings:
        where = f" `{finding['node']}`" if finding["node"] else ""
        lines = [f"{finding['severity']}[{finding['code']}]:{where} {finding['rule']}"]
        if finding["measured"] is not None:
            lines.append(f"  measured  {_measured(finding)}")
        if finding["fix"]:
            lines.append(f"  try       {finding['fix']}")
        lines.append(f"  more      neurodeploy explain {finding['code']}")
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


def _measured(finding: dict[str, Any]) -> str:
    """``144 KiB, 96 allowed``."""
    limit = f", {cell(finding['limit'])} allowed" if finding["limit"] is not None else ""
    unit = f" {finding['unit']}" if finding["unit"] else ""
    return f"{cell(finding['measured'])}{unit}{limit}"


def error_text(error: NeurodeployError) -> str:
    """One message: what, where, the way out, all findings."""
    lines = [f"error[{error.code}]: {error.message}"]
    if error.where:
        lines.append(f"  where  {error.where}")
    if error.fix:
        lines.append(f"  try    {error.fix}")
    lines.append(f"  more   neurodeploy explain {error.code}")
    only = error.findings[0] if len(error.findings) == 1 else None
    if only is not None and only.rule == error.message:  # said already: add the numbers alone
        if only.measured is not None:
            lines.insert(-1, f"  have   {_measured(only.to_json())}")
    elif error.findings:
        lines.append(findings_text(f.to_json() for f in error.findings))
    return "\n".join(lines)


#: The tables of a report that the terminal shows, in order; the page and the JSON hold the rest.
_TERMINAL = (
    "changes",
    "groups",
    "published",
    "differences",
    "comparisons",
    "paired",
    "layers",
    "energy",
    "unpriced",
    "deployment",
)


def report_text(report: Report) -> str:
    """A report on the terminal: the answer first, then the tables that bear it."""
    from neurodeploy.reporting.tables import tables

    made = tables(report)
    blocks = [report.title, "\n".join(f"  {sentence}" for sentence in report.headline)]
    for name in _TERMINAL:
        if name in made:
            shown = made[name]
            text = table(shown.title, shown.columns, [[c.text for c in row] for row in shown.rows])
            blocks.append(text + (f"\n  {shown.note}" if shown.note else ""))
    return "\n\n".join(blocks)
