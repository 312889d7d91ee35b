"""tdBN against Eq. 6-7 and torch's BatchNorm."""

from __future__ import annotations

import pytest
import torch

from neurodeploy.nn.tdbn import TdBatchNorm


@pytest.mark.parametrize("shape", [(4, 6, 3, 5, 5), (4, 6, 3)])
def test_training_is_the_formula(shape) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64) * 3 + 1
    norm = TdBatchNorm(3, alpha=0.7, v_threshold=0.4).double()
    norm.weight.data.uniform_(0.5, 2)
    norm.bias.data.normal_()
    axes = [0, 1, *range(3, x.dim())]
    view = [1, 1, 3] + [1] * (x.dim() - 3)
    mean = x.mean(axes, keepdim=True)
    variance = (x - mean).square().mean(axes, keepdim=True)
    normed = 0.7 * 0.4 * (x - mean) / (variance + 1e-5).sqrt()
    expected = norm.weight.view(view) * normed + norm.bias.view(view)
    # float64 sums of 600 numbers: a few hundred roundings of 1e-16.
    assert torch.allclose(norm(x), expected, atol=1e-12)
    assert torch.allclose(norm.running_mean, 0.1 * mean.flatten())
    assert torch.allclose(norm.running_var, 0.9 + 0.1 * variance.flatten())


def test_evaluation_uses_the_running_statistics() -> None:
    norm = TdBatchNorm(2, v_threshold=0.5).double().eval()
    norm.running_mean.copy_(torch.tensor([1.0, -2.0]))
    norm.running_var.copy_(torch.tensor([4.0, 0.25]))
    y = norm(torch.tensor([3.0, -2.0], dtype=torch.float64).view(1, 1, 2))
    assert y.flatten().tolist() == pytest.approx([0.5 * 2 / (4 + 1e-5) ** 0.5, 0.0])


def test_output_has_standard_deviation_alpha_times_threshold() -> None:
    torch.manual_seed(0)
    y = TdBatchNorm(4, alpha=1.0, v_threshold=0.5)(torch.randn(4, 32, 4, 8, 8) * 7)
    assert y.std((0, 1, 3, 4), correction=0).tolist() == pytest.approx([0.5] * 4, rel=1e-4)


def test_repetition_over_time_changes_nothing() -> None:
    torch.manual_seed(0)
    once, repeated = TdBatchNorm(3).double(), TdBatchNorm(3).double()
    x = torch.randn(1, 8, 3, 4, 4, dtype=torch.float64)
    assert torch.allclose(once(x).expand(4, -1, -1, -1, -1), repeated(x.expand(4, -1, -1, -1, -1)), atol=1e-12)
    assert torch.allclose(once.running_var, repeated.running_var)


def test_gradient() -> None:
    torch.manual_seed(0)
    norm = TdBatchNorm(2).double()
    x = torch.randn(2, 3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (x,))


def test_one_value_per_channel_gives_beta() -> None:
    torch.manual_seed(0)
    # x·s − μ·s with s = 0.5/sqrt(1e-5) = 158: one float32 rounding of a number near 158 is 1e-5.
    assert TdBatchNorm(3)(torch.randn(1, 1, 3)).abs().max() < 1e-4
