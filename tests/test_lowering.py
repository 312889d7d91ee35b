"""Torch modules -> Graph: the wiring of ``forward``, branches and repeated modules included."""

import numpy as np
import pytest
import torch
from small_nets import settled, small
from torch import nn

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir import nodes as ir
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.lowering import lower_module
from neurodeploy.nn.layers import AvgPool2d, Conv2d, Flatten, Linear, Repeat
from neurodeploy.nn.lif import LIF, Integrator, record_lifs
from neurodeploy.nn.tdbn import TdBatchNorm
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.targets.base import load_target
from neurodeploy.targets.check import core_limits


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


@pytest.mark.parametrize(
    ("name", "shape", "tables", "rectified"),
    [
        ("resnet18", (3, 32, 32), {"net": {"stem_pool": "max"}}, []),
        ("conv", (1, 8, 8), {"repact": True}, ["lif3"]),
        ("vgg16", (3, 32, 32), {"repact": True}, ["lif13"]),
        ("resnet20", (3, 16, 16), {"repact": True}, ["stage4_block2_lif2"]),
        ("resnet19", (3, 8, 8), {"repact": True, "net": {"head": "fc256"}}, ["head_lif"]),
    ],
    ids=str,
)
def test_max_pools_and_repact_lower_to_nodes(name, shape, tables, rectified):
    model = lowerable(name, shape, **tables)
    graph = lower_module(model, shape, 4)
    assert graph.names(ir.ReLU) == rectified
    assert len(graph.names(ir.MaxPool2d)) == (0 if rectified else 1)
    x = np.random.default_rng(0).normal(size=(2, 4, *shape))
    with torch.no_grad():
        expected = model(torch.from_numpy(x.swapaxes(0, 1).copy())).numpy().swapaxes(0, 1)
    np.testing.assert_allclose(interpret(graph, x).output, expected, atol=1e-12)  # float64, another order of sums


def test_an_ann_lowers_too():
    """All its units are ReLUs: nothing that a chip runs, but a graph."""
    model = small("conv", (1, 8, 8), timesteps=1, neuron={"kind": "relu"}, norm={"kind": "batchnorm"})
    graph = lower_module(settled(model, torch.randn(1, 8, 1, 8, 8)).double(), (1, 8, 8), 1)
    assert graph.names(ir.ReLU) == ["lif1", "lif2", "lif3"]


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


def lowerable(name: str, shape: tuple[int, int, int], **tables) -> nn.Module:
    """A net of width 4 in evaluation mode and float64."""
    model = small(name, shape, **tables)
    return settled(model, torch.randn(1, 8, *shape)).double()


@pytest.mark.parametrize(
    ("name", "shape", "net"),
    [
        ("conv", (1, 8, 8), {}),
        ("mlp", (1, 8, 8), {}),
        ("resnet20-slim", (1, 12, 12), {}),
        ("resnet20-slim", (1, 9, 9), {"block": "sew"}),
        ("resnet20", (3, 16, 16), {}),
        ("resnet20", (2, 16, 16), {"block": "sew", "stem": 3}),
        ("resnet19", (3, 8, 8), {"head": "fc256"}),
        ("vgg16", (3, 32, 32), {}),
        ("resnet18", (3, 32, 32), {}),
        ("resnet18", (3, 21, 21), {"block": "sew"}),
    ],
    ids=str,
)
def test_every_net_lowers_to_a_graph_with_the_same_spikes(name, shape, net):
    """The slow interpreter in float64 against torch in float64, from events (T frames), spike for spike."""
    model = lowerable(name, shape, net=net)
    graph = lower_module(model, shape, 4)
    x = np.random.default_rng(0).normal(size=(2, 4, *shape))
    with torch.no_grad(), record_lifs(model) as records:
        expected = model(torch.from_numpy(x.swapaxes(0, 1).copy())).numpy().swapaxes(0, 1)
    found = interpret(graph, x)
    assert set(found.spikes) == {key.replace(".", "_") for key in records}
    for key, record in records.items():
        spikes = record.o_T.numpy().swapaxes(0, 1)
        assert 0 < spikes.mean() < 1, key
        np.testing.assert_array_equal(found.spikes[key.replace(".", "_")], spikes, err_msg=key)
    np.testing.assert_allclose(found.output, expected, atol=1e-12)  # float64, another order of sums


def test_a_net_without_norms_lowers_with_its_biases():
    model = lowerable("resnet20-slim", (1, 8, 8), norm={"kind": "none"})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05)
    graph = lower_module(model, (1, 8, 8), 4)
    x = np.random.default_rng(0).normal(size=(2, 4, 1, 8, 8))
    with torch.no_grad():
        expected = model(torch.from_numpy(x.swapaxes(0, 1).copy())).numpy().swapaxes(0, 1)
    np.testing.assert_allclose(interpret(graph, x).output, expected, rtol=1e-12)
    assert graph.nodes["stage1_block1_conv1"].bias.all()


class Pooled(nn.Module):
    """A padded pool between input and readout."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool, self.flatten, self.readout = pool, Flatten(), Integrator()

    def forward(self, x):
        return self.readout(self.flatten(self.pool(x)))


def test_a_padded_pool_counts_its_zeros_in_the_graph_too():
    graph = lower_module(Pooled(AvgPool2d(3, 2, 1)), (1, 4, 4), 1)
    found = interpret(graph, np.ones((1, 1, 1, 4, 4))).output
    np.testing.assert_allclose(found[0, 0], np.array([4, 6, 6, 9]) / 9, rtol=1e-15)
    x = np.random.default_rng(0).normal(size=(2, 1, 3, 7, 5))
    net = Pooled(AvgPool2d(3, 2, 1)).double()
    expected = net(torch.from_numpy(x).swapaxes(0, 1)).numpy().swapaxes(0, 1)
    np.testing.assert_allclose(interpret(lower_module(net, (3, 7, 5), 1), x).output, expected, atol=1e-14)


def impure(graph: Graph) -> dict[str, str]:
    """Node -> ND3xx code of a check for Loihi 2."""
    target = load_target("loihi2")
    found = compile_graph(graph, target.spec, core_limits(target), collect=True).findings
    return {f.node: f.code for f in found if f.code.startswith("ND3")}


def test_the_purity_check_catches_sew_blocks_and_passes_basic_ones():
    graphs = {
        block: lower_module(lowerable("resnet20-slim", (1, 8, 8), net={"block": block}), (1, 8, 8), 4)
        for block in ("basic", "sew")
    }
    assert impure(graphs["basic"]) == {}
    found = impure(graphs["sew"])
    # Every synapse that reads a sum of spikes: the first of each block but the very first, and the shortcuts. The
    # classifier reads one too, but no spiking layer follows it: the host adds there.
    blocks = {f"stage{s}_block{b}_conv1" for s in (1, 2, 3) for b in (1, 2, 3)} - {"stage1_block1_conv1"}
    assert set(found) == blocks | {"stage2_block1_shortcut_conv", "stage3_block1_shortcut_conv"}
    assert {found[name] for name in blocks} == {"ND303"}
