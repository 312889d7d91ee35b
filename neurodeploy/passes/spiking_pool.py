"""Make a max pool over spikes a spiking layer of its own.

The largest of some spikes is 1 where any of them is. A neuron without memory says the same::

    a = Σ over the window of s        u_pre = 0·u + a        o = 1 if a ≥ 0.5

with a depthwise convolution of ones (kernel, stride and padding of the pool) as its synapse. Padding adds nothing to a
sum, as it is never the largest.

Pre: partitioned: what remains is the chip's.
Post: no MaxPool2d reads binary spikes; the meaning did not change, exactly.

Cases:
    1. a max pool whose input is binary: the neurons take its name, the convolution is ``<pool>-window``.
    2. a max pool of anything else (graded values, real numbers): left alone; purity says what it means for the target.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.kinds import BINARY, incoming_kind, value_kinds
from neurodeploy.ir.nodes import LIF, Conv2d, MaxPool2d, Node
from neurodeploy.passes.new_names import free_name

#: Between 0 and 1: one spike in the window fires, none does not, and rounding is far from both.
HALF = 0.5


def spiking_pool(graph: Graph, *, dense: bool = False) -> Graph:
    """The graph without max pools over spikes; ``dense``: windows without groups, which NIR readers cannot load."""
    kinds = value_kinds(graph)
    nodes: dict[str, Node] = {}
    windows: dict[str, str] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, MaxPool2d) and incoming_kind(graph, name, kinds) == BINARY:  # case 1
            channels = graph.shapes[name][0]
            windows[name] = free_name(graph.nodes, f"{name}-window")
            ones = np.ones((channels, 1, *node.kernel), np.float32)
            bias = np.zeros(channels, np.float32)
            if dense:
                ones = np.eye(channels, dtype=np.float32)[:, :, None, None] * ones[:, 0][:, None]
            groups = 1 if dense else channels
            nodes[windows[name]] = Conv2d(ones, bias, node.stride, node.padding, groups=groups)
            nodes[name] = LIF(graph.shapes[name], np.asarray(0.0), np.asarray(HALF))
        else:
            nodes[name] = node
    edges: list[Edge] = [(source, windows.get(target, target)) for source, target in graph.edges]
    late = frozenset((source, windows.get(target, target)) for source, target in graph.recurrent)
    edges.extend((window, name) for name, window in windows.items())
    return replace(graph, nodes=nodes, edges=tuple(edges), recurrent=late) if windows else graph
