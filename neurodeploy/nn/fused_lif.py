"""The LIF over all steps as one autograd function; what it computes is :func:`neurodeploy.nn.lif.plain_lif`.

The forward pass has the bits of the plain loop (float32, float64); the gradient differs by rounding only. For the
backward pass it keeps u_pre and nothing else: spike, reset and slope of the surrogate all follow from it. The membrane
is float32 under bfloat16 inputs (autocast); u_pre is then kept as bfloat16, rounded so that it stays on its side of the
threshold, and the spike that follows from it is the one that was sent.

Three ways compute the same: Numba kernels on the CPU (float32, bfloat16), torch operations compiled by
``torch.compile`` on CUDA, and torch operations as they are elsewhere, or where Numba or Triton is missing.

Shape legend: ``x_T``, ``o_T``, ``u_pre_T`` are ``(T, …)``; ``x_TN`` has every other axis laid out as one.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurodeploy.nn.surrogate import SLOPES


def fused_lif(
    x_T: Tensor, tau: float, v_threshold: float, surrogate: str = "tanh", detach_reset: bool = False, keep: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Spikes and potentials before reset, ``(o_T, u_pre_T)``, of the shape and memory layout of ``x_T``.

    An input whose time axis has stride 0 (``expand``) is read without copying it. Both results carry gradient; u_pre is
    what the backward pass keeps anyway, so asking for it costs no memory. Without gradient and without ``keep`` nothing
    is kept, and the potentials are None.
    """
    if torch.is_grad_enabled() and x_T.requires_grad:
        result: tuple[Tensor, Tensor] = FusedLIF.apply(x_T, tau, v_threshold, surrogate, detach_reset)
        return result
    return _forward(x_T, tau, v_threshold, keep)


class FusedLIF(torch.autograd.Function):
    """With g the gradient of u[t], 0 at the last step, and φ′ the slope of the surrogate, from the last step down:

    g_x[t] = (g_o[t] − u_pre[t]·g)·φ′(u_pre[t]) + (1 − o[t])·g + g_u_pre[t],   g ← τ·g_x[t]

    ``detach_reset`` leaves out u_pre[t]·g, the gradient through the reset.
    """

    @staticmethod
    def forward(
        ctx: Any, x_T: Tensor, tau: float, v_threshold: float, surrogate: str, detach_reset: bool
    ) -> tuple[Tensor, Tensor]:
        o_T, u_pre_T = _forward(x_T.detach(), tau, v_threshold, True)
        assert u_pre_T is not None
        ctx.save_for_backward(u_pre_T)
        ctx.arguments = tau, v_threshold, surrogate, detach_reset
        ctx.set_materialize_grads(False)  # mostly nobody asks for the gradient of u_pre
        return o_T, u_pre_T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None, None, None, None]:
        g_o_T, g_u_T = gradients
        if g_o_T is None and g_u_T is None:
            return None, None, None, None, None
        (u_pre_T,) = ctx.saved_tensors
        return _backward(u_pre_T, g_o_T, g_u_T, *ctx.arguments), None, None, None, None


def time_stride(x_T: Tensor) -> int | None:
    """Numbers from a step to the next, where each step is dense (its axes in any order) and steps do not interleave.

    0 is one step shown T times. None is any other layout.
    """
    expected = 1
    for stride, size in sorted(zip(x_T.stride()[1:], x_T.shape[1:], strict=True)):
        if size > 1:
            if stride != expected:
                return None
            expected *= size
    if x_T.shape[0] == 1:
        return expected
    stride = x_T.stride(0)
    return stride if stride == 0 or stride >= expected else None


def _aligned(g_T: Tensor, like_T: Tensor) -> Tensor:
    """A gradient with every step laid out as those of ``like_T``; itself where it already is."""
    steps_agree = all(
        size == 1 or mine == theirs
        for size, mine, theirs in zip(g_T.shape[1:], g_T.stride()[1:], like_T.stride()[1:], strict=True)
    )
    if steps_agree and g_T.dtype == like_T.dtype and time_stride(g_T) is not None:
        return g_T
    return torch.empty_like(like_T).copy_(g_T)


def _empty(x_T: Tensor) -> Tensor:
    """An uninitialized tensor with the layout of a step of ``x_T``, steps one behind the other."""
    return torch.empty_strided(
        x_T.shape, (x_T[0].numel(), *x_T.stride()[1:]), dtype=x_T.dtype, device=x_T.device
    )  # fmt: skip


def _forward(x_T: Tensor, tau: float, v_threshold: float, keep: bool) -> tuple[Tensor, Tensor | None]:
    step = time_stride(x_T)
    if step is None:
        x_T = x_T.contiguous()
        step = x_T[0].numel()
    tasks = _cpu_tasks(x_T)
    if tasks is not None:
        o_T = _empty(x_T)
        u_pre_T = _empty(x_T) if keep else None
        reals = (tau, v_threshold, *_neighbors(v_threshold, x_T.dtype))
        kept = u_pre_T.data_ptr() if u_pre_T is not None else 0
        tasks.run_forward(
            x_T.dtype, x_T[0].numel(), x_T.shape[0], reals, x_T.data_ptr(), step, kept, o_T.data_ptr()
        )  # fmt: skip
        return o_T, u_pre_T
    below, above = _neighbors(v_threshold, x_T.dtype)
    if x_T.is_cuda:
        # One graph for all layers: only the number of neurons differs.
        strides = (x_T[0].numel(), *x_T.stride()[1:])
        rows = x_T.as_strided((x_T.shape[0], x_T[0].numel()), (step, 1))
        o, u_pre = _on_cuda(forward_in_torch)(rows, tau, v_threshold, below, above, keep)
        return o.as_strided(x_T.shape, strides), None if u_pre is None else u_pre.as_strided(x_T.shape, strides)
    return forward_in_torch(x_T, tau, v_threshold, below, above, keep)


def _backward(
    u_pre_T: Tensor,
    g_o_T: Tensor | None,
    g_u_T: Tensor | None,
    tau: float,
    v_threshold: float,
    surrogate: str,
    detach_reset: bool,
) -> Tensor:
    if g_o_T is None:
        g_o_T = torch.zeros_like(u_pre_T[0]).expand_as(u_pre_T)
    g_o_T = _aligned(g_o_T, u_pre_T)
    g_u_T = None if g_u_T is None else _aligned(g_u_T, u_pre_T)
    tasks = _cpu_tasks(u_pre_T)
    if tasks is not None:
        g_x_T = torch.empty_like(u_pre_T)
        g_u = (0, 0) if g_u_T is None else (g_u_T.data_ptr(), time_stride(g_u_T))
        tasks.run_backward(
            u_pre_T.dtype, u_pre_T[0].numel(), u_pre_T.shape[0], (tau, v_threshold, 0.0, 0.0), u_pre_T.data_ptr(),
            g_o_T.data_ptr(), time_stride(g_o_T), *g_u, g_x_T.data_ptr(), tasks.KINDS[surrogate], int(detach_reset),
        )  # fmt: skip
        return g_x_T
    if u_pre_T.is_cuda:
        shape = (u_pre_T.shape[0], u_pre_T[0].numel())
        rows = [None if a is None else a.as_strided(shape, (time_stride(a) or 0, 1)) for a in (u_pre_T, g_o_T, g_u_T)]
        g_x = _on_cuda(backward_in_torch)(*rows, tau, v_threshold, surrogate, detach_reset)
        return g_x.as_strided(u_pre_T.shape, u_pre_T.stride())
    return backward_in_torch(u_pre_T, g_o_T, g_u_T, tau, v_threshold, surrogate, detach_reset)


def membrane_dtype(dtype: torch.dtype) -> torch.dtype:
    """float32 for the half precisions, else the input's own."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


@cache
def _neighbors(v_threshold: float, dtype: torch.dtype) -> tuple[float, float]:
    """The largest number of a half precision below V_th and the smallest that is not; for others, any two numbers."""
    if membrane_dtype(dtype) == dtype:
        return 0.0, 0.0
    threshold = torch.tensor(v_threshold, dtype=torch.float32)
    nearest = threshold.to(dtype)
    # Positive floats are ordered as the integers of the same bits.
    other = (nearest.view(torch.int16) + (-1 if nearest.float() >= threshold else 1)).view(dtype)
    below, above = sorted((float(nearest), float(other)))
    return below, above


def forward_in_torch(
    x_T: Tensor, tau: float, v_threshold: float, below: float, above: float, keep: bool
) -> tuple[Tensor, Tensor | None]:
    """The forward pass in torch's operations; ``below`` and ``above`` are the neighbors of V_th in a half precision."""
    dtype = membrane_dtype(x_T.dtype)
    u = torch.zeros_like(x_T[0], dtype=dtype)
    spikes, potentials = [], []
    for x in x_T.unbind(0):
        u_pre = tau * u + x.to(dtype)
        fires = u_pre >= v_threshold
        o = fires.to(dtype)
        u = u_pre * (1 - o)
        spikes.append(o.to(x.dtype))
        if keep:
            kept = u_pre
            if dtype != x.dtype:
                kept = torch.where(fires, u_pre.clamp(min=above), u_pre.clamp(max=below)).to(x.dtype)
            potentials.append(kept)
    return torch.stack(spikes), torch.stack(potentials) if keep else None


def backward_in_torch(
    u_pre_T: Tensor,
    g_o_T: Tensor,
    g_u_T: Tensor | None,
    tau: float,
    v_threshold: float,
    surrogate: str,
    detach_reset: bool,
) -> Tensor:
    """The backward pass in torch's operations."""
    dtype = membrane_dtype(u_pre_T.dtype)
    slope = SLOPES[surrogate]
    g = torch.zeros_like(u_pre_T[0], dtype=dtype)
    gradients = []
    for t in range(u_pre_T.shape[0] - 1, -1, -1):
        u_pre, g_o = u_pre_T[t].to(dtype), g_o_T[t].to(dtype)
        through_spike = g_o if detach_reset else g_o - u_pre * g
        g_x = through_spike * slope(u_pre, v_threshold) + torch.where(u_pre >= v_threshold, 0.0, g)
        if g_u_T is not None:
            g_x = g_x + g_u_T[t].to(dtype)
        gradients.append(g_x.to(u_pre_T.dtype))
        g = tau * g_x
    return torch.stack(gradients[::-1])


def _cpu_tasks(x_T: Tensor) -> ModuleType | None:
    """The module of CPU kernels where it can take this tensor."""
    if x_T.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    tasks = _numba()
    return tasks if tasks is not None and x_T.dtype in tasks.DTYPES else None


@cache
def _numba() -> ModuleType | None:
    try:
        from neurodeploy.nn import lif_threads

        lif_threads.self_test()
    except Exception as error:  # whatever a broken Numba or LLVM raises, the results are the same without it
        warnings.warn(f"the LIF runs without its CPU kernels, several times slower: {error}", stacklevel=2)
        return None
    return lif_threads


@cache
def _on_cuda(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled by Triton, where that is installed."""
    return compiled(function) if importlib.util.find_spec("triton") else function


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.compile`` for any number of neurons."""
    return torch.compile(function, dynamic=True)
