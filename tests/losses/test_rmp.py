"""RMP-Loss against Eq. 8-12 worked by hand."""

from __future__ import annotations

import pytest
import torch

from neurodeploy.losses.rmp import coefficient, quantization_error, rmp_loss
from neurodeploy.nn.lif import LIFRecord


def record(*values: float) -> LIFRecord:
    u = torch.tensor(values, dtype=torch.float64)
    return LIFRecord(u, (u >= 0.5).double(), 0.5)


def test_q_by_hand() -> None:
    u = torch.tensor([-1.0, 0.25, 0.5, 0.75, 1.0, 1.5], dtype=torch.float64)
    assert quantization_error(u).tolist() == [1.0, 0.0625, 0.25, 0.0625, 0.0, 0.25]
    assert quantization_error(u, p=1).tolist() == [1.0, 0.25, 0.5, 0.25, 0.0, 0.5]


def test_q_at_threshold_one_half_is_the_smaller_distance() -> None:
    u = torch.linspace(-2, 3, 101, dtype=torch.float64)
    assert torch.allclose(quantization_error(u), torch.minimum(u.abs(), (1 - u).abs()).square())


def test_gradient_is_2u_below_and_minus_2_times_1_minus_u_above() -> None:
    u = torch.tensor([-1.0, 0.25, 0.5, 0.75, 1.5], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(quantization_error(u).sum(), u)
    assert gradient.tolist() == [-2.0, 0.5, -1.0, -0.5, 1.0]


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0])
def test_gradcheck_away_from_the_case_split(p) -> None:
    u = torch.tensor([-1.0, 0.2, 0.3, 0.7, 0.9, 1.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: quantization_error(v, p=p), (u,))


def test_each_layer_weighs_the_same_whatever_its_size() -> None:
    layers = [record(0.5), record(0.0, 0.0, 1.0, 1.0), record(0.25, 0.75)]
    assert rmp_loss(layers).item() == pytest.approx((0.25 + 0 + 0.0625) / 3)
    assert rmp_loss(layers, layers="exclude_first_last").item() == 0
    with pytest.raises(ValueError, match="no layer"):
        rmp_loss(layers[:2], layers="exclude_first_last")


def test_coefficient_rises_to_k_at_half_and_falls_to_zero() -> None:
    assert [coefficient(n, 4, 0.1) for n in (1, 2, 3, 4)] == pytest.approx([0.05, 0.1, 0.05, 0.0])
    assert [coefficient(n, 5, 1.0) for n in (1, 2, 3, 4, 5)] == pytest.approx([0.4, 0.8, 0.8, 0.4, 0.0])
    assert coefficient(1, 1, 0.1) == 0
    assert coefficient(3, 9, 0.1, "constant") == 0.1


def test_expected_error_under_tdbn_is_the_papers_vanilla_value() -> None:
    # facts: x ~ N(0, 0.5²), tau = 0.25, T = 4 gives E[q] = 0.179 (the paper measures 0.174-0.186 in vanilla nets).
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 400_000, generator=generator) * 0.5
    u, total = torch.zeros(400_000), 0.0
    for t in range(4):
        u_pre = 0.25 * u + x[t]
        total += quantization_error(u_pre).mean().item() / 4
        u = u_pre * (u_pre < 0.5)
    # 1.6 million draws of a q with standard deviation 0.3: standard error 2.4e-4.
    assert total == pytest.approx(0.179, abs=0.001)
