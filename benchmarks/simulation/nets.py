"""Integer networks with random weights whose layers fire at a chosen rate.

A network is built layer by layer on some random images: weights first, then the threshold, by bisection, that lets the
layer fire at the rate on the spikes of the layer before it. Everything is an integer, and every sum keeps the ranges
that an export proves (:mod:`neurodeploy.passes.ranges`), so a dense float32 convolution and an event-driven integer one
give the same spikes, bit for bit: |Σ w·s| < 2^17, and a membrane that decays to a quarter over T = 4 steps needs
6 binary places, 24 bits in all.

The image has 6 bits and the encoder's weights are ±31: its membrane too is exact in float32. A residual add is an
identity synapse of one weight, as the exporter writes it, of about one standard deviation of the branch beside it;
pools are sums, folded into the next synapse by the exporter's own pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.machine import accumulator_bounds
from neurodeploy.ir.nodes import LIF, Conv2d, Flatten, Input, Integrator, Linear, Node, Output, Shape, SumPool2d
from neurodeploy.passes.fold_pool import fold_pool

T = 4
DECAY = 0.25
PIXEL_LEVELS = 64
ENCODER_WEIGHT = 31
#: Largest |Σ w·s| of a layer: with growth 4/3 by the leak, and some room for biases, below 2^17.
SUM_LIMIT = 90_000
#: Largest Σ|w| + |b| of the readout: T of them stay below 2^17.
READOUT_LIMIT = 32_000
CALIBRATION_IMAGES = 4


@dataclass(frozen=True)
class Network:
    """What all contenders simulate.

    Attributes:
        name: For people.
        encoder: The host's part: an image in, spikes out, float32. None where the chip's graph takes the input itself.
        chip: The chip's part.
        x: Input ``(B, 1 or T, *shape)``; with one step, the same at every step.
        timesteps: T.
        exact: Every arithmetic gives the same spikes, because every sum is exact.
    """

    name: str
    encoder: Graph | None
    chip: Graph
    x: np.ndarray
    timesteps: int = T
    exact: bool = True


@dataclass
class Builder:
    """A graph under construction, with the spikes ``(T, B, *shape)`` of the images that it is calibrated on."""

    rate: float
    rng: np.random.Generator
    spikes: dict[str, Tensor] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, node: Node, *sources: str) -> str:
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return name

    def pool(self, name: str, source: str, size: int) -> str:
        """A sum over windows."""
        self.spikes[name] = F.avg_pool2d(self.spikes[source].flatten(0, 1), size, divisor_override=1).unflatten(
            0, self.spikes[source].shape[:2]
        )
        return self.add(name, SumPool2d((size, size), (size, size)), source)

    def conv(self, name: str, source: str, outputs: int, kernel: int, stride: int = 1, folded: int = 1) -> Tensor:
        """A convolution; its sums. ``folded``: windows of a pool in front of it, for the range of its sums."""
        s = self.spikes[source]
        shape = (outputs, s.shape[2], kernel, kernel)
        weight = self.weights(shape, SUM_LIMIT // 2 // folded**2)
        rate = float((s != 0).float().mean())
        bias = self.biases(outputs, 0.25 * float(weight.std()) * (rate * weight[0].size) ** 0.5)
        pad = kernel // 2
        self.add(name, Conv2d(weight, bias, (stride, stride), (pad, pad)), source)
        w, b = torch.from_numpy(weight), torch.from_numpy(bias)
        return F.conv2d(s.flatten(0, 1), w, b, stride, pad).unflatten(0, s.shape[:2])

    def weights(self, shape: tuple[int, ...], limit: int) -> np.ndarray:
        """Even 8-bit weights, normally distributed, every row's positive and negative sum within ``limit``."""
        normal = self.rng.standard_normal(shape)
        fan_in = int(np.prod(shape[1:]))
        sigma = min(42.0, limit / (2 * 0.4 * fan_in))
        while True:
            weight = 2 * np.clip(np.rint(sigma * normal), -127, 127).reshape(shape[0], -1)
            if max(np.maximum(weight, 0).sum(axis=1).max(), np.maximum(-weight, 0).sum(axis=1).max()) <= limit:
                return weight.reshape(shape).astype(np.float32)
            sigma *= 0.95

    def biases(self, outputs: int, sigma: float) -> np.ndarray:
        """Integer biases of 13 bits."""
        return np.clip(np.rint(sigma * self.rng.standard_normal(outputs)), -4095, 4095).astype(np.float32)

    def skip(self, name: str, source: str, weight: int) -> Tensor:
        """An identity synapse; its sums."""
        channels = self.spikes[source].shape[2]
        same = np.full((channels, 1, 1, 1), weight, np.float32)
        self.add(name, Conv2d(same, np.zeros(channels, np.float32), groups=channels), source)
        return weight * self.spikes[source]

    def fire(self, name: str, sums: Tensor, *sources: str) -> str:
        """Neurons behind ``sources``, whose sums are given, with the threshold that makes them fire at the rate."""
        threshold = calibrated(sums, self.rate)
        self.spikes[name] = lif(sums, threshold)
        node = LIF(tuple(sums.shape[2:]), np.asarray(DECAY), np.asarray(float(threshold)), compare="gt")
        return self.add(name, node, *sources)

    def chip(self, last: str, name: str, classes: int = 10) -> Graph:
        """The chip's graph: flatten, classifier, readout; pools folded."""
        self.add("flatten", Flatten(), last)
        size = int(np.prod(self.spikes[last].shape[2:]))
        pooled = self.nodes[last]
        window = int(np.prod(pooled.kernel)) if isinstance(pooled, SumPool2d) else 1
        limit = READOUT_LIMIT // 2 // window
        self.add("fc", Linear(self.weights((classes, size), limit), self.biases(classes, 8.0)), "flatten")
        self.add("readout", Integrator((classes,)), "fc")
        self.add("output", Output(), "readout")
        return fold_pool(Graph(self.nodes, tuple(self.edges), timesteps=T, arithmetic="loihi", origin=name))


def lif(sums: Tensor, threshold: float) -> Tensor:
    """Spikes of ``(T, …)`` sums: ``v ← v/4 + x``, fires above the threshold, back to zero."""
    v, spikes = torch.zeros_like(sums[0]), torch.empty_like(sums)
    for t, x in enumerate(sums):
        v = DECAY * v + x
        fired = v > threshold
        spikes[t] = fired
        v = v.masked_fill(fired, 0.0)
    return spikes


def calibrated(sums: Tensor, rate: float) -> int:
    """The smallest integer threshold at which no more than ``rate`` of the neurons fire, on average over steps."""
    low, high = 0, 2**17 - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if float(lif(sums, middle).mean()) <= rate else (middle + 1, high)
    return low


def _resnet20_slim(build: Builder, last: str) -> tuple[str, str]:
    """He et al. 2016, section 4.2, with convolutions in the shortcuts: 16, 32, 64 channels, three blocks each."""
    inputs = 16
    for stage, width in enumerate((16, 32, 64), 1):
        for block in range(1, 4):
            name, stride = f"stage{stage}_block{block}", 2 if stage > 1 and block == 1 else 1
            sums = build.conv(f"{name}_conv1", last, width, 3, stride)
            middle = build.fire(f"{name}_lif1", sums, f"{name}_conv1")
            sums = build.conv(f"{name}_conv2", middle, width, 3)
            if width != inputs or stride > 1:
                sums = sums + build.conv(f"{name}_shortcut", last, width, 1, stride)
            else:
                weight = min(254, max(2, 2 * round(float(sums.std()) / 2)))
                sums = sums + build.skip(f"{name}_shortcut", last, weight)
            last, inputs = build.fire(f"{name}_lif2", sums, f"{name}_conv2", f"{name}_shortcut"), width
    return build.pool("global_pool", last, 8), "resnet20-slim"


def _vgg16(build: Builder, last: str) -> tuple[str, str]:
    """The papers' CIFAR form: thirteen convolutions, five pools, no hidden linear layer."""
    index, folded = 1, 1
    for stage, widths in enumerate(((64,), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3), 1):
        for width in widths:
            index += 1
            sums = build.conv(f"conv{index}", last, width, 3, folded=folded)
            last, folded = build.fire(f"lif{index}", sums, f"conv{index}"), 1
        last, folded = build.pool(f"pool{stage}", last, 2), 2
    return last, "vgg16"


def _tiny(build: Builder, last: str) -> tuple[str, str]:
    """A few neurons with everything that the others have: for tests."""
    middle = build.fire("lif2", build.conv("conv2", last, 8, 3), "conv2")
    sums = build.conv("conv3", middle, 8, 3) + build.skip("skip", middle, 2)
    last = build.pool("pool", build.fire("lif3", sums, "conv3", "skip"), 2)
    last = build.fire("lif4", build.conv("conv4", last, 12, 3, 2, folded=2), "conv4")
    return build.pool("global_pool", last, 2), "tiny"


@dataclass(frozen=True)
class Form:
    """Input shape, channels of the encoder, and what comes behind it."""

    shape: Shape
    encoder: int
    rest: Callable[[Builder, str], tuple[str, str]]


NETS = {
    "resnet20-slim": Form((3, 32, 32), 16, _resnet20_slim),
    "vgg16": Form((3, 32, 32), 64, _vgg16),
    "tiny": Form((3, 8, 8), 6, _tiny),
}


def random_network(name: str, rate: float, batch: int, seed: int = 0) -> Network:
    """The net ``name`` whose layers fire at ``rate``, and ``batch`` random images."""
    form, rng = NETS[name], np.random.default_rng(seed)
    images = rng.integers(0, PIXEL_LEVELS, (CALIBRATION_IMAGES, *form.shape)).astype(np.float32)
    weight = rng.integers(-ENCODER_WEIGHT, ENCODER_WEIGHT + 1, (form.encoder, form.shape[0], 3, 3)).astype(np.float32)
    sums = F.conv2d(torch.from_numpy(images), torch.from_numpy(weight), padding=1).expand(T, -1, -1, -1, -1)
    build = Builder(rate, rng)
    build.fire("lif1", sums, "conv1")
    fires = build.nodes.pop("lif1")
    build.edges.clear()
    nodes: dict[str, Node] = {
        "image": Input(form.shape, "real"),
        "conv1": Conv2d(weight, np.zeros(form.encoder, np.float32), padding=(1, 1)),
        "lif1": fires,
        "spikes": Output(),
    }
    chain = (("image", "conv1"), ("conv1", "lif1"), ("lif1", "spikes"))
    encoder = Graph(nodes, chain, timesteps=T, origin=name)
    build.add("input", Input(tuple(sums.shape[2:]), "binary"))
    build.spikes["input"] = build.spikes.pop("lif1")
    chip = build.chip(*form.rest(build, "input"))
    for node in chip.nodes.values():
        assert not isinstance(node, (Conv2d, Linear)) or max(map(abs, accumulator_bounds(node))) < 2**17
    x = rng.integers(0, PIXEL_LEVELS, (batch, 1, *form.shape)).astype(np.float32)
    return Network(f"{name}, {rate:.0%}", encoder, chip, x)
