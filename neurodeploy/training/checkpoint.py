"""The files of a run and how they are read. Importing this imports no torch.

```
manifest.json      made with recipe.toml before the first epoch, in one rename
recipe.toml        resolved
last/state.pt      everything after the last finished epoch: weights, optimizer, RNG, epoch, metrics;
                   after Ctrl-C also the place inside the epoch
metrics.jsonl      one line an epoch       }
metrics.csv        the same, for plotting  } of the last finished epoch: written from last/state.pt after it,
model.safetensors  the weights             } again at every resume
evaluation.json    only a finished run has it
```

``last/state.pt`` is the one source of truth: it is replaced in one rename, the other files are copies of parts of it.
So a kill between two files leaves a run that resumes from a whole epoch.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurodeploy.config.recipe import Recipe, load_recipe
from neurodeploy.files import MANIFEST, find_in_runs, write_atomic, write_text
from neurodeploy.training.run_files import EVALUATION, METRICS, read_manifest, unreadable

if TYPE_CHECKING:
    from torch import nn

RECIPE = "recipe.toml"
MODEL = "model.safetensors"
CURVES = "metrics.csv"
STATE = "last/state.pt"
STATE_KEYS = {"epoch", "model", "optimizer", "scheduler", "rng", "threads", "metrics"}


@dataclass(frozen=True)
class Checkpoint:
    """A trained network: the model in evaluation mode on the CPU, with its recipe and manifest."""

    folder: Path
    recipe: Recipe
    model: nn.Module
    manifest: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether all epochs of the recipe were run."""
        return is_finished(self.folder)


def is_run(folder: Path) -> bool:
    """Whether a folder was made by ``train``."""
    return (folder / RECIPE).is_file() and (folder / MANIFEST).is_file()


def is_finished(folder: Path) -> bool:
    """Whether a run has run all its epochs and was evaluated."""
    return is_run(folder) and (folder / EVALUATION).is_file()


def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Read a run; ``folder`` is a path or the name of a run under ``runs/``.

    Raises:
        UsageError: ND101 or ND103 where nothing is there, ND107 for a folder that is no run, for a manifest that is
            none, and for weights that are missing, truncated, or not those of the recipe.
    """
    import torch

    from neurodeploy.nn.nets import build

    folder = find_in_runs(folder, what="run")
    if not is_run(folder):
        missing = RECIPE if not (folder / RECIPE).is_file() else MANIFEST
        fix = "point at a folder that `neurodeploy train` made"
        raise unreadable(folder, f"not a run: it has no {missing}", fix)
    recipe = load_recipe(folder / RECIPE)
    manifest = read_manifest(folder)
    with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten: draw them from no one's generator
        model = build(recipe)
    model.load_state_dict(_weights(folder, model))
    return Checkpoint(folder, recipe, model.eval(), manifest)


def _weights(folder: Path, model: nn.Module) -> dict[str, Any]:
    """The weights of a run, checked against the model: same keys, shapes, and finite."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / MODEL
    if not path.is_file():
        raise unreadable(path, "the weights are missing", "run the same `neurodeploy train` again: it resumes")
    try:
        weights = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise unreadable(path, f"the weights cannot be read: {error}") from error
    wanted = model.state_dict()
    problems = [f"{key} is missing" for key in wanted if key not in weights]
    problems += [f"{key} is not in the recipe's net" for key in weights if key not in wanted]
    problems += [
        f"{key} is {tuple(weights[key].shape)}, the recipe's net has {tuple(wanted[key].shape)}"
        for key in wanted
        if key in weights and weights[key].shape != wanted[key].shape
    ]
    problems += [f"{key} is not finite" for key, value in weights.items() if not torch.isfinite(value).all()]
    if problems:
        raise unreadable(path, "the weights are not those of the recipe: " + "; ".join(problems))
    return weights


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Replace ``last/state.pt``, then, at the end of an epoch, the files made from it."""
    import torch

    # Through memory: torch's own writer meets a full disk with an internal error, Python's with one that says so.
    stream = io.BytesIO()
    torch.save(state, stream)
    write_atomic(folder / STATE, lambda temporary: _write(temporary, stream.getbuffer()))
    if not state["sums"]["step"]:
        publish(folder, state)


def publish(folder: Path, state: dict[str, Any]) -> None:
    """Write ``metrics.jsonl``, ``metrics.csv`` and ``model.safetensors`` as a state has them."""
    from safetensors.torch import save

    write_text(folder / METRICS, "".join(json.dumps(line) + "\n" for line in state["metrics"]))
    write_text(folder / CURVES, _csv(state["metrics"]))
    weights = {key: value.detach().cpu().contiguous() for key, value in state["model"].items()}
    write_atomic(folder / MODEL, lambda temporary: _write(temporary, save(weights)))


def _write(path: Path, content: bytes | memoryview) -> None:
    path.write_bytes(content)


def _csv(metrics: list[dict[str, Any]]) -> str:
    """A header and a line an epoch; what a network does not have (an ANN's firing rate) is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(metrics[-1]) if metrics else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(metrics)
    return text.getvalue()


def load_state(folder: Path) -> dict[str, Any] | None:
    """The state after the last finished epoch; None where no epoch was finished."""
    import pickle

    import torch

    path = folder / STATE
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise unreadable(path, f"the training state cannot be read: {first}", "start over with --fresh") from error
    missing = STATE_KEYS if not isinstance(state, dict) else STATE_KEYS - set(state)
    if missing:
        what = f"the training state lacks {', '.join(sorted(missing))}"
        raise unreadable(path, what, "start over with --fresh")
    return state


def sweep(folder: Path) -> None:
    """Remove the temporary files that a kill left behind in a run."""
    for name in (METRICS, CURVES, MODEL, STATE, EVALUATION):
        path = folder / name
        for leftover in path.parent.glob(f".{path.name}.*"):
            leftover.unlink(missing_ok=True)
