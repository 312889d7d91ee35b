"""The nets, one file per family. ``build`` makes the one that a recipe names.

Every net ends in ``fc``, the classifier, whose input ``(T, B, F)`` is the feature of LAF, and ``readout``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neurodeploy.diagnostics import UsageError

if TYPE_CHECKING:
    from torch import nn

    from neurodeploy.config.recipe import Recipe


def build(recipe: Recipe) -> nn.Module:
    """The untrained net of a recipe; ``(1 or T, B, C, H, W)`` in, the readout's ``(T, B, classes)`` out.

    Initial weights come from torch's global generator: seed it first for a reproducible net.

    Raises:
        UsageError: ND102 where the net does not take samples of the dataset's size, or a key would have no effect.
    """
    from neurodeploy.data import describe

    info = describe(recipe.data, recipe.timesteps)
    return build_for(recipe, info.shape, info.classes)


def build_for(recipe: Recipe, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The net of a recipe for samples of another ``(C, H, W)`` and number of classes than its dataset's."""
    from neurodeploy.nn.nets.parts import Parts
    from neurodeploy.nn.nets.table import NETS

    refuse_idle_alpha(recipe)
    entry = NETS[recipe.net.name]
    parts = Parts(recipe.net, recipe.neuron, recipe.norm, recipe.repact.enabled, recipe.timesteps, shape, classes)
    return entry.make(parts, recipe.net.width or entry.width)


def refuse_idle_alpha(recipe: Recipe) -> None:
    """ND102 for an α that the net would ignore."""
    net, norm = recipe.net, recipe.norm
    no_tdbn = f'α is of tdbn; norm.kind is "{norm.kind}"' if norm.kind != "tdbn" else ""
    if not net.name.startswith("resnet"):
        no_add = f"{net.name} has no residual add"
    else:
        no_add = "a norm of a sew block does not end in the add" if net.block == "sew" else ""
    for key, value, rule in (
        ("alpha", norm.alpha, no_tdbn),
        ("residual_alpha", norm.residual_alpha, no_tdbn or no_add),
    ):
        if rule and value != 1:
            message = f"norm.{key} = {value:g} would have no effect: {rule}"
            raise UsageError("ND102", message, where=f"norm.{key}", fix=f"norm.{key} = 1.0")


def parameter_count(model: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(parameter.numel() for parameter in model.parameters())
