"""``neurodeploy verify``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_files import SAMPLES, TIMESTEPS, listing

from neurodeploy.cli import run
from neurodeploy.files import sha256

CONTRACT = {"samples", "spikes_compared", "spike_differences", "output_max_difference", "skipped", "why"}
#: Neurons of lif1 and lif2 (4x8x8 each); the chip has lif2 only, lif1 runs on the host.
SPIKES = {"artifact": 512, "chip": 256, "spiking-chip": 512}


@pytest.fixture
def damaged(files: Path, tmp_path: Path) -> Path:
    """A copy of the artifact with an encoder, free to be damaged."""
    return Path(shutil.copytree(files / "chip", tmp_path / "chip"))


@pytest.mark.parametrize("name", SPIKES)
def test_interpreter_and_engine_are_equal(name: str, files: Path, call) -> None:
    result = call(0, "verify", files / name)
    assert set(result) == {"interpreter", "engine"}
    for row in result.values():
        assert set(row) >= CONTRACT
        assert row["samples"] == SAMPLES
        assert row["spikes_compared"] == SAMPLES * TIMESTEPS * SPIKES[name]
        assert row["spike_differences"] == 0
        assert row["state_differences"] == 0
        assert row["output_max_difference"] == 0  # the same arithmetic in the same order
        assert row["skipped"] is False


def test_samples(files: Path, call) -> None:
    result = call(0, "verify", files / "chip", "--samples", "2", "--with", "engine")
    assert set(result) == {"engine"}
    assert result["engine"]["spikes_compared"] == 2 * TIMESTEPS * SPIKES["chip"]


def test_text_and_nothing_written(files: Path, capsys) -> None:
    before = listing(files / "chip")
    assert run(["verify", str(files / "chip")]) == 0
    captured = capsys.readouterr()
    assert "DIFFERS" not in captured.out
    assert captured.out.count("equal") == 2
    assert captured.err == ""
    assert listing(files / "chip") == before


@pytest.mark.parametrize("samples", ["0", "-1", str(SAMPLES + 1)])
def test_wrong_number_of_samples(samples: str, files: Path, call) -> None:
    error = call(2, "verify", files / "chip", "--samples", samples)
    assert error["code"] == "ND100"
    assert str(SAMPLES) in error["fix"]


@pytest.mark.parametrize(
    ("oracle", "code", "error", "says"),
    [
        ("onnx", 2, "ND101", "onnxruntime"),
        ("snn-torch", 2, "ND101", "snntorch"),
    ],
)
def test_unknown_and_unbuilt_oracles(oracle, code, error, says, files: Path, call) -> None:
    found = call(code, "verify", files / "artifact", "--with", oracle)
    assert found["code"] == error
    assert says in found["fix"]


def test_a_skipped_oracle_is_said_loudly(files: Path, capsys) -> None:
    """An artifact of the nir target has no run_lava.py, with or without Lava on this machine."""
    assert run(["verify", str(files / "artifact"), "--with", "lava", "--with", "engine", "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)["result"]
    assert result["lava"]["skipped"] is True
    assert "run_lava.py" in result["lava"]["why"]
    assert result["engine"]["skipped"] is False
    assert "SKIPPED" in captured.err


def test_nothing_verified_is_no_success(files: Path, call) -> None:
    result = call(2, "verify", files / "artifact", "--with", "lava")
    assert result["lava"]["skipped"] is True
    assert "run_lava.py" in result["lava"]["why"]


def test_a_reader_that_cannot_express_the_network_is_skipped_with_the_node(files: Path, call) -> None:
    """SpikingJelly takes no LIF whose leak and reset potentials differ."""
    pytest.importorskip("spikingjelly")
    result = call(0, "verify", files / "foreign-artifact", "--with", "spikingjelly", "--with", "engine")
    assert result["spikingjelly"]["skipped"]
    assert "l1: SpikingJelly starts at the reset value" in result["spikingjelly"]["why"]
    assert result["engine"]["equal"]


def test_a_reader_that_fails_all_the_same_is_a_failure(files: Path, call, monkeypatch) -> None:
    """Had preflight overlooked it."""
    pytest.importorskip("spikingjelly")
    monkeypatch.setattr("neurodeploy.verification.readers.preflight", lambda graph, reader: [])
    result = call(4, "verify", files / "foreign-artifact", "--with", "spikingjelly", "--with", "engine")
    assert not result["spikingjelly"]["equal"]
    assert result["spikingjelly"]["samples"] == 0
    assert result["spikingjelly"]["why"].startswith("ND403: spikingjelly could not run")
    assert result["engine"]["equal"]  # the others still run


@pytest.mark.parametrize("name", ["network.nir", "encoder.nir", "compile.json", "run_lava.py"])
def test_a_tampered_file(name: str, damaged: Path, call) -> None:
    with (damaged / name).open("ab") as stream:
        stream.write(b"\n")
    error = call(4, "verify", damaged)
    assert error["code"] == "ND402"
    assert error["message"].endswith(f": {name}")


def test_a_missing_file(damaged: Path, call) -> None:
    (damaged / "run_lava.py").unlink()
    error = call(4, "verify", damaged)
    assert (error["code"], error["message"].endswith(": run_lava.py")) == ("ND402", True)


def resealed(folder: Path) -> None:
    """Write the digests anew, as somebody would who hides a change."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {name: sha256(folder / name) for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_flipped_golden_spike_is_found_and_counted(damaged: Path, call) -> None:
    with np.load(damaged / "golden.npz") as archive:
        golden = dict(archive)
    golden["spikes/lif2"][3, 1, 0, 2, 5] ^= 1
    golden["output"][0, -1, 4] += 64
    np.savez(damaged / "golden.npz", **golden)
    resealed(damaged)
    result = call(4, "verify", damaged)
    for row in result.values():
        assert row["spike_differences"] == 1
        assert row["output_max_difference"] == 64
        assert row["equal"] is False
        assert row["largest_distance"] is not None
    assert call(4, "verify", damaged, "--samples", "3")["engine"]["spike_differences"] == 0  # the output still differs


def test_difference_as_text(damaged: Path, capsys) -> None:
    with np.load(damaged / "golden.npz") as archive:
        golden = dict(archive)
    golden["spikes/lif2"][0, 0] ^= 1
    np.savez(damaged / "golden.npz", **golden)
    resealed(damaged)
    assert run(["verify", str(damaged), "--with", "engine"]) == 4
    assert "DIFFERS" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["golden.npz", "network.nir", "manifest.json"])
def test_a_truncated_file(name: str, damaged: Path, call) -> None:
    whole = (damaged / name).read_bytes()
    (damaged / name).write_bytes(whole[: len(whole) // 2])
    error = call(2, "verify", damaged)
    assert error["code"] == ("ND104" if name == "network.nir" else "ND103")
    assert name in error["where"]


@pytest.mark.parametrize("content", ["[]", "{}", '{"files": []}', "3", ""])
def test_a_manifest_of_another_kind(content: str, damaged: Path, call) -> None:
    (damaged / "manifest.json").write_text(content)
    assert call(2, "verify", damaged)["code"] == "ND103"


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("nothing", "ND101", "nothing"),
        ("./nothing", "ND103", "./nothing"),
        ("nothing.nir", "ND103", "nothing.nir"),
        ("chain.nir", "ND117", "a folder"),
        ("empty", "ND117", "network.nir, compile.json, manifest.json"),
    ],
)
def test_no_artifact(name: str, code: str, says: str, files: Path, call, tmp_path: Path, monkeypatch) -> None:
    shutil.copy(files / "chain.nir", tmp_path)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    error = call(2, "verify", name)
    assert error["code"] == code
    assert says in error["message"]


def test_a_run_names_its_exports(files: Path, call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(files / "chip", tmp_path / "runs" / "mine" / "export-loihi2")
    assert "runs/mine/export-loihi2" in call(2, "verify", "mine")["fix"]
    assert "mine" in call(2, "verify", "mime")["fix"]
    assert call(0, "verify", "mine/export-loihi2", "--with", "engine")["engine"]["equal"]
