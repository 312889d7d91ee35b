"""Targets: the shipped ones, a third party's, and what is wrong with a broken one."""

from importlib import metadata

import numpy as np
import pytest
from graphs import paper_chain

from neurodeploy.config.target import parse_target
from neurodeploy.diagnostics import UsageError
from neurodeploy.ir.nir_io import write_nir
from neurodeploy.ir.nodes import NEURONS
from neurodeploy.targets import base
from neurodeploy.targets.base import load_target, target_names
from neurodeploy.targets.export import export


class ToyTarget:
    """What a third party ships under the entry-point group ``neurodeploy.targets``."""

    name = "toy"
    spec = {  # noqa: RUF012
        "name": "toy",
        "title": "a toy",
        "summary": "writes the number of its neurons",
        "arithmetic": "float32",
        "nodes": ["input", "output", "conv2d", "linear", "flatten", "lif", "integrator"],
        "passes": ["fold_norm", "fold_pool", "round_weights"],
    }

    def emit(self, graph, folder):
        (folder / "neurons.txt").write_text(
            str(sum(int(np.prod(graph.shapes[n])) for n in graph.names(base_neurons())))
        )


def base_neurons():

    return NEURONS


class Broken:
    """No spec, no emit."""


def offer(monkeypatch, name, target):
    point = metadata.EntryPoint(name, f"{__name__}:{target.__name__}", base.ENTRY_POINTS)
    monkeypatch.setattr(metadata.EntryPoint, "load", lambda self: target)
    monkeypatch.setattr(base.metadata, "entry_points", lambda group: [point] if group == base.ENTRY_POINTS else [])


def test_the_shipped_targets():
    assert {"loihi", "loihi2", "nir"} <= set(target_names())
    for name in target_names():
        assert load_target(name).spec.name == name


def test_loihi_shares_the_kit_of_loihi2(tmp_path):
    targets = [load_target(name) for name in ("loihi", "loihi2")]
    assert targets[0].spec.passes == targets[1].spec.passes
    assert [target.spec.quantize.accumulator_bits for target in targets] == [15, 17]
    for target in targets:
        folder = tmp_path / target.name
        folder.mkdir()
        target.emit(paper_chain(), folder)
    for name in ("run_lava.py", "lava_network.py"):
        assert (tmp_path / "loihi" / name).read_bytes() == (tmp_path / "loihi2" / name).read_bytes()


def test_a_third_partys_target_emits_its_own_files(monkeypatch, tmp_path):
    offer(monkeypatch, "toy", ToyTarget)
    assert "toy" in target_names()
    write_nir(paper_chain(), tmp_path / "net.nir")
    done = export(tmp_path / "net.nir", "toy", tmp_path / "out")
    assert (done.folder / "neurons.txt").read_text() == str(2 * 4 * 64 + 10)
    assert "neurons.txt" in done.result["files"]


def test_a_broken_plug_in_is_named_and_does_not_crash_the_others(monkeypatch):
    offer(monkeypatch, "broken", Broken)
    assert load_target("nir").name == "nir"
    with pytest.raises(UsageError, match="plug-in target broken") as refusal:
        load_target("broken")
    assert refusal.value.code == "ND115"


def test_a_plug_in_may_not_take_a_shipped_name(monkeypatch):
    offer(monkeypatch, "nir", ToyTarget)
    with pytest.raises(UsageError) as refusal:
        load_target("nir")
    assert refusal.value.code == "ND116"


def test_an_unknown_target_gives_the_nearest_name():
    with pytest.raises(UsageError, match="no such target: loihi3") as refusal:
        load_target("loihi3")
    assert "loihi2" in refusal.value.fix


def test_all_errors_of_a_target_file_at_once():
    with pytest.raises(UsageError) as refusal:
        parse_target('name = "x"\ncolor = "red"\n', where="x.toml")
    assert refusal.value.code == "ND115"
    for word in ("color", "title", "passes"):
        assert word in refusal.value.message
    with pytest.raises(UsageError, match="not TOML"):
        parse_target("name =", where="x.toml")
