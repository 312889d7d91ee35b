"""``neurodeploy explain`` and ``neurodeploy doctor``."""

from __future__ import annotations

import json
import platform

import pytest

from neurodeploy.cli import run
from neurodeploy.diagnostics import codes, page
from neurodeploy.sim import native
from neurodeploy.verification.lava import VARIABLE, find_lava_python


def test_explain_prints_the_page(call, capsys) -> None:
    assert run(["explain", "ND203"]) == 0
    captured = capsys.readouterr()
    assert captured.out.rstrip() == page("ND203").rstrip()
    assert captured.err == ""
    assert call(0, "explain", "nd203") == {"code": "ND203", "page": page("ND203")}


def test_explain_without_a_code_lists_all(call, capsys) -> None:
    assert call(0, "explain")["codes"] == codes()
    assert run(["explain"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(codes())


@pytest.mark.parametrize("word", ["ND204x", "ND1000", "../pages/ND101", "banana", ""])
def test_unknown_code(word: str, call) -> None:
    error = call(2, "explain", word)
    assert error["code"] == "ND101"
    assert "ND" in error["fix"] or "`neurodeploy explain` prints them" in error["fix"]


def test_doctor(call, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("NEURODEPLOY_DATA", str(tmp_path / "gone"))
    result = call(0, "doctor")
    assert result["python"] == platform.python_version()
    assert result["packages"]["numpy"]
    assert result["packages"]["nir"]
    assert any("gone" in note for note in result["notes"])
    assert run(["doctor"]) == 0
    assert "note: NEURODEPLOY_DATA" in capsys.readouterr().out


def test_doctor_says_which_kernels_run(call, monkeypatch) -> None:
    monkeypatch.setenv("NEURODEPLOY_KERNELS", "numba")
    native.library.cache_clear()
    try:
        assert call(0, "doctor")["kernels"] == "Numba kernels (NEURODEPLOY_KERNELS=numba)"
        monkeypatch.setenv("NEURODEPLOY_KERNELS", "abacus")
        native.library.cache_clear()
        result = call(0, "doctor")  # a wrong variable is said, and the rest is printed
        assert result["kernels"] is None
        assert any("NEURODEPLOY_KERNELS=abacus" in note for note in result["notes"])
    finally:
        native.library.cache_clear()


def test_doctor_reports_a_wrong_lava_python_and_goes_on(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "python3.10"))
    find_lava_python.cache_clear()
    try:
        assert run(["doctor", "--json"]) == 0
        result = json.loads(capsys.readouterr().out)["result"]
        assert result["lava_python"] is None
        assert any(VARIABLE in note for note in result["notes"])
    finally:
        find_lava_python.cache_clear()
