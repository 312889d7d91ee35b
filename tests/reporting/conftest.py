"""Fixtures: two groups of three made-up runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_runs import calls, make_group

from neurodeploy.reporting import report
from neurodeploy.reporting.model import Report

__all__ = ["calls"]


@pytest.fixture
def groups(tmp_path: Path, calls: dict[str, int]) -> tuple[Path, Path]:
    return (
        make_group(tmp_path / "digits-conv-vanilla", method="vanilla"),
        make_group(tmp_path / "digits-conv-rmp", method="rmp"),
    )


@pytest.fixture
def made(groups: tuple[Path, Path]) -> Report:
    return report(*groups)
