"""Threshold-dependent batch normalization (tdBN; RMP-Loss Eq. 6-7, from Zheng et al. 2021)."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from neurodeploy.diagnostics import UsageError


class TdBatchNorm(nn.Module):
    """y = λ·α·V_th·(x − μ)/√(σ² + ε) + β, per channel.

    In training μ and σ² are of the batch, over T, B and (for images) H and W; σ² is the biased variance, both in the
    formula and in the running average. In evaluation they are the running averages. Unlike torch's BatchNorm,
    whose running variance is unbiased: the paper's Eq. 6 has the plain mean of squares, and with it a static input
    gives the same statistics whether it is repeated over T before or after the norm.

    Under ``torch.distributed`` with several processes, the batch is that of all ranks of ``process_group``. They may
    hold different numbers of samples: together they compute what one process would with all of them in one batch, and
    the gradients of λ and β are each rank's share of a sum.

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
        #: Ranks that share statistics in training; None is all of them.
        self.process_group: dist.ProcessGroup | None = None

    def forward(self, x_TBC: Tensor) -> Tensor:
        gain = self.weight * (self.alpha * self.v_threshold)
        if self.training:
            x = x_TBC.flatten(0, 1)
            if several_ranks(self.process_group):
                y, mean, var = SynchronizedNorm.apply(x, gain, self.bias, self.eps, self.process_group)
            else:
                y, mean, var = norm_of_batch(x, gain, self.bias, self.eps)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var, self.momentum)
            return y.unflatten(0, x_TBC.shape[:2])
        shape = [1, 1, -1] + [1] * (x_TBC.dim() - 3)
        scale = gain / torch.sqrt(self.running_var + self.eps)
        return (x_TBC - self.running_mean.view(shape)) * scale.view(shape) + self.bias.view(shape)

    def extra_repr(self) -> str:
        return f"{self.num_features}, alpha={self.alpha}, v_threshold={self.v_threshold}, eps={self.eps}"


def _refuse_single_value(values: int) -> None:
    """ND102: the norm of one value is β whatever the value is, and nothing behind it could learn."""
    if values == 1:
        raise UsageError(
            "ND102",
            "batch normalization has one value per channel to take statistics over",
            where="data.batch",
            fix="a data.batch of 2 or more, whose last batch has 2 samples or more as well",
        )


def norm_of_batch(x: Tensor, gain: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Eq. 6-7 with the gain for γ, and the batch's μ and σ², in one pass over ``x`` ``(N, C, …)``.

    torch's kernel computes output and gradient; as running averages of weight 1 it leaves μ and the unbiased variance.
    """
    _refuse_single_value(x.numel() // x.shape[1])
    mean, var = torch.zeros_like(bias), torch.zeros_like(bias)
    y = torch.batch_norm(x, gain, bias, mean, var, True, 1.0, eps, torch.backends.cudnn.enabled)
    samples = x.numel() // x.shape[1]
    # Not in place: autograd holds on to them.
    return y, mean, var * ((samples - 1) / samples)


def several_ranks(group: dist.ProcessGroup | None) -> bool:
    """Whether there is more than one process to share statistics with."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size(group) > 1


class SynchronizedNorm(torch.autograd.Function):
    """:func:`norm_of_batch` over the batches of all ranks, M values per channel in all.

    μ = Σ_r m_r μ_r / M,  σ² = Σ_r m_r (σ²_r + (μ_r − μ)²) / M, and with x̂ = (x − μ)/√(σ² + ε) and g the gradient of y,

        g_x = γ/√(σ² + ε) · (g − Σ g / M − x̂ · Σ g x̂ / M)

    where the sums run over all ranks, and those of γ (Σ g x̂) and β (Σ g) over this rank only.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, bias: Tensor, eps: float, group: dist.ProcessGroup | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, var, total = _statistics_of_all_ranks(x, gain.dtype, group)
        _refuse_single_value(total)
        ctx.save_for_backward(x, gain, mean, var)
        ctx.eps, ctx.group, ctx.total = eps, group, total
        ctx.mark_non_differentiable(mean, var)
        ctx.set_materialize_grads(False)
        return torch.batch_norm(x, gain, bias, mean, var, False, 0.0, eps, False), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        x, gain, mean, var = ctx.saved_tensors
        # A rank whose output is not used has to answer the others all the same.
        g = torch.zeros_like(x) if gradients[0] is None else gradients[0]
        _, g_gain, g_bias = torch.ops.aten.native_batch_norm_backward(
            g, x, gain, mean, var, None, None, False, ctx.eps, [False, True, True]
        )
        sums = torch.stack([g_gain, g_bias])
        dist.all_reduce(sums, group=ctx.group)
        if not ctx.needs_input_grad[0]:
            return None, g_gain, g_bias, None, None
        view = [1, -1] + [1] * (x.dim() - 2)
        scale = (var + ctx.eps).rsqrt()
        slope, shift = (scale * sums[0] / ctx.total).view(view), (sums[1] / ctx.total).view(view)
        g_x = (g - shift - (x - mean.view(view)) * slope) * (gain * scale).view(view)
        return g_x.to(x.dtype), g_gain, g_bias, None, None


def _statistics_of_all_ranks(
    x: Tensor, dtype: torch.dtype, group: dist.ProcessGroup | None
) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance per channel over the ``(N, C, …)`` of all ranks, and how many values each is of."""
    channels = x.shape[1]
    count = x.numel() // channels
    # float64, so that putting the parts together adds no rounding to what one process would do.
    mine = torch.zeros(2 * channels + 1, dtype=torch.float64, device=x.device)
    if count:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        var, mean = torch.var_mean(x.to(dtype), axes, correction=0)
        mine[:channels], mine[channels:-1], mine[-1] = mean, var, count
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, mine, group=group)
    all_RX = torch.stack(parts)
    share = all_RX[:, -1:] / all_RX[:, -1].sum()
    mean_RC, var_RC = all_RX[:, :channels], all_RX[:, channels:-1]
    mean = (share * mean_RC).sum(0)
    var = (share * (var_RC + (mean_RC - mean).square())).sum(0)
    return mean.to(dtype), var.to(dtype), int(all_RX[:, -1].sum())
