"""The name of a recipe's method, for lists and tables. No torch."""

from __future__ import annotations

from neurodeploy.config.recipe import Recipe


def method_name(recipe: Recipe) -> str:
    """``vanilla``, ``ann``, or the methods that a recipe adds: ``rmp``, ``laf``, ``laf+repact``, ``feature``."""
    if recipe.neuron.kind == "relu":
        return "ann"
    loss = recipe.loss
    present = {
        "rmp": loss.rmp is not None,
        "laf": loss.laf is not None,
        "feature": loss.feature is not None,
        "repact": recipe.repact.enabled,
    }
    return "+".join(name for name, there in present.items() if there) or "vanilla"
