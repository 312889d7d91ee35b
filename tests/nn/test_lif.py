"""The neurons against Eq. 1-4 worked by hand."""

from __future__ import annotations

import pytest
import torch

from neurodeploy.diagnostics import UsageError
from neurodeploy.nn.lif import LIF, Integrator, lif_step, plain_lif, record_lifs
from neurodeploy.nn.surrogate import SPIKES, tanh_slope


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


def test_gradient_flows_through_the_reset() -> None:
    # d u[t] / d u_pre = (1 − o) − u_pre·φ'(u_pre): the second term exists only if the reset is not detached.
    u_pre = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
    _, o, u = lif_step(torch.zeros_like(u_pre), u_pre, 0.25, 0.5, SPIKES["tanh"])
    (gradient,) = torch.autograd.grad(u.sum(), u_pre)
    expected = (1 - o) - u_pre * tanh_slope(u_pre)
    assert torch.allclose(gradient, expected)


def test_gradient_over_time_against_the_chain_rule() -> None:
    # Loss o[2]; o[2] depends on x[1] through u[1] only: φ'(u_pre2)·τ·((1 − o1) − u_pre1·φ'(u_pre1)).
    x = torch.tensor([0.4, 0.3], dtype=torch.float64, requires_grad=True)
    o = LIF(0.25, 0.5)(x.view(2, 1, 1))
    (gradient,) = torch.autograd.grad(o[1].sum(), x)
    first, second = torch.tensor(0.4, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    slope = tanh_slope
    expected = [slope(second) * 0.25 * (1 - first * slope(first)), slope(second)]
    assert torch.allclose(gradient, torch.stack(expected))


def test_the_detached_reset_passes_no_gradient() -> None:
    # As above without the term of the reset: φ'(u_pre2)·τ·(1 − o1).
    x = torch.tensor([0.4, 0.3], dtype=torch.float64, requires_grad=True)
    for o in (
        LIF(0.25, 0.5, detach_reset=True)(x.view(2, 1, 1)),
        plain_lif(x.view(2, 1, 1), 0.25, 0.5, "tanh", True)[0],
    ):
        (gradient,) = torch.autograd.grad(o[1].sum(), x)
        slope = tanh_slope(torch.tensor(0.4, dtype=torch.float64))
        assert gradient.tolist() == pytest.approx([float(slope) * 0.25, float(slope)], abs=1e-14)


def test_an_unknown_surrogate_is_named() -> None:
    with pytest.raises(UsageError, match="no such surrogate: sigmoid"):
        LIF(surrogate="sigmoid")


@pytest.mark.parametrize("surrogate", SPIKES)
def test_a_record_carries_gradient_and_costs_no_memory(surrogate) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 3, 5, requires_grad=True)
    lif, saved = LIF(surrogate=surrogate), {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with record_lifs(lif) as records, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        o = lif(x)
    (record,) = records.values()
    assert sum(saved.values()) == 4 * 3 * 5 * 4, "u_pre alone is kept: one float32 per neuron and step"
    assert record.x_T is x
    assert torch.equal(record.o_T, o)
    (mine,) = torch.autograd.grad(record.u_pre_T.square().sum() + o.sum(), x)
    p, u_pre = plain_lif(x, 0.25, 0.5, surrogate)
    (theirs,) = torch.autograd.grad(u_pre.square().sum() + p.sum(), x)
    assert torch.allclose(mine, theirs, rtol=1e-6, atol=1e-6)


def test_a_record_of_an_evaluation_is_plain_tensors() -> None:
    lif = LIF()
    with torch.no_grad(), record_lifs(lif) as records:
        lif(torch.ones(2, 1, 1))
    (record,) = records.values()
    assert not record.u_pre_T.requires_grad
    assert record.u_pre_T.flatten().tolist() == [1, 1]
