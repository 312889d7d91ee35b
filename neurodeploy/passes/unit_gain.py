"""Give every neuron gain 1 and no offset, as chips have it.

A NIR neuron with r = 1 sees its input times dt/tau (forward Euler), so files of Norse, snnTorch or SpikingJelly have
a gain. Dividing the membrane by it changes nothing else::

    u' = u/g        threshold' = threshold/g        v_reset' = v_reset/g        offset' = offset/g

with ``g = gain``, and ``g = gain·current_gain`` for a CubaLIF, whose current becomes ``i' = i/current_gain``. The
constant drive ``offset'`` moves into the bias of a synapse before the neuron; not so where a current that remembers
lies between them (it would be counted again and again): there it stays an offset. A readout, whose state is read and
not only compared, keeps its unit: gain and offset move into the synapse, ``W' = gain·W, b' = gain·b + offset``.

Pre: nothing. Post: gain is 1 and offset 0 in every neuron of the cases below; spikes and outputs are the same (exactly
where gain is a power of two, else up to the rounding of the divisions).

Cases:
    1. gain 1, offset 0: left alone.
    2. one positive gain for the layer (or per channel), and an offset that a bias of the synapse can take: rewritten.
    3. a CubaLIF with a current that remembers: gains become 1, the offset stays.
    4. a readout whose synapses feed only it, gain and offset one per channel: into the synapses.
    5. anything else (a negative or zero gain, parameters that differ within a channel, an offset without a synapse to
       take it): left alone; the target says what it means.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, SYNAPSES, CubaLIF, Integrator, Node, Synapse


def unit_gain(graph: Graph) -> Graph:
    """The graph with membranes in units of their gain."""
    changed: dict[str, Node] = {}
    for name in graph.names(LIF):
        changed.update(_firing(graph, name))
    for name in graph.names(Integrator):
        changed.update(_readout(graph, name))
    return graph.with_nodes(changed) if changed else graph


def _firing(graph: Graph, name: str) -> dict[str, Node]:
    node = graph.nodes[name]
    assert isinstance(node, LIF)
    gain = node.gain * node.current_gain if isinstance(node, CubaLIF) else node.gain
    positive = np.all(gain > 0.0) and (not isinstance(node, CubaLIF) or np.all(node.gain > 0.0))
    remembers = isinstance(node, CubaLIF) and bool(np.any(node.current_decay != 0.0))
    if not positive or (np.all(gain == 1.0) and np.all(node.gain == 1.0) and np.all(node.offset == 0.0)):
        return {}  # cases 1 and 5
    drive = _per_channel(node.offset / gain, node.shape)
    taker = next((s for s in graph.sources(name) if _only_feeds(graph, s, name)), None)
    driven = bool(np.any(node.offset != 0.0)) and not remembers
    if driven and (drive is None or taker is None):
        return {}  # case 5
    offset = node.offset / gain if remembers else np.asarray(0.0)
    one = np.asarray(1.0)
    plain = replace(node, threshold=node.threshold / gain, v_reset=node.v_reset / gain, gain=one, offset=offset)
    if isinstance(plain, CubaLIF):
        plain = replace(plain, current_gain=one)
    changed: dict[str, Node] = {name: plain}
    if driven and taker is not None and drive is not None:
        changed[taker] = _biased(graph.nodes[taker], 1.0, drive)
    return changed


def _readout(graph: Graph, name: str) -> dict[str, Node]:
    """Case 4."""
    node = graph.nodes[name]
    assert isinstance(node, Integrator)
    gain, offset = _per_channel(node.gain, node.shape), _per_channel(node.offset, node.shape)
    if (np.all(node.gain == 1.0) and np.all(node.offset == 0.0)) or gain is None or offset is None:
        return {}
    sources = graph.sources(name)
    if not all(_only_feeds(graph, s, name) for s in sources):
        return {}
    changed = {s: _biased(graph.nodes[s], gain, offset if s == sources[0] else 0.0) for s in sources}
    return {**changed, name: replace(node, gain=np.asarray(1.0), offset=np.asarray(0.0))}


def _biased(synapse: Node, gain: np.ndarray | float, drive: np.ndarray | float) -> Synapse:
    """The synapse times ``gain``, plus ``drive``, per output channel."""
    assert isinstance(synapse, SYNAPSES)
    bias = synapse.bias.astype(np.float64) * gain + drive
    if isinstance(gain, float) and gain == 1.0:
        return replace(synapse, bias=bias)
    factor = np.asarray(gain).reshape(-1, *(1,) * (synapse.weight.ndim - 1))
    return replace(synapse, weight=synapse.weight.astype(np.float64) * factor, bias=bias)


def _only_feeds(graph: Graph, source: str, name: str) -> bool:
    """Whether a synapse feeds this population alone, at the same step (a late one adds no bias at the first)."""
    late = (source, name) in graph.recurrent
    return isinstance(graph.nodes[source], SYNAPSES) and graph.targets(source) == (name,) and not late


def _per_channel(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """``(C,)``, or None where values differ within a channel."""
    full = np.broadcast_to(array, shape).reshape(shape[0], -1)
    return full[:, 0] if np.all(full == full[:, :1]) else None
