"""What a graph needs before it runs: the order of its nodes, the type of its numbers, where events are looked for."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.kinds import ValueKind, incoming_kind, value_kinds
from neurodeploy.ir.machine import WRAP, accumulator_bounds
from neurodeploy.ir.nodes import NEURONS, SYNAPSES, Delay
from neurodeploy.sim.arrivals import watched
from neurodeploy.sim.layout import last_shape

_FLOATS: dict[str, Any] = {"float32": np.float32, "float64": np.float64}


@dataclass(frozen=True)
class Plan:
    """A graph prepared for one arithmetic.

    Attributes:
        graph: The graph.
        arithmetic: ``float32``, ``float64`` or ``loihi``.
        dtype: Of every value that is not binary; binary values are uint8.
        kinds: Node -> kind of what it puts out.
        cores: Neuron node -> cores, empty without a placement.
        groups: What runs one after the other: a node, over all timesteps, or the nodes of a cycle, step by step.
        done: Per group the nodes that nobody reads afterwards.
        steady: Nodes whose value is the same at every step when the input is.
        watched: Nodes for which it must be known where events arrive (:mod:`neurodeploy.sim.arrivals`).
    """

    graph: Graph
    arithmetic: str
    dtype: Any
    kinds: Mapping[str, ValueKind]
    cores: Mapping[str, int]
    groups: tuple[tuple[str, ...], ...]
    done: tuple[tuple[str, ...], ...]
    steady: frozenset[str]
    watched: frozenset[str]

    def incoming(self, name: str) -> ValueKind:
        """Kind of the sum that enters ``name``."""
        return incoming_kind(self.graph, name, dict(self.kinds))

    def in_cycle(self, members: tuple[str, ...]) -> bool:
        """Whether a group runs step by step."""
        return len(members) > 1 or (members[0], members[0]) in self.graph.recurrent

    def late(self, source: str, target: str) -> bool:
        """Whether the edge delivers one step late."""
        return (source, target) in self.graph.recurrent

    def value_type(self, name: str) -> Any:
        """The dtype of what ``name`` puts out."""
        return np.uint8 if self.kinds[name].name == "binary" else self.dtype

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of what ``name`` puts out, channels last."""
        return last_shape(self.graph.shapes[name])


def make_plan(graph: Graph, arithmetic: str, cores: Mapping[str, int]) -> Plan:
    """The plan of ``graph``."""
    kinds = value_kinds(graph)
    groups = _groups(graph)
    dtype = _integers(graph, kinds) if arithmetic == "loihi" else _FLOATS[arithmetic]
    return Plan(
        graph,
        arithmetic,
        dtype,
        kinds,
        dict(cores),
        groups,
        _done(graph, groups),
        _steady(graph),
        watched(graph, kinds, arithmetic),
    )


def _groups(graph: Graph) -> tuple[tuple[str, ...], ...]:
    """Cycles and single nodes, each behind all that it reads, late edges included; in graph order where it can be.

    The graph's own order does not look at late edges: a node may come before one that it reads late.
    """
    rank = {name: index for index, name in enumerate(graph.nodes)}
    group: dict[str, tuple[str, ...]] = {name: (name,) for name in graph.nodes}
    for cycle in graph.cycles:
        members = tuple(sorted(cycle, key=rank.__getitem__))
        group.update(dict.fromkeys(members, members))
    before = {members: {group[s] for name in members for s in graph.sources(name)} for members in group.values()}
    for members, sources in before.items():
        sources.discard(members)
    ready = [(rank[members[0]], members) for members, sources in before.items() if not sources]
    heapq.heapify(ready)
    order: list[tuple[str, ...]] = []
    while ready:
        _, first = heapq.heappop(ready)
        order.append(first)
        for target in {group[t] for name in first for t in graph.targets(name)} - {first}:
            before[target].discard(first)
            if not before[target]:
                heapq.heappush(ready, (rank[target[0]], target))
    assert len(order) == len(before)
    return tuple(order)


def _done(graph: Graph, groups: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    place = {name: index for index, members in enumerate(groups) for name in members}
    done: list[list[str]] = [[] for _ in groups]
    for name in graph.nodes:
        if name != graph.output:
            done[max((place[target] for target in graph.targets(name)), default=place[name])].append(name)
    return tuple(tuple(names) for names in done)


def _steady(graph: Graph) -> frozenset[str]:
    changing = {name for cycle in graph.cycles for name in cycle} | {target for _, target in graph.recurrent}
    for members in _groups(graph):
        for name in members:
            node = graph.nodes[name]
            remembers = isinstance(node, NEURONS) or (isinstance(node, Delay) and bool(np.any(node.steps > 0)))
            if remembers or any(source in changing for source in graph.sources(name)):
                changing.add(name)
    return frozenset(graph.nodes) - changing


def _integers(graph: Graph, kinds: Mapping[str, ValueKind]) -> Any:
    """int32 where every sum of the integer machine provably fits, with room for the wrap at 24 bits; else int64."""
    for name in graph.nodes:
        sources = [source for source in graph.sources(name) if isinstance(graph.nodes[source], SYNAPSES)]
        largest = sum(_largest_sum(graph, source, kinds) for source in sources)
        if largest >= 2**31 - WRAP:
            return np.int64
    return np.int32


def _largest_sum(graph: Graph, name: str, kinds: Mapping[str, ValueKind]) -> int:
    """Largest ``|Σ w·s|`` of a synapse node, over all inputs of its kind."""
    node, most = graph.nodes[name], incoming_kind(graph, name, dict(kinds)).most
    assert isinstance(node, SYNAPSES)
    return max(map(abs, accumulator_bounds(node))) * most if most is not None else 2**31
