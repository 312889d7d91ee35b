"""``neurodeploy report``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from neurodeploy.cli import run

sys.path.insert(0, str(Path(__file__).parents[1] / "reporting"))
from fake_runs import calls, make_group

__all__ = ["calls"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: dict[str, int]) -> Path:
    monkeypatch.chdir(tmp_path)
    make_group(tmp_path / "runs" / "digits-conv-vanilla")
    make_group(tmp_path / "runs" / "digits-conv-rmp", method="rmp")
    return tmp_path


RUNS = ["digits-conv-vanilla", "digits-conv-rmp"]


def test_text_on_stdout_progress_on_stderr(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", *RUNS]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("rmp: no clear difference in accuracy to vanilla")
    assert "simulating digits-conv-rmp/seed-0 on 360 samples" in captured.err
    assert run(["report", *RUNS, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", *RUNS, "--json", "--profile", "truenorth"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "neurodeploy.report/1"
    assert document["result"]["profiles"] == ["truenorth"]


def test_files(here: Path) -> None:
    arguments = ["--html", "out/r.html", "--markdown", "out/r.md", "--csv", "out/csv", "--figures", "out/figures"]
    assert run(["report", *RUNS, *arguments]) == 0
    assert (here / "out/r.html").read_text().startswith("<!doctype html>")
    assert (here / "out/r.md").read_text().startswith("# rmp")
    assert (here / "out/csv/energy.csv").is_file()
    assert (here / "out/figures/membranes.svg").read_text().startswith("<svg")
    assert (here / "out/figures/membranes.png").read_bytes().startswith(b"\x89PNG")
    assert {path.stem for path in here.glob("out/figures/*.svg")} == {
        path.stem for path in here.glob("out/figures/*.png")
    }


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nothing-here"], 2, "ND101"),
        (["digits-conv-vanilla", "--target", "lohi2"], 2, "ND101"),
        (["digits-conv-vanilla", "--target", "truenorth"], 3, "ND258"),
        (["digits-conv-vanilla", "--profile", "lohi"], 2, "did you mean loihi"),
        (["digits-conv-vanilla", "digits-conv-vanilla"], 2, "ND113"),
        (["digits-conv-vanilla", "--html", "runs"], 2, "is a directory"),
        ([], 2, "Missing argument"),
    ],
)
def test_refused(here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str) -> None:
    assert run(["report", *arguments]) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_unwritable_place(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "file").write_text("")
    assert run(["report", RUNS[0], "--html", "file/r.html"]) == 2
    assert "ND110" in capsys.readouterr().err


def test_what_training_measured_alone(here: Path, calls: dict[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", *RUNS, "--no-export", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["result"]["groups"]
    assert [group["not_exported"] for group in groups] == ["--no-export"] * 2
    assert all(group["quantization_error"]["mean"] > 0 for group in groups)
    assert not any(calls.values())
    assert not list(here.glob("runs/*/**/export-*"))


def test_one_file_for_two_formats(here: Path, capsys: pytest.CaptureFixture[str], calls: dict[str, int]) -> None:
    assert run(["report", *RUNS, "--html", "r", "--markdown", "./r"]) == 2
    assert "--html and --markdown name the same file: r" in capsys.readouterr().err
    assert not (here / "r").exists()
