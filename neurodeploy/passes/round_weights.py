"""Round weights and biases to float32: the form in the file, and the form that every reader computes with.

Pre: floating-point weights. Post: every weight and bias is float32; nothing else changed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import SYNAPSES


def round_weights(graph: Graph) -> Graph:
    """The graph with float32 weights and biases."""
    changed = {}
    for name in graph.names(SYNAPSES):
        node = graph.nodes[name]
        assert isinstance(node, SYNAPSES)
        changed[name] = replace(node, weight=node.weight.astype(np.float32), bias=node.bias.astype(np.float32))
    return graph.with_nodes(changed)
