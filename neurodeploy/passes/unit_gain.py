"""Give every neuron gain 1 and no offset, as chips have it.

A NIR neuron with r = 1 sees its input times dt/tau (forward Euler), so files of Norse, snnTorch or SpikingJelly have
a gain. Dividing the membrane by it changes nothing else::

    u' = u/gain        threshold' = threshold/gain        v_reset' = v_reset/gain

and the constant drive ``offset/gain`` moves into the bias of a synapse before the neuron.

Pre: nothing. Post: gain is 1 and offset 0 in every LIF of the cases below; spikes are the same (exactly where gain is a
power of two, else up to the rounding of the divisions).

Cases:
    1. gain 1, offset 0: left alone.
    2. one positive gain for the layer (or per channel), and an offset that a bias of the synapse can take: rewritten.
    3. anything else (a negative or zero gain, parameters that differ within a channel, an offset without a synapse to
       take it): left alone; the target says what it means.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, SYNAPSES, Node


def unit_gain(graph: Graph) -> Graph:
    """The graph with membranes in units of their gain."""
    changed: dict[str, Node] = {}
    for name in graph.names(LIF):
        node = graph.nodes[name]
        assert isinstance(node, LIF)
        if (np.all(node.gain == 1.0) and np.all(node.offset == 0.0)) or not np.all(node.gain > 0.0):
            continue  # cases 1 and 3
        drive = _per_channel(node.offset / node.gain, node.shape)
        taker = next((s for s in graph.sources(name) if _only_feeds(graph, s, name)), None)
        if drive is None or (taker is None and np.any(drive != 0.0)):
            continue  # case 3
        changed[name] = replace(
            node,
            threshold=node.threshold / node.gain,
            v_reset=node.v_reset / node.gain,
            gain=np.asarray(1.0),
            offset=np.asarray(0.0),
        )
        if taker is not None and np.any(drive != 0.0):
            synapse = graph.nodes[taker]
            assert isinstance(synapse, SYNAPSES)
            changed[taker] = replace(synapse, bias=synapse.bias.astype(np.float64) + drive)
    return graph.with_nodes(changed) if changed else graph


def _only_feeds(graph: Graph, source: str, name: str) -> bool:
    return isinstance(graph.nodes[source], SYNAPSES) and graph.targets(source) == (name,)


def _per_channel(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """``(C,)``, or None where values differ within a channel."""
    full = np.broadcast_to(array, shape).reshape(shape[0], -1)
    return full[:, 0] if np.all(full == full[:, :1]) else None
