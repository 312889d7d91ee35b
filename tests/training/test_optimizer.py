"""Learning rates by epoch, and which parameters decay."""

from __future__ import annotations

import pytest
import torch

from neurodeploy.config.recipe import Recipe, load_recipe
from neurodeploy.nn.nets import build
from neurodeploy.training.optimizer import learning_rate, make_optimizer


def recipe(*overrides: str) -> Recipe:
    return load_recipe("digits/mlp-rmp", ["net.width=4", "train.epochs=4", "train.lr=0.2", *overrides])


def test_cosine_falls_to_zero_after_the_last_epoch() -> None:
    assert [learning_rate(recipe(), n) for n in (1, 3)] == pytest.approx([0.2, 0.1])
    assert learning_rate(recipe(), 5) == pytest.approx(0)


def test_constant_and_step() -> None:
    assert [learning_rate(recipe("train.schedule=constant"), n) for n in (1, 4)] == [0.2, 0.2]
    steps = [learning_rate(recipe("train.schedule=step"), n) for n in (1, 2, 3, 4)]
    assert steps == pytest.approx([0.2, 0.2, 0.02, 0.002])


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_optimizer_by_name(name, kind) -> None:
    made = make_optimizer(recipe(f"train.optimizer={name}", "train.weight_decay=0.5"), build(recipe()))
    assert type(made) is kind
    assert [group["weight_decay"] for group in made.param_groups] == [0.5]
    assert made.param_groups[0]["lr"] == 0.2


def test_norms_and_biases_do_not_decay_when_only_weights_do() -> None:
    model = build(recipe())
    made = make_optimizer(recipe("train.decay=weights", "train.weight_decay=0.5"), model)
    decays = {id(p): group["weight_decay"] for group in made.param_groups for p in group["params"]}
    assert {name: decays[id(p)] for name, p in model.named_parameters()} == {
        "fc1.weight": 0.5,
        "norm1.weight": 0.0,
        "norm1.bias": 0.0,
        "fc2.weight": 0.5,
        "norm2.weight": 0.0,
        "norm2.bias": 0.0,
        "fc.weight": 0.5,
        "fc.bias": 0.0,
    }
