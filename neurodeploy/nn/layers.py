"""Layers without memory, applied to every time step: time and batch are one axis to them.

Shape legend: T time, B batch, C channels, H W image, N features. A static input has T = 1 until :class:`Repeat`.
"""

from __future__ import annotations

from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """Convolution of each step, ``(T, B, C, H, W)``; without bias, since a norm follows."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=bias)
        # The authors' init: N(0, 2 / (k·k·C_out)).
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        return super().forward(x_TBCHW.flatten(0, 1)).unflatten(0, x_TBCHW.shape[:2])


class Linear(nn.Linear):
    """y = Wx + b at each step, ``(T, B, N)``."""


class AvgPool2d(nn.Module):
    """Mean of each ``kernel_size`` square at each step, ``(T, B, C, H, W)``; no padding, incomplete squares dropped."""

    def __init__(self, kernel_size: int, stride: int | None = None) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        y = nn.functional.avg_pool2d(x_TBCHW.flatten(0, 1), self.kernel_size, self.stride)
        return y.unflatten(0, x_TBCHW.shape[:2])

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


class Flatten(nn.Module):
    """``(T, B, C, H, W)`` -> ``(T, B, C·H·W)``, in this order."""

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        return x_TBCHW.flatten(2)


class Repeat(nn.Module):
    """A static ``(1, B, …)`` seen at each of T steps; an input that has T steps already passes.

    It stands behind the first norm, so that the first convolution of a static image is computed once; the
    statistics of tdBN do not change by repetition.
    """

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps

    def forward(self, x_T: Tensor) -> Tensor:
        steps = x_T.shape[0]
        if steps not in (1, self.timesteps):
            raise ValueError(f"the input has {steps} steps; the network takes 1 (static) or {self.timesteps}")
        return x_T.expand(self.timesteps, *x_T.shape[1:])

    def extra_repr(self) -> str:
        return f"timesteps={self.timesteps}"
