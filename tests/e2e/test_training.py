"""Real images and real events, from the data set's files to what runs on the chip; skipped where the data are not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from neurodeploy.cli import run as command
from neurodeploy.config.recipe import load_recipe
from neurodeploy.data import load
from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.sim import simulate
from neurodeploy.targets.export import export
from neurodeploy.training.loop import train

pytestmark = pytest.mark.slow


def data_root(folder: str) -> Path:
    root = os.environ.get("NEURODEPLOY_DATA")
    if not root or not (Path(root) / folder).is_dir():
        pytest.skip(f"needs {folder} under NEURODEPLOY_DATA")
    return Path(root)


def test_events_reach_the_chip_as_they_are(tmp_path, capsys) -> None:
    """N-MNIST: recordings -> 0/1 frames -> training -> a chip that needs no encoder and no multiplication."""
    root = data_root("NMNIST_small")
    recipe = load_recipe("nmnist/conv-rmp", ["net.width=6", "train.epochs=4"])
    test_set = load(recipe.data, "test", timesteps=recipe.timesteps, root=root)
    assert test_set.x.shape == (100, 4, 2, 32, 32)
    assert set(np.unique(test_set.x)) == {0.0, 1.0}
    checkpoint = train(recipe, tmp_path / "run", data_root=root)
    made = export(tmp_path / "run", "loihi2", data_root=root)
    assert not (made.folder / "encoder.nir").exists()
    trace = simulate(made.folder, test_set.x, test_set.y)
    totals = trace.totals()
    assert (totals["mac"], totals["mac_once"]) == (0, 0)
    assert totals["sop"] > 0
    # chance is 0.1; 1,000 training recordings and four epochs of a tiny net give far more
    assert trace.accuracy > 0.5
    assert trace.accuracy == pytest.approx(made.result["accuracy_target"])
    assert abs(trace.accuracy - made.result["accuracy_float"]) <= 0.05
    assert checkpoint.finished
    # The command finds size and slices in the artifact, and every spike is the interpreter's.
    assert command(["simulate", str(made.folder), "--data", "nmnist", "--data-root", str(root), "--limit", "8"]) == 0
    assert command(["verify", str(made.folder), "--with", "engine", "--samples", "8"]) == 0
    assert "equal" in capsys.readouterr().out


def test_laf_and_repact_learn_real_images(tmp_path) -> None:
    """Fashion-MNIST, one epoch of tiny nets: the teacher, then the student of both methods."""
    root = data_root("FashionMNIST")
    tiny = ["net.width=4", "train.epochs=1", "train.precision=float32"]
    ann = train(load_recipe("fashion-mnist/conv-ann", tiny), tmp_path / "ann", data_root=root)
    student = train(
        load_recipe("fashion-mnist/conv-laf-repact", [*tiny, f"loss.laf.teacher={tmp_path / 'ann'}"]),
        tmp_path / "student",
        data_root=root,
    )
    from neurodeploy.training.run_files import read_evaluation

    assert read_evaluation(ann.folder).accuracy > 0.6  # chance is 0.1
    assert read_evaluation(student.folder).accuracy > 0.6
    assert [layer.name for layer in read_evaluation(student.folder).layers] == ["lif1", "lif2"], "the third is a ReLU"
    made = export(tmp_path / "student", "loihi2", data_root=root)
    assert [node["kind"] for node in made.compile["host"]["tail"]][-4:] == ["relu", "flatten", "linear", "integrator"]
    assert made.result["accuracy_float"] == pytest.approx(read_evaluation(student.folder).accuracy, abs=0.001)
    assert abs(made.result["accuracy_target"] - made.result["accuracy_float"]) <= 0.02
    with pytest.raises(UnsupportedError, match="it is an ANN") as caught:
        export(tmp_path / "ann", "loihi2", data_root=root)
    assert caught.value.code == "ND306"
