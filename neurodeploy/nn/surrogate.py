"""The spike: a step forward, the derivative of a smooth stand-in backward.

Shapes: any; the functions are elementwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def tanh_surrogate(u: Tensor) -> Tensor:
    """φ(u) = tanh(3(u − 1/2)) / (2 tanh(3/2)) + 1/2 on [0, 1], 0 below, 1 above (RMP-Loss Eq. 5)."""
    return torch.tanh(3 * (u.clamp(0, 1) - 0.5)) / (2 * math.tanh(1.5)) + 0.5


def tanh_surrogate_derivative(u: Tensor) -> Tensor:
    """φ′(u) = 3 (1 − tanh²(3(u − 1/2))) / (2 tanh(3/2)) on [0, 1], 0 outside: 1.657 at 1/2, 0.30 at 0 and 1."""
    tanh = torch.tanh(3 * (u - 0.5))
    slope = (1.5 / math.tanh(1.5)) * (1 - tanh.square_())
    # u equals its clamp exactly where 0 ≤ u ≤ 1, both ends included.
    return slope.mul_(u == u.clamp(0, 1))


class TanhSpike(torch.autograd.Function):
    """o = [u ≥ V_th] forward (Eq. 2); backward ∂o/∂u = φ′(u / 2V_th) / 2V_th.

    The paper states Eq. 5 for V_th = 1/2 only, where the scale 2·V_th is 1; for another threshold the curve is
    stretched so that its steepest point stays at V_th.
    """

    @staticmethod
    def forward(ctx: Any, u_pre: Tensor, v_threshold: float) -> Tensor:
        ctx.save_for_backward(u_pre)
        ctx.v_threshold = v_threshold
        return (u_pre >= v_threshold).to(u_pre.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (u_pre,) = ctx.saved_tensors
        scale = 2 * ctx.v_threshold
        if scale == 1:
            return gradients[0] * tanh_surrogate_derivative(u_pre), None
        return gradients[0] * tanh_surrogate_derivative(u_pre / scale) / scale, None


def tanh_spike(u_pre: Tensor, v_threshold: float) -> Tensor:
    """The spike of :class:`TanhSpike`."""
    spike: Tensor = TanhSpike.apply(u_pre, v_threshold)
    return spike


#: Surrogate name in a recipe -> spike function ``(u_pre, v_threshold) -> spike``.
SPIKES: dict[str, Callable[[Tensor, float], Tensor]] = {"tanh": tanh_spike}
