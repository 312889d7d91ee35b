"""Direct feature alignment (EnOF-SNN Eq. 1), what LAF argues against; here for comparison.

Shape legend: T time, B batch, F features of the classifier's input.
"""

from __future__ import annotations

import torch
from torch import Tensor


def feature_loss(h_TBF: Tensor, h_a_BF: Tensor) -> Tensor:
    """Mean over the batch and T of ‖h_a − h_s[t]‖₂ (Eq. 1).

    The paper writes ‖·‖ without saying which norm, over what, or how steps are combined. Taken here: the Euclidean
    norm of each sample's feature at each step, not squared, and the mean over samples and steps, as LAF's Algorithm 1
    has it. The gradient is the unit vector from the teacher's feature to the student's, and 0 where they are equal.

    Args:
        h_TBF: The student's feature.
        h_a_BF: The teacher's, one for all steps; no gradient goes to it.
    """
    with torch.autocast(h_TBF.device.type, enabled=False):
        return torch.linalg.vector_norm(h_TBF.to(h_a_BF.dtype) - h_a_BF.detach(), dim=-1).mean()
