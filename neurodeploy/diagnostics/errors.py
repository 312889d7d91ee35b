"""Exceptions for users. Each carries a code, a place, a way out and the exit code of the command line.

``assert`` is for what only a bug of ours can violate; everything a user can cause is one of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neurodeploy.diagnostics.findings import Finding


class NeurodeployError(Exception):
    """A message for a person: what happened, where, and what to do.

    Args:
        code: Stable ``NDnnn`` code.
        message: One sentence with the rule and the numbers.
        where: File, layer, option or key it is about.
        fix: What to do next.
        findings: All findings, when there are several.
    """

    exit_code = 1

    def __init__(
        self, code: str, message: str, *, where: str = "", fix: str = "", findings: Sequence[Finding] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where
        self.fix = fix
        self.findings = tuple(findings)

    def __str__(self) -> str:
        parts = [f"error[{self.code}]: {self.message}"]
        if self.where:
            parts.append(f"  where  {self.where}")
        if self.fix:
            parts.append(f"  try    {self.fix}")
        return "\n".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The ``error`` object of the contract."""
        return {
            "code": self.code,
            "message": self.message,
            "where": self.where,
            "fix": self.fix,
            "findings": [f.to_json() for f in self.findings],
        }


class InternalError(NeurodeployError):
    """Exit 1: a bug of ours."""

    exit_code = 1


class UsageError(NeurodeployError):
    """Exit 2: wrong usage or bad input."""

    exit_code = 2


class UnsupportedError(NeurodeployError):
    """Exit 3: it does not fit the target, or is not supported."""

    exit_code = 3


class VerificationError(NeurodeployError):
    """Exit 4: a verification found differences."""

    exit_code = 4
