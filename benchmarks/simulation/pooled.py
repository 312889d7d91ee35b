"""The form of a network that costs a dense simulator least: pools out of the kernels that they were folded into.

A chip has no pool between spikes and synapses, so the exporter folds it into the next kernel (``fold_pool``): 3x3
behind a pool of 2 becomes 6x6 with stride 2, four times the multiplications of a dense convolution. That would be
unfair to dense simulators, so they get ``SumPool2d`` and the small kernel: the same sums exactly, as the weights are
the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Conv2d, Flatten, Linear, Node, Shape, SumPool2d


def unfold_pools(graph: Graph) -> Graph:
    """``graph`` with a SumPool2d in front of every Conv2d, and every Flatten before a Linear, that repeats its weights
    over windows; the meaning is the same."""
    nodes: dict[str, Node] = dict(graph.nodes)
    edges: list[Edge] = list(graph.edges)

    def stands_before(name: str, window: int) -> None:
        """Put a pool between ``name`` and what it reads."""
        (source,) = graph.sources(name)
        nodes[f"{name}_pool"] = SumPool2d((window, window), (window, window))
        edges[edges.index((source, name))] = (source, f"{name}_pool")
        edges.append((f"{name}_pool", name))

    for name, node in graph.nodes.items():
        if len(graph.sources(name)) != 1 or (graph.sources(name)[0], name) in graph.recurrent:
            continue
        before = graph.input_shape(name)
        if isinstance(node, Conv2d) and (window := _conv_window(node, before)) > 1:
            small = node.weight[:, :, ::window, ::window]
            stride, padding = ((pair[0] // window, pair[1] // window) for pair in (node.stride, node.padding))
            nodes[name] = replace(node, weight=small, stride=stride, padding=padding)
            stands_before(name, window)
        elif isinstance(node, Flatten) and len(before) == 3:
            readers = [graph.nodes[target] for target in graph.targets(name)]
            if readers and all(isinstance(reader, Linear) for reader in readers):
                window = _linear_window([reader.weight for reader in readers if isinstance(reader, Linear)], before)
                if window > 1:
                    for target in graph.targets(name):
                        reader = nodes[target]
                        assert isinstance(reader, Linear)
                        small = reader.weight.reshape(-1, *before)[:, :, ::window, ::window]
                        nodes[target] = Linear(small.reshape(small.shape[0], -1), reader.bias)
                    stands_before(name, window)
    return replace(graph, nodes=nodes, edges=tuple(edges))


def _conv_window(node: Conv2d, before: Shape) -> int:
    """The largest window that was folded into a convolution; 1 where none was."""
    sides = (*node.weight.shape[2:], *node.stride, *node.padding, *before[1:])
    windows = (w for w in range(max(node.stride), 1, -1) if not any(side % w for side in sides))
    return next((w for w in windows if node.dilation == (1, 1) and _repeats(node.weight, w)), 1)


def _linear_window(weights: list[np.ndarray], before: Shape) -> int:
    """The same of linear layers behind a Flatten of ``(C, H, W)``."""
    windows = (w for w in range(min(before[1:]), 1, -1) if not before[1] % w and not before[2] % w)
    return next((w for w in windows if all(_repeats(weight.reshape(-1, *before), w) for weight in weights)), 1)


def _repeats(weight: np.ndarray, window: int) -> bool:
    """Whether ``(O, I, H, W)`` is constant over windows."""
    height, width = weight.shape[2:]
    blocks = weight.reshape(*weight.shape[:2], height // window, window, width // window, window)
    return bool(np.all(blocks == blocks[:, :, :, :1, :, :1]))
