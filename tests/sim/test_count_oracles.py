"""Counts against other counters: the same where their rule is right, and by hand why not where it is not.

The networks below are written twice, once in torch and once as a graph, with weights that are multiples of 1/8: sums
are exact in float32, so both fire the same spikes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from neurodeploy.energy import dense_macs
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, AvgPool2d, Conv2d, Flatten, Input, Integrator, Linear, Node, Output, ReLU
from neurodeploy.sim.engine import Engine
from neurodeploy.sim.trace import LayerCounts

SAMPLES, T = 3, 4
#: Synaptic operations of ``Net()`` on ``spikes()``, all samples, layer by layer; also what Sinabs 3.1.3 finds:
#: ``python -m pytest tests/sim/test_count_oracles.py -k sinabs`` where sinabs is installed checks that.
RECORDED = {"conv1": 28248, "conv2": 6794, "depthwise": 1220, "fc": 1230}


def eighths(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    """Multiples of 1/8 in ±1, none of them 0."""
    return torch.as_tensor(rng.choice([-1, 1], shape) * rng.integers(1, 9, shape) / 8.0, dtype=torch.float32)


class Net(nn.Module):
    """Borders, two strides, groups, dilation, a depthwise layer, a linear one; ``u = u/4 + x``, spike at 1/2, reset."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 6, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(6, 4, 3, stride=2, padding=(2, 1), dilation=(2, 1), groups=2, bias=False)
        self.depthwise = nn.Conv2d(4, 8, (3, 2), stride=(1, 2), padding=(0, 1), groups=4, bias=False)
        self.fc = nn.Linear(8 * 3 * 3, 10, bias=False)
        rng = np.random.default_rng(5)
        for layer in self.children():
            layer.weight.data = eighths(rng, *layer.weight.shape)  # type: ignore[union-attr, operator, arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` is ``(B, T, C, H, W)``."""
        states: dict[str, Any] = {}
        for t in range(x.shape[1]):
            s = x[:, t]
            for name in ("conv1", "conv2", "depthwise"):
                u = states.get(name, 0.0) * 0.25 + getattr(self, name)(s)
                s = (u >= 0.5).float()
                states[name] = u * (1 - s)
            states["fc"] = states.get("fc", 0.0) + self.fc(s.flatten(1))
        return states["fc"]

    def graph(self) -> Graph:
        """The same for the engine."""
        nodes: dict[str, Node] = {"input": Input((2, 9, 9), "binary")}
        shape: tuple[int, ...] = (2, 9, 9)
        for name in ("conv1", "conv2", "depthwise"):
            nodes[name] = conv = as_node(getattr(self, name))
            shape = conv.output_shape(shape)
            nodes[f"{name}_lif"] = LIF(shape, np.asarray(0.25), np.asarray(0.5))
        weight = self.fc.weight.detach().numpy()
        nodes |= {"flatten": Flatten(), "fc": Linear(weight, np.zeros(10)), "readout": Integrator((10,))}
        nodes["output"] = Output()
        return Graph(nodes, tuple(pairwise(nodes)), timesteps=T)


def as_node(conv: nn.Conv2d) -> Conv2d:
    weight = conv.weight.detach().numpy()
    geometry: Any = {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation, "groups": conv.groups}
    return Conv2d(weight, np.zeros(weight.shape[0]), **geometry)


def spikes() -> np.ndarray:
    return (np.random.default_rng(11).random((SAMPLES, T, 2, 9, 9)) < 0.3).astype(np.uint8)


def counted(graph: Graph, x: np.ndarray) -> dict[str, LayerCounts]:
    return {layer.name: layer for layer in Engine(graph).run(x, x.shape[1]).layers}


@pytest.fixture(scope="module")
def ours() -> dict[str, LayerCounts]:
    return counted(Net().graph(), spikes())


def test_the_two_networks_are_one(ours: dict[str, LayerCounts]) -> None:
    x = spikes()
    with torch.no_grad():
        theirs = Net()(torch.as_tensor(x, dtype=torch.float32)).numpy()
    assert np.array_equal(Engine(Net().graph()).run(x, T).output[:, -1], theirs)
    assert {name: ours[name].total("sop") for name in RECORDED} == RECORDED
    assert all(ours[f"{name}_lif"].total("spikes_out") for name in ("conv1", "conv2", "depthwise"))


class TestNeuroBench:
    """NeuroBench 2.3: inputs and weights made binary, the layer run on them, the outputs added up."""

    @pytest.fixture(autouse=True)
    def _neurobench(self) -> None:
        pytest.importorskip("neurobench", reason="NEUROBENCH IS NOT HERE: pip install neurobench")

    def measure(self, net: nn.Module, x: np.ndarray) -> dict[str, float]:
        """Its figures, for all samples together."""
        from neurobench.metrics.workload.synaptic_operations import SynapticOperations
        from neurobench.models import TorchModel

        model, metric = TorchModel(net), SynapticOperations()
        model.register_hooks()
        batch = torch.as_tensor(x, dtype=torch.float32)
        with torch.no_grad():
            found = metric(model, model(batch), (batch, None))
        model.cleanup_hooks()
        return {key: value * len(x) for key, value in found.items()}

    def test_agrees_on_a_network_of_binary_spikes(self, ours: dict[str, LayerCounts]) -> None:
        """No weight is zero, so its accumulates are all of them; its dense count is the ANN's, at every step."""
        found = self.measure(Net(), spikes())
        assert found["Effective_ACs"] == sum(ours[name].total("sop_nonzero") or 0 for name in RECORDED)
        assert found["Effective_ACs"] == sum(RECORDED.values())
        assert found["Effective_MACs"] == 0
        assert found["Dense"] == dense_macs(Net().graph()).total * SAMPLES * T

    def test_it_leaves_zero_weights_out(self) -> None:
        """One spike in the middle of 3x3, padding 1, three of nine weights zero: 6 it counts, 9 the hardware does."""
        layer = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        layer.weight.data = torch.tensor([[[[1.0, 0, 1], [1, 0, 1], [1, 0, 1]]]])
        x = np.zeros((1, 1, 1, 3, 3), np.uint8)
        x[..., 1, 1] = 1
        assert self.measure(Stepped(layer), x)["Effective_ACs"] == 6
        conv = counted(one_layer(as_node(layer), (1, 3, 3), "binary"), x)["n0"]
        assert (conv.total("sop"), conv.total("sop_nonzero")) == (9, 6)

    def test_it_decides_by_values_what_the_graph_decides(self) -> None:
        """A real-valued image that is all black, or all white, is spikes to it; the hardware multiplies all the same.

        3x3 on 5x5 with padding 1 is 13·13 taps (2 + 3 + 3 + 3 + 2 on each axis).
        """
        layer = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        layer.weight.data = torch.ones(1, 1, 3, 3)
        graph = one_layer(as_node(layer), (1, 5, 5), "real")
        for value in (0.0, 1.0, 0.5):
            x = np.full((2, 1, 1, 5, 5), value, np.float32)
            assert counted(graph, x)["n0"].total("mac") == 2 * 13 * 13
            found = self.measure(Stepped(layer), x)
            assert found["Effective_MACs"] == (2 * 13 * 13 if value == 0.5 else 0)

    def test_one_gray_pixel_turns_a_batch_of_spikes_into_multiplications(self) -> None:
        layer = nn.Linear(4, 3, bias=False)
        layer.weight.data = torch.ones(3, 4)
        x = np.ones((5, 1, 4), np.float32)
        assert self.measure(Stepped(layer), x)["Effective_ACs"] == 5 * 12
        x[0, 0, 0] = 0.5
        found = self.measure(Stepped(layer), x)
        assert (found["Effective_ACs"], found["Effective_MACs"]) == (0, 5 * 12)

    def test_pooled_spikes_are_multiplications_to_it_and_graded_events_to_us(self) -> None:
        """Three spikes in two of four windows: 2 events x 5 outputs; it counts the same products, as MACs."""
        fc = nn.Linear(4, 5, bias=False)
        fc.weight.data = torch.ones(5, 4)
        x = np.zeros((1, 1, 1, 4, 4), np.uint8)
        x[0, 0, 0, 0, :3] = 1
        found = self.measure(Stepped(nn.AvgPool2d(2), nn.Flatten(), fc), x)
        assert (found["Effective_ACs"], found["Effective_MACs"]) == (0, 10)
        pool = AvgPool2d((2, 2), (2, 2))
        graph = one_layer(pool, Flatten(), Linear(np.ones((5, 4)), np.zeros(5)), shape=(1, 4, 4), values="binary")
        layer = counted(graph, x)["n2"]
        assert (layer.total("sop"), layer.total("sop_graded"), layer.total("mac")) == (0, 10, 0)

    def test_it_adds_in_float32(self) -> None:
        """257·17·17 spikes x 257 outputs are 19,088,161 operations: odd, and beyond 2^24, so no float32."""
        spikes_in, exact = 257 * 17 * 17, 19_088_161
        layer = nn.Conv2d(257, 257, 1, bias=False)
        layer.weight.data = torch.ones(257, 257, 1, 1)
        x = np.ones((1, 1, 257, 17, 17), np.uint8)
        found = self.measure(Stepped(layer), x)["Effective_ACs"]
        assert spikes_in * 257 == exact
        assert found != exact
        assert abs(found - exact) <= 2, "what float32 can be off there"
        conv = counted(one_layer(as_node(layer), (257, 17, 17), "binary"), x)["n0"]
        assert conv.total("sop") == exact


class TestSpikingJelly:
    """SpikingJelly 2.0: an operation is spiking when one of its operands holds only 0 and 1 — the weights, too."""

    def measure(self, layer: nn.Module, x: np.ndarray) -> tuple[int, int]:
        """Synaptic operations, multiply-accumulates."""
        pytest.importorskip("spikingjelly", reason="SPIKINGJELLY IS NOT HERE: pip install spikingjelly")
        from spikingjelly.activation_based.op_counter import DispatchCounterMode, MACCounter, SynOpCounter

        operations, products = SynOpCounter(), MACCounter()
        with torch.no_grad(), DispatchCounterMode([operations, products]):
            layer(torch.as_tensor(x[:, 0], dtype=torch.float32))
        return operations.get_total(), products.get_total()

    def layer(self, weight: float) -> nn.Conv2d:
        layer = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        layer.weight.data = torch.full((1, 1, 3, 3), weight)
        return layer

    def test_agrees_on_binary_spikes(self) -> None:
        """Every pixel of 5x5: 13·13 taps inside."""
        x = np.ones((2, 1, 1, 5, 5), np.uint8)
        operations, products = self.measure(self.layer(0.5), x)
        assert (operations, products) == (2 * 13 * 13, 0)
        assert counted(one_layer(as_node(self.layer(0.5)), (1, 5, 5), "binary"), x)["n0"].total("sop") == operations

    def test_weights_of_one_are_spikes_to_it(self) -> None:
        """A real-valued image through weights of 1: 169 products a sample, which it calls synaptic operations."""
        x = np.full((2, 1, 1, 5, 5), 0.3, np.float32)
        _, products = self.measure(self.layer(1.0), x)
        assert products == 0
        layer = counted(one_layer(as_node(self.layer(1.0)), (1, 5, 5), "real"), x)["n0"]
        assert (layer.total("mac"), layer.total("sop")) == (2 * 13 * 13, 0)

    def test_it_multiplies_by_the_padding(self) -> None:
        """25 outputs x 9 taps are 225 to it, 169 of them inside the image."""
        x = np.full((1, 1, 1, 5, 5), 0.3, np.float32)
        assert self.measure(self.layer(0.5), x) == (0, 225)
        assert counted(one_layer(as_node(self.layer(0.5)), (1, 5, 5), "real"), x)["n0"].total("mac") == 169


class TestSinabs:
    """Sinabs 3.1: spikes times a map of connections, a transposed convolution with ones; mean over the batch."""

    def measure(self, layer: nn.Module, x: np.ndarray) -> float:
        """Operations of one layer, all samples and steps; ``x`` ``(B, T, …)``."""
        pytest.importorskip("sinabs", reason="SINABS IS NOT HERE: pip install sinabs, then run this test again")
        from sinabs.synopcounter import SNNAnalyzer

        with pytest.warns(DeprecationWarning, match="SNNAnalyzer"):
            analyzer = SNNAnalyzer(nn.Sequential(layer))
        total = 0.0
        with torch.no_grad():
            for t in range(x.shape[1]):
                analyzer.model(torch.as_tensor(x[:, t], dtype=torch.float32))
                total += float(analyzer.get_model_statistics()["synops"]) * len(x)
        return total

    def test_agrees_layer_by_layer_on_binary_spikes(self) -> None:
        x = spikes()
        trace = Engine(Net().graph()).run(x, T, keep_spikes=True)
        arriving = {
            "conv1": x,
            **{n: trace.spikes[f"{b}_lif"] for b, n in (("conv1", "conv2"), ("conv2", "depthwise"))},
        }
        arriving["fc"] = trace.spikes["depthwise_lif"].reshape(SAMPLES, T, -1)
        found = {name: self.measure(getattr(Net(), name), value) for name, value in arriving.items()}
        assert found == pytest.approx(RECORDED, rel=1e-6), "it takes a mean over samples in float32"

    def test_it_adds_values_where_we_count_events(self) -> None:
        """One event of value 2 into 3 outputs: 6 to it; one message that is multiplied 3 times on a chip."""
        layer = nn.Linear(4, 3, bias=False)
        x = np.zeros((1, 1, 4), np.uint8)
        x[0, 0, 1] = 2
        assert self.measure(layer, x) == 6
        graph = one_layer(Linear(np.ones((3, 4)), np.zeros(3)), shape=(4,), values="integer")
        assert counted(graph, x)["n0"].total("sop_graded") == 3


class Stepped(nn.Module):
    """Layers that run at every step of ``(B, T, …)``; what they put out is added up."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return sum(self.layers(x[:, t]) for t in range(x.shape[1]))  # type: ignore[return-value]


def one_layer(*nodes: Any, shape: tuple[int, ...] | None = None, values: str = "binary") -> Graph:
    """Nodes ``n0``, ``n1`` … in a chain; ``shape`` and ``values`` of the Input may stand behind a single node."""
    if shape is None:
        nodes, shape, values = nodes[:-2], nodes[-2], nodes[-1]
    named: dict[str, Node] = {"input": Input(shape, values)}  # type: ignore[arg-type]
    named |= {f"n{i}": node for i, node in enumerate(nodes)}
    last = Graph({**named, "output": Output()}, tuple(pairwise([*named, "output"])), timesteps=1).shapes["output"]
    named |= {"readout": Integrator(last), "output": Output()}
    return Graph(named, tuple(pairwise(named)), timesteps=1)


def test_stride_and_dilation_by_hand() -> None:
    """7x7 spikes, 3x3 taps 2 apart, stride 2, padding 2: outputs at −2 0 2 4, taps inside: 2 3 3 2 on each axis."""
    conv = Conv2d(np.ones((5, 1, 3, 3)), np.zeros(5), stride=(2, 2), padding=(2, 2), dilation=(2, 2))
    x = np.ones((1, 1, 1, 7, 7), np.uint8)
    layer = counted(one_layer(conv, (1, 7, 7), "binary"), x)["n0"]
    assert layer.total("sop") == 10 * 10 * 5
    x[..., 1::2, :] = 0  # rows between the taps are read by nobody
    assert counted(one_layer(conv, (1, 7, 7), "binary"), x)["n0"].total("sop") == 10 * 10 * 5


def test_both_branches_of_a_residual_block_count() -> None:
    """A spike in the middle of 3x3 reaches 9 neurons of 2 channels by the block, 1 of each channel by its 1x1 skip."""
    nodes: dict[str, Node] = {
        "input": Input((1, 3, 3), "binary"),
        "block": Conv2d(np.ones((2, 1, 3, 3)), np.zeros(2), padding=(1, 1)),
        "skip": Conv2d(np.ones((2, 1, 1, 1)), np.zeros(2)),
        "lif": LIF((2, 3, 3), np.asarray(0.25), np.asarray(0.5)),
        "output": Output(),
    }
    edges = (("input", "block"), ("input", "skip"), ("block", "lif"), ("skip", "lif"), ("lif", "output"))
    x = np.zeros((1, 1, 1, 3, 3), np.uint8)
    x[..., 1, 1] = 1
    layers = counted(Graph(nodes, edges, timesteps=1), x)
    assert (layers["block"].total("sop"), layers["skip"].total("sop")) == (18, 2)
    assert layers["lif"].total("neuron_updates_active") == 18, "a neuron that both branches reach is updated once"


def test_a_real_valued_first_layer_once_and_at_every_step() -> None:
    """3x3 on 5x5 with padding 1 to 2 channels is 338 products: once for an image that stands still, 4 times for T."""
    conv = Conv2d(np.ones((2, 1, 3, 3)), np.zeros(2), padding=(1, 1))
    graph = one_layer(conv, (1, 5, 5), "real")
    image = np.full((3, 1, 5, 5), 0.5, np.float32)
    still = {layer.name: layer for layer in Engine(graph).run(image[:, 0][:, None], 4).layers}["n0"]
    assert (still.total("mac"), still.total("mac_once")) == (3 * 4 * 338, 3 * 338)
    moving = counted(graph, np.repeat(image[:, None], 4, axis=1))["n0"]
    assert moving.total("mac") == 3 * 4 * 338


def test_behind_a_relu_every_step_is_multiplied() -> None:
    """RepAct: spikes into an accumulator that is read at every step, ReLU, then 6 products a step."""
    nodes: dict[str, Node] = {
        "input": Input((4,), "binary"),
        "fc1": Linear(np.ones((3, 4)), np.zeros(3)),
        "sum": Integrator((3,)),
        "relu": ReLU(),
        "fc2": Linear(np.ones((2, 3)), np.zeros(2)),
        "readout": Integrator((2,)),
        "output": Output(),
    }
    x = np.zeros((2, 4, 4), np.uint8)
    x[0, 0, :3] = 1
    layers = counted(Graph(nodes, tuple(pairwise(nodes)), timesteps=4), x)
    assert (layers["fc1"].total("sop"), layers["fc1"].total("mac")) == (9, 0)
    assert (layers["fc2"].total("mac"), layers["fc2"].total("sop")) == (2 * 4 * 6, 0)
    assert layers["fc2"].total("mac_once") == 0, "what a network has computed is no image that stands still"
