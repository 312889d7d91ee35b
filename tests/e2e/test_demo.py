"""``neurodeploy demo``, whole."""

import json

import pytest

from neurodeploy.cli import run

pytestmark = pytest.mark.slow


def test_the_demo_ends_with_a_report(tmp_path, capsys):
    assert run(["demo", "--out", str(tmp_path / "demo"), "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)["result"]
    assert set(result["runs"]) == {"vanilla", "rmp"}
    assert all(one["accuracy"] > 0.95 for one in result["runs"].values())
    assert result["check"]["fits"]
    assert all(row["equal"] for row in result["verify"].values())
    assert result["simulate"]["purity"] == "pure"
    assert result["simulate"]["accuracy"] == result["exports"]["rmp"]["accuracy_target"]
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    commands = [line for line in captured.err.splitlines() if line.startswith("$ neurodeploy")]
    assert [line.split()[2] for line in commands][:2] == ["train", "train"]
    assert commands[-1].split()[2] == "report"
