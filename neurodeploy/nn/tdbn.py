"""Threshold-dependent batch normalization (tdBN; RMP-Loss Eq. 6-7, from Zheng et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TdBatchNorm(nn.Module):
    """y = λ·α·V_th·(x − μ)/√(σ² + ε) + β, per channel.

    In training μ and σ² are of the batch, over T, B and (for images) H and W; σ² is the biased variance, both in the
    formula and in the running average. In evaluation they are the running averages. Unlike torch's BatchNorm,
    whose running variance is unbiased: the paper's Eq. 6 has the plain mean of squares, and with it a static input
    gives the same statistics whether it is repeated over T before or after the norm.

    Args:
        num_features: Channels C, or features N.
        alpha: α, 1 in the paper.
        v_threshold: V_th of the neuron behind.
        eps: ε.
        momentum: Weight of the newest batch in the running averages.

    Shapes: ``(T, B, C, H, W)`` or ``(T, B, N)``, the same out. λ is ``weight`` (starts at 1), β is ``bias`` (0).
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        num_features: int,
        alpha: float = 1.0,
        v_threshold: float = 0.5,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.alpha = alpha
        self.v_threshold = v_threshold
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x_TBC: Tensor) -> Tensor:
        gain = self.weight * (self.alpha * self.v_threshold)
        if self.training:
            with torch.no_grad():
                axes = [axis for axis in range(x_TBC.dim()) if axis != 2]
                var, mean = torch.var_mean(x_TBC, axes, correction=0)
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var, self.momentum)
            # torch's kernel computes Eq. 6-7 with the gain in the place of γ, and their gradient, in one pass.
            y = torch.batch_norm(x_TBC.flatten(0, 1), gain, self.bias, None, None, True, 0.0, self.eps, False)
            return y.unflatten(0, x_TBC.shape[:2])
        shape = [1, 1, -1] + [1] * (x_TBC.dim() - 3)
        scale = gain / torch.sqrt(self.running_var + self.eps)
        return (x_TBC - self.running_mean.view(shape)) * scale.view(shape) + self.bias.view(shape)

    def extra_repr(self) -> str:
        return f"{self.num_features}, alpha={self.alpha}, v_threshold={self.v_threshold}, eps={self.eps}"
