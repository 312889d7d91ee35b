"""RMP-Loss: regularizing membrane potential (Guo et al., ICCV 2023), Eq. 8-12.

    q(u) = |o − u|^p,  o = 1 if u ≥ V_th else 0      (Eq. 8-9)
    L    = L_CE + λ(n)·mean of q                       (Eq. 10-11)

``u`` is the potential *before* reset, ``u_pre``: after reset u = 0 wherever o = 1, and the branch 1 − u of Eq. 8 could
never occur. The gradient is −p|o − u|^(p−1)·sgn(o − u); none flows through the case split, that is through o.

Eq. 10 divides one sum over all layers by T·L·B·C·W·H. Taken literally that cannot be computed, as C, W and H differ by
layer; here it is the mean over elements and T of each layer, then the mean over layers, so each layer weighs the same.

Two other readings of "the membrane potential" can be chosen:

``membrane``
    u after reset, u_pre·(1 − o), as Algorithm 1 says in words. Then q = |u|^p where the neuron did not fire and 0 where
    it did. The reset is a case split like Eq. 8's: no gradient flows through it into the spike, although the neuron's
    own reset is not detached.
``current``
    The input x of the neuron in the place of u, as in the same group's IM-Loss code.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurodeploy.nn.lif import LIFRecord


def quantization_error(u_pre: Tensor, v_threshold: float = 0.5, p: float = 2.0) -> Tensor:
    """q(u) = |o − u|^p, elementwise: Eq. 8-9 as they are written."""
    with torch.no_grad():
        o = (u_pre >= v_threshold).to(u_pre.dtype)
    distance = (o - u_pre).abs()
    return distance.square() if p == 2 else distance.pow(p)


def rmp_loss(
    records: Sequence[LIFRecord],
    p: float = 2.0,
    layers: str = "all",
    *,
    potential: str = "u_pre",
    weighting: str = "layer",
) -> Tensor:
    """The mean of q over elements and T of each layer, then over layers (Eq. 10).

    Args:
        records: One per hidden LIF, in order of execution (``record_lifs``); the readout is not among them, nor is
            the ReLU that RepAct puts in the place of the last LIF.
        p: Exponent of Eq. 9, at least 1.
        layers: ``all``, or ``exclude_first_last`` as in the same group's IM-Loss code; with two layers or fewer
            nothing would be left, and that is a ValueError.
        potential: ``u_pre``, ``membrane`` or ``current``, see above.
        weighting: ``layer``: each layer weighs the same. ``element``: each element does, so a layer weighs by its size.

    Returns:
        The local mean, a scalar in float32 (float64 for float64 potentials); half precision is summed in float32.
        Only the potential itself is kept for backward: no memory beyond what the neuron keeps.
    """
    chosen = records[1:-1] if layers == "exclude_first_last" else records
    if not chosen:
        raise ValueError(f"no layer is left for RMP-Loss: {len(records)} LIF layers, layers={layers!r}")
    regularized = [_regularized(record, potential) for record in chosen]
    sums = [
        _SumOfErrors.apply(u_T, record.v_threshold, p, potential == "membrane")
        for u_T, record in zip(regularized, chosen, strict=True)
    ]
    sizes = [u_T.numel() for u_T in regularized]
    if weighting == "element":
        return torch.stack(sums).sum() / sum(sizes)
    return torch.stack([total / size for total, size in zip(sums, sizes, strict=True)]).mean()


def coefficient(n: float, epochs: int, k: float = 0.1, schedule: str = "ramp") -> float:
    """λ(n) of Eq. 12 for n up to N: 2kn/N up to N/2, then 2k(1 − n/N), so k at N/2 and 0 at the end.

    Args:
        n: The epoch 1 … N, as in the paper: the whole last epoch has λ = 0. Where λ follows the iteration
            (``loss.rmp.per = "iteration"``) it is the fraction of epochs done with this step, epoch − 1 + step/steps
            with step = 1 … steps: λ moves in every step, equals the paper's at the end of each epoch, and is 0 in the
            last step only.
        epochs: N.
        k: Peak.
        schedule: ``ramp`` is Eq. 12, ``constant`` is k throughout.
    """
    if schedule == "constant":
        return k
    share = n / epochs
    return 2 * k * share if share <= 0.5 else 2 * k * (1 - share)


def _regularized(record: LIFRecord, potential: str) -> Tensor:
    if potential != "current":
        return record.u_pre_T
    assert record.x_T is not None, "a recorded forward keeps its input"
    return record.x_T


class _SumOfErrors(torch.autograd.Function):
    """Σ |o − u|^p over all elements; backward −g·p|o − u|^(p−1)·sgn(o − u), in one go.

    Left to autograd it would keep o − u, its absolute value and more, each as large as u; this keeps u, which the
    neuron's backward holds anyway.
    """

    @staticmethod
    def forward(ctx: Any, u_T: Tensor, v_threshold: float, p: float, after_reset: bool) -> Tensor:
        ctx.save_for_backward(u_T)
        ctx.v_threshold, ctx.p, ctx.after_reset = v_threshold, p, after_reset
        kernels = _kernels() if p == 2 else None
        ctx.kernels = kernels if kernels is not None and kernels.takes(u_T) else None
        if ctx.kernels is not None:
            total: Tensor = ctx.kernels.sum_of_squares(u_T, v_threshold, after_reset)
            return total
        parts = _parts(u_T)
        scratch = torch.empty_like(parts[0], dtype=torch.float64 if u_T.dtype == torch.float64 else torch.float32)
        sums = []
        for u in parts:
            distance = _distance(u, scratch, v_threshold, after_reset)
            q = distance.square_() if p == 2 else distance.abs_() if p == 1 else distance.abs_().pow_(p)
            sums.append(q.sum())
        return torch.stack(sums).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (u_T,) = ctx.saved_tensors
        p = ctx.p
        if ctx.kernels is not None:
            factor = -2 * float(gradient)
            return ctx.kernels.gradient(u_T, ctx.v_threshold, ctx.after_reset, factor), None, None, None
        # Without axes, so that multiplying by it keeps the type of u.
        factor = -p * gradient
        gradient_T = torch.empty_like(u_T)
        for u, out in zip(_parts(u_T), _parts(gradient_T), strict=True):
            distance = _distance(u, out, ctx.v_threshold, ctx.after_reset)
            if p == 1:
                distance.sign_()
            elif p != 2:
                distance.copy_(distance.abs().pow_(p - 1).mul_(distance.sign()))
            distance.mul_(factor)
        return gradient_T, None, None, None


@cache
def _kernels() -> ModuleType | None:
    """The CPU kernels; None where Numba is missing or broken, where torch's operations do the same."""
    try:
        from neurodeploy.losses import rmp_kernels

        one = torch.ones(1)
        if float(rmp_kernels.sum_of_squares(one, 0.5, False)) != 0:
            raise RuntimeError("the kernel's sum is wrong")
    except Exception as error:
        warnings.warn(f"RMP-Loss runs without its CPU kernels, slower: {error}", stacklevel=2)
        return None
    return rmp_kernels


def _distance(u: Tensor, out: Tensor, v_threshold: float, after_reset: bool) -> Tensor:
    """o − u of Eq. 8, written to ``out``; ``after_reset`` the same of the potential that the reset leaves, 0 − u or 0.

    A comparison written as numbers: with booleans between, the same takes three times as long on the CPU.
    """
    if after_reset:
        return torch.lt(u, v_threshold, out=out).mul_(u).neg_()
    return torch.ge(u, v_threshold, out=out).sub_(u)


def _parts(u_T: Tensor) -> tuple[Tensor, ...]:
    """Step by step on the CPU, where the temporary tensors of one step stay in the cache; whole elsewhere."""
    return u_T.unbind(0) if u_T.device.type == "cpu" else (u_T,)
