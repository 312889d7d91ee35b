"""The table of nets: the only place to add one (and its name to ``Net.name`` of the recipe)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from neurodeploy.nn.nets.conv import ConvNet
from neurodeploy.nn.nets.mlp import Mlp
from neurodeploy.nn.nets.parts import Parts
from neurodeploy.nn.nets.resnet import RESNET18, RESNET19, RESNET20, RESNET20_SLIM, RESNET34, ResNet
from neurodeploy.nn.nets.vgg import Vgg16


@dataclass(frozen=True)
class Entry:
    """How to make a net from its parts and its width, and the width of its published form."""

    make: Callable[[Parts, int], nn.Module]
    width: int


NETS: dict[str, Entry] = {
    "conv": Entry(ConvNet, 16),
    "mlp": Entry(Mlp, 16),
    "resnet20": Entry(partial(ResNet, form=RESNET20), 64),
    "resnet20-slim": Entry(partial(ResNet, form=RESNET20_SLIM), 16),
    "resnet19": Entry(partial(ResNet, form=RESNET19), 128),
    "vgg16": Entry(Vgg16, 64),
    "resnet18": Entry(partial(ResNet, form=RESNET18), 64),
    "resnet34": Entry(partial(ResNet, form=RESNET34), 64),
}
