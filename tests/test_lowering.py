"""Torch modules -> Graph: the wiring of ``forward``, branches and repeated modules included."""

import numpy as np
import pytest
import torch
from torch import nn

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.interpret import interpret
from neurodeploy.lowering import lower_module
from neurodeploy.nn.layers import AvgPool2d, Conv2d, Flatten, Linear, Repeat
from neurodeploy.nn.lif import LIF, Integrator
from neurodeploy.nn.tdbn import TdBatchNorm


class Block(nn.Module):
    """conv-norm-LIF-conv-norm, plus the input, then LIF: a residual block of the papers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.norm1, self.lif1 = Conv2d(channels, channels, 3, padding=1), TdBatchNorm(channels), LIF()
        self.conv2, self.norm2 = Conv2d(channels, channels, 3, padding=1), TdBatchNorm(channels)
        self.shortcut = Conv2d(channels, channels, 1)
        self.lif2 = LIF()

    def forward(self, x):
        return self.lif2(self.norm2(self.conv2(self.lif1(self.norm1(self.conv1(x))))) + self.shortcut(x))


class Residual(nn.Module):
    """A stem, two blocks, one pool and one flatten module used in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.repeat, self.encoder = Conv2d(1, 4, 3, padding=1), Repeat(4), LIF()
        self.blocks = nn.Sequential(Block(4), Block(4))
        self.pool, self.flatten = AvgPool2d(2), Flatten()
        self.deep, self.shallow = Linear(4 * 4 * 4, 3), Linear(4 * 4 * 4, 3)
        self.readout = Integrator()

    def forward(self, x):
        early = self.encoder(self.repeat(self.stem(x)))
        late = self.blocks(early)
        return self.readout(self.deep(self.flatten(self.pool(late))) + self.shallow(self.flatten(self.pool(early))))


def test_residual_blocks_and_shared_modules_mean_what_torch_computes():
    torch.manual_seed(0)
    net = Residual()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(1, 8, 1, 8, 8) * 2)  # running statistics
    net.eval().double()
    graph = lower_module(net, (1, 8, 8), 4)
    assert set(graph.sources("blocks_0_lif2")) == {"blocks_0_norm2", "blocks_0_shortcut"}
    assert graph.sources("deep") == ("flatten",)
    assert graph.sources("shallow") == ("flatten_2",)
    x = np.random.default_rng(0).normal(size=(6, 1, 8, 8)) * 2
    with torch.no_grad():
        expected = net(torch.from_numpy(x).unsqueeze(0)).numpy().swapaxes(0, 1)
    found = interpret(graph, np.repeat(x[:, None], 4, axis=1))
    assert 0 < np.mean([s.mean() for s in found.spikes.values()]) < 1
    np.testing.assert_allclose(found.output, expected, atol=1e-12)  # float64, another order of sums


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.Sigmoid()

    def forward(self, x):
        return self.act(x)


class Functional(nn.Module):
    def forward(self, x):
        return torch.relu(x)


@pytest.mark.parametrize(("net", "words"), [(Odd(), "Sigmoid"), (Functional(), "relu")])
def test_what_has_no_counterpart_is_named(net, words):
    with pytest.raises(UnsupportedError, match=words) as refusal:
        lower_module(net, (1, 4, 4), 4)
    assert refusal.value.code == "ND219"
