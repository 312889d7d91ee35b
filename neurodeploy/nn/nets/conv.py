"""A small sequential conv net: three conv-tdBN-LIF stages, the spikes of two of them pooled, one linear readout."""

from __future__ import annotations

from torch import Tensor, nn

from neurodeploy.nn.layers import AvgPool2d, Classifier, Flatten, Repeat
from neurodeploy.nn.lif import Integrator
from neurodeploy.nn.nets.parts import Parts


class ConvNet(nn.Module):
    """conv(w)-LIF · conv(2w)-LIF-pool2 · conv(2w)-LIF-pool2 · fc · integrate, every conv 3x3 with a norm.

    With ``net.pools = "early"`` the pools stand behind the first two LIFs, not the last two: less work on large images.
    The first convolution and its LIF encode the image into spikes. With RepAct ``lif3`` is the ReLU.

    Args:
        parts: What it is made of; H and W of a sample are multiples of 4.
        width: Channels w of the first convolution.
    """

    def __init__(self, parts: Parts, width: int) -> None:
        super().__init__()
        channels, *sides = parts.shape
        self.conv1 = parts.conv(channels, width, 3)
        self.norm1 = parts.norm(width)
        self.repeat = Repeat(parts.timesteps)
        self.lif1 = parts.unit()
        self.pool1 = AvgPool2d(2) if parts.net.pools == "early" else nn.Identity()
        self.conv2 = parts.conv(width, 2 * width, 3)
        self.norm2 = parts.norm(2 * width)
        self.lif2 = parts.unit()
        self.pool2 = AvgPool2d(2)
        self.conv3 = parts.conv(2 * width, 2 * width, 3)
        self.norm3 = parts.norm(2 * width)
        self.lif3 = parts.last_unit()
        self.pool3 = AvgPool2d(2) if parts.net.pools == "late" else nn.Identity()
        height, breadth = sides
        for name in ("pool1", "pool2", "pool3"):
            pool = self.get_submodule(name)
            if isinstance(pool, AvgPool2d):
                height, breadth = parts.pooled((height, breadth), pool, name, 4)
        self.flatten = Flatten()
        self.fc = Classifier(2 * width * height * breadth, parts.classes)
        self.readout = Integrator()

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        x = self.repeat(self.norm1(self.conv1(x_TBCHW)))
        x = self.pool1(self.lif1(x))
        x = self.pool2(self.lif2(self.norm2(self.conv2(x))))
        x = self.pool3(self.lif3(self.norm3(self.conv3(x))))
        return self.readout(self.fc(self.flatten(x)))
