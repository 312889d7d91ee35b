"""A multilayer perceptron: two linear-tdBN-LIF stages and a linear readout."""

from __future__ import annotations

from math import prod

from torch import Tensor, nn

from neurodeploy.nn.layers import Classifier, Flatten, Linear, Repeat
from neurodeploy.nn.lif import Integrator
from neurodeploy.nn.nets.parts import Parts


class Mlp(nn.Module):
    """flatten · fc1(w)-LIF · fc2(w)-LIF · fc · integrate, with a norm before each LIF.

    With RepAct ``lif2`` is the ReLU.

    Args:
        parts: What it is made of; samples of any size.
        width: Hidden features w.
    """

    def __init__(self, parts: Parts, width: int) -> None:
        super().__init__()
        self.flatten = Flatten()
        self.fc1 = Linear(prod(parts.shape), width, bias=parts.bias)
        self.norm1 = parts.norm(width)
        self.repeat = Repeat(parts.timesteps)
        self.lif1 = parts.unit()
        self.fc2 = Linear(width, width, bias=parts.bias)
        self.norm2 = parts.norm(width)
        self.lif2 = parts.last_unit()
        self.fc = Classifier(width, parts.classes)
        self.readout = Integrator()

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        x = self.repeat(self.norm1(self.fc1(self.flatten(x_TBCHW))))
        x = self.lif1(x)
        x = self.lif2(self.norm2(self.fc2(x)))
        return self.readout(self.fc(x))
