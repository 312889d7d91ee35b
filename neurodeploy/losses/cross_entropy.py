"""Cross-entropy of the accumulating readout."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def logits(u_TBN: Tensor, per: str) -> Tensor:
    """Logits ``(B, N)`` of the readout's trajectory u[t] = Σ x (Eq. 4).

    ``sum_logits`` is u[T], the paper's text. ``mean_logits`` is u[T]/T, the authors' code and our default: the
    two differ by the factor T in the logits, so the prediction is the same and the softmax is not.
    """
    return u_TBN[-1] if per == "sum_logits" else u_TBN[-1] / u_TBN.shape[0]


def cross_entropy(u_TBN: Tensor, y_B: Tensor, per: str = "mean_logits") -> Tensor:
    """Mean over the batch of −log softmax(logits)[y]."""
    return functional.cross_entropy(logits(u_TBN, per), y_B)
