"""Random small graphs for property tests, and a few fixed ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Integrator,
    Linear,
    Node,
    Norm,
    Output,
    SumPool2d,
)


def dyadic(rng: np.random.Generator, shape: Sequence[int] | int, bits: int = 3, span: int = 8) -> np.ndarray:
    """Multiples of 2^-bits in ±span/2^bits: sums of them are exact in float64, in any order."""
    return (rng.integers(-span, span + 1, size=shape) / 2.0**bits).astype(np.float64)


def conv(
    rng: np.random.Generator, out: int, inputs: int, kernel: tuple[int, int] = (3, 3), groups: int = 1, **rest: object
) -> Conv2d:
    weight = dyadic(rng, (out, inputs // groups, *kernel))
    return Conv2d(weight, dyadic(rng, out), groups=groups, **rest)  # type: ignore[arg-type]


def norm(rng: np.random.Generator, channels: int) -> Norm:
    """A norm whose scale is a signed power of two or zero, so that folding is exact."""
    scale = rng.choice([-2.0, -0.5, 0.0, 0.25, 1.0, 2.0], size=channels)
    return Norm(dyadic(rng, channels), np.ones(channels), scale, dyadic(rng, channels), eps=0.0, gain=0.5)


def random_graph(
    seed: int,
    *,
    norms: bool = False,
    pools: bool = True,
    residual: bool = True,
    readout: bool = True,
    real: bool = True,
) -> Graph:
    """A conv net of two or three populations with random geometry, on a 2-channel input of 5…8 by 5…8."""
    rng = np.random.default_rng(seed)
    shape = (2, int(rng.integers(5, 9)), int(rng.integers(5, 9)))
    nodes: dict[str, Node] = {"input": Input(shape, "real" if real else "binary")}
    edges: list[tuple[str, str]] = []
    last = "input"

    def add(name: str, node: Node, *sources: str) -> str:
        nodes[name] = node
        edges.extend((s, name) for s in sources)
        return name

    for depth in range(int(rng.integers(1, 4))):
        groups = int(rng.choice([1, 2]))
        out = 2 * int(rng.integers(1, 4))
        kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        padding = (int(rng.integers(0, 2)), int(rng.integers(0, 2)))
        dilation = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        node = conv(rng, out, shape[0], kernel, groups, stride=stride, padding=padding, dilation=dilation)
        size = [(shape[1 + a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in (0, 1)]
        if min(size) < 1:
            node, size = conv(rng, out, shape[0], (1, 1)), list(shape[1:])
        branch = add(f"conv{depth}", node, last)
        if norms:
            branch = add(f"norm{depth}", norm(rng, out), branch)
        incoming = [branch]
        if residual and rng.random() < 0.5:
            twin = Conv2d(
                dyadic(rng, node.weight.shape), dyadic(rng, out), node.stride, node.padding, node.dilation, node.groups
            )
            incoming.append(add(f"skip{depth}", twin, last))
        shape = (out, *size)
        last = add(f"lif{depth}", random_lif(rng, shape), *incoming)
        if pools and min(shape[1:]) >= 2 and rng.random() < 0.6:
            kind = AvgPool2d if rng.random() < 0.5 else SumPool2d
            last = add(f"pool{depth}", kind((2, 2), (2, 2)), last)
            shape = (out, shape[1] // 2, shape[2] // 2)
    last = add("flatten", Flatten(), last)
    size = int(np.prod(shape))
    last = add("fc", Linear(dyadic(rng, (3, size)), dyadic(rng, 3)), last)
    if readout:
        last = add("readout", Integrator((3,)), last)
    add("output", Output(), last)
    return Graph(nodes, tuple(edges), timesteps=4, origin="random")


def random_lif(rng: np.random.Generator, shape: tuple[int, ...]) -> LIF:
    """The papers' neuron half of the time, otherwise one with per-channel parameters and any reset."""
    if rng.random() < 0.5:
        return LIF(shape, np.asarray(0.25), np.asarray(0.5))
    channels = (shape[0], *(1,) * (len(shape) - 1))
    return LIF(
        shape,
        rng.choice([0.0, 0.25, 0.5], size=channels),
        rng.choice([0.25, 0.5, 1.0], size=channels),
        gain=np.asarray(rng.choice([0.5, 1.0])),
        offset=np.asarray(rng.choice([0.0, 0.125])),
        v_reset=np.asarray(rng.choice([0.0, -0.25])),
        compare=str(rng.choice(["ge", "gt"])),  # type: ignore[arg-type]
        reset=str(rng.choice(["to", "subtract"])),  # type: ignore[arg-type]
    )


def random_input(graph: Graph, seed: int, samples: int = 3, timesteps: int = 4) -> np.ndarray:
    """``(B, T, *shape)``: dyadic reals, or spikes, as the graph's Input says."""
    rng = np.random.default_rng(seed)
    node = graph.nodes[graph.input]
    assert isinstance(node, Input)
    shape = (samples, timesteps, *node.shape)
    if node.values == "binary":
        return (rng.random(shape) < 0.3).astype(np.uint8)
    return dyadic(rng, shape, bits=2, span=4)


def paper_chain(seed: int = 0, *, real: bool = True, width: int = 4) -> Graph:
    """conv-LIF-conv-LIF-pool-fc-readout with the papers' neuron, float weights."""
    rng = np.random.default_rng(seed)

    def random_conv(out: int, inputs: int) -> Conv2d:
        return Conv2d(rng.normal(size=(out, inputs, 3, 3)) / 3, rng.normal(size=out) / 8, padding=(1, 1))

    def lif(*shape: int) -> LIF:
        return LIF(shape, np.asarray(0.25), np.asarray(0.5))

    nodes: dict[str, Node] = {
        "input": Input((1, 8, 8), "real" if real else "binary"),
        "conv1": random_conv(width, 1),
        "lif1": lif(width, 8, 8),
        "conv2": random_conv(width, width),
        "lif2": lif(width, 8, 8),
        "pool2": AvgPool2d((2, 2), (2, 2)),
        "flatten": Flatten(),
        "fc": Linear(rng.normal(size=(10, width * 16)) / 4, rng.normal(size=10) / 8),
        "readout": Integrator((10,)),
        "output": Output(),
    }
    names = list(nodes)
    return Graph(nodes, tuple(pairwise(names)), timesteps=4, origin="chain")


def skip_chain(seed: int = 0) -> Graph:
    """A residual block: the spikes of lif1 reach lif2 through two convolutions and through one (unequal paths)."""
    rng = np.random.default_rng(seed)
    shape = (2, 4, 4)

    def lif() -> LIF:
        return LIF(shape, np.asarray(0.25), np.asarray(0.5))

    def same_conv() -> Conv2d:
        return conv(rng, 2, 2, padding=(1, 1))

    nodes: dict[str, Node] = {
        "input": Input(shape, "binary"),
        "conv1": same_conv(),
        "lif1": lif(),
        "conv2": same_conv(),
        "lif2": lif(),
        "conv3": same_conv(),
        "skip": conv(rng, 2, 2, (1, 1)),
        "lif3": lif(),
        "flatten": Flatten(),
        "fc": Linear(dyadic(rng, (3, 32)), dyadic(rng, 3)),
        "readout": Integrator((3,)),
        "output": Output(),
    }
    chain = ["input", "conv1", "lif1", "conv2", "lif2", "conv3", "lif3", "flatten", "fc", "readout", "output"]
    edges = [*pairwise(chain), ("lif1", "skip"), ("skip", "lif3")]
    return Graph(nodes, tuple(edges), timesteps=4, origin="skip")
