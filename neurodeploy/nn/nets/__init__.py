"""The nets, one file per family. ``build`` makes the one that a recipe names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neurodeploy.diagnostics import not_built

if TYPE_CHECKING:
    from torch import nn

    from neurodeploy.config.recipe import Recipe


def build(recipe: Recipe) -> nn.Module:
    """The untrained net of a recipe; ``(1 or T, B, C, H, W)`` in, the readout's ``(T, B, classes)`` out.

    Initial weights come from torch's global generator: seed it first for a reproducible net.
    """
    from neurodeploy.data import describe
    from neurodeploy.nn.nets.conv import ConvNet
    from neurodeploy.nn.nets.mlp import Mlp

    families: dict[str, type[ConvNet] | type[Mlp]] = {"conv": ConvNet, "mlp": Mlp}
    if recipe.net.name not in families:
        raise not_built(f"net {recipe.net.name}", where="net.name", fix=f"use one of: {', '.join(families)}")
    info = describe(recipe.data.name)
    return families[recipe.net.name](
        shape=info.shape,
        classes=info.classes,
        width=recipe.net.width,
        timesteps=recipe.timesteps,
        tau=recipe.neuron.tau,
        v_threshold=recipe.neuron.v_threshold,
        surrogate=recipe.neuron.surrogate,
        alpha=recipe.norm.alpha,
    )


def parameter_count(model: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(parameter.numel() for parameter in model.parameters())
