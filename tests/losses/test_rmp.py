"""RMP-Loss against Eq. 8-12 worked by hand."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from neurodeploy.losses.rmp import coefficient, quantization_error, rmp_loss
from neurodeploy.nn.lif import LIFRecord


def record(*values: float) -> LIFRecord:
    return of(torch.tensor(values, dtype=torch.float64))


def of(u: Tensor, v_threshold: float = 0.5, x: Tensor | None = None) -> LIFRecord:
    return LIFRecord(u, (u >= v_threshold).to(u.dtype), v_threshold, torch.zeros_like(u) if x is None else x)


def plain(records: list[LIFRecord], p: float) -> Tensor:
    """Eq. 8-10 left to autograd."""
    return torch.stack([quantization_error(r.u_pre_T, r.v_threshold, p).mean() for r in records]).mean()


def potentials(seed: int, *shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


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


def test_element_weighting_by_hand() -> None:
    layers = [record(0.5), record(0.0, 0.0, 1.0, 1.0), record(0.25, 0.75)]
    # Sums 0.25, 0 and 0.125 over 1 + 4 + 2 elements.
    assert rmp_loss(layers, weighting="element").item() == pytest.approx(0.375 / 7)
    assert rmp_loss(layers, layers="exclude_first_last", weighting="element").item() == 0


def test_membrane_by_hand() -> None:
    # u_pre = -1, 0.25 stay; 0.5 and 2 fire and are reset to 0.
    u = torch.tensor([-1.0, 0.25, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    loss = rmp_loss([of(u)], potential="membrane")
    assert loss.item() == pytest.approx((1 + 0.0625 + 0 + 0) / 4)
    (gradient,) = torch.autograd.grad(loss, u)
    assert gradient.tolist() == pytest.approx([-0.5, 0.125, 0, 0])
    assert rmp_loss([of(u)], 1.0, potential="membrane").item() == pytest.approx(1.25 / 4)


def test_current_is_regularized_in_the_place_of_the_potential() -> None:
    x = torch.tensor([-1.0, 0.75], dtype=torch.float64, requires_grad=True)
    loss = rmp_loss([of(torch.full((2,), 9.0, dtype=torch.float64), x=x)], potential="current")
    assert loss.item() == pytest.approx((1 + 0.0625) / 2)
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.tolist() == pytest.approx([-1.0, -0.25])


def test_a_current_that_is_one_static_input_expanded_over_t() -> None:
    # What Repeat gives: T has stride 0, and each element collects the gradient of all steps.
    x = torch.tensor([[-1.0, 0.75]], dtype=torch.float64, requires_grad=True)
    seen = x.expand(4, 2)
    (gradient,) = torch.autograd.grad(rmp_loss([of(seen.detach(), x=seen)], potential="current"), x)
    assert gradient.flatten().tolist() == pytest.approx([-1.0, -0.25])


@pytest.mark.parametrize("weighting", ["layer", "element"])
@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0])
def test_equals_the_plain_formula_and_its_autograd(p: float, weighting: str) -> None:
    us = potentials(0, (4, 2, 3, 5, 5), (4, 2, 7), (4, 2, 6, 2, 2))
    records = [of(u) for u in us]
    loss = rmp_loss(records, p, weighting=weighting)
    if weighting == "layer":
        expected = plain(records, p)
    else:
        expected = quantization_error(torch.cat([u.flatten() for u in us]), 0.5, p).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-13)
    for ours, theirs in zip(torch.autograd.grad(loss, us), torch.autograd.grad(expected, us), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=0)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("potential", ["u_pre", "membrane"])
def test_gradcheck_of_the_loss_away_from_the_case_split(p: float, potential: str) -> None:
    u = torch.tensor([[-1.0, 0.2, 0.3], [0.7, 0.9, 1.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: rmp_loss([of(v)], p, potential=potential), (u,))


def test_another_threshold_moves_the_case_split_and_not_the_spike() -> None:
    u = torch.tensor([0.6, 1.25], dtype=torch.float64)
    assert rmp_loss([of(u, 1.0)]).item() == pytest.approx((0.36 + 0.0625) / 2)


def test_channels_last_gives_the_same_and_keeps_the_layout() -> None:
    (u,) = potentials(1, (3, 4, 6, 5, 5), dtype=torch.float32)
    last = u.detach().flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (3, 4)).requires_grad_()
    gradients = [torch.autograd.grad(rmp_loss([of(v)]), v)[0] for v in (u, last)]
    assert gradients[1].stride() == last.stride() != u.stride()
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)


def test_bfloat16_is_summed_in_float32() -> None:
    # 300,000 equal terms: a bfloat16 sum would stop at 256 of them.
    u = torch.full((4, 75_000), 0.25, dtype=torch.bfloat16, requires_grad=True)
    loss = rmp_loss([of(u)])
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.0625, rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, u)
    assert gradient.dtype == torch.bfloat16
    # 2·0.25/300000, rounded to 8 bits.
    assert gradient[0, 0].item() == pytest.approx(0.5 / 300_000, rel=2**-8)


def test_a_sum_in_float32_is_as_good_as_one_in_float64() -> None:
    (u,) = potentials(2, (4, 500_000), dtype=torch.float32)
    # Blockwise sums: a few roundings of 6e-8.
    assert rmp_loss([of(u)]).item() == pytest.approx(rmp_loss([of(u.double())]).item(), rel=1e-6)


def test_backward_keeps_the_potential_and_no_other_tensor() -> None:
    (u,) = potentials(3, (4, 1000))
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        rmp_loss([of(u)])
    assert kept == {u.untyped_storage().data_ptr(): u.numel() * 8}


def test_not_a_number_is_not_hidden() -> None:
    for potential in ("u_pre", "membrane"):
        assert rmp_loss([record(0.1, float("nan"))], potential=potential).isnan()


def test_coefficient_rises_to_k_at_half_and_falls_to_zero() -> None:
    assert [coefficient(n, 4, 0.1) for n in (1, 2, 3, 4)] == pytest.approx([0.05, 0.1, 0.05, 0.0])
    assert [coefficient(n, 5, 1.0) for n in (1, 2, 3, 4, 5)] == pytest.approx([0.4, 0.8, 0.8, 0.4, 0.0])
    assert coefficient(1, 1, 0.1) == 0
    assert coefficient(3, 9, 0.1, "constant") == 0.1


def test_coefficient_by_iteration_meets_the_papers_at_the_end_of_each_epoch() -> None:
    epochs, steps = 4, 5
    weights = [coefficient(epoch - 1 + step / steps, epochs) for epoch in range(1, 5) for step in range(1, 6)]
    assert weights[0] == pytest.approx(2 * 0.1 * 0.2 / 4)
    assert [weights[steps * epoch - 1] for epoch in range(1, 5)] == [coefficient(n, epochs) for n in range(1, 5)]
    assert max(weights) == weights[2 * steps - 1] == 0.1
    assert [weight == 0 for weight in weights] == [False] * 19 + [True]


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


def test_without_numba_the_same_in_torch_operations(monkeypatch) -> None:
    from neurodeploy.losses import rmp

    u = torch.randn(4, 50, requires_grad=True)
    records = [LIFRecord(u, (u >= 0.5).float(), 0.5, u)]
    expected = rmp_loss(records)
    (gradient,) = torch.autograd.grad(expected, u)
    rmp._kernels.cache_clear()
    monkeypatch.setitem(sys.modules, "neurodeploy.losses.rmp_kernels", None)
    monkeypatch.delattr("neurodeploy.losses.rmp_kernels", raising=False)
    with pytest.warns(UserWarning, match="without its CPU kernels"):
        found = rmp_loss(records)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    torch.testing.assert_close(torch.autograd.grad(found, u)[0], gradient)
    rmp._kernels.cache_clear()
