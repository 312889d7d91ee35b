"""Reading runs: a good one, and every way it can be broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from neurodeploy.config.recipe import load_recipe
from neurodeploy.diagnostics import UsageError
from neurodeploy.training.checkpoint import is_run, load_checkpoint, load_state
from neurodeploy.training.loop import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(load_recipe("digits/mlp-vanilla", ["net.width=8", "train.epochs=1"]), folder)
    return folder


@pytest.fixture
def run(trained, tmp_path):
    import shutil

    return shutil.copytree(trained, tmp_path / "runs" / "digits-x")


def refused(folder) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load_checkpoint(folder)
    assert caught.value.exit_code == 2
    return caught.value


def test_found_by_name_and_by_path(run, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_checkpoint("digits-x").folder == load_checkpoint("digits/x").folder == Path("runs/digits-x")
    assert load_checkpoint(run).recipe.net.width == 8
    assert "digits-x" in refused("digits-y").fix


def test_a_seed_is_found_by_name(run, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run.rename(tmp_path / "runs" / "seed-0")
    (tmp_path / "runs" / "digits-x").mkdir()
    (tmp_path / "runs" / "seed-0").rename(run / "seed-0")
    assert load_checkpoint("digits-x/seed-0").folder == Path("runs/digits-x/seed-0")


def test_the_model_gives_what_the_evaluation_says(run) -> None:
    from neurodeploy.data import load
    from neurodeploy.training.evaluate import evaluate

    result = evaluate(load_checkpoint(run).model, load("digits", "test")).to_json()
    best = {"epoch": 1, "accuracy": result["accuracy"]}
    assert {**result, "best": best} == json.loads((run / "evaluation.json").read_text())


def test_truncated_weights(run) -> None:
    path = run / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    error = refused(run)
    assert (error.code, error.where) == ("ND107", str(path))


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\xff" * 64])
def test_foreign_weights(run, content) -> None:
    (run / "model.safetensors").write_bytes(content)
    assert refused(run).code == "ND107"


def test_missing_weights(run) -> None:
    (run / "model.safetensors").unlink()
    assert "missing" in refused(run).message


def test_weights_of_another_net_are_named(run) -> None:
    weights = load_file(run / "model.safetensors")
    weights["fc1.weight"] = weights["fc1.weight"][:4].contiguous()
    weights["extra"] = torch.zeros(1)
    del weights["fc.bias"]
    weights["fc2.weight"][0, 0] = float("nan")
    save_file(weights, run / "model.safetensors")
    message = refused(run).message
    assert "fc.bias is missing" in message
    assert "extra is not in" in message
    assert "fc1.weight is (4, 64), the recipe's net has (8, 64)" in message
    assert "fc2.weight is not finite" in message


@pytest.mark.parametrize("name", ["recipe.toml", "manifest.json"])
def test_a_folder_without_its_papers_is_no_run(run, name) -> None:
    (run / name).unlink()
    assert not is_run(run)
    error = refused(run)
    assert error.code == "ND107"
    assert name in error.message


@pytest.mark.parametrize("text", ["[]", "{", "null", '{"data": 3}', '{"data": {"test": null}}'])
def test_foreign_manifest(run, text) -> None:
    (run / "manifest.json").write_text(text)
    error = refused(run)
    assert (error.code, error.where) == ("ND107", str(run / "manifest.json"))
    assert "--fresh" in error.fix


def test_all_of_the_manifest_is_kept(run) -> None:
    assert load_checkpoint(run).manifest == json.loads((run / "manifest.json").read_text())


def test_damaged_state(run) -> None:
    (run / "evaluation.json").unlink()
    (run / "last" / "state.pt").write_bytes(b"garbage")
    with pytest.raises(UsageError) as caught:
        load_state(run)
    assert caught.value.code == "ND107"
    assert "--fresh" in caught.value.fix


def test_state_holds_no_code(run) -> None:
    state = torch.load(run / "last" / "state.pt", weights_only=True)
    assert {"epoch", "sums", "model", "optimizer", "scheduler", "rng", "metrics", "threads"} == set(state)


@pytest.mark.parametrize("state", [{}, {"epoch": 1}, [1, 2]])
def test_a_state_that_is_not_ours(run, state) -> None:
    torch.save(state, run / "last" / "state.pt")
    with pytest.raises(UsageError, match="the training state lacks") as caught:
        load_state(run)
    assert caught.value.code == "ND107"
