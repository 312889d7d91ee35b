"""Data that compilation may look at: calibration samples and what fine-tuning trains on, never the test split.

A run brings the training split of its own data set; a foreign file needs ``--data`` (its training split) or ``--input``
(the file's first samples, for calibration only); without either, calibration uses seeded random input and says so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neurodeploy.diagnostics import Finding, UsageError
from neurodeploy.ir.nodes import Input
from neurodeploy.passes.calibrate import SAMPLES
from neurodeploy.sim.inputs import check_inputs
from neurodeploy.targets.model import DEFAULT_TIMESTEPS, Model
from neurodeploy.training.finetune import TrainingData


def calibration_samples(
    loaded: Model, data: str | None, inputs: Path | None, root: Path | None
) -> tuple[np.ndarray, str, list[Finding]]:
    """``(B, T, *shape)`` or ``(B, 1, *shape)``, at most 256; where they come from; what a user should know."""
    graph = loaded.graph
    entry = graph.nodes[graph.input]
    assert isinstance(entry, Input)
    timesteps = graph.timesteps or DEFAULT_TIMESTEPS
    findings = []
    if inputs is not None and loaded.dataset is None:
        assert loaded.x is not None
        x, label = loaded.x[:SAMPLES], f"the first samples of {inputs}"
        rule = "calibrated on samples that the accuracy is measured on too"
        fix = "pass --data NAME, whose training split is taken, or measure the accuracy on other samples"
        findings.append(Finding("ND237", "note", "", rule, len(x), None, "samples", fix))
    elif loaded.dataset is None and data is None:
        rng = np.random.default_rng(1)
        shape = (SAMPLES, timesteps, *entry.shape)
        real = entry.values == "real"
        x = rng.standard_normal(shape).astype(np.float32) if real else (rng.random(shape) < 0.2).astype(np.uint8)
        label = "seeded random input"
        rule = "no data were given: what looks at data was calibrated on seeded random input"
        fix = "pass --data NAME or --input FILE.npz, or --quantize proven, which looks at no data"
        findings.append(Finding("ND237", "warning", "", rule, fix=fix))
    else:
        found = training_data(loaded, data, root)
        x, label = found.read(np.arange(min(SAMPLES, len(found.y)))), found.label
    return check_inputs(x, None, entry, None, timesteps).x, label, findings


def training_data(loaded: Model, data: str | None, root: Path | None) -> TrainingData:
    """The training split of the run's own data set, or of ``data`` for a foreign file.

    Raises:
        UsageError: A foreign file without a data set (ND239).
    """
    from neurodeploy.config.recipe_sections import Data
    from neurodeploy.data import load

    if loaded.dataset is None and data is None:
        fix = "give a run, or --data NAME: its training split is used"
        raise UsageError("ND239", "fine-tuning needs a data set with a training split", where="--finetune", fix=fix)
    section: str | Data = Data.model_validate(loaded.dataset) if loaded.dataset is not None else str(data)
    dataset = load(section, "train", timesteps=loaded.graph.timesteps, root=root)

    def read(indices: np.ndarray) -> np.ndarray:
        x = dataset.batch(indices)
        return x if dataset.temporal else x[:, None]

    return TrainingData(read, dataset.y, f"{dataset.name} train, sha256 {dataset.sha256}")
