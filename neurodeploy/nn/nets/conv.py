"""A small sequential conv net: three conv-tdBN-LIF stages, the spikes of the last two pooled, one linear readout."""

from __future__ import annotations

from torch import Tensor, nn

from neurodeploy.nn.layers import AvgPool2d, Conv2d, Flatten, Linear, Repeat
from neurodeploy.nn.lif import LIF, Integrator
from neurodeploy.nn.tdbn import TdBatchNorm


class ConvNet(nn.Module):
    """conv(w)-LIF · conv(2w)-LIF-pool2 · conv(2w)-LIF-pool2 · fc · integrate, every conv 3x3 with tdBN.

    The first convolution and its LIF encode the image into spikes.

    Args:
        shape: ``(C, H, W)`` of a sample; H and W multiples of 4.
        classes: Outputs of the readout.
        width: Channels w of the first convolution.
        timesteps: T.
        tau, v_threshold, surrogate: Of every LIF.
        alpha: Of every tdBN.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        classes: int,
        width: int,
        timesteps: int,
        tau: float = 0.25,
        v_threshold: float = 0.5,
        surrogate: str = "tanh",
        alpha: float = 1.0,
    ) -> None:
        super().__init__()
        channels, height, breadth = shape
        self.conv1 = Conv2d(channels, width, 3, padding=1)
        self.norm1 = TdBatchNorm(width, alpha, v_threshold)
        self.repeat = Repeat(timesteps)
        self.lif1 = LIF(tau, v_threshold, surrogate)
        self.conv2 = Conv2d(width, 2 * width, 3, padding=1)
        self.norm2 = TdBatchNorm(2 * width, alpha, v_threshold)
        self.lif2 = LIF(tau, v_threshold, surrogate)
        self.pool2 = AvgPool2d(2)
        self.conv3 = Conv2d(2 * width, 2 * width, 3, padding=1)
        self.norm3 = TdBatchNorm(2 * width, alpha, v_threshold)
        self.lif3 = LIF(tau, v_threshold, surrogate)
        self.pool3 = AvgPool2d(2)
        self.flatten = Flatten()
        self.fc = Linear(2 * width * (height // 4) * (breadth // 4), classes)
        self.readout = Integrator()

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        x = self.repeat(self.norm1(self.conv1(x_TBCHW)))
        x = self.lif1(x)
        x = self.pool2(self.lif2(self.norm2(self.conv2(x))))
        x = self.pool3(self.lif3(self.norm3(self.conv3(x))))
        return self.readout(self.fc(self.flatten(x)))
