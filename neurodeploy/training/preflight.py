"""What is refused before a run's folder is touched: other recipes and data, devices, options that leave nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from neurodeploy.config.recipe import Recipe, load_recipe
from neurodeploy.data import Dataset
from neurodeploy.diagnostics import UsageError
from neurodeploy.nn.lif import LIF
from neurodeploy.training.checkpoint import RECIPE
from neurodeploy.training.distributed import World
from neurodeploy.training.run_files import read_manifest


def refuse_other_recipe(out: Path, recipe: Recipe) -> None:
    """ND109 where a run's recipe differs from this one, with every key that does."""
    differences = load_recipe(out / RECIPE).diff(recipe)
    if differences:
        shown = "; ".join(f"{key}: {old} there, {new} now" for key, old, new in differences)
        raise UsageError(
            "ND109",
            f"the run exists with a different recipe: {shown}",
            where=str(out),
            fix="--out another folder, or --fresh to start over (deletes this run)",
        )


def refuse_other_data(out: Path, data: dict[str, Dataset], teachers: dict[str, str]) -> None:
    """ND109 where a run was begun on other bytes of the same dataset, or with another teacher."""
    manifest = read_manifest(out)
    recorded: dict[str, Any] = manifest.get("data", {})
    changed = [split for split, part in data.items() if recorded.get(split) != part.sha256]
    if changed:
        raise UsageError(
            "ND109",
            f"the run was begun on other data: the {' and '.join(changed)} split has changed since",
            where=str(out),
            fix="restore the data, or --fresh to start over (deletes this run)",
        )
    if manifest.get("teachers", {}) != teachers:
        raise UsageError(
            "ND109",
            f"the run was begun with another teacher: the weights of {', '.join(teachers)} have changed since",
            where=str(out),
            fix="restore the teacher, or --fresh to start over (deletes this run)",
        )


def refuse_rmp_without_layers(recipe: Recipe, model: nn.Module) -> None:
    """ND102 where ``exclude_first_last`` leaves no layer to regularize."""
    lifs = sum(isinstance(module, LIF) for module in model.modules())
    if recipe.loss.rmp is not None and recipe.loss.rmp.layers == "exclude_first_last" and lifs < 3:
        raise UsageError(
            "ND102",
            f'loss.rmp.layers = "exclude_first_last" leaves none of the {lifs} LIF layers of {recipe.net.name}',
            where="loss.rmp.layers",
            fix='use loss.rmp.layers = "all"',
        )


def refuse_batch_too_small(recipe: Recipe, samples: int, world: World) -> None:
    """ND102 where some process would get no sample of a batch."""
    last = samples % recipe.data.batch or recipe.data.batch
    smallest = min(last, recipe.data.batch)
    if smallest < world.size:
        raise UsageError(
            "ND102",
            f"a batch of {smallest} of the {samples} samples cannot be shared by {world.size} processes",
            where="data.batch",
            fix="choose a data.batch whose last batch has a sample for every process, or fewer processes",
        )


def refuse_crashing_layout(recipe: Recipe, model: nn.Module, device: str) -> None:
    """ND102 where torch would end the process: on the CPU, the gradient of a strided 1x1 convolution in channels_last.

    Seen with torch 2.15 for fewer than 16 input channels, never for 16 and more.
    """
    if recipe.train.memory != "channels_last" or device != "cpu":
        return
    for name, module in model.named_modules():
        if (
            isinstance(module, nn.Conv2d)
            and module.kernel_size == (1, 1)
            and module.stride != (1, 1)
            and module.in_channels < 16
        ):
            raise UsageError(
                "ND102",
                f"torch crashes in channels_last on `{name}`, a strided 1x1 convolution of {module.in_channels} "
                "input channels, fewer than 16",
                where="train.memory",
                fix='use train.memory = "contiguous", or a larger net.width',
            )


def refuse_device(device: str) -> None:
    """ND101 for a device that is neither the CPU nor one of this machine's CUDA devices.

    Under torchrun each process takes a CUDA device of its own, so naming one is refused as well.
    """
    if device.startswith("cuda:") and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        what = f"{device} would be the device of all {os.environ['WORLD_SIZE']} processes"
        raise UsageError("ND101", what, where="--device", fix="--device cuda: each process takes one of its own")
    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if device not in found:
        raise UsageError("ND101", f"no such device here: {device}", where="--device", fix=f"known: {', '.join(found)}")
