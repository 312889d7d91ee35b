"""The four surrogates: values by hand, steepest at the threshold, integral 1, and the derivative of Eq. 5."""

from __future__ import annotations

import math

import pytest
import torch

from neurodeploy.nn.surrogate import SLOPES, SPIKES, tanh_slope, tanh_surrogate

PEAK = 1.5 / math.tanh(1.5)
END = PEAK * (1 - math.tanh(1.5) ** 2)


def test_tanh_values() -> None:
    ends = tanh_surrogate(torch.tensor([-0.5, 0.0, 0.5, 1.0, 2.0], dtype=torch.float64))
    assert torch.allclose(ends, torch.tensor([0, 0, 0.5, 1, 1], dtype=torch.float64), atol=1e-15)


def test_tanh_slope_is_the_derivative() -> None:
    u = torch.linspace(-0.5, 1.5, 50, dtype=torch.float64, requires_grad=True)  # no point on 0 or 1
    (gradient,) = torch.autograd.grad(tanh_surrogate(u).sum(), u)
    assert torch.allclose(gradient, tanh_slope(u.detach()), atol=1e-14)


@pytest.mark.parametrize(
    ("surrogate", "v_threshold", "slopes"),
    [
        # u = -0.001, 0, 0.25, 0.5, 1, 1.001
        ("tanh", 0.5, [0, END, PEAK * (1 - math.tanh(0.75) ** 2), PEAK, END, 0]),
        ("ste", 0.5, [0, 1, 1, 1, 1, 0]),
        ("rectangular", 0.5, [0, 0, 1, 1, 0, 0]),
        ("triangle", 0.5, [0.499, 0.5, 0.75, 1, 0.5, 0.499]),
        # V_th = 1: tanh and ste stretch to 0 … 2, the other two move.
        ("tanh", 1.0, [0, END / 2, PEAK / 2 * (1 - math.tanh(1.125) ** 2), PEAK / 2 * (1 - math.tanh(0.75) ** 2),
                       PEAK / 2, PEAK / 2 * (1 - math.tanh(0.0015) ** 2)]),
        ("ste", 1.0, [0, 0.5, 0.5, 0.5, 0.5, 0.5]),
        ("rectangular", 1.0, [0, 0, 0, 0, 1, 1]),
        ("triangle", 1.0, [0, 0, 0.25, 0.5, 1, 0.999]),
    ],
)  # fmt: skip
def test_slopes_by_hand(surrogate, v_threshold, slopes) -> None:
    u = torch.tensor([-0.001, 0, 0.25, 0.5, 1, 1.001], dtype=torch.float64)
    assert SLOPES[surrogate](u, v_threshold).tolist() == pytest.approx(slopes, abs=1e-12)


@pytest.mark.parametrize("surrogate", SLOPES)
@pytest.mark.parametrize("v_threshold", [0.3, 0.5, 1.0])
def test_every_slope_rises_by_one_and_is_steepest_at_the_threshold(surrogate, v_threshold) -> None:
    u = torch.arange(-3, 5, 1e-4, dtype=torch.float64)
    slope = SLOPES[surrogate](u, v_threshold)
    # The sum misses up to a step (1e-4) of height 2.8 at each of two jumps.
    assert float(slope.sum() * 1e-4) == pytest.approx(1, abs=6e-4)
    # The grid's numbers are off the threshold by a rounding (1e-16).
    peak = SLOPES[surrogate](torch.tensor(v_threshold, dtype=torch.float64), v_threshold)
    assert float(peak) == pytest.approx(float(slope.max()), abs=1e-12)


@pytest.mark.parametrize("surrogate", SPIKES)
def test_the_spike_is_a_step_forward_and_the_slope_backward(surrogate) -> None:
    u = torch.linspace(-1, 2, 31, dtype=torch.float64, requires_grad=True)
    o = SPIKES[surrogate](u, 0.5)
    assert o.tolist() == [float(value >= 0.5) for value in u.tolist()]
    g = torch.randn_like(o)
    (gradient,) = torch.autograd.grad(o, u, g)
    assert torch.equal(gradient, g * SLOPES[surrogate](u.detach(), 0.5))
