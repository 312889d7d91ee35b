"""Move the biases of convolutions into the constant drive of the neurons behind them.

py-spinnaker2 reads a bias only from the last synapse into a population and keeps one value per channel of a convolution
where its neurons want one each (s2_nir.py, ``get_accumulated_bias``); a LIF's ``v_leak`` it reads for every neuron::

    u_pre = decay·u + gain·(W x + b) + offset = decay·u + gain·W x + (offset + gain·b)

Pre: nothing. Post: the meaning did not change, up to the order of one addition.

Cases:
    1. convolutions that feed one leaking LIF and nothing else: their biases become its offset, theirs are zero.
    2. a neuron without leak (NIR's IF has no constant), a current, a late edge, other readers: left alone; the rules
       of the chip say what it means.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, Conv1d, Conv2d, CubaLIF, Node


def bias_offset(graph: Graph) -> Graph:
    """The graph with the biases of case 1 moved."""
    changed: dict[str, Node] = {}
    for name in graph.names(LIF):
        node = graph.nodes[name]
        assert isinstance(node, LIF)
        if isinstance(node, CubaLIF) or np.any(node.decay >= 1.0):
            continue
        offset = node.offset
        for source in graph.sources(name):
            conv = graph.nodes[source]
            late = (source, name) in graph.recurrent
            if not isinstance(conv, (Conv1d, Conv2d)) or graph.targets(source) != (name,) or late:
                continue
            if np.any(conv.bias != 0.0):
                drive = conv.bias.astype(np.float64).reshape(-1, *(1,) * (len(node.shape) - 1))
                offset = offset + node.gain * drive
                changed[source] = replace(conv, bias=np.zeros_like(conv.bias))
        if offset is not node.offset:
            changed[name] = replace(node, offset=offset)
    return graph.with_nodes(changed) if changed else graph
