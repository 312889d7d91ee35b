"""Small networks for the chip targets: one that fits each, made by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, Conv2d, Flatten, Input, Linear, Node, Output, SumPool2d


def chain(nodes: dict[str, Node], *more: tuple[str, str], recurrent: tuple[tuple[str, str], ...] = ()) -> Graph:
    names = list(nodes)
    edges = (*pairwise(names), *more, *recurrent)
    return Graph(nodes, tuple(edges), timesteps=6, recurrent=frozenset(recurrent))


def lif(shape: tuple[int, ...], decay: float = 1.0, threshold: Any = 1.0, **rest: Any) -> LIF:
    return LIF(shape, np.asarray(decay), np.asarray(threshold), **rest)


def multi(shape: tuple[int, ...], threshold: Any = 1.0, **rest: Any) -> LIF:
    """Sinabs' neuron."""
    return lif(shape, 1.0, threshold, reset="subtract", spikes="multi", **rest)


def eighths(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Multiples of 1/8 in ±1."""
    return (rng.integers(-8, 9, size=shape) / 8.0).astype(np.float32)


def ternary(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-1, 2, size=shape).astype(np.float32)


def conv(weight: np.ndarray, bias: float = 0.0, **rest: Any) -> Conv2d:
    rest.setdefault("padding", (1, 1))
    return Conv2d(weight, np.full(weight.shape[0], bias, np.float32), **rest)


def linear(weight: np.ndarray, bias: float = 0.0) -> Linear:
    return Linear(weight, np.full(weight.shape[0], bias, np.float32))


def speck_net(seed: int = 0, values: str = "integer") -> Graph:
    """2x16x16 → 3x3 conv to 4 → pool 2 → 3x3 conv to 8 → pool 4 → fc to 5, Sinabs' neurons, weights in eighths."""
    rng = np.random.default_rng(seed)
    return chain(
        {
            "input": Input((2, 16, 16), values),  # type: ignore[arg-type]
            "conv1": conv(eighths(rng, (4, 2, 3, 3))),
            "if1": multi((4, 16, 16), 1.25),
            "pool1": SumPool2d((2, 2), (2, 2)),
            "conv2": conv(eighths(rng, (8, 4, 3, 3))),
            "if2": multi((8, 8, 8), 2.0),
            "pool2": SumPool2d((4, 4), (4, 4)),
            "flatten": Flatten(),
            "fc": linear(eighths(rng, (5, 32))),
            "if3": multi((5,), 1.5),
            "output": Output(),
        }
    )


def crossbar_net(seed: int = 0, decay: float = 1.0) -> Graph:
    """4x8x8 spikes → ternary 3x3 conv to 6 → 2x2 stride-2 conv to 8 → fc to 10; single spikes, reset to zero."""
    rng = np.random.default_rng(seed)
    return chain(
        {
            "input": Input((4, 8, 8), "binary"),
            "conv1": conv(ternary(rng, (6, 4, 3, 3))),
            "lif1": lif((6, 8, 8), decay),
            "conv2": conv(ternary(rng, (8, 6, 2, 2)), stride=(2, 2), padding=(0, 0)),
            "lif2": lif((8, 4, 4), decay),
            "flatten": Flatten(),
            "fc": linear(ternary(rng, (10, 128))),
            "lif3": lif((10,), decay),
            "output": Output(),
        }
    )
