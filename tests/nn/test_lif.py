"""The neurons against Eq. 1-4 worked by hand, and the surrogate against Eq. 5."""

from __future__ import annotations

import math

import pytest
import torch

from neurodeploy.nn.lif import LIF, Integrator, lif_step, record_lifs
from neurodeploy.nn.surrogate import tanh_spike, tanh_surrogate, tanh_surrogate_derivative


def test_a_trajectory_value_by_value() -> None:
    # tau = 1/4 and dyadic inputs: every number below is exact in float32.
    x_TBN = torch.tensor([0.25, 0.4375, 0.5, 0.25, -1.0, 0.75]).view(6, 1, 1)
    lif = LIF(0.25, 0.5)
    with record_lifs(lif) as records:
        o = lif(x_TBN)
    (record,) = records.values()
    # step 2 meets the threshold exactly and fires; step 3 starts from 0 (hard reset), fires; 4 from 0 again.
    assert record.u_pre_T.flatten().tolist() == [0.25, 0.5, 0.5, 0.25, -0.9375, 0.515625]
    assert o.flatten().tolist() == [0, 1, 1, 0, 0, 1]


def test_nothing_is_recorded_outside_the_block() -> None:
    lif = LIF()
    with record_lifs(lif) as records:
        pass
    lif(torch.ones(2, 1, 1))
    assert records == {}


def test_integrator_is_the_running_sum() -> None:
    x = torch.randn(5, 3, 7, dtype=torch.float64)
    assert torch.equal(Integrator()(x), x.cumsum(0))


def test_surrogate_values() -> None:
    ends = tanh_surrogate(torch.tensor([-0.5, 0.0, 0.5, 1.0, 2.0], dtype=torch.float64))
    assert torch.allclose(ends, torch.tensor([0, 0, 0.5, 1, 1], dtype=torch.float64), atol=1e-15)
    slope = tanh_surrogate_derivative(torch.tensor([-1e-3, 0.0, 0.5, 1.0, 1.001], dtype=torch.float64))
    end = 1.5 / math.tanh(1.5) * (1 - math.tanh(1.5) ** 2)
    assert slope.tolist() == pytest.approx([0, end, 1.5 / math.tanh(1.5), end, 0], abs=1e-15)


def test_surrogate_derivative_is_that_of_the_surrogate() -> None:
    u = torch.linspace(-0.5, 1.5, 50, dtype=torch.float64, requires_grad=True)  # no point on 0 or 1
    (gradient,) = torch.autograd.grad(tanh_surrogate(u).sum(), u)
    assert torch.allclose(gradient, tanh_surrogate_derivative(u.detach()), atol=1e-14)


def test_another_threshold_stretches_the_surrogate() -> None:
    u = torch.tensor([1.0, 2.5], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(tanh_spike(u, 1.0).sum(), u)
    assert gradient.tolist() == pytest.approx([1.5 / math.tanh(1.5) / 2, 0.0])


def test_gradient_flows_through_the_reset() -> None:
    # d u[t] / d u_pre = (1 − o) − u_pre·φ'(u_pre): the second term exists only if the reset is not detached.
    u_pre = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
    _, o, u = lif_step(torch.zeros_like(u_pre), u_pre, 0.25, 0.5, tanh_spike)
    (gradient,) = torch.autograd.grad(u.sum(), u_pre)
    expected = (1 - o) - u_pre * tanh_surrogate_derivative(u_pre)
    assert torch.allclose(gradient, expected)


def test_gradient_over_time_against_the_chain_rule() -> None:
    # Loss o[2]; o[2] depends on x[1] through u[1] only: φ'(u_pre2)·τ·((1 − o1) − u_pre1·φ'(u_pre1)).
    x = torch.tensor([0.4, 0.3], dtype=torch.float64, requires_grad=True)
    o = LIF(0.25, 0.5)(x.view(2, 1, 1))
    (gradient,) = torch.autograd.grad(o[1].sum(), x)
    first, second = torch.tensor(0.4, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    slope = tanh_surrogate_derivative
    expected = [slope(second) * 0.25 * (1 - first * slope(first)), slope(second)]
    assert torch.allclose(gradient, torch.stack(expected))
