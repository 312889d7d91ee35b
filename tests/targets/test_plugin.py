"""A third party's target, installed as a distribution: listed, checked, exported for; and broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest
from chip_graphs import crossbar_net

from neurodeploy.cli import run
from neurodeploy.ir.nir_io import write_nir
from neurodeploy.targets.base import load_target

GOOD = '''
from pathlib import Path

import numpy as np


class Tiny:
    """A chip of 12 neurons a core without leak."""

    name = "tiny"
    spec = {
        "name": "tiny",
        "title": "a chip that is not there",
        "summary": "layers.txt names its layers",
        "arithmetic": "float32",
        "nodes": ["input", "output", "conv2d", "linear", "flatten", "lif"],
        "passes": ["fold_norm", "partition", "spike_tail", "chip_rules", "place"],
        "chip": {"neuron": {"leak": "none", "source": "the imaginary data sheet"}},
    }

    def emit(self, graph, folder: Path) -> None:
        (folder / "layers.txt").write_text("\\n".join(graph.nodes))
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``install(name, code, target)``: a distribution with one entry point, as pip leaves it."""

    def installer(module: str, code: str, target: str, point: str = "tiny") -> None:
        site = tmp_path / f"site-{module}"
        info = site / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[neurodeploy.targets]\n{point} = {module}:{target}\n")
        monkeypatch.syspath_prepend(str(site))

    return installer


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_nir(crossbar_net(), tmp_path / "net.nir")
    write_nir(crossbar_net(decay=0.5), tmp_path / "leaky.nir")
    return tmp_path


def test_a_distributions_target_is_listed_checked_and_exported_for(install, models, capsys):
    install("tiny_chip_good", GOOD, "Tiny")
    assert run(["list", "targets", "--json"]) == 0
    items = {item["name"]: item for item in json.loads(capsys.readouterr().out)["result"]["items"]}
    assert items["tiny"]["title"] == "a chip that is not there"
    assert {"nir", "speck"} <= set(items)
    assert run(["check", str(models / "net.nir"), "--target", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["fits"]
    assert run(["check", str(models / "leaky.nir"), "--target", "tiny", "--json"]) == 3
    findings = json.loads(capsys.readouterr().out)["result"]["findings"]
    assert [(f["code"], f["node"], f["measured"]) for f in findings] == [
        ("ND259", "lif1", 0.5), ("ND259", "lif2", 0.5), ("ND259", "lif3", 0.5),
    ]  # fmt: skip
    words = ["export", str(models / "net.nir"), "--target", "tiny", "--out", str(models / "out"), "--timesteps", "4"]
    assert run([*words, "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["result"]["files"]
    assert {"layers.txt", "network.nir", "golden.npz"} <= set(files)
    assert (models / "out" / "layers.txt").read_text().splitlines() == list(crossbar_net().nodes)


BROKEN = {
    "import": ("raise RuntimeError('no licence')", "Tiny", "tiny", "RuntimeError: no licence"),
    "no such object": ("x = 1", "Tiny", "tiny", "AttributeError"),
    "no emit": (GOOD.replace("def emit", "def write"), "Tiny", "tiny", "no attribute 'emit'"),
    "unknown key": (GOOD.replace('"title"', '"colour": 1, "title"'), "Tiny", "tiny", "colour"),
    "three names": (GOOD, "Tiny", "smaller", "different names"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plug_in_gives_one_message_and_leaves_the_others_alone(kind, install, models, capsys):
    code, target, point, says = BROKEN[kind]
    install("tiny_chip_" + kind.replace(" ", "_"), code, target, point)
    assert run(["check", str(models / "net.nir"), "--target", point]) == 2
    message = capsys.readouterr().err
    assert message.count("error[ND115]") == 1
    assert says in " ".join(message.split())
    assert "Traceback" not in message
    assert run(["check", str(models / "net.nir"), "--target", "truenorth"]) == 0


def test_a_plug_in_that_fails_while_writing_is_named(install, models, capsys):
    install("tiny_chip_writes", GOOD.replace("(folder /", "1 / 0; (folder /"), "Tiny")
    words = ["export", str(models / "net.nir"), "--target", "tiny", "--out", str(models / "out"), "--timesteps", "4"]
    assert run(words) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "plug-in target tiny failed while it wrote its files: ZeroDivisionError" in message
    assert not (models / "out").exists()


def test_passes_that_a_plug_in_misspells_are_named(install, models, capsys):
    install("tiny_chip_passes", GOOD.replace('"spike_tail"', '"spiketail"'), "Tiny")
    assert run(["check", str(models / "net.nir"), "--target", "tiny"]) == 2
    assert "spike_tail" in capsys.readouterr().err


def test_an_object_serves_as_well_as_a_class(install):
    install("tiny_chip_object", dedent(GOOD) + "\n\ntiny = Tiny()\n", "tiny")
    assert load_target("tiny").spec.chip.neuron.leak == "none"
