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
from neurodeploy.ir.kinds import ValueKind
from neurodeploy.ir.nodes import (
    LIF,
    NEURONS,
    SYNAPSES,
    Delay,
    Flatten,
    Integrator,
    Output,
    ReLU,
    Scale,
    SumPool2d,
)
from neurodeploy.sim.layout import last_array
from neurodeploy.sim.tile import Tile

if TYPE_CHECKING:
    from neurodeploy.sim.plan import Plan

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
                found.add(source)
            elif isinstance(node, PASSING):
                found.add(source)
                waiting.append(source)
    return frozenset(found)


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


def activity(plan: Plan, name: str) -> Callable[[Tile], np.ndarray]:
    """A function that counts the active updates of neuron node ``name`` in the steps that run now: ``(n,)`` int64."""
    always = driven(plan.graph, name, plan.arithmetic)
    shape = plan.shape(name)
    size = int(np.prod(shape))

    def count(tile: Tile) -> np.ndarray:
        if always.all():
            return np.full(tile.length, size * tile.samples, np.int64)
        rows = np.minimum(np.arange(tile.first, tile.last), 1)
        reached = always[rows][:, None] if tile.first == 0 and not np.array_equal(*always) else always[1:][None]
        for source in plan.graph.sources(name):
            reached = reached | _arriving(plan, tile, source, name)
        full = np.broadcast_to(reached, (tile.length, tile.samples, *shape))
        return full.reshape(tile.length, -1).sum(axis=1, dtype=np.int64)

    return count


def passed_on(plan: Plan, tile: Tile, name: str) -> np.ndarray:
    """Where an event or a bias enters passing node ``name``: bool ``(n or 1, B, *shape)``, channels last."""
    reached = np.zeros((1,) * (2 + len(plan.shape(plan.graph.sources(name)[0]))), bool)
    for source in plan.graph.sources(name):
        reached = reached | _arriving(plan, tile, source, name)
        node = plan.graph.nodes[source]
        if isinstance(node, SYNAPSES):
            reached = reached | (_delivering(plan, tile, source, name) & (node.bias != 0.0))
    entering = plan.shape(plan.graph.sources(name)[0])
    return np.broadcast_to(reached, (reached.shape[0], tile.samples, *entering))


def _arriving(plan: Plan, tile: Tile, source: str, target: str) -> np.ndarray:
    """Where an event arrives on one edge: bool, broadcastable to ``(n, B, *shape)``."""
    late, shape = plan.late(source, target), plan.shape(source)
    if plan.kinds[source].name != "real":
        return tile.delivered(tile.values, source, late, shape, plan.value_type(source)) != 0
    if source in plan.watched:
        return tile.delivered(tile.masks, source, late, shape, bool)
    return _delivering(plan, tile, source, target)


def _delivering(plan: Plan, tile: Tile, source: str, target: str) -> np.ndarray:
    """``(n, 1, …)`` bool: whether the edge delivers at all."""
    there = np.ones((tile.length, *(1,) * (1 + len(plan.shape(source)))), bool)
    if tile.first == 0 and plan.late(source, target):
        there[0] = False
    return there
