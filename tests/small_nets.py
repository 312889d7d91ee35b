"""The nets in small, for tests: a recipe in one line, width 4, norms with statistics that let neurons fire."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from neurodeploy.config.recipe import Recipe
from neurodeploy.nn.nets import build_for
from neurodeploy.nn.tdbn import TdBatchNorm

Shape = tuple[int, int, int]
CIFAR: Shape = (3, 32, 32)


def recipe(name: str, timesteps: int = 4, repact: bool = False, **tables: dict[str, Any]) -> Recipe:
    """A recipe for ``build_for``; its dataset is not looked at."""
    net = {"name": name, **tables.pop("net", {})}
    table = {"timesteps": timesteps, "data": {"name": "digits"}, "net": net, "train": {"epochs": 1, "lr": 0.1}}
    return Recipe.model_validate({**table, "repact": {"enabled": repact}, **tables})


def small(name: str, shape: Shape = CIFAR, **tables: Any) -> nn.Module:
    """A net of width 4 for ten classes."""
    tables["net"] = {"width": 4, **tables.get("net", {})}
    torch.manual_seed(0)
    return build_for(recipe(name, **tables), shape, 10)


def settled(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """In evaluation mode, with the statistics of ``x``: untrained norms would let hardly a neuron fire."""
    for m in model.modules():
        if isinstance(m, TdBatchNorm):
            m.momentum = 1.0
    with torch.no_grad():
        model(x)
    return model.eval()


def inputs_of(model: nn.Module, name: str, x: torch.Tensor) -> torch.Tensor:
    """What enters one module in a forward."""
    seen = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(x)
    handle.remove()
    return seen[0]
