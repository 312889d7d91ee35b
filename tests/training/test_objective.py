"""The terms of the loss and their weights."""

from __future__ import annotations

import pytest
import torch

from neurodeploy.config.recipe import load_recipe
from neurodeploy.losses.cross_entropy import cross_entropy
from neurodeploy.losses.rmp import rmp_loss
from neurodeploy.nn.lif import LIFRecord
from neurodeploy.nn.nets import build
from neurodeploy.training.objective import Objective, Seen


@pytest.mark.parametrize(
    ("per", "weight"),
    # epoch 1 of 4 with k = 0.1: lambda = 0.05; after half of epoch 1, n = 0.5 and lambda is half of it.
    [("epoch", 0.05), ("iteration", 0.025)],
)
def test_rmp_is_in_the_loss_with_its_coefficient(per, weight) -> None:
    recipe = load_recipe("digits/mlp-rmp", ["net.width=4", "train.epochs=4", f"loss.rmp.per={per}"])
    model = build(recipe)
    u_TBN, y_B = torch.randn(4, 3, 10), torch.tensor([1, 2, 3])
    x = torch.zeros(4, 3)
    records = {"lif1": LIFRecord(torch.full((4, 3), 0.25), torch.zeros(4, 3), 0.5, x)}
    terms = Objective(recipe, model, "cpu").terms(x, y_B, u_TBN, Seen(records), epoch=1, share=0.5)
    assert list(terms) == ["cross_entropy", "rmp"]
    assert torch.equal(terms["cross_entropy"], cross_entropy(u_TBN, y_B))
    # every potential is 0.25 below a spike of 0: q = 0.0625
    assert float(terms["rmp"]) == pytest.approx(weight * 0.0625)
    assert float(rmp_loss(list(records.values()))) == pytest.approx(0.0625)


def test_vanilla_is_the_cross_entropy_alone_and_records_nothing() -> None:
    recipe = load_recipe("digits/mlp-vanilla", ["net.width=4"])
    model = build(recipe)
    objective = Objective(recipe, model, "cpu")
    with objective.watching(model) as seen:
        u_TBN = model(torch.zeros(1, 2, 1, 8, 8))
    assert not seen.records
    assert seen.features is None
    assert list(objective.terms(torch.zeros(2), torch.tensor([0, 1]), u_TBN, seen, 1, 1.0)) == ["cross_entropy"]
    assert objective.teacher_digests == {}
