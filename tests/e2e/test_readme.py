"""Every command and every line of Python in the README runs as it stands there."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from neurodeploy.cli import run

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def runs(digits_runs, tmp_path, monkeypatch):
    """A folder with ``runs/`` as the README's first commands leave it."""
    (tmp_path / "runs").mkdir()
    for name, folder in digits_runs.items():
        (tmp_path / "runs" / f"digits-conv-{name}").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    shown = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ neurodeploy")]
    tabled = re.findall(r"^\| `(neurodeploy [^`]+)` \|", README, re.MULTILINE)
    return shown + tabled


def test_all_commands(runs, capsys):
    found = commands()
    assert len(found) >= 12
    for line in found:
        words = shlex.split(line)[1:]
        code = run(words)
        captured = capsys.readouterr()
        assert code == 0, f"{line}\n{captured.out}\n{captured.err}"
        assert captured.out.strip(), line


def test_the_figures_are_those_of_the_report(runs, capsys):
    """The table's numbers, within what another processor's float sums may change.

    That is two images of accuracy, two hundredths of quantization error and 4 points of its fall, 5 % of operations.
    """
    assert run(["report", "digits-conv-vanilla", "digits-conv-rmp", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["result"]
    groups = {group["label"]: group for group in report["groups"]}
    rows = re.findall(
        r"^\| `digits/conv-(\w+)` \| ([\d.]+) ± [\d.]+ % \| ([\d.]+) ± [\d.]+ % "
        r"\| ([\d.]+) ± [\d.]+(?: \((−[\d.]+) %\))? \| ([\d,]+) ± [\d,]+ \|$",
        README,
        re.MULTILINE,
    )
    assert [row[0] for row in rows] == ["vanilla", "rmp"]
    falls = {c["group"]: c["difference"] for c in report["comparisons"] if c["metric"] == "quantization_error"}
    assert [row[0] for row in rows if row[4]] == list(falls) == ["rmp"]
    for name, accuracy, on_chip, error, fall, operations in rows:
        group = groups[name]
        assert group["accuracy_float"]["mean"] * 100 == pytest.approx(float(accuracy), abs=0.56)
        assert group["accuracy_chip"]["mean"] * 100 == pytest.approx(float(on_chip), abs=0.56)
        assert group["quantization_error"]["mean"] == pytest.approx(float(error), abs=0.02)
        assert group["counts"]["sop"]["mean"] == pytest.approx(float(operations.replace(",", "")), rel=0.05)
        if fall:
            assert falls[name]["relative"] * 100 == pytest.approx(float(fall.replace("−", "-")), abs=4)


def test_the_figures_are_those_of_verify(runs, capsys):
    """The engine compares every spike of the golden vectors, and so does every other oracle in the table."""
    assert run(["export", "digits-conv-rmp/seed-0", "--target", "loihi2", "--quiet"]) == 0
    capsys.readouterr()
    assert run(["verify", "digits-conv-rmp/seed-0/export-loihi2", "--with", "engine", "--json"]) == 0
    engine = json.loads(capsys.readouterr().out)["result"]["engine"]
    rows = re.findall(r"^ (\w+) +equal +([\d,]+) +([\d,]+) +([\d,]+)   output differs by 0 at most$", README, re.M)
    assert {row[0] for row in rows} == {"engine", "lava", "onnxruntime", "norse", "snntorch", "spikingjelly"}
    for row in rows:
        shown = [int(number.replace(",", "")) for number in row[1:]]
        assert shown == [engine["samples"], engine["spikes_compared"], engine["spike_differences"]]


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md"])
def test_no_placeholder_is_left(name):
    assert re.findall(r"@@|TODO|FIXME", (ROOT / name).read_text(encoding="utf-8")) == []


def test_the_python_example(runs):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split(maxsplit=2)
    assert 0.9 < float(printed[0]) <= 1.0
    assert int(printed[1]) > 1_000_000


def test_readers_named_in_the_readme_exist():
    if importlib.util.find_spec("norse") is None:
        pytest.skip("peers are not installed (Python >= 3.11)")
    assert all(importlib.util.find_spec(name) for name in ("norse", "snntorch", "spikingjelly"))
