"""Cross-entropy on the readout's mean, on its sum, and per step."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from neurodeploy.losses.cross_entropy import cross_entropy, logits, step_logits


def trajectory(x_TBN: torch.Tensor) -> torch.Tensor:
    return x_TBN.cumsum(0)


def test_mean_and_sum_differ_by_the_factor_t_in_the_logits() -> None:
    u_TBN = torch.tensor([[[1.0, 0.0]], [[2.0, 0.0]]], dtype=torch.float64)
    assert logits(u_TBN, "sum_logits").tolist() == [[2.0, 0.0]]
    assert logits(u_TBN, "mean_logits").tolist() == [[1.0, 0.0]]
    label = torch.tensor([0])
    assert cross_entropy(u_TBN, label).item() == pytest.approx(math.log(1 + math.exp(-1)))
    assert cross_entropy(u_TBN, label, "sum_logits").item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_per_step_by_hand() -> None:
    # Two samples with labels 0 and 1, two steps; x[t] = (a, 0), and CE of (a, 0) with label 0 is ln(1 + e^-a),
    # with label 1 ln(1 + e^a).
    x_TBN = torch.tensor([[[1.0, 0.0], [2.0, 0.0]], [[-3.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    u_TBN = trajectory(x_TBN)
    assert u_TBN[1].tolist() == [[-2.0, 0.0], [2.0, 0.0]]
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2)) + math.log(1 + math.exp(3)) + math.log(2)) / 4
    assert cross_entropy(u_TBN, torch.tensor([0, 1]), "per_step").item() == pytest.approx(expected, rel=1e-12)


def test_per_step_is_the_mean_of_the_steps_cross_entropies_and_at_least_that_of_their_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    x_TBN = torch.randn(5, 7, 4, generator=generator, dtype=torch.float64)
    y_B = torch.randint(4, (7,), generator=generator)
    steps = [functional.cross_entropy(x_BN, y_B).item() for x_BN in x_TBN]
    per_step = cross_entropy(trajectory(x_TBN), y_B, "per_step").item()
    assert per_step == pytest.approx(sum(steps) / 5, rel=1e-12)
    assert per_step > cross_entropy(trajectory(x_TBN), y_B, "mean_logits").item()


def test_per_step_gradient_reaches_the_steps_own_logits() -> None:
    # Through the cumulated sum and back, the gradient of x[t] is (softmax(x[t]) - onehot) / (T·B) again.
    generator = torch.Generator().manual_seed(1)
    x_TBN = torch.randn(3, 2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    y_B = torch.tensor([3, 0])
    (gradient,) = torch.autograd.grad(cross_entropy(trajectory(x_TBN), y_B, "per_step"), x_TBN)
    expected = (x_TBN.softmax(-1) - functional.one_hot(y_B, 4)) / 6
    torch.testing.assert_close(gradient, expected.detach(), rtol=1e-12, atol=1e-14)


def test_one_step_is_the_same_in_all_forms() -> None:
    u_TBN = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(2))
    y_B = torch.tensor([0, 4, 2])
    values = {cross_entropy(u_TBN, y_B, per).item() for per in ("mean_logits", "sum_logits", "per_step")}
    assert len(values) == 1


def test_step_logits_lose_no_more_than_the_docstring_says() -> None:
    x_TBN = 10 * torch.randn(4, 8, 10, generator=torch.Generator().manual_seed(3))
    u = torch.zeros(8, 10)
    states = []
    for x in x_TBN:
        u = u + x
        states.append(u)
    u_TBN = torch.stack(states)
    error = (step_logits(u_TBN).double() - x_TBN.double()).abs()
    assert bool((error <= 2.0**-24 * (u_TBN.abs() + x_TBN.abs()).double() * (1 + 2.0**-20)).all())
    assert error[0].max() == 0
    assert error[1:].max() > 0


@pytest.mark.parametrize("per", ["mean_logits", "per_step"])
def test_prediction_does_not_depend_on_the_form(per: str) -> None:
    u_TBN = torch.randn(4, 9, 10, generator=torch.Generator().manual_seed(4))
    assert logits(u_TBN, per).shape == (9, 10)
    assert logits(u_TBN, per).argmax(1).tolist() == u_TBN[-1].argmax(1).tolist()
