"""Cross-entropy of the accumulating readout.

Shape legend: T time, B batch, N classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def logits(u_TBN: Tensor, per: str) -> Tensor:
    """Logits ``(B, N)`` of the readout's trajectory u[t] = Σ x (Eq. 4).

    ``sum_logits`` is u[T], the paper's text. ``mean_logits`` is u[T]/T, the authors' code and our default: the
    two differ by the factor T in the logits, so the prediction is the same and the softmax is not. Trained
    ``per_step``, a net predicts from the mean as well: the loss has T softmaxes, the prediction one.
    """
    return u_TBN[-1] if per == "sum_logits" else u_TBN[-1] / u_TBN.shape[0]


def step_logits(u_TBN: Tensor) -> Tensor:
    """The logits x[t] = u[t] − u[t−1] of each step, ``(T, B, N)``, that the readout accumulated.

    What it costs: u[t] = u[t−1] + x[t] was rounded by up to half a unit in its last place, and the subtraction cannot
    undo that; its own result is rounded once more. So x[t] is off by at most 2⁻²⁴·(|u[t]| + |x[t]|) in float32, that
    is 3·10⁻⁶ where the logits of four steps sum to 40. The first step is exact.
    """
    return torch.cat([u_TBN[:1], u_TBN[1:] - u_TBN[:-1]])


def cross_entropy(u_TBN: Tensor, y_B: Tensor, per: str = "mean_logits") -> Tensor:
    """Mean over the batch of −log softmax(logits)[y].

    ``per_step`` is (1/T)·Σ_t CE(x[t], y), the mean over steps of the cross-entropy of each step's own logits
    (EnOF-SNN, Algorithm 1, step 5). By convexity it is at least the cross-entropy of the mean logits.
    """
    if per == "per_step":
        x_TBN = step_logits(u_TBN)
        return functional.cross_entropy(x_TBN.flatten(0, 1), y_B.repeat(len(x_TBN)))
    return functional.cross_entropy(logits(u_TBN, per), y_B)
