"""``export --fold``, ``--quantize`` and ``--finetune``: what they look at, what they write, what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neurodeploy.ir.nir_io import read_nir
from neurodeploy.ir.nodes import LIF


@pytest.fixture
def words(files: Path, tmp_path: Path) -> list[str | Path]:
    """An export that works, into ``tmp_path/out``."""
    return ["export", files / "chain.nir", "--target", "loihi2", "--out", tmp_path / "out"]


def codes(result: dict) -> list[tuple[str, str]]:
    return [(f["code"], f["severity"]) for f in result["findings"]]


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_a_foreign_file_is_calibrated_on_its_input(method, words, files: Path, call, tmp_path: Path) -> None:
    """And says so, because the same samples measure the accuracy; the method and its clipped weights are kept."""
    result = call(0, *words, "--input", files / "static.npz", "--quantize", method)
    assert ("ND237", "note") in codes(result)
    compiled = json.loads((tmp_path / "out" / "compile.json").read_text())
    assert {row["method"] for row in compiled["bounds"]} == {method}
    for row in compiled["bounds"]:
        assert 0 <= row["clipped_weights"] < row["weights"]
        assert -(2**17) < row["accumulator_low"] <= 0 <= row["accumulator_high"] < 2**17
    assert compiled["finetune"] == {}
    assert compiled["quantize"] == method
    assert compiled["calibration"].startswith("the first samples of ")


def test_without_data_calibration_is_random_and_warned_of(words, call, capsys) -> None:
    assert ("ND237", "warning") in codes(call(0, *words, "--quantize", "mse"))
    assert "ND237" not in {code for code, _ in codes(call(0, *words))}


def test_fine_tuning_needs_a_training_split(words, files: Path, call, tmp_path: Path) -> None:
    error = call(2, *words, "--input", files / "static.npz", "--finetune", "1")
    assert (error["code"], error["where"]) == ("ND239", "--finetune")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [("--finetune", "1"), ("--quantize", "mse")])
def test_a_float_target_has_nothing_to_quantize(option, files: Path, call) -> None:
    error = call(2, "export", files / "chain.nir", "--target", "nir", *option)
    assert error["code"] == "ND239"
    assert error["where"] == option[0]
    assert "nir" in error["message"]


def test_a_target_with_one_threshold_per_layer_refuses_the_other_form(words, call) -> None:
    error = call(3, *words, "--fold", "threshold")
    assert error["code"] == "ND235"
    assert "--fold weights" in error["fix"]


def test_thresholds_per_channel_reach_the_file(digits_runs, call, tmp_path: Path) -> None:
    """Accuracy, and every prediction's count, as with norms in weights; the warning names the readers that cannot."""
    run = digits_runs["rmp"] / "seed-0"
    result = call(0, "export", run, "--target", "nir", "--fold", "threshold", "--out", tmp_path / "out")
    assert ("ND236", "warning") in codes(result)
    assert result["accuracy_target"] == pytest.approx(result["accuracy_float"], abs=0.005)  # float32 flips: 2 of 360
    graph = read_nir(tmp_path / "out" / "network.nir")
    assert all(graph.nodes[name].threshold.ndim == 3 for name in graph.names(LIF))


def test_a_run_is_tuned_on_its_training_split(digits_runs, call, tmp_path: Path) -> None:
    """The artifact says with what; the float accuracy stays that of the run, and the chip does not fall behind it."""
    run = digits_runs["vanilla"] / "seed-0"
    out = tmp_path / "out"
    result = call(0, "export", run, "--target", "loihi2", "--finetune", "1", "--quantize", "mse", "--out", out)
    tuned = json.loads((out / "compile.json").read_text())["finetune"]
    assert tuned["epochs"] == 1
    assert tuned["data"].startswith("digits train, sha256 ")
    assert len(tuned["train_loss"]) == 1
    plain = call(0, "export", run, "--target", "loihi2", "--out", tmp_path / "plain")
    assert result["accuracy_float"] == plain["accuracy_float"]
    assert result["accuracy_target"] >= result["accuracy_float"] - 0.02
    assert result["files"]["network.nir"] != plain["files"]["network.nir"]
    assert call(0, "verify", out, "--with", "interpreter", "--samples", "4")
