"""The train command: the contract's JSON, folders, exit codes."""

from __future__ import annotations

import json

import pytest

from neurodeploy.cli import run

TINY = ["--set", "net.width=8", "--set", "train.epochs=1", "--set", "data.batch=256"]
KEYS = {"run", "epochs", "accuracy", "quantization_error", "firing_rate", "seconds", "best"}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NEURODEPLOY_DATA", raising=False)


def result(capsys) -> dict:
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["command"]) == ("neurodeploy.train/1", "train")
    return document["result"]


def failed(capsys, code: int, *arguments: str) -> dict:
    assert run(["train", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)["error"]


def test_json_result_and_default_folder(capsys, tmp_path) -> None:
    assert run(["train", "digits/mlp-rmp", *TINY, "--json"]) == 0
    outcome = result(capsys)
    assert set(outcome) == KEYS
    assert outcome["run"] == "runs/digits-mlp-rmp"
    assert (tmp_path / "runs" / "digits-mlp-rmp" / "evaluation.json").is_file()
    assert run(["train", "digits/mlp-rmp", *TINY, "--json"]) == 0
    captured = capsys.readouterr()
    assert "finished already" in captured.err
    assert json.loads(captured.out)["result"] == outcome


def test_text_and_quiet(capsys) -> None:
    assert run(["train", "digits/mlp-vanilla", *TINY, "--quiet"]) == 0
    captured = capsys.readouterr()
    assert "test accuracy" in captured.out
    assert captured.err == ""


def test_seeds(capsys, tmp_path) -> None:
    assert run(["train", "digits/mlp-rmp", *TINY, "--seeds", "0,3", "--out", "g", "--json"]) == 0
    outcome = result(capsys)
    assert set(outcome) == (KEYS - {"best"}) | {"runs", "std"}
    assert [one["run"] for one in outcome["runs"]] == ["g/seed-0", "g/seed-3"]
    assert outcome["accuracy"] == pytest.approx(sum(one["accuracy"] for one in outcome["runs"]) / 2)
    assert "seed = 3" in (tmp_path / "g" / "seed-3" / "recipe.toml").read_text()
    assert failed(capsys, 2, "digits/mlp-rmp", *TINY, "--out", "g")["code"] == "ND109"


def test_path_recipe(capsys, tmp_path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "digits/mlp-rmp"\nseed = 5\n')
    assert run(["train", "./mine.toml", *TINY, "--json"]) == 0
    assert result(capsys)["run"] == "runs/mine"


def test_dry_run_writes_nothing(capsys, tmp_path) -> None:
    assert run(["train", "digits/conv-rmp", "--dry-run", "--json", "--set", "train.epochs=7"]) == 0
    outcome = result(capsys)
    assert outcome["dry_run"]
    assert outcome["recipe"]["train"]["epochs"] == 7
    assert outcome["parameters"] > 1000
    assert run(["train", "digits/conv-rmp", "--dry-run"]) == 0
    assert "epochs = 12" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "exit_code", "arguments"),
    [
        ("ND101", 2, ["digits/conv-rpm"]),
        ("ND102", 2, ["digits/conv-rmp", "--set", "epochs=3"]),
        ("ND102", 2, ["none.toml"]),
        ("ND106", 2, ["digits/conv-rmp", "--data-root", "nowhere"]),
        ("ND102", 2, ["digits/conv-rmp", "--set", "net.name=vgg16"]),  # 8x8 is too small for its pools
        ("ND102", 2, ["digits/conv-rmp", "--set", "loss.laf.weight=0.1"]),  # without a teacher
        ("ND102", 2, ["digits/conv-rmp", "--set", "neuron.kind=relu"]),  # an ANN of four steps with RMP-Loss
        ("ND106", 2, ["digits/conv-rmp", "--set", "data.name=cifar10"]),
        ("ND101", 2, ["digits/conv-rmp", "--set", "loss.laf.teacher=digits-ann"]),
        ("ND100", 2, ["digits/conv-rmp", "--workers", "-1"]),
        ("ND101", 2, ["digits/conv-rmp", "--device", "tpu"]),
        ("ND100", 2, ["digits/conv-rmp", "--seeds", "0,0"]),
        ("ND100", 2, ["digits/conv-rmp", "--seeds", "a"]),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_written(code, exit_code, arguments, capsys, tmp_path) -> None:
    error = failed(capsys, exit_code, *arguments)
    assert error["code"] == code
    assert error["message"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [("metrics.jsonl", '{"epoch": 1}'), ("metrics.jsonl", "[1"), ("evaluation.json", "{}"), ("evaluation.json", "[]")],
)
def test_a_foreign_file_in_a_finished_run(name, text, capsys, tmp_path) -> None:
    arguments = ["digits/mlp-rmp", *TINY, "--out", "r"]
    assert run(["train", *arguments, "--json"]) == 0
    before = result(capsys)
    (tmp_path / "r" / name).write_text(text)
    error = failed(capsys, 2, *arguments)
    assert error["code"] == "ND107"
    assert error["where"] == f"r/{name}"
    assert error["fix"].startswith("delete evaluation.json and run the same")
    (tmp_path / "r" / "evaluation.json").unlink()  # the fix works
    assert run(["train", *arguments, "--json"]) == 0
    assert result(capsys) == before


def test_ctrl_c_in_an_epoch_keeps_its_steps(capsys, monkeypatch) -> None:
    import os
    import signal

    from neurodeploy.training import loop

    step = loop._Trainer._step

    def asked(self, x, y, samples, epoch, number, steps):
        if (epoch, number) == (2, 3):
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, x, y, samples, epoch, number, steps)

    arguments = ["train", "digits/mlp-rmp", *TINY, "--set", "train.epochs=2"]
    with monkeypatch.context() as patch:
        patch.setattr(loop._Trainer, "_step", asked)
        assert run(arguments) == 130
    said = capsys.readouterr().err
    assert "stopped; 1 of 2 epochs and 3 steps of the next are kept in runs/digits-mlp-rmp" in said
    assert run(arguments) == 0
    said = capsys.readouterr().err
    assert "going on after epoch 1 of 2, step 3 of 6" in said
    assert "steps/s" in said
    assert "0:00 left" in said


def test_an_ann_has_no_quantization_error_to_print(capsys) -> None:
    ann = [f"--set={key}" for key in ("timesteps=1", "neuron.kind=relu", "norm.kind=batchnorm")]
    assert run(["train", "digits/mlp-vanilla", *TINY, *ann, "--json"]) == 0
    outcome = result(capsys)
    assert (outcome["quantization_error"], outcome["firing_rate"]) == (None, None)
    assert run(["train", "digits/mlp-vanilla", *TINY, *ann, "--seeds", "0,1", "--out", "g"]) == 0
    assert "–" in capsys.readouterr().out


def test_ctrl_c_says_how_to_resume(capsys, monkeypatch) -> None:
    from neurodeploy.training import loop

    save = loop.save_state

    def interrupted(*arguments: object) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_state", interrupted)
        assert run(["train", "digits/mlp-rmp", *TINY, "--set", "train.epochs=2"]) == 130
    assert "the same command resumes it" in capsys.readouterr().err
    assert run(["train", "digits/mlp-rmp", *TINY, "--set", "train.epochs=2"]) == 0
    assert "going on after epoch 1 of 2" in capsys.readouterr().err
