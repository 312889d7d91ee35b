"""Hops of messages on a chip's mesh, where the profile gives its dimensions.

The placement says how many cores a population takes, in which channel blocks, not where on the mesh they lie. The
layout below is ours, simple and the same for every network: populations in graph order, each on consecutive cores, in
blocks of ``ceil(channels / cores)`` output channels; cores fill a tile, tiles fill the mesh row by row from one corner.
No tool optimized it, so a better layout has fewer hops. A message goes east-west first, then north-south::

    hops_x = |x_source − x_destination|        hops_y = |y_source − y_destination|

in tiles; one message per destination core, as ``messages`` counts them (no multicast). Between cores of one tile there
is no hop. What enters the chip from outside has no source core and is not counted.

Unknown, and None, stays: a network without a placement; one that takes more cores than a chip has (chips lie on no
common mesh here); a population that was cut into pieces of its map (crossbars), since those have no order; spikes that
were not kept; a profile without mesh dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neurodeploy.config.profile import Profile
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, NEURONS, SYNAPSES, Delay, Flatten, Output, Shape
from neurodeploy.sim.counts import fan_out


@dataclass(frozen=True)
class Mesh:
    """``columns`` x ``rows`` tiles, each with ``cores_per_tile`` cores."""

    columns: int
    rows: int
    cores_per_tile: int = 1

    @property
    def cores(self) -> int:
        """Cores of the chip."""
        return self.columns * self.rows * self.cores_per_tile

    def tile(self, core: int) -> tuple[int, int]:
        """``(x, y)`` of the tile that holds core ``core``."""
        tile = core // self.cores_per_tile
        return tile % self.columns, tile // self.columns


def mesh_of(profile: Profile) -> Mesh | None:
    """The mesh of ``[limits] mesh_x, mesh_y, cores_per_tile``; None where the profile does not give all three."""
    found = (profile.limits.mesh_x, profile.limits.mesh_y, profile.limits.cores_per_tile)
    numbers = [int(quantity.value) for quantity in found if quantity is not None and quantity.value is not None]
    return Mesh(*numbers) if len(numbers) == len(found) else None


def layout(graph: Graph, cores: Mapping[str, int], mesh: Mesh) -> dict[str, range] | None:
    """Population -> its cores, consecutive in graph order; None where they do not fit or have no order."""
    places: dict[str, range] = {}
    first = 0
    for name in graph.names(NEURONS):
        count = cores.get(name)
        if count is None or len(_blocks(graph.shapes[name], count)) != count:
            return None
        places[name] = range(first, first + count)
        first += count
    return places if first <= mesh.cores else None


def _blocks(shape: Shape, cores: int) -> list[slice]:
    """The output channels of each core: the smallest blocks of one size that take ``cores`` of them."""
    size = -(-shape[0] // cores)
    return [slice(start, start + size) for start in range(0, shape[0], size)]


def count_hops(
    graph: Graph, cores: Mapping[str, int], spikes: Mapping[str, np.ndarray], mesh: Mesh
) -> dict[str, tuple[np.ndarray, np.ndarray]] | None:
    """Hops of every spiking population's messages, summed over samples.

    Args:
        graph: The network that ran on the chip.
        cores: Population -> cores (``Artifact.cores()``).
        spikes: Population -> ``(B, T, *shape)``, as a trace keeps them.
        mesh: The chip's.

    Returns:
        Population -> east-west and north-south hops, int64 ``(T,)`` each; a population is left out where its messages
        are not counted either, or its spikes were not kept. None without a layout.
    """
    places = layout(graph, cores, mesh)
    if places is None:
        return None
    found = {}
    for name in graph.names(LIF):
        ways = _destinations(graph, name)
        if ways is None or name not in spikes:
            continue
        sent = np.moveaxis(spikes[name] != 0, 2, -1)  # channels last, as fan_out() orders neurons
        totals = np.zeros((2, sent.shape[1]), np.int64)
        for population, synapses in ways.items():
            reach = np.logical_or.reduce([_reads(graph, synapse) for synapse in synapses]).reshape(sent.shape[2:])
            for block, core in zip(_blocks(graph.shapes[name], len(places[name])), places[name], strict=True):
                messages = np.count_nonzero(sent[..., block] & reach[..., block], axis=(0, *range(2, sent.ndim)))
                totals += _distance(core, places[population], mesh)[:, None] * messages
        found[name] = (totals[0], totals[1])
    return found


def _destinations(graph: Graph, name: str) -> dict[str, list[str]] | None:
    """Population behind ``name`` -> synapses that lead there; None where ``messages`` does not know them either.

    Only a Flatten or a Delay may lie between; a pool lies on no core, and what goes round in delays has no end.
    """
    found: dict[str, list[str]] = {}
    waiting: list[tuple[str, ...]] = [(target,) for target in graph.targets(name)]
    while waiting:
        path = waiting.pop(0)
        node = graph.nodes[path[-1]]
        if path[-1] in path[:-1]:
            return None
        if isinstance(node, SYNAPSES):
            behind = [target for target in graph.targets(path[-1]) if isinstance(graph.nodes[target], NEURONS)]
            if not behind:
                return None
            for population in behind:
                found.setdefault(population, []).append(path[-1])
        elif isinstance(node, (Flatten, Delay)):
            waiting.extend((*path, target) for target in graph.targets(path[-1]))
        elif not isinstance(node, Output):
            return None
    return found


def _reads(graph: Graph, synapse: str) -> np.ndarray:
    """Source neurons with a connection, flat, channels last. A Linear reads all, so a Flatten's order is moot."""
    node = graph.nodes[synapse]
    assert isinstance(node, SYNAPSES)
    return (fan_out(node, graph.input_shape(synapse), graph.shapes[synapse])[0] > 0).reshape(-1)


def _distance(core: int, others: range, mesh: Mesh) -> np.ndarray:
    """East-west and north-south hops from one core to all of ``others`` together."""
    x, y = mesh.tile(core)
    tiles = [mesh.tile(other) for other in others]
    return np.array([sum(abs(x - u) for u, _ in tiles), sum(abs(y - v) for _, v in tiles)], np.int64)
