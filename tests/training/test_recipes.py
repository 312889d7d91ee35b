"""Every shipped recipe trains, at tiny size."""

from pathlib import Path

import pytest

from neurodeploy.config.recipe import load_recipe, recipe_names
from neurodeploy.training.loop import train


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipe(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, ["train.epochs=1", "net.width=4", "data.batch=512"])
    checkpoint = train(recipe, tmp_path / "run")
    assert checkpoint.finished
    assert (recipe.loss.rmp is not None) == name.endswith("-rmp")
