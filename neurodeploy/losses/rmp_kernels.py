"""Sum and gradient of the squared quantization error (RMP-Loss Eq. 9 with p = 2) as CPU kernels (Numba).

In torch's operations each is several passes over a tensor as large as all membranes, which made a training step with
RMP-Loss half as long again; here it is one. bfloat16 comes as uint16, as in :mod:`neurodeploy.nn.lif_kernels`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from neurodeploy.nn.lif_kernels import narrow, widen

#: Partial sums of a block are float32, in any order; blocks are added up in float64.
BLOCK = 4096
_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "boundscheck": False, "fastmath": {"reassoc", "contract"}}


def takes(u_T: Tensor) -> bool:
    """Whether the kernels can read a tensor: on the CPU, float32 or bfloat16, dense in any order of its axes."""
    if u_T.device.type != "cpu" or u_T.dtype not in (torch.float32, torch.bfloat16):
        return False
    expected = 1
    for stride, size in sorted(zip(u_T.stride(), u_T.shape, strict=True)):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True


def sum_of_squares(u_T: Tensor, v_threshold: float, after_reset: bool) -> Tensor:
    """Σ (o − u)², a float32 scalar; ``after_reset`` of the potential that the reset leaves, Σ over u < V_th of u²."""
    kernel = _sum_bf16 if u_T.dtype == torch.bfloat16 else _sum_f32
    return torch.tensor(kernel(_flat(u_T), np.float32(v_threshold), after_reset), dtype=torch.float32)


def gradient(u_T: Tensor, v_threshold: float, after_reset: bool, factor: float) -> Tensor:
    """factor·(o − u), with the layout and type of ``u_T``; after the reset, factor·(0 − u) where u < V_th, else 0."""
    result_T = torch.empty_like(u_T)
    kernel = _gradient_bf16 if u_T.dtype == torch.bfloat16 else _gradient_f32
    kernel(_flat(u_T), np.float32(v_threshold), after_reset, np.float32(factor), _flat(result_T))
    return result_T


def _flat(u_T: Tensor) -> np.ndarray:
    flat = u_T.detach().as_strided((u_T.numel(),), (1,))
    if u_T.dtype == torch.bfloat16:
        return flat.view(torch.int16).numpy().view(np.uint16)
    return flat.numpy()


@njit(**_OPTIONS)
def _sum_f32(u, threshold, after_reset):  # type: ignore[no-untyped-def]
    zero, one = np.float32(0), np.float32(1)
    fired = zero if after_reset else one
    kept = zero if after_reset else one
    total = 0.0
    for a in range(0, u.size, BLOCK):
        part = zero
        for i in range(a, min(a + BLOCK, u.size)):
            distance = fired - kept * u[i] if u[i] >= threshold else -u[i]
            part += distance * distance
        total += part
    return total


@njit(**_OPTIONS)
def _sum_bf16(u, threshold, after_reset):  # type: ignore[no-untyped-def]
    zero, one = np.float32(0), np.float32(1)
    fired = zero if after_reset else one
    kept = zero if after_reset else one
    total = 0.0
    for a in range(0, u.size, BLOCK):
        part = zero
        for i in range(a, min(a + BLOCK, u.size)):
            value = widen(u[i])
            distance = fired - kept * value if value >= threshold else -value
            part += distance * distance
        total += part
    return total


@njit(**_OPTIONS)
def _gradient_f32(u, threshold, after_reset, factor, out):  # type: ignore[no-untyped-def]
    zero, one = np.float32(0), np.float32(1)
    fired = zero if after_reset else one
    kept = zero if after_reset else one
    for i in range(u.size):
        distance = fired - kept * u[i] if u[i] >= threshold else -u[i]
        out[i] = factor * distance


@njit(**_OPTIONS)
def _gradient_bf16(u, threshold, after_reset, factor, out):  # type: ignore[no-untyped-def]
    zero, one = np.float32(0), np.float32(1)
    fired = zero if after_reset else one
    kept = zero if after_reset else one
    for i in range(u.size):
        value = widen(u[i])
        distance = fired - kept * value if value >= threshold else -value
        out[i] = narrow(factor * distance)
