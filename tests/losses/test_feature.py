"""Direct feature alignment, Eq. 1."""

from __future__ import annotations

import pytest
import torch

from neurodeploy.losses.feature import feature_loss


def test_by_hand() -> None:
    # Differences (3, 4) and (0, 0) at the first step, (0, 5) and (8, 15) at the second: norms 5, 0, 5, 17.
    h_a_BF = torch.tensor([[3.0, 4.0], [8.0, 15.0]])
    h_TBF = torch.tensor([[[0.0, 0.0], [8.0, 15.0]], [[3.0, -1.0], [0.0, 0.0]]])
    assert feature_loss(h_TBF, h_a_BF).item() == pytest.approx((5 + 0 + 5 + 17) / 4)


def test_gradient_is_the_unit_vector_away_from_the_teacher_and_zero_where_equal() -> None:
    h_a_BF = torch.tensor([[3.0, 4.0], [1.0, 1.0]], requires_grad=True)
    h_TBF = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]], requires_grad=True)
    feature_loss(h_TBF, h_a_BF).backward()
    assert h_TBF.grad is not None
    torch.testing.assert_close(h_TBF.grad, torch.tensor([[[-0.3, -0.4], [0.0, 0.0]]]))
    assert h_a_BF.grad is None


def test_gradcheck_away_from_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    h_a_BF = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    h_TBF = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h: feature_loss(h, h_a_BF), (h_TBF,))


def test_float32_of_half_precision_features() -> None:
    h_a_BF = torch.tensor([[3.0, 4.0]])
    with torch.autocast("cpu", torch.bfloat16):
        loss = feature_loss(torch.zeros(1, 1, 2, dtype=torch.bfloat16), h_a_BF)
    assert loss.dtype == torch.float32
    assert loss.item() == 5
