"""The papers' residual networks: one class, and a table of forms.

A basic block is ``LIF(norm(conv(LIF(norm(conv(x))))) + shortcut(x))``: the neuron stands behind the add, so that what
leaves the block is binary. A SEW block (Fang et al. 2021, ADD) is ``LIF(norm(conv(LIF(norm(conv(x)))))) + shortcut(x)``
with ``LIF(norm(conv1x1(x)))`` as shortcut where the shape changes: sums of spikes 0, 1, 2, … leave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from neurodeploy.nn.layers import AvgPool2d, Flatten, Linear, MaxPool2d, Pair, Repeat
from neurodeploy.nn.lif import Integrator
from neurodeploy.nn.nets.parts import Parts


@dataclass(frozen=True)
class Form:
    """What distinguishes one residual network from another.

    Attributes:
        blocks: Blocks of each stage. Stage i has 2^i times the width; every stage but the first halves the map.
        stem: ``one`` conv3x3; ``three`` of them and AvgPool2d(2); ``imagenet``: conv7x7 of stride 2 and a pool of 3.
        average_down: Shortcuts that halve the map average it (AvgPool2d(2) - conv1x1) instead of skipping pixels.
    """

    blocks: tuple[int, ...]
    stem: Literal["one", "three", "imagenet"] = "one"
    average_down: bool = False

    @property
    def multiple(self) -> int:
        """What the sides of a sample must be multiples of so that no pool leaves out rows."""
        pools = (self.stem == "three") + (len(self.blocks) - 1 if self.average_down else 0)
        return int(2**pools)


#: ``resnet20_cifar_modified`` of the authors' code, 64 channels: the papers' ResNet20.
RESNET20 = Form((2, 2, 2, 2), stem="three", average_down=True)
#: He et al. 2016, section 4.2, 16 channels, with a convolution in the shortcuts.
RESNET20_SLIM = Form((3, 3, 3))
#: 128 channels: ``resnet19_cifar`` of the authors' code, from the tdBN paper.
RESNET19 = Form((3, 3, 2))
#: ImageNet, 64 channels.
RESNET18 = Form((2, 2, 2, 2), stem="imagenet")
RESNET34 = Form((3, 4, 6, 3), stem="imagenet")

#: Hidden features of ``net.head = "fc256"`` per channel of the width: 256 at the published 128.
HEAD_FEATURES = 2


class ResNet(nn.Sequential):
    """stem · stages of blocks · global pool · (fc256-LIF) · fc · integrate.

    The spikes are pooled and classified at every step. With RepAct the last neuron is a ReLU: behind the last residual
    add, or in the head where there is one.

    Args:
        parts: What it is made of.
        width: Channels of the first stage.
        form: Which residual network.
    """

    def __init__(self, parts: Parts, width: int, form: Form) -> None:
        super().__init__()
        hidden_head = parts.net.head == "fc256"
        channels = parts.net.stem or width
        size = self._add_stem(parts, channels, form)
        last = (len(form.blocks), form.blocks[-1])
        for stage, blocks in enumerate(form.blocks, 1):
            outputs = width * 2 ** (stage - 1)
            stack = nn.Sequential()
            for index in range(1, blocks + 1):
                stride = 2 if stage > 1 and index == 1 else 1
                name = f"block{index}"
                ends = (stage, index) == last and not hidden_head
                block = Block(parts, channels, outputs, stride, average_down=form.average_down, last=ends)
                if form.average_down and stride > 1:
                    parts.pooled(size, AvgPool2d(stride), f"stage{stage}.{name}.shortcut.pool", form.multiple)
                size = (-(-size[0] // stride), -(-size[1] // stride))  # convolutions that pad round up
                stack.add_module(name, block)
                channels = outputs
            self.add_module(f"stage{stage}", stack)
        if size != (1, 1):
            self.add_module("global_pool", AvgPool2d(size))
        self.add_module("flatten", Flatten())
        if hidden_head:
            # No norm stands here, so torch's own initial weights are kept: with the classifier's, as small as
            # 1/features, no spike would ever reach the threshold.
            self.add_module("head", Linear(channels, HEAD_FEATURES * width))
            self.add_module("head_lif", parts.last_unit())
            channels = HEAD_FEATURES * width
        self.add_module("fc", parts.classifier(channels))
        self.add_module("readout", Integrator())

    def _add_stem(self, parts: Parts, channels: int, form: Form) -> Pair:
        """Convolutions, norms and neurons before the first stage; the size behind them."""
        inputs, height, width = parts.shape
        size = (height, width)
        for index in range(1, 4 if form.stem == "three" else 2):
            kernel, stride = (7, 2) if form.stem == "imagenet" else (3, 1)
            self.add_module(f"conv{index}", parts.conv(inputs, channels, kernel, stride))
            self.add_module(f"norm{index}", parts.norm(channels))
            if index == 1:
                self.add_module("repeat", Repeat(parts.timesteps))
            self.add_module(f"lif{index}", parts.unit())
            size = (-(-size[0] // stride), -(-size[1] // stride))
            inputs = channels
        if form.stem == "one":
            return size
        pool: AvgPool2d | MaxPool2d = AvgPool2d(2)
        if form.stem == "imagenet":
            pool = (MaxPool2d if parts.net.stem_pool == "max" else AvgPool2d)(3, 2, 1)
        self.add_module("pool", pool)
        return parts.pooled(size, pool, "pool", form.multiple)


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut, basic or SEW (see the module).

    A norm that ends in the residual add (``norm2`` and the shortcut's) takes ``residual_alpha``; in a SEW block a
    neuron stands between norm and add, so none does.

    Args:
        parts: What it is made of.
        inputs, outputs: Channels.
        stride: 2 where the block halves the map.
        average_down: See :class:`Form`.
        last: No neuron follows it: RepAct's ReLU is here.
    """

    def __init__(
        self, parts: Parts, inputs: int, outputs: int, stride: int, *, average_down: bool = False, last: bool = False
    ) -> None:
        super().__init__()
        changes = stride != 1 or inputs != outputs
        self.sew = parts.net.block == "sew"
        residual_end = not self.sew and (parts.norms.residual_where == "all" or changes)
        self.conv1 = parts.conv(inputs, outputs, 3, stride)
        self.norm1 = parts.norm(outputs)
        self.lif1 = parts.unit()
        self.conv2 = parts.conv(outputs, outputs, 3)
        self.norm2 = parts.norm(outputs, residual_end=residual_end)
        self.shortcut = nn.Sequential() if changes else nn.Identity()
        if changes:
            average = average_down and stride > 1
            if average:
                self.shortcut.add_module("pool", AvgPool2d(stride))
            self.shortcut.add_module("conv", parts.conv(inputs, outputs, 1, 1 if average else stride))
            self.shortcut.add_module("norm", parts.norm(outputs, residual_end=residual_end))
            if self.sew:
                self.shortcut.add_module("lif", parts.unit())
        self.lif2 = parts.last_unit() if last else parts.unit()

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        # The shortcut first: the block's last neuron is then the last that runs, also in a SEW block.
        shortcut = self.shortcut(x_TBCHW)
        x = self.norm2(self.conv2(self.lif1(self.norm1(self.conv1(x_TBCHW)))))
        return self.lif2(x) + shortcut if self.sew else self.lif2(x + shortcut)
