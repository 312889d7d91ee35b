"""VGG16 in the papers' CIFAR form: thirteen convolutions, five average pools, no hidden fully connected layer."""

from __future__ import annotations

from torch import nn

from neurodeploy.nn.layers import AvgPool2d, Flatten, Repeat
from neurodeploy.nn.lif import Integrator
from neurodeploy.nn.nets.parts import Parts

#: Channels of each stage as multiples of the width; a pool of 2 ends each stage (configuration D of VGG).
STAGES = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))


class Vgg16(nn.Sequential):
    """13 x [conv3x3 with bias - norm - LIF] with AvgPool2d(2) behind 2, 4, 7, 10 and 13, global pool, fc, integrate.

    From the authors' code (``vgg16_bn``): convolutions keep their bias although a norm follows, no dropout. With RepAct
    ``lif13`` is the ReLU: it stands behind the last norm and before the last pool. (The authors' VGG ignores RepAct.)

    Args:
        parts: What it is made of; H and W of a sample are multiples of 32.
        width: Channels of the first stage, 64 in the papers.
    """

    def __init__(self, parts: Parts, width: int) -> None:
        super().__init__()
        channels, *sides = parts.shape
        size = (sides[0], sides[1])
        index, convolutions = 0, sum(map(len, STAGES))
        for stage, multiples in enumerate(STAGES, 1):
            for multiple in multiples:
                index += 1
                self.add_module(f"conv{index}", parts.conv(channels, multiple * width, 3, bias=True))
                channels = multiple * width
                self.add_module(f"norm{index}", parts.norm(channels))
                if index == 1:
                    self.add_module("repeat", Repeat(parts.timesteps))
                self.add_module(f"lif{index}", parts.last_unit() if index == convolutions else parts.unit())
            pool = AvgPool2d(2)
            size = parts.pooled(size, pool, f"pool{stage}", 2 ** len(STAGES))
            self.add_module(f"pool{stage}", pool)
        if size != (1, 1):
            self.add_module("global_pool", AvgPool2d(size))
        self.add_module("flatten", Flatten())
        self.add_module("fc", parts.classifier(channels))
        self.add_module("readout", Integrator())
