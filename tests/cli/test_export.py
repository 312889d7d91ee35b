"""``neurodeploy export``: what is written, and that nothing is half-written."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_files import BAD_INPUTS, SAMPLES, TIMESTEPS, listing

from neurodeploy.cli import run
from neurodeploy.ir.nir_io import read_nir
from neurodeploy.targets import export as exporting
from neurodeploy.targets.base import load_target

EVERY = {"network.nir", "manifest.json", "compile.json", "golden.npz"}


@pytest.fixture
def words(files: Path, tmp_path: Path) -> list[str | Path]:
    """An export that works, into ``tmp_path/out``."""
    return [
        "export",
        files / "chain.nir",
        "--target",
        "nir",
        "--input",
        files / "static.npz",
        "--out",
        tmp_path / "out",
    ]


def test_artifact_and_json(words, call, tmp_path: Path) -> None:
    result = call(0, *words)
    out = tmp_path / "out"
    assert result["artifact"] == str(out)
    assert {p.name for p in out.iterdir()} == EVERY
    assert set(result["files"]) == EVERY - {"manifest.json"}
    for name, digest in result["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert [step["name"] for step in result["passes"]] == list(load_target("nir").spec.passes)
    assert all(set(step) == {"name", "changed", "seconds"} for step in result["passes"])
    # the average pool becomes a sum; no norm was there to fold
    assert [p["name"] for p in result["passes"] if p["changed"]] == ["average_to_sum", "round_weights"]
    (note,) = result["findings"]
    assert note["rule"].startswith("network.nir is read by Norse, snnTorch, SpikingJelly")
    # with no quantization the emitted file is the float network: same accuracy
    assert result["accuracy_target"] == result["accuracy_float"] is not None
    assert json.loads((out / "manifest.json").read_text())["files"] == result["files"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(("name", "encoder"), [("artifact", False), ("chip", True), ("spiking-chip", False)])
def test_golden_vectors(name: str, encoder: bool, files: Path) -> None:
    """Keys and shapes of the contract; what enters a chip behind an encoder are the encoder's spikes."""
    folder = files / name
    assert (folder / "encoder.nir").exists() == encoder
    assert (folder / "run_lava.py").exists() == (name != "artifact")
    graph = read_nir(folder / "network.nir")
    neurons = [node for node in graph.nodes if node.startswith("lif")]
    with np.load(folder / "golden.npz") as golden:
        keys = {"host_input", "input", "output", "membrane/readout"}
        assert set(golden.files) == keys | {f"{what}/{n}" for n in neurons for what in ("spikes", "membrane")}
        assert golden["input"].shape == (SAMPLES, TIMESTEPS, *graph.shapes[graph.input])
        assert golden["output"].shape == (SAMPLES, TIMESTEPS, 10)
        for node in neurons:
            assert golden[f"spikes/{node}"].shape == (SAMPLES, TIMESTEPS, *graph.shapes[node])
            assert golden[f"spikes/{node}"].dtype == np.uint8
        if name != "artifact":
            assert golden["input"].dtype == np.uint8
            assert set(np.unique(golden["input"])) == {0, 1}
            assert np.issubdtype(golden["output"].dtype, np.integer)
        if name != "spiking-chip":
            with np.load(files / "static.npz") as given:
                np.testing.assert_array_equal(golden["host_input"], given["x"])


def test_the_same_export_twice_gives_the_same_bytes(words, call, tmp_path: Path) -> None:
    first = call(0, *words)["files"]
    again = call(0, *words[:-1], tmp_path / "again")["files"]
    for name in ("network.nir", "golden.npz"):
        assert first[name] == again[name]


def test_default_folder_is_beside_the_model(files: Path, call, tmp_path: Path, monkeypatch) -> None:
    shutil.copy(files / "chain.nir", tmp_path)
    monkeypatch.chdir(tmp_path)
    result = call(0, "export", "chain.nir", "--target", "nir", "--input", files / "static.npz")
    assert result["artifact"] == "chain-export-nir"
    assert (tmp_path / "chain-export-nir" / "network.nir").is_file()


def test_an_older_artifact_is_replaced(words, files: Path, call, tmp_path: Path) -> None:
    shutil.copytree(files / "chip", tmp_path / "out")
    call(0, *words)
    assert {p.name for p in (tmp_path / "out").iterdir()} == EVERY  # no encoder.nir of the older one
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_used(words, call, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    call(0, *words)


def test_a_foreign_folder_is_refused_before_any_work(words, call, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    monkeypatch.setattr(exporting, "compile_graph", lambda *_, **__: pytest.fail("compiled first"))
    error = call(2, *words)
    assert error["code"] == "ND110"
    assert str(out) in error["where"]
    assert listing(tmp_path) == {"out/thesis.tex": b"years of work"}


@pytest.mark.parametrize("place", ["file", "file/below/it"])
def test_a_file_in_the_way(place: str, words, call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert call(2, *words[:-1], tmp_path / place)["code"] == "ND110"
    assert listing(tmp_path) == {"file": b"mine"}


def test_a_full_disk_leaves_the_older_artifact(words, call, tmp_path: Path, monkeypatch) -> None:
    call(0, *words)
    before = listing(tmp_path)

    def full(*arguments: object, **arrays: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.savez_compressed", full)
    error = call(2, *words)
    assert error["code"] == "ND110"
    assert "No space left" in error["message"]
    assert listing(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_dry_run_writes_nothing(words, call, capsys, tmp_path: Path) -> None:
    result = call(0, *words, "--dry-run")
    assert result["artifact"] is None
    assert result["files"] == {}
    assert result["accuracy_target"] is not None
    assert list(tmp_path.iterdir()) == []
    assert run([*map(str, words), "--dry-run"]) == 0
    assert "nothing written" in capsys.readouterr().out


@pytest.mark.parametrize("target", ["nir", "loihi2"])
def test_dump_passes(target: str, words, call, tmp_path: Path) -> None:
    result = call(0, *words, "--dump-passes", "--target", target)
    names = [f"{index:02d}-{step['name']}.nir" for index, step in enumerate(result["passes"], 1)]
    dumps = tmp_path / "out" / "passes"
    assert sorted(p.name for p in dumps.iterdir()) == names
    assert {f"passes/{name}" for name in names} < set(result["files"])
    for name in names:
        read_nir(dumps / name)
    assert read_nir(dumps / names[-1]) == read_nir(tmp_path / "out" / "network.nir")


def test_text(words, capsys) -> None:
    assert run([str(w) for w in words]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("artifact  ")
    assert "fold_norm (no change)" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize(
    ("options", "code", "error", "says"),
    [
        (["--target", "loihi2", "--fold", "threshold"], 3, "ND235", "one threshold per layer"),
        (["--finetune", "1"], 2, "ND239", "nothing to quantize"),
        (["--fold", "treshold"], 2, "ND100", "weights"),
        (["--target", "lohi2"], 2, "ND101", "loihi2"),
        (["--data", "digits"], 2, "ND100", "--input"),
        (["--timesteps", "0"], 2, "ND118", "0 timesteps"),
        (["--outt", "x"], 2, "ND100", "--out"),
    ],
)
def test_refused_options(options, code, error, says, words, call, tmp_path: Path) -> None:
    found = call(code, *words, *options)
    assert found["code"] == error
    assert says in found["message"] + found["fix"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("data", "error", "says"), [("digit", "ND101", "digits"), ("mnist", "ND106", "--data-root")])
def test_unknown_data(data, error, says, files: Path, call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("NEURODEPLOY_DATA", raising=False)
    found = call(2, "export", files / "chain.nir", "--target", "nir", "--data", data, "--out", tmp_path / "out")
    assert found["code"] == error
    assert says in found["fix"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "code", "says"), BAD_INPUTS)
def test_bad_input(name: str, code: str, says: str, words, files: Path, call, tmp_path: Path) -> None:
    error = call(2, *words, "--input", files / name)
    assert error["code"] == code
    assert says in error["message"]
    assert "allow_pickle" not in error["message"]
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_does_not_fit_leaves_nothing(files: Path, call, tmp_path: Path) -> None:
    error = call(3, "export", files / "sew.nir", "--target", "loihi2", "--out", tmp_path / "out")
    assert (error["code"], error["where"]) == ("ND303", "conv3")
    assert [f["node"] for f in error["findings"]] == ["conv3"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["artifact", "chip/network.nir"])
def test_what_is_compiled_is_not_compiled_again(name: str, files: Path, call, tmp_path: Path) -> None:
    error = call(2, "export", files / name, "--target", "nir", "--out", tmp_path / "out")
    assert error["code"] == "ND117"
    assert "made from" in error["fix"]
    assert list(tmp_path.iterdir()) == []


def test_no_data_is_a_warning(files: Path, capsys, tmp_path: Path) -> None:
    words = ["export", str(files / "spiking.nir"), "--target", "loihi2", "--json"]
    assert run([*words, "--out", str(tmp_path / "a")]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)["result"]
    assert [f["code"] for f in result["findings"]] == ["ND119"]
    assert result["accuracy_float"] is None
    assert result["accuracy_target"] is None
    assert "random input" in captured.err
    assert run([*words, "--out", str(tmp_path / "b"), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert (tmp_path / "a/golden.npz").read_bytes() == (tmp_path / "b/golden.npz").read_bytes()  # seeded


def golden_steps(folder: Path) -> int:
    with np.load(folder / "golden.npz") as golden:
        return int(golden["input"].shape[1])


@pytest.mark.parametrize(
    ("inputs", "options", "steps", "warned"),
    [
        ("values.npz", [], 5, False),  # the samples have a time axis of 5
        (None, [], 8, True),
        (None, ["--timesteps", "3"], 3, False),
    ],
)
def test_timesteps_of_a_foreign_file(inputs, options, steps, warned, files: Path, call, tmp_path: Path) -> None:
    given = ["--input", files / inputs] if inputs else []
    out = tmp_path / "out"
    result = call(0, "export", files / "foreign.nir", "--target", "nir", "--out", out, *given, *options)
    assert golden_steps(out) == steps
    assert json.loads((out / "compile.json").read_text())["timesteps"] == steps
    assert read_nir(out / "network.nir").timesteps == steps
    assert any(f["code"] == "ND118" for f in result["findings"]) == warned


def test_other_timesteps_than_the_model_says(words, call, tmp_path: Path) -> None:
    result = call(0, *words, "--timesteps", "6")
    finding, readers = result["findings"]
    assert (finding["code"], finding["measured"], finding["limit"]) == ("ND118", 6, TIMESTEPS)
    assert readers["code"] == "ND242"
    assert golden_steps(tmp_path / "out") == 6
