"""Training: what it writes, that it resumes bit for bit after a kill, and what it refuses."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from neurodeploy.config.recipe import Recipe, load_recipe
from neurodeploy.diagnostics import UsageError
from neurodeploy.training import loop
from neurodeploy.training.checkpoint import is_finished, is_run, load_checkpoint, load_state
from neurodeploy.training.interruption import SAVED
from neurodeploy.training.loop import Progress, train

FILES = {
    "manifest.json", "recipe.toml", "metrics.jsonl", "metrics.csv", "model.safetensors", "evaluation.json", "last",
}  # fmt: skip
METRICS = [
    "epoch",
    "lr",
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "quantization_error",
    "firing_rate",
    "seconds",
    "train_cross_entropy",
    "train_rmp",
]


def small(*overrides: str) -> Recipe:
    return load_recipe("digits/mlp-rmp", ["net.width=16", "train.epochs=4", "data.batch=256", *overrides])


def bits(folder: Path) -> tuple[bytes, list[dict], dict]:
    """Everything of a run that must not depend on an interruption."""
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in metrics:
        del line["seconds"]
    evaluation = json.loads((folder / "evaluation.json").read_text())
    return (folder / "model.safetensors").read_bytes(), metrics, evaluation


def test_a_run_has_the_files_of_the_contract(tmp_path) -> None:
    seen: list[Progress] = []
    checkpoint = train(small(), tmp_path / "run", progress=seen.append)
    assert {entry.name for entry in (tmp_path / "run").iterdir()} == FILES
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert all(list(line) == METRICS for line in lines)
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]
    assert lines[1]["train_loss"] == pytest.approx(lines[1]["train_cross_entropy"] + lines[1]["train_rmp"])
    assert lines[-1]["train_rmp"] == 0, "lambda(N) = 0"
    header, *rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert header.split(",") == METRICS
    assert [float(value) for value in rows[2].split(",")] == pytest.approx(list(lines[2].values()))
    best = json.loads((tmp_path / "run" / "evaluation.json").read_text())["best"]
    assert best["accuracy"] == max(line["test_accuracy"] for line in lines)
    assert lines[best["epoch"] - 1]["test_accuracy"] == best["accuracy"]
    manifest = checkpoint.manifest
    assert (manifest["command"], manifest["recipe"], manifest["seed"]) == ("train", "digits/mlp-rmp", 0)
    assert {"packages", "git", "neurodeploy_commit", "python", "recipe_sha256", "data", "device", "argv"} <= set(
        manifest
    )
    assert not checkpoint.model.training
    assert checkpoint.recipe.diff(small()) == []
    assert checkpoint.finished
    assert (seen[0].step, seen[0].epoch, seen[-1].epoch, seen[-1].steps) == (0, 1, 4, 6)
    assert sum(progress.metrics is not None for progress in seen) == 4


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path) -> None:
    torch.manual_seed(123)
    train(small(), tmp_path / "a")
    drawn = torch.rand(1)
    torch.manual_seed(123)
    assert torch.equal(drawn, torch.rand(1)), "training leaves the caller's generator alone"
    train(small(), tmp_path / "b")
    train(small("seed=1"), tmp_path / "c")
    assert bits(tmp_path / "a") == bits(tmp_path / "b")
    assert bits(tmp_path / "a")[0] != bits(tmp_path / "c")[0]


def test_a_finished_run_is_returned_at_once(tmp_path) -> None:
    train(small("train.epochs=1"), tmp_path / "run")
    before = (tmp_path / "run" / "metrics.jsonl").stat().st_mtime_ns
    seen: list[Progress] = []
    train(small("train.epochs=1"), tmp_path / "run", progress=seen.append)
    assert not seen
    assert (tmp_path / "run" / "metrics.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize("place", ["save_state", "publish", "write_json", "step", "epoch"])
def test_resume_from_every_place_gives_the_same_bits(place, tmp_path, monkeypatch) -> None:
    """Stop between two files, in a step, between epochs: resuming ends where the uninterrupted run ends."""
    train(small(), tmp_path / "whole")

    class Stop(BaseException):
        pass

    def stop(*_: object, **__: object) -> None:
        raise Stop

    def at(progress: Progress) -> None:
        if progress.epoch == 3 and (progress.metrics is not None) == (place == "epoch"):
            raise Stop

    with monkeypatch.context() as patch:
        if place == "publish":  # after last/state.pt, before the files made from it
            patch.setattr("neurodeploy.training.checkpoint.publish", stop)
        elif place == "write_json":  # before the manifest (nothing is left) or before evaluation.json
            patch.setattr(loop, "write_json", stop)
        elif place == "save_state":
            patch.setattr(loop, "save_state", stop)
        with pytest.raises(Stop):
            train(small(), tmp_path / "cut", progress=at if place in ("step", "epoch") else None)
    if place == "write_json":
        assert list(tmp_path.iterdir()) == [tmp_path / "whole"], "a run that cannot begin leaves nothing"
    else:
        assert is_run(tmp_path / "cut")
        assert not is_finished(tmp_path / "cut")
    train(small(), tmp_path / "cut")
    assert bits(tmp_path / "cut") == bits(tmp_path / "whole")
    assert {entry.name for entry in (tmp_path / "cut").iterdir()} == FILES


CONV = ["net.name=conv", "net.width=4", "train.precision=bf16", "train.memory=channels_last", "train.clip_norm=1.0"]


@pytest.mark.parametrize(
    ("number", "overrides"),
    [(signal.SIGINT, []), (signal.SIGTERM, []), (signal.SIGINT, CONV)],
    ids=["int", "term", "conv"],
)
def test_a_signal_saves_inside_the_epoch_and_the_resumed_run_has_the_same_bits(number, overrides, tmp_path) -> None:
    recipe = small("data.augment=crop-flip", *overrides)
    train(recipe, tmp_path / "whole")

    def ask(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (3, 2):
            os.kill(os.getpid(), number)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
        train(recipe, tmp_path / "cut", progress=ask)
    assert caught.value.args == ((SAVED,) if number == signal.SIGINT else (128 + signal.SIGTERM,))
    assert signal.getsignal(signal.SIGINT) is handler
    state = load_state(tmp_path / "cut")
    assert (state["epoch"], state["sums"]["step"]) == (2, 3)
    # The files beside the state are those of the last finished epoch.
    assert len((tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()) == 2
    seen: list[Progress] = []
    train(recipe, tmp_path / "cut", progress=seen.append)
    assert (seen[0].epoch, seen[0].step, seen[0].steps) == (3, 3, 6)
    assert bits(tmp_path / "cut") == bits(tmp_path / "whole")


def test_a_second_signal_stops_at_once(tmp_path) -> None:
    def ask_twice(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (2, 1):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        train(small(), tmp_path / "cut", progress=ask_twice)
    assert caught.value.args != (SAVED,)
    assert load_state(tmp_path / "cut")["sums"]["step"] == 0


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path) -> None:
    """Files may not grow past a limit, which a training state does in the third epoch: refused, and nothing is lost."""
    pytest.importorskip("resource")
    code = (
        "import resource, signal, sys\n"
        "from neurodeploy.config.recipe import load_recipe; from neurodeploy.training import loop\n"
        "from neurodeploy.diagnostics import UsageError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "def full(progress):\n"
        "    if progress.epoch == 3: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        "recipe = load_recipe('digits/mlp-rmp', sys.argv[2:])\n"
        "try: loop.train(recipe, sys.argv[1], progress=full)\n"
        "except UsageError as error: print(error.code, error.message)\n"
    )
    overrides = ["net.width=16", "train.epochs=4", "data.batch=256"]
    cut = tmp_path / "cut"
    done = subprocess.run(
        [sys.executable, "-c", code, str(cut), *overrides], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.startswith("ND110 cannot be written"), done.stderr
    assert load_state(cut)["epoch"] == 2
    load_checkpoint(cut)
    assert not list(cut.glob("**/.*")), "no half-written file is left"
    train(small(), tmp_path / "whole")
    train(small(), cut)
    assert bits(cut) == bits(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_resume_after_kill_minus_nine(tmp_path) -> None:
    """A child is killed at a random moment, several times; the resumed run equals the one never stopped."""
    overrides = ["net.width=16", "train.epochs=30", "data.batch=256"]
    code = (
        "import sys; from neurodeploy.config.recipe import load_recipe; from neurodeploy.training.loop import train\n"
        "train(load_recipe('digits/mlp-rmp', sys.argv[2:]), sys.argv[1])"
    )
    recipe = load_recipe("digits/mlp-rmp", overrides)
    train(recipe, tmp_path / "whole")
    cut = tmp_path / "cut"
    chance = random.Random()
    kills = 0
    for target in (1, 8):
        child = subprocess.Popen([sys.executable, "-c", code, str(cut), *overrides], env={**os.environ})
        deadline = time.monotonic() + 120
        metrics = cut / "metrics.jsonl"
        while child.poll() is None and time.monotonic() < deadline:
            if metrics.is_file() and len(metrics.read_text().splitlines()) >= target:
                time.sleep(chance.random() * 0.2)
                break
            time.sleep(0.005)
        child.kill()
        kills += child.wait() == -signal.SIGKILL
    assert kills, "the child finished before it was killed"
    # Whatever the moment: the state on disk is whole.
    assert load_state(cut) is not None
    train(recipe, cut)
    assert bits(cut) == bits(tmp_path / "whole")
    assert {entry.name for entry in cut.iterdir()} == FILES
    assert [entry.name for entry in (cut / "last").iterdir()] == ["state.pt"]


def test_another_recipe_is_refused_and_fresh_starts_over(tmp_path) -> None:
    train(small("train.epochs=1"), tmp_path / "run")
    with pytest.raises(UsageError) as caught:
        train(small("train.epochs=2", "train.lr=0.05"), tmp_path / "run")
    assert (caught.value.code, caught.value.exit_code) == ("ND109", 2)
    assert "train.epochs: 1 there, 2 now" in caught.value.message
    assert "train.lr" in caught.value.message
    (tmp_path / "run" / "export-nir").mkdir()
    checkpoint = train(small("train.epochs=2"), tmp_path / "run", fresh=True)
    assert checkpoint.recipe.train.epochs == 2
    assert {entry.name for entry in (tmp_path / "run").iterdir()} == FILES


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_that_is_no_run_is_never_touched(fresh, tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("thesis")
    with pytest.raises(UsageError) as caught:
        train(small(), tmp_path, fresh=fresh)
    assert caught.value.code == "ND110"
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


def test_changed_data_are_refused(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path / "run", progress=_interrupt)
    manifest = tmp_path / "run" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"test": "', '"test": "0'))
    with pytest.raises(UsageError, match="test split has changed") as caught:
        train(small(), tmp_path / "run")
    assert caught.value.code == "ND109"


@pytest.mark.parametrize("text", ["[]", '{"data": []}', ""])
def test_a_foreign_manifest_is_refused_and_fresh_starts_over(text, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path / "run", progress=_interrupt)
    (tmp_path / "run" / "manifest.json").write_text(text)
    with pytest.raises(UsageError, match=r"manifest\.json is not as neurodeploy writes it") as caught:
        train(small(), tmp_path / "run")
    assert caught.value.code == "ND107"
    assert train(small("train.epochs=1"), tmp_path / "run", fresh=True).finished


def _interrupt(progress: Progress) -> None:
    if progress.epoch == 2 and progress.step == 3:
        raise KeyboardInterrupt


def test_divergence_names_step_and_layer_and_keeps_the_last_epoch(tmp_path, monkeypatch) -> None:
    rate = loop.learning_rate
    monkeypatch.setattr(loop, "learning_rate", lambda recipe, epoch: 1e38 if epoch == 3 else rate(recipe, epoch))
    with pytest.raises(UsageError) as caught:
        train(small(), tmp_path / "run")
    assert (caught.value.code, caught.value.exit_code) == ("ND111", 2)
    assert "epoch 3, step" in caught.value.message
    assert any(f"`{name}`" in caught.value.message for name in ("fc1", "norm1", "fc2", "norm2", "fc", "readout"))
    checkpoint = load_checkpoint(tmp_path / "run")
    assert not checkpoint.finished
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_potential_that_is_no_number_is_noticed_though_the_loss_is_finite(tmp_path, monkeypatch) -> None:
    def poisoned(recipe: Recipe):
        model = real(recipe)
        model.get_submodule("fc1").weight.data[0, 0] = float("nan")
        return model

    real = loop.build
    monkeypatch.setattr(loop, "build", poisoned)
    with pytest.raises(UsageError, match="epoch 1, step 1, `weight` of layer `fc1`"):
        train(load_recipe("digits/mlp-vanilla", ["train.epochs=1", "net.width=8"]), tmp_path / "run")


def test_rmp_without_a_layer_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="leaves none of the 2") as caught:
        train(small("loss.rmp.layers=exclude_first_last"), tmp_path / "run")
    assert caught.value.code == "ND102"
    assert not (tmp_path / "run").exists()


def test_unknown_device(tmp_path) -> None:
    with pytest.raises(UsageError, match="no such device") as caught:
        train(small(), tmp_path / "run", device="tpu")
    assert "cpu" in caught.value.fix


def test_a_loss_that_is_no_number_is_found_before_the_weights_are_changed(tmp_path, monkeypatch) -> None:
    """The message names the layer whose activations went first, not the first whose gradient is NaN."""

    def explosive(recipe: Recipe):
        model = real(recipe)
        model.get_submodule("norm2").weight.data.fill_(3e38)
        return model

    real = loop.build
    monkeypatch.setattr(loop, "build", explosive)
    with pytest.raises(UsageError, match="epoch 1, step 1, the output of layer `norm2`") as caught:
        train(small("train.epochs=2"), tmp_path / "run")
    assert "train.clip_norm" in caught.value.fix


def test_bf16_channels_last_adam_and_clipping_train(tmp_path) -> None:
    overrides = ["train.precision=bf16", "train.memory=channels_last", "train.optimizer=adam", "train.lr=0.01"]
    recipe = load_recipe(
        "digits/conv-rmp", ["net.width=4", "train.epochs=3", "train.clip_norm=1.0", "train.schedule=step", *overrides]
    )
    checkpoint = train(recipe, tmp_path / "run")
    assert all(parameter.dtype == torch.float32 for parameter in checkpoint.model.parameters())
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]
    assert lines[-1]["test_accuracy"] > 0.3  # chance is 0.1


def test_clipping_bounds_the_update(tmp_path) -> None:
    """Without momentum and decay one step moves the weights by lr·clip_norm at most."""
    overrides = ["train.epochs=1", "data.batch=1437", "train.momentum=0", "train.weight_decay=0", "train.lr=1.0"]
    before = _parameters(loop.build(small(*overrides)), seed=small().seed)
    after = dict(train(small(*overrides, "train.clip_norm=0.01"), tmp_path / "run").model.named_parameters())
    moved = torch.stack([(after[name] - value).norm() for name, value in before.items()]).norm()
    assert float(moved.detach()) == pytest.approx(0.01, rel=1e-3)


def _parameters(model: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return dict(loop.build(small()).named_parameters())


def test_an_ann_has_no_spikes_to_report(tmp_path) -> None:
    recipe = load_recipe(
        "digits/mlp-vanilla",
        ["net.width=16", "train.epochs=1", "timesteps=1", "neuron.kind=relu", "norm.kind=batchnorm"],
    )
    train(recipe, tmp_path / "ann")
    evaluation = json.loads((tmp_path / "ann" / "evaluation.json").read_text())
    assert (evaluation["quantization_error"], evaluation["firing_rate"], evaluation["layers"]) == (None, None, [])
    assert evaluation["accuracy"] > 0.5


@pytest.mark.parametrize("method", ["laf", "feature"])
def test_a_teacher_is_in_the_loss_the_manifest_and_the_resume(method, tmp_path) -> None:
    ann = ["net.width=16", "train.epochs=1", "timesteps=1", "neuron.kind=relu", "norm.kind=batchnorm"]
    train(load_recipe("digits/mlp-vanilla", ann), tmp_path / "ann")
    student = load_recipe(
        "digits/mlp-vanilla", ["net.width=16", "train.epochs=2", f"loss.{method}.teacher={tmp_path / 'ann'}"]
    )

    def stop(progress: Progress) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(student, tmp_path / "student", progress=stop)
    line = json.loads((tmp_path / "student" / "metrics.jsonl").read_text())
    assert line[f"train_{method}"] > 0
    manifest = json.loads((tmp_path / "student" / "manifest.json").read_text())
    assert all(manifest["teachers"].values())
    assert len(manifest["teachers"]) == 1
    train(load_recipe("digits/mlp-vanilla", [*ann, "seed=1"]), tmp_path / "ann", fresh=True)
    with pytest.raises(UsageError, match="begun with another teacher") as caught:
        train(student, tmp_path / "student")
    assert caught.value.code == "ND109"


def test_a_layout_that_crashes_torch_is_refused(tmp_path) -> None:
    overrides = ["net.name=resnet20-slim", "net.width=8", "train.memory=channels_last"]
    with pytest.raises(UsageError, match=r"`stage2\.block1\.shortcut\.conv`, .* of 8 input channels") as caught:
        train(load_recipe("digits/conv-vanilla", overrides), tmp_path / "run")
    assert (caught.value.code, caught.value.where) == ("ND102", "train.memory")
    assert not (tmp_path / "run").exists()
