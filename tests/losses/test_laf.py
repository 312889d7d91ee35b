"""LAF against Eq. 2-3 worked by hand: direction, mean, the two forms, gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from neurodeploy.losses.laf import laf_loss

# With W_a = 1 and b_a = 0 the feature is the logits. The student's softmax is (1/4, 3/4), the teacher's (1/2, 1/2).
EYE, ZERO = torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
H = torch.tensor([[[0.0, math.log(3)]]], dtype=torch.float64)
P_A = torch.zeros(1, 2, dtype=torch.float64)
#: 1/2·ln((1/2)/(1/4)) + 1/2·ln((1/2)/(3/4))
FORWARD = 0.5 * math.log(4 / 3)
#: 1/4·ln((1/4)/(1/2)) + 3/4·ln((3/4)/(1/2)), the other direction
REVERSE = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)


def drawn(seed: int = 0, T: int = 3, B: int = 4, F: int = 6, N: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """h_s, h_a, W_a, b_a."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return normal(T, B, F), normal(B, F), normal(N, F), normal(N)


def test_by_hand_and_in_the_direction_teacher_to_student() -> None:
    assert pytest.approx(0.14384, abs=1e-5) == FORWARD
    assert pytest.approx(0.13081, abs=1e-5) == REVERSE
    assert laf_loss(H, P_A, EYE, ZERO).item() == pytest.approx(FORWARD, rel=1e-12)


def test_classifier_and_bias_of_the_teacher_are_used() -> None:
    # W_a·h + b_a = (2·0.5 − 1, 3·0.5 + ln 3 − 1.5) = (0, ln 3)
    weight = torch.tensor([[2.0], [3.0]], dtype=torch.float64)
    bias = torch.tensor([-1.0, math.log(3) - 1.5], dtype=torch.float64)
    h = torch.full((1, 1, 1), 0.5, dtype=torch.float64)
    assert laf_loss(h, P_A, weight, bias).item() == pytest.approx(FORWARD, rel=1e-12)


def test_mean_over_the_batch_and_sum_over_classes() -> None:
    # One sample with the KL above, three where student and teacher agree: a quarter, not an eighth.
    h = torch.cat([H, torch.zeros(1, 3, 2, dtype=torch.float64)], 1)
    p_a = torch.zeros(4, 2, dtype=torch.float64)
    assert laf_loss(h, p_a, EYE, ZERO).item() == pytest.approx(FORWARD / 4, rel=1e-12)


def test_paper_averages_losses_and_code_averages_features() -> None:
    h = torch.cat([H, torch.zeros_like(H)])
    assert laf_loss(h, P_A, EYE, ZERO, form="paper").item() == pytest.approx(FORWARD / 2, rel=1e-12)
    # The mean feature is (0, ln √3): softmax (1/(1 + √3), √3/(1 + √3)), so KL = 1/2·ln((1 + √3)²/(4√3)) = 0.0372523.
    expected = 0.5 * math.log((1 + math.sqrt(3)) ** 2 / (4 * math.sqrt(3)))
    assert expected == pytest.approx(0.0372523, abs=1e-7)
    assert laf_loss(h, P_A, EYE, ZERO, form="code").item() == pytest.approx(expected, rel=1e-12)


def test_temperature_by_hand() -> None:
    # τ = 2 halves the logits: the student's softmax is that of ln √3, see above; only the code's form has τ² = 4.
    expected = 0.5 * math.log((1 + math.sqrt(3)) ** 2 / (4 * math.sqrt(3)))
    assert laf_loss(H, P_A, EYE, ZERO, form="paper", temperature=2).item() == pytest.approx(expected, rel=1e-12)
    assert laf_loss(H, P_A, EYE, ZERO, form="code", temperature=2).item() == pytest.approx(4 * expected, rel=1e-12)


@pytest.mark.parametrize("form", ["paper", "code"])
def test_zero_with_zero_gradient_where_the_features_are_equal(form: str) -> None:
    _, h_a, weight, bias = drawn()
    h = h_a.expand(3, -1, -1).clone().requires_grad_()
    loss = laf_loss(h, functional.linear(h_a, weight, bias), weight, bias, form=form, temperature=3)
    (gradient,) = torch.autograd.grad(loss, h)
    assert loss.item() == pytest.approx(0, abs=1e-15)
    assert gradient.abs().max() < 1e-15


def test_other_features_of_the_same_logits_are_as_good() -> None:
    # What LAF allows and direct alignment does not: W_a maps 6 features to 5 classes, so one direction is free.
    _, h_a, weight, bias = drawn()
    free = torch.linalg.svd(weight).Vh[-1]
    loss = laf_loss((h_a + 7 * free).expand(2, -1, -1), functional.linear(h_a, weight, bias), weight, bias)
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_forms_agree_at_one_step_and_temperature_one_and_paper_is_never_below() -> None:
    h_s, h_a, weight, bias = drawn()
    p_a = functional.linear(h_a, weight, bias)
    one = [laf_loss(h_s[:1], p_a, weight, bias, form=form).item() for form in ("paper", "code")]
    assert one[0] == pytest.approx(one[1], rel=1e-12)
    all_steps = [laf_loss(h_s, p_a, weight, bias, form=form).item() for form in ("paper", "code")]
    assert all_steps[0] > all_steps[1]


def test_limit_of_high_temperature_is_half_the_mean_squared_difference_of_centered_logits() -> None:
    h_s, h_a, weight, bias = drawn(T=1)
    p_a, p_s = functional.linear(h_a, weight, bias), functional.linear(h_s[0], weight, bias)
    difference = p_a - p_s
    expected = ((difference - difference.mean(1, keepdim=True)) ** 2).mean(1).mean() / 2
    loss = laf_loss(h_s, p_a, weight, bias, form="code", temperature=1000)
    # The next term of the expansion is smaller by the size of the logits (up to 10) over τ.
    assert loss.item() == pytest.approx(expected.item(), rel=0.01)
    assert loss.item() != pytest.approx(laf_loss(h_s, p_a, weight, bias, form="code").item(), rel=0.05)


@pytest.mark.parametrize(("form", "temperature"), [("paper", 1.0), ("code", 20.0), ("code", 1.0)])
def test_against_torch_written_out(form: str, temperature: float) -> None:
    h_s, h_a, weight, bias = drawn(1)
    p_a = functional.linear(h_a, weight, bias)
    steps = [h_s.mean(0)] if form == "code" else list(h_s)
    terms = []
    for h in steps:
        q = (functional.linear(h, weight, bias) / temperature).softmax(1)
        p = (p_a / temperature).softmax(1)
        terms.append((p * (p / q).log()).sum(1).mean())
    expected = torch.stack(terms).mean() * (temperature**2 if form == "code" else 1)
    loss = laf_loss(h_s, p_a, weight, bias, form=form, temperature=temperature)
    # τ² = 400 times the rounding of logarithms near 2.
    assert loss.item() == pytest.approx(expected.item(), rel=1e-11)
    single = laf_loss(h_s.float(), p_a.float(), weight.float(), bias.float(), form=form, temperature=temperature)
    assert single.item() == pytest.approx(expected.item(), rel=2e-4 if temperature > 1 else 1e-5)


@pytest.mark.parametrize(("form", "temperature"), [("paper", 1.0), ("code", 20.0)])
def test_gradcheck(form: str, temperature: float) -> None:
    h_s, h_a, weight, bias = drawn(2)
    p_a = functional.linear(h_a, weight, bias)
    h_s.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda h: laf_loss(h, p_a, weight, bias, form=form, temperature=temperature), (h_s,)
    )


def test_gradient_by_hand() -> None:
    # ∂L/∂P_s = (softmax(P_s) − softmax(P_a))/(T·B) = (1/4 − 1/2, 3/4 − 1/2), and W_a = 1.
    h = H.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(laf_loss(h, P_A, EYE, ZERO), h)
    torch.testing.assert_close(gradient, torch.tensor([[[-0.25, 0.25]]], dtype=torch.float64))


@pytest.mark.parametrize("seed", range(10))
def test_gradient_pushes_toward_the_teacher(seed: int) -> None:
    # KL is convex in h and 0 at h_a: gradient·(h_s − h_a) ≥ L(h_s) > 0, and a short step down lowers it.
    h_s, h_a, weight, bias = drawn(seed, T=1)
    p_a = functional.linear(h_a, weight, bias)
    h_s.requires_grad_()
    loss = laf_loss(h_s, p_a, weight, bias)
    (gradient,) = torch.autograd.grad(loss, h_s)
    assert (gradient * (h_s - h_a)).sum() >= loss > 0
    assert laf_loss(h_s - 1e-3 * gradient, p_a, weight, bias) < loss


def test_nothing_reaches_the_teacher() -> None:
    h_s, h_a, weight, bias = drawn()
    p_a = functional.linear(h_a, weight, bias)
    for tensor in (h_s, p_a, weight, bias):
        tensor.requires_grad_()
    laf_loss(h_s, p_a, weight, bias).backward()
    assert h_s.grad is not None
    assert p_a.grad is weight.grad is bias.grad is None


def test_float32_under_autocast() -> None:
    h_s, h_a, weight, bias = (tensor.float() for tensor in drawn())
    p_a = functional.linear(h_a, weight, bias)
    outside = laf_loss(h_s, p_a, weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        inside = laf_loss(h_s, p_a, weight, bias)
        half = laf_loss(h_s.bfloat16(), p_a, weight, bias)
    assert inside.dtype == half.dtype == torch.float32
    assert inside.item() == outside.item()
    assert half.item() == pytest.approx(outside.item(), rel=0.02)


def test_each_form_has_its_temperature() -> None:
    from neurodeploy.config.recipe import load_recipe
    from neurodeploy.losses.laf import TEMPERATURE

    assert TEMPERATURE == {"paper": 1.0, "code": 20.0}
    assert load_recipe("cifar10/resnet20-laf", ["loss.laf.form=code"]).loss.laf.temperature is None
