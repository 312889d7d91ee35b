"""Which neuron-steps are active: at least one event arrives, or the bias or offset of that step is not zero.

On an edge from a synapse node an event arrives at every neuron that a spike (or a graded event, or a real value, which
is there at every step) is connected to, whatever the weight. On an edge that carries spikes, integers or graded values
an event arrives where the value is not zero; on one that carries other real values, at every step. A Flatten, a pool, a
Scale, a Delay and a ReLU between synapse and neuron pass events on, and a nonzero bias with them. Late edges
deliver both one step late.

This is DESIGN's count and no more: a membrane or a synaptic current that is still decaying makes no update active. A
CubaLIF whose current flows on without a new event is idle by this count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.kinds import ValueKind, incoming_kind
from neurodeploy.ir.nodes import (
    LIF,
    NEURONS,
    SYNAPSES,
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    Integrator,
    Linear,
    Output,
    ReLU,
    Scale,
    SumPool2d,
    as_conv2d,
)
from neurodeploy.sim.counts import touched
from neurodeploy.sim.layout import last_array
from neurodeploy.sim.native import arrays, passing
from neurodeploy.sim.replay import calls_only_kernels, only_kernels
from neurodeploy.sim.tile import Tile
from neurodeploy.sim.trace import COUNT_KEYS

if TYPE_CHECKING:
    from neurodeploy.sim.plan import Plan

#: Rows of counts from the active updates of a node to its idle ones.
_BEHIND = COUNT_KEYS.index("neuron_updates_idle") - COUNT_KEYS.index("neuron_updates_active")
#: Nodes without weights and without a state of their own: an event that enters leaves.
PASSING = (Flatten, SumPool2d, Scale, Delay, ReLU, Output)


def watched(graph: Graph, kinds: Mapping[str, ValueKind], arithmetic: str) -> frozenset[str]:
    """Nodes whose events decide whether some update is idle, and do not show in their values."""
    found: set[str] = set()
    waiting = [name for name in graph.names(NEURONS) if not np.all(driven(graph, name, arithmetic))]
    while waiting:
        for source in graph.sources(waiting.pop()):
            node = graph.nodes[source]
            if source in found or kinds[source].name != "real":
                continue
            if isinstance(node, SYNAPSES):
                if not _reaches_all(graph, source, kinds):
                    found.add(source)
            elif isinstance(node, PASSING):
                found.add(source)
                waiting.append(source)
    return frozenset(found)


def _reaches_all(graph: Graph, name: str, kinds: Mapping[str, ValueKind]) -> bool:
    """Whether real values, which are there at every step, reach every output: none sees padding only."""
    node, before, after = graph.nodes[name], graph.input_shape(name), graph.shapes[name]
    if incoming_kind(graph, name, dict(kinds)).name != "real":
        return False
    if isinstance(node, Conv1d):
        node, before, after = as_conv2d(node), (before[0], 1, before[1]), (after[0], 1, after[1])
    assert isinstance(node, (Conv2d, Linear))
    return bool(touched(node, np.ones((1, *before[1:], before[0]), bool), after).all())


def driven(graph: Graph, name: str, arithmetic: str) -> np.ndarray:
    """Neurons with a nonzero bias or offset, ``(2, *shape)`` bool, channels last: at the first step, and later.

    Biases of several synapses add up. A late edge brings its bias one step late, but on the integer machine, which adds
    biases to v at every step.
    """
    node = graph.nodes[name]
    assert isinstance(node, (LIF, Integrator))
    bias = np.zeros((2, *last_array(node.offset, node.shape).shape))
    for source in graph.sources(name):
        synapse = graph.nodes[source]
        if isinstance(synapse, SYNAPSES):
            bias[1] += synapse.bias
            if (source, name) not in graph.recurrent or arithmetic == "loihi":
                bias[0] += synapse.bias
    return (bias != 0.0) | (last_array(node.offset, node.shape) != 0.0)


def activity(plan: Plan, name: str) -> Callable[[Tile], None]:
    """A function that counts the active and idle updates of neuron node ``name`` in the steps that run now."""
    always = driven(plan.graph, name, plan.arithmetic)
    size = int(np.prod(plan.shape(name)))
    sources = plan.graph.sources(name)
    if always.all() or any(_brings_always(plan, source, name) for source in sources):
        return only_kernels(lambda tile: tile.count(name, "neuron_updates_active", np.int64(size * tile.samples)))
    # A late edge that always delivers is silent at the first step only.
    always[1] |= any(_brings_always(plan, source, name, late=True) for source in sources)
    edges = [_events(plan, s, name) for s in sources if not _brings_always(plan, s, name, late=True)]
    found = arrays.kernels()
    if found is not None:
        return _compiled_activity(passing.Activity(found, always), name, edges)

    def count(tile: Tile) -> None:
        rows = np.minimum(np.arange(tile.first, tile.last), 1)
        reached = always[rows][:, None]
        for edge in edges:
            reached = reached | edge(tile).view(bool)
        full = np.broadcast_to(reached, (tile.length, tile.samples, *plan.shape(name)))
        active = full.reshape(tile.length, -1).sum(axis=1, dtype=np.int64)
        tile.count(name, "neuron_updates_active", active)
        tile.count(name, "neuron_updates_idle", size * tile.samples - active)

    return count


def _compiled_activity(
    kernel: passing.Activity, name: str, edges: list[Callable[[Tile], np.ndarray]]
) -> Callable[[Tile], None]:
    def count(tile: Tile) -> None:
        events = [edge(tile) for edge in edges]
        while len(events) > passing.ARRIVING:
            events[:2] = [events[0] | events[1]]
        active = tile.counts_at(name, "neuron_updates_active")
        idle = active + 8 * tile.timesteps * _BEHIND
        kernel.count(tile.first, tile.last - tile.first, tile.samples, events, active, idle)

    return only_kernels(count, all(map(calls_only_kernels, edges)) and len(edges) <= passing.ARRIVING)


def _brings_always(plan: Plan, source: str, target: str, late: bool = False) -> bool:
    """Whether an edge brings an event to every neuron at every step; ``late``: at every one but the first."""
    real = plan.kinds[source].name == "real" and source not in plan.watched
    return real and (late or not plan.late(source, target))


def passed_on(plan: Plan, tile: Tile, name: str) -> np.ndarray:
    """Where an event or a bias enters passing node ``name``: bool ``(n or 1, B, *spatial, C or 1)``, channels last."""
    sources = plan.graph.sources(name)
    entering = plan.shape(sources[0])
    reached = np.zeros((1,) * (2 + len(entering)), bool)
    for source in sources:
        always = _brings_always(plan, source, name, late=True)
        there = _delivering(plan, tile, source, name) if always else _events(plan, source, name)(tile).view(bool)
        reached = reached | there
        node = plan.graph.nodes[source]
        if isinstance(node, SYNAPSES) and node.bias.any():
            reached = reached | (_delivering(plan, tile, source, name) & (node.bias != 0.0))
    return np.broadcast_to(reached, (reached.shape[0], tile.samples, *entering[:-1], reached.shape[-1]))


def _events(plan: Plan, source: str, target: str) -> Callable[[Tile], np.ndarray]:
    """A function that says where events arrive on one edge: bytes 0 or 1, broadcastable to ``(n, B, *shape)``."""
    late, shape = plan.late(source, target), plan.shape(source)
    if plan.kinds[source].name == "real":
        assert source in plan.watched
        return only_kernels(lambda tile: tile.delivered(tile.masks, source, late, shape, bool))
    dtype = plan.value_type(source)
    if dtype is np.uint8:
        return only_kernels(lambda tile: tile.delivered(tile.values, source, late, shape, dtype))
    return lambda tile: tile.delivered(tile.values, source, late, shape, dtype) != 0


def _delivering(plan: Plan, tile: Tile, source: str, target: str) -> np.ndarray:
    """``(n, 1, …)`` bool: whether the edge delivers at all."""
    there = np.ones((tile.length, *(1,) * (1 + len(plan.shape(source)))), bool)
    if tile.first == 0 and plan.late(source, target):
        there[0] = False
    return there
