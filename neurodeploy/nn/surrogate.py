"""The spike: a step forward, the derivative of a smooth stand-in backward.

    o = [u_pre ≥ V_th] forward (RMP-Loss Eq. 2); backward ∂o/∂u_pre = φ′(u_pre)

These are the readable definitions; :mod:`neurodeploy.nn.fused_lif` computes the same slopes over all steps at once.
RMP-Loss Eq. 5 and EnOF-SNN Eq. 9 state φ for V_th = 1/2 only. For another threshold their curve is stretched by
2·V_th (and its height divided by it, so that it still rises by 1): the steepest point of every φ is at V_th.

Shapes: any; the functions are elementwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor


def tanh_surrogate(u: Tensor) -> Tensor:
    """φ(u) = tanh(3(u − 1/2)) / (2 tanh(3/2)) + 1/2 on [0, 1], 0 below, 1 above (RMP-Loss Eq. 5, V_th = 1/2)."""
    return torch.tanh(3 * (u.clamp(0, 1) - 0.5)) / (2 * math.tanh(1.5)) + 0.5


def tanh_slope(u: Tensor, v_threshold: float = 0.5) -> Tensor:
    """φ′(u) = 3 (1 − tanh²(3(u − 1/2))) / (2 tanh(3/2)) on [0, 1], 0 outside: 1.657 at 1/2, 0.30 at 0 and 1."""
    tanh = torch.tanh((1.5 / v_threshold) * (u - v_threshold))
    slope = (0.75 / (math.tanh(1.5) * v_threshold)) * (1 - tanh.square_())
    return slope.mul_((u >= 0) & (u <= 2 * v_threshold))


def ste_slope(u: Tensor, v_threshold: float = 0.5) -> Tensor:
    """φ′(u) = 1 on 0 ≤ u ≤ 1, both ends included, 0 outside: the straight-through estimator (EnOF-SNN Eq. 9)."""
    return ((u >= 0) & (u <= 2 * v_threshold)).to(u.dtype) / (2 * v_threshold)


def rectangular_slope(u: Tensor, v_threshold: float = 0.5) -> Tensor:
    """φ′(u) = (1/a)·[|u − V_th| < a/2] with a = 1 (STBP, Wu et al. 2018, h₁), of the same width for any V_th.

    With V_th = 1/2 it differs from :func:`ste_slope` at the two ends only, which it leaves out.
    """
    return ((u - v_threshold).abs() < 0.5).to(u.dtype)


def triangle_slope(u: Tensor, v_threshold: float = 0.5) -> Tensor:
    """φ′(u) = (1/γ²)·max(0, γ − |u − V_th|) with γ = 1 (TET, Deng et al. 2022), of the same width for any V_th."""
    return (1 - (u - v_threshold).abs()).clamp_(min=0)


#: Surrogate name in a recipe -> its slope ``(u_pre, v_threshold) -> φ′(u_pre)``.
SLOPES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "tanh": tanh_slope,
    "ste": ste_slope,
    "rectangular": rectangular_slope,
    "triangle": triangle_slope,
}


class Spike(torch.autograd.Function):
    """o = [u_pre ≥ V_th] forward (Eq. 2); backward the slope of the named surrogate."""

    @staticmethod
    def forward(ctx: Any, u_pre: Tensor, v_threshold: float, surrogate: str) -> Tensor:
        ctx.save_for_backward(u_pre)
        ctx.v_threshold, ctx.surrogate = v_threshold, surrogate
        return (u_pre >= v_threshold).to(u_pre.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (u_pre,) = ctx.saved_tensors
        return gradients[0] * SLOPES[ctx.surrogate](u_pre, ctx.v_threshold), None, None


def spike(u_pre: Tensor, v_threshold: float, surrogate: str = "tanh") -> Tensor:
    """The spike of :class:`Spike`."""
    o: Tensor = Spike.apply(u_pre, v_threshold, surrogate)
    return o


#: Surrogate name in a recipe -> spike function ``(u_pre, v_threshold) -> spike``.
SPIKES: dict[str, Callable[[Tensor, float], Tensor]] = {name: partial(spike, surrogate=name) for name in SLOPES}
