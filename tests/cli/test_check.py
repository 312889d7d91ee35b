"""``neurodeploy check``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import paper_chain

from neurodeploy.cli import run
from neurodeploy.ir.nir_io import write_nir

KEYS = {"neurons", "synapses", "synaptic_memory_bytes", "axons_in", "axons_out", "cores"}


def test_what_fits(files, call) -> None:
    result = call(0, "check", files / "chain.nir", "--target", "loihi2")
    assert result["fits"]
    assert result["findings"] == []
    assert result["chips"] == 1
    assert result["bottleneck"]["node"] in result["resources"]["nodes"]
    # lif1 is the host's: the chip holds the populations behind it, 4·8·8 and 10 neurons
    assert {name: row["neurons"] for name, row in result["resources"]["nodes"].items()} == {"lif2": 256, "readout": 10}
    for row in result["resources"]["nodes"].values():
        assert set(row) >= KEYS
    total = result["resources"]["total"]
    assert set(total) == KEYS
    assert total["neurons"] == 266
    assert total["cores"] == sum(row["cores"] for row in result["resources"]["nodes"].values())


def test_what_does_not_fit_names_layer_number_and_limit(files, call, capsys) -> None:
    result = call(3, "check", files / "sew.nir", "--target", "loihi2")
    assert not result["fits"]
    (finding,) = result["findings"]
    assert (finding["code"], finding["severity"], finding["node"]) == ("ND303", "error", "conv3")
    assert (finding["measured"], finding["limit"]) == ("integer(2)", "binary")
    assert finding["fix"]
    assert run(["check", str(files / "sew.nir"), "--target", "loihi2"]) == 3
    captured = capsys.readouterr()
    assert "does NOT fit" in captured.out
    assert "neurodeploy explain ND303" in captured.out
    assert captured.err == ""


def test_a_skip_path_fits_with_its_relay_and_the_host_is_listed(files, call, capsys) -> None:
    result = call(0, "check", files / "skip.nir", "--target", "loihi2")
    assert result["resources"]["nodes"]["lif1-relay-1"]["neurons"] == 32
    assert result["chips_limited_by"] == "cores"
    assert result["host"] == {"encoder": [], "tail": []}
    host = call(0, "check", files / "chain.nir", "--target", "loihi2")["host"]["encoder"]
    assert host == [{"name": "conv1", "kind": "conv2d"}, {"name": "lif1", "kind": "lif"}]
    assert run(["check", str(files / "chain.nir"), "--target", "loihi2"]) == 0
    assert "host      encoder: conv1 (conv2d), lif1 (lif)" in capsys.readouterr().out


def test_all_findings_at_once(call, tmp_path: Path) -> None:
    graph = paper_chain(real=False)
    changed = {name: replace(graph.nodes[name], v_reset=np.asarray(0.3)) for name in ("lif1", "lif2")}
    write_nir(graph.with_nodes(changed), tmp_path / "leaky.nir")
    result = call(3, "check", tmp_path / "leaky.nir", "--target", "loihi2")
    assert [f["node"] for f in result["findings"] if f["code"] == "ND215"] == ["lif1", "lif2"]


def test_what_nir_cannot_write_does_not_fit(files, call, tmp_path: Path) -> None:
    """A firing neuron without leak but with an offset has no NIR node: export would stop at it."""
    graph = paper_chain()
    lif = replace(graph.nodes["lif2"], decay=np.asarray(0.5), offset=np.asarray(0.125))
    write_nir(graph.with_nodes({"lif2": lif}), tmp_path / "m.nir")
    call(0, "check", tmp_path / "m.nir", "--target", "nir")
    unwritable = graph.with_nodes({"lif2": replace(lif, decay=np.asarray(1.0))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("neurodeploy.targets.model.read_nir", lambda path, options: unwritable)
        result = call(3, "check", tmp_path / "m.nir", "--target", "nir")
    assert [(f["code"], f["node"]) for f in result["findings"]] == [("ND201", "lif2")]


def test_profile_by_name_and_by_path(files, call, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "hardware_profiles" / "loihi2.toml"
    tiny = tmp_path / "tiny.toml"
    lines = shipped.read_text().splitlines()
    small = [
        'neurons_per_core = { value = 40, unit = "neurons", basis = "vendor", confidence = "high", source = "a test" }'
        if line.startswith("neurons_per_core")
        else line
        for line in lines
    ]
    assert small != lines
    tiny.write_text("\n".join(small))
    assert call(0, "check", files / "chain.nir", "--target", "loihi2", "--profile", "loihi2")["profile"] == "loihi2"
    result = call(3, "check", files / "chain.nir", "--target", "loihi2", "--profile", tiny)
    (finding,) = result["findings"]
    # one 8x8 plane of lif2 has 64 neurons
    assert (finding["code"], finding["measured"], finding["limit"]) == ("ND202", 64, 40)
    assert finding["rule"].endswith(str(tiny))


@pytest.mark.parametrize("target", ["nir", "loihi2"])
def test_foreign_file(target: str, files, call) -> None:
    code = 0 if target == "nir" else 3  # its neurons reset to 0.1, which the chip does not have
    result = call(code, "check", files / "foreign.nir", "--target", target)
    # ND118: the file says no number of timesteps
    assert [f["code"] for f in result["findings"]] == (["ND118"] if target == "nir" else ["ND118", "ND215"])
    said = call(code, "check", files / "foreign.nir", "--target", target, "--timesteps", "4")
    assert "ND118" not in [f["code"] for f in said["findings"]]


@pytest.mark.parametrize(
    ("words", "code", "error", "says"),
    [
        (["--target", "lohi2"], 2, "ND101", "loihi2"),
        (["--target", "loihi2", "--profile", "lohi"], 2, "ND101", "loihi"),
        (["--target", "loihi2", "--profile", "./none.toml"], 2, "ND112", "loihi2"),
        ([], 2, "ND100", "check --help"),
    ],
)
def test_wrong_words(words, code, error, says, files, call) -> None:
    found = call(code, "check", files / "chain.nir", *words)
    assert found["code"] == error
    assert says in found["fix"]


def test_check_writes_nothing(files, call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    call(0, "check", files / "chain.nir", "--target", "loihi2")
    assert list(tmp_path.iterdir()) == []
