"""Messages of a placed network: every spike goes once to every core that holds a neuron layer behind it.

A population that only relays spikes and the synapses of a skip count like any other. A Delay and a Flatten are on the
way, not on a core. A neuron that fires several spikes at once sends one message that carries their number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurodeploy.ir.nodes import NEURONS, SYNAPSES, Delay, Flatten, Output
from neurodeploy.sim.counts import fan_out
from neurodeploy.sim.native import arrays, passing
from neurodeploy.sim.trace import COUNT_KEYS

if TYPE_CHECKING:
    from neurodeploy.sim.plan import Plan
    from neurodeploy.sim.tile import Tile


def destinations(plan: Plan, name: str) -> list[tuple[list[str], int]] | None:
    """``(synapses, cores)`` for every population that synapses lead to from ``name``; None without a placement."""
    graph, cores = plan.graph, plan.cores
    if not cores:
        return None
    found: dict[str, list[str]] = {}
    waiting: list[tuple[str, ...]] = [(target,) for target in graph.targets(name)]
    while waiting:
        path = waiting.pop(0)
        node = graph.nodes[path[-1]]
        if isinstance(node, SYNAPSES):
            behind = [n for n in graph.targets(path[-1]) if isinstance(graph.nodes[n], NEURONS)]
            if not behind or any(n not in cores for n in behind):
                return None
            for population in behind:
                found.setdefault(population, []).append(path[-1])
        elif isinstance(node, (Flatten, Delay)):
            waiting.extend((*path, target) for target in graph.targets(path[-1]))
        elif not isinstance(node, Output):
            return None  # a pool on the way: nobody says which core does it
        if len(set(path)) < len(path):
            return None  # a spike that goes round and round in delays
    return [(synapses, cores[population]) for population, synapses in found.items()]


#: Rows of counts from the spikes of a node to its messages.
_BEHIND = COUNT_KEYS.index("messages") - COUNT_KEYS.index("spikes_out")


class Sent:
    """Counts what neuron node ``name`` sends: spikes, and the messages that they are.

    Attributes:
        cores: Every spike is a message to each of them. Mostly every neuron has a connection: then these are all.
        partly: The others: neurons with a connection, and their cores.
    """

    def __init__(self, plan: Plan, name: str) -> None:
        reached = [(reaching(plan, synapses), cores) for synapses, cores in destinations(plan, name) or []]
        self._name = name
        self.cores = sum(cores for mask, cores in reached if mask.all())
        self.partly = [(mask.astype(np.uint8), cores) for mask, cores in reached if not mask.all()]
        self._found = arrays.kernels()

    def places(self, tile: Tile) -> tuple[int | None, int | None]:
        """Where a compiled kernel adds spikes, and messages to :attr:`cores`; None where they are not counted."""
        if not tile.counting:
            return None, None
        spikes = tile.counts_at(self._name, "spikes_out")
        return spikes, spikes + 8 * tile.timesteps * _BEHIND if self.cores else None

    def count(self, tile: Tile, value: np.ndarray, counted: bool) -> None:
        """Count the spikes ``(n, B, *shape)`` of the steps that run now; ``counted``: but for the :meth:`places`."""
        if counted and not self.partly:
            return
        rows = value.reshape(*value.shape[:2], -1)
        if not counted:
            tile.count(self._name, "spikes_out", rows.sum(axis=(1, 2), dtype=np.int64))
        if value.dtype != np.uint8:  # several spikes at once are one message
            rows = (rows != 0).view(np.uint8)
        if self.cores and not counted:
            tile.count(self._name, "messages", rows.sum(axis=(1, 2), dtype=np.int64) * self.cores)
        for mask, cores in self.partly:
            if self._found is not None:
                passing.count_masked(self._found, rows, mask, cores, tile.counts_at(self._name, "messages"))
            else:
                tile.count(self._name, "messages", rows.sum(axis=1, dtype=np.int64) @ mask * cores)


def reaching(plan: Plan, synapses: list[str]) -> np.ndarray:
    """1 for every source neuron with at least one connection through any of ``synapses`` into one population.

    In the neurons' order (channels last), int64. Parallel synapses share a message.
    """
    return np.maximum.reduce([_reaching(plan, synapse) for synapse in synapses])


def _reaching(plan: Plan, synapse: str) -> np.ndarray:
    node, before = plan.graph.nodes[synapse], plan.graph.input_shape(synapse)
    assert isinstance(node, SYNAPSES)
    # Linear reaches all its outputs from everywhere, so the order behind a Flatten does not matter.
    return (fan_out(node, before, plan.graph.shapes[synapse])[0] > 0).reshape(-1).astype(np.int64)
