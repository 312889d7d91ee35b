"""A multilayer perceptron: two linear-tdBN-LIF stages and a linear readout."""

from __future__ import annotations

from math import prod

from torch import Tensor, nn

from neurodeploy.nn.layers import Flatten, Linear, Repeat
from neurodeploy.nn.lif import LIF, Integrator
from neurodeploy.nn.tdbn import TdBatchNorm


class Mlp(nn.Module):
    """flatten · fc1(w)-LIF · fc2(w)-LIF · fc · integrate, with tdBN before each LIF.

    Args:
        shape: ``(C, H, W)`` of a sample.
        classes: Outputs of the readout.
        width: Hidden features w.
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
        self.flatten = Flatten()
        self.fc1 = Linear(prod(shape), width, bias=False)
        self.norm1 = TdBatchNorm(width, alpha, v_threshold)
        self.repeat = Repeat(timesteps)
        self.lif1 = LIF(tau, v_threshold, surrogate)
        self.fc2 = Linear(width, width, bias=False)
        self.norm2 = TdBatchNorm(width, alpha, v_threshold)
        self.lif2 = LIF(tau, v_threshold, surrogate)
        self.fc = Linear(width, classes)
        self.readout = Integrator()

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        x = self.repeat(self.norm1(self.fc1(self.flatten(x_TBCHW))))
        x = self.lif1(x)
        x = self.lif2(self.norm2(self.fc2(x)))
        return self.readout(self.fc(x))
