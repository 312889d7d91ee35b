"""One finding: a rule that a node keeps or breaks, with the number and the way out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        code: Stable code, ``ND`` and three digits; a page stands behind it.
        severity: ``error`` stops an export, ``warning`` and ``note`` do not.
        node: Name of the node (layer) it is about; empty for the whole graph.
        rule: The rule in one sentence.
        measured: The number found, in ``unit``.
        limit: The number allowed, in ``unit``.
        unit: Unit of ``measured`` and ``limit``.
        fix: What to do next.
    """

    code: str
    severity: Severity
    node: str
    rule: str
    measured: float | int | str | None = None
    limit: float | int | str | None = None
    unit: str = ""
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """The finding with the keys of the contract."""
        return asdict(self)


def first_error(findings: Iterable[Finding]) -> Finding | None:
    """The first finding of severity ``error``, or None."""
    return next((f for f in findings if f.severity == "error"), None)
