"""RMP-Loss: regularizing membrane potential (Guo et al., ICCV 2023), Eq. 8-12.

    q(u) = |o − u|^p,  o = 1 if u ≥ V_th else 0      (Eq. 8-9)
    L    = L_CE + λ(n)·mean of q                       (Eq. 10-11)

``u`` is the potential *before* reset, ``u_pre``: after reset u = 0 wherever o = 1, and the branch 1 − u of Eq. 8 could
never occur. The gradient is −p|o − u|^(p−1)·sgn(o − u); none flows through the case split, that is through o.

Eq. 10 divides one sum over all layers by T·L·B·C·W·H. Taken literally that cannot be computed, as C, W and H differ by
layer; here it is the mean over elements and T of each layer, then the mean over layers, so each layer weighs the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from neurodeploy.nn.lif import LIFRecord


def quantization_error(u_pre: Tensor, v_threshold: float = 0.5, p: float = 2.0) -> Tensor:
    """q(u) = |o − u|^p, elementwise."""
    with torch.no_grad():
        o = (u_pre >= v_threshold).to(u_pre.dtype)
    distance = (o - u_pre).abs()
    return distance.square() if p == 2 else distance.pow(p)


def rmp_loss(records: Sequence[LIFRecord], p: float = 2.0, layers: str = "all") -> Tensor:
    """Mean over layers of the mean of q over elements and T.

    Args:
        records: One per hidden LIF, in order of execution (``record_lifs``); the readout is not among them.
        p: Exponent of Eq. 9.
        layers: ``all``, or ``exclude_first_last`` as in the same group's IM-Loss code; with two layers or fewer
            nothing would be left, and that is a ValueError.
    """
    chosen = records[1:-1] if layers == "exclude_first_last" else records
    if not chosen:
        raise ValueError(f"no layer is left for RMP-Loss: {len(records)} LIF layers, layers={layers!r}")
    return torch.stack([quantization_error(r.u_pre_T, r.v_threshold, p).mean() for r in chosen]).mean()


def coefficient(epoch: int, epochs: int, k: float = 0.1, schedule: str = "ramp") -> float:
    """λ(n) of Eq. 12 for n = 1 … N: 2kn/N up to N/2, then 2k(1 − n/N), so k at N/2 and 0 at the last epoch.

    ``constant`` is k in every epoch.
    """
    if schedule == "constant":
        return k
    share = epoch / epochs
    return 2 * k * share if share <= 0.5 else 2 * k * (1 - share)
