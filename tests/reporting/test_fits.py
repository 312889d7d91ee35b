"""What a network takes on every chip."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from fake_runs import FITS, make_run
from graphs import paper_chain

from neurodeploy.ir.nir_io import write_nir
from neurodeploy.ir.nodes import ReLU
from neurodeploy.reporting import collect as module
from neurodeploy.reporting import report
from neurodeploy.reporting.collect import collect
from neurodeploy.reporting.energy_tables import energy_table
from neurodeploy.reporting.fits import fits, from_json, targets_with_limits
from neurodeploy.reporting.plain import markdown
from neurodeploy.targets.check import check


def test_as_check_says(tmp_path: Path) -> None:
    write_nir(paper_chain(), tmp_path / "chain.nir")
    found = fits(tmp_path / "chain.nir")
    assert found is not None
    by_name = {fit.target: fit for fit in found}
    assert list(by_name) == targets_with_limits()
    assert {"loihi", "loihi2", "spinnaker2", "truenorth", "tianjic", "speck"} <= set(by_name)
    assert not {"nir", "onnx"} & set(by_name)
    loihi2, said = by_name["loihi2"], check(tmp_path / "chain.nir", "loihi2")
    total = said["resources"]["total"]
    assert (loihi2.fits, loihi2.why) == (True, "")
    assert (loihi2.cores, loihi2.chips, loihi2.bottleneck) == (
        total["cores"],
        said["chips"],
        said["bottleneck"]["node"],
    )
    assert loihi2.synaptic_memory_bytes == total["synaptic_memory_bytes"]
    assert not by_name["truenorth"].fits
    assert by_name["truenorth"].why.startswith("ND259 "), "the decay of a membrane"
    assert from_json([asdict(fit) for fit in found]) == found


def test_an_ann_fits_no_chip_and_is_told_why(tmp_path: Path) -> None:
    graph = paper_chain().with_nodes({"lif1": ReLU(), "lif2": ReLU()})
    write_nir(graph, tmp_path / "ann.nir")
    assert all(not fit.fits and fit.why.startswith("ND306") for fit in fits(tmp_path / "ann.nir") or ())


def test_without_torch_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert fits(Path("nowhere")) is None


def test_kept_until_the_weights_change(tmp_path: Path, calls: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    run, asked = make_run(tmp_path / "r"), []
    monkeypatch.setattr(module, "_fits", lambda path: asked.append(path) or FITS)
    assert [collect([run])[0].runs[0].fits for _ in range(2)] == [FITS, FITS]
    assert asked == [run]
    cache = run / "fits.json"
    cache.write_text(json.dumps({**json.loads(cache.read_text()), "fits": [{"target": "loihi2"}]}))
    assert collect([run])[0].runs[0].fits == FITS
    (run / "model.safetensors").write_bytes(b"other weights")
    collect([run])
    assert len(asked) == 3


def test_in_the_report(tmp_path: Path, calls: dict[str, int]) -> None:
    made = report(make_run(tmp_path / "r"))
    assert made.groups[0].fits == FITS
    text = markdown(made)
    assert "| loihi2 | r | yes | 778 | 56.8 KiB | 5 | 1 | lif2 | - |" in text
    assert "| truenorth | r | no | - | - | - | - | - | ND259 the membrane decays (and 1 more) |" in text


def test_a_price_on_a_chip_that_it_does_not_fit_is_marked(tmp_path: Path, calls: dict[str, int]) -> None:
    run = make_run(tmp_path / "r")
    said = energy_table(report(run, profiles=["loihi", "truenorth", "cmos45"])).note
    words = "Counted on loihi2 and priced, though by our models the chip does not take the network: "
    assert said.endswith(words + "IBM TrueNorth (r).")
    assert "does not take" not in energy_table(report(run, profiles=["cmos45"])).note
