"""Layers without memory, applied to every time step: time and batch are one axis to them.

Shape legend: T time, B batch, C channels, H W image, N features. A static input has T = 1 until :class:`Repeat`.

``flatten(0, 1)`` and ``unflatten`` are views of what a layer puts out, so a ``(T·B, C, H, W)`` tensor in channels_last
order stays in that order from layer to layer without a copy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from neurodeploy.diagnostics import UsageError

Pair = tuple[int, int]


class Conv2d(nn.Conv2d):
    """Convolution of each step, ``(T, B, C, H, W)``; without bias where a norm follows.

    Initial weights are N(0, 2 / (k·k·C_out)), as in the authors' code; a bias starts at 0.
    """

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
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        return super().forward(x_TBCHW.flatten(0, 1)).unflatten(0, x_TBCHW.shape[:2])


class Linear(nn.Linear):
    """y = Wx + b at each step, ``(T, B, N)``."""


class Classifier(Linear):
    """The last :class:`Linear`, in the precision of its weights also under autocast.

    The readout adds its outputs up over T (RMP-Loss Eq. 4); in bfloat16, with 8 bits of mantissa, the sum would lose
    the differences between classes. It is a thousandth of a net's work.
    """

    def forward(self, x_TBN: Tensor) -> Tensor:
        with torch.autocast(x_TBN.device.type, enabled=False):
            return functional.linear(x_TBN.to(self.weight.dtype), self.weight, self.bias)


class _Pool2d(nn.Module, ABC):
    """A square (or ``(height, width)``) window that slides over the map of each step, ``(T, B, C, H, W)``.

    Windows cover every row and column of the map: a size that would leave some out is a UsageError (ND105), since
    torch drops them without a word. Rows of the padding may be left out.

    Args:
        kernel_size: Window.
        stride: Step of the window; the window itself by default.
        padding: Rows and columns added at each side.
    """

    def __init__(self, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int = 0) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding

    def leaves_out(self, size: Pair) -> bool:
        """Whether a map of this ``(H, W)`` has rows or columns that no window covers."""
        return any(
            side + 2 * self.padding < kernel or (side + 2 * self.padding - kernel) % stride > self.padding
            for side, kernel, stride in self._sides(size)
        )

    def output_size(self, size: Pair) -> Pair:
        """``(H, W)`` of the output for a map of this ``(H, W)``."""
        height, width = ((side + 2 * self.padding - kernel) // stride + 1 for side, kernel, stride in self._sides(size))
        return height, width

    def _sides(self, size: Pair) -> list[tuple[int, int, int]]:
        return list(zip(size, _pair(self.kernel_size), _pair(self.stride), strict=True))

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        size = (x_TBCHW.shape[-2], x_TBCHW.shape[-1])
        if self.leaves_out(size):
            raise UsageError(
                "ND105",
                f"{type(self).__name__}({self.extra_repr()}) would leave out rows of its {size[0]}x{size[1]} input",
                fix="give it a size that its windows cover, or add padding",
            )
        return self._pooled(x_TBCHW.flatten(0, 1)).unflatten(0, x_TBCHW.shape[:2])

    @abstractmethod
    def _pooled(self, x_NCHW: Tensor) -> Tensor:
        """The pool of each image."""

    def extra_repr(self) -> str:
        padding = f", padding={self.padding}" if self.padding else ""
        return f"kernel_size={self.kernel_size}, stride={self.stride}{padding}"


class AvgPool2d(_Pool2d):
    """Mean of each window at each step; zeros of the padding are counted (torch's ``count_include_pad``)."""

    def _pooled(self, x_NCHW: Tensor) -> Tensor:
        return functional.avg_pool2d(x_NCHW, self.kernel_size, self.stride, self.padding)


class MaxPool2d(_Pool2d):
    """Largest value of each window at each step (of spikes: whether any fired); the padding is never the largest."""

    def _pooled(self, x_NCHW: Tensor) -> Tensor:
        return functional.max_pool2d(x_NCHW, self.kernel_size, self.stride, self.padding)


class ReLU(nn.ReLU):
    """max(0, x) at each step: RepAct in the place of the last LIF (EnOF-SNN Eq. 8), or the unit of an ANN."""


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


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value
