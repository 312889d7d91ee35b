"""The bar of a simulation: rate and time left, where a person watches."""

from __future__ import annotations

import io
import sys

import pytest

from neurodeploy.cli.progress import sample_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def bar(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, *, quiet: bool = False) -> str:
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with sample_progress(100, quiet, done=40) as advance:
        if advance is not None:
            advance(20)
            advance(20)
    return stderr.getvalue()


def test_samples_rate_and_time_left_on_a_terminal(monkeypatch) -> None:
    shown = bar(monkeypatch, Terminal())
    for part in ("samples", "80/100", "/s", "ETA", "0:00:0"):
        assert part in shown


def test_nothing_elsewhere(monkeypatch) -> None:
    assert bar(monkeypatch, Terminal(), quiet=True) == ""
    assert bar(monkeypatch, io.StringIO()) == ""


def test_nothing_where_standard_error_is_closed(monkeypatch) -> None:
    """Python sets it to None then (``2>&-``)."""
    monkeypatch.setattr("sys.stderr", None)
    with sample_progress(100, False) as advance:
        assert advance is None
