"""The graph: named nodes and directed edges that add where they meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from neurodeploy.diagnostics import UnsupportedError, UsageError
from neurodeploy.ir.nodes import OWN_SHAPE, Input, Node, Output, Shape, ShapeError

Edge = tuple[str, str]


@dataclass(frozen=True)
class Graph:
    """A frozen discrete-time network.

    Attributes:
        nodes: Name -> node, in topological order (the constructor sorts, keeping the given order where it can).
        edges: ``(source, destination)``; several edges into one node add, in this order.
        timesteps: T the network was made for, None where unknown.
        dt: Seconds per step; only NIR files and energy use it.
        arithmetic: Arithmetic this graph is meant for: ``float32``, ``float64``, or ``loihi`` (integers).
        scales: Neuron node -> integer units per real unit of its membrane, for quantized graphs; Input and neuron
            nodes -> 2^g for graphs that were snapped to grids 2^-g (``--exact``).
        origin: Where it came from, for people.
        recurrent: Edges that deliver one step late: what leaves their source at step t arrives at t + 1, and nothing
            (zero) arrives at the first step. Every cycle holds at least one.

    Raises:
        UsageError: An edge to nowhere, two edges that are the same, shapes that do not meet (ND105).
        UnsupportedError: A cycle without a recurrent edge (ND211).
    """

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    timesteps: int | None = None
    dt: float = 1e-4
    arithmetic: str = "float32"
    scales: Mapping[str, float] = field(default_factory=dict)
    origin: str = ""
    recurrent: frozenset[Edge] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", tuple((str(a), str(b)) for a, b in self.edges))
        # An edge that is gone (a pass took a node out) is no longer recurrent.
        object.__setattr__(self, "recurrent", frozenset(self.recurrent) & set(self.edges))
        for edge in self.edges:
            for end in edge:
                if end not in self.nodes:
                    raise UsageError("ND105", f"edge {edge} names a node that is not there", where=end, fix="add it")
        if len(set(self.edges)) != len(self.edges):
            raise UsageError("ND105", "an edge appears twice", fix="merge the weights of the doubled edge")
        order = _topological(self.nodes, [edge for edge in self.edges if edge not in self.recurrent])
        object.__setattr__(self, "nodes", {name: self.nodes[name] for name in order})
        rank = {name: index for index, name in enumerate(order)}
        # Edges into one node keep their order (it is the order of the sum); across nodes they are sorted.
        object.__setattr__(self, "edges", tuple(sorted(self.edges, key=lambda e: rank[e[1]])))
        _ = self.shapes

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Output shape of every node.

        Neurons know their own shape, so a recurrent layer takes its shape from the neurons that it reads.
        """
        shapes: dict[str, Shape] = {n: node.shape for n, node in self.nodes.items() if isinstance(node, OWN_SHAPE)}
        waiting = [name for name in self.nodes if name not in shapes]
        while waiting:
            ready = [name for name in waiting if any(source in shapes for source in self.sources(name))]
            if not ready:
                fix = "connect or remove it"
                raise UsageError("ND105", "no edge leads to this node", where=waiting[0], fix=fix)
            for name in ready:
                known = next(shapes[source] for source in self.sources(name) if source in shapes)
                shapes[name] = self._shape_behind(name, known)
            waiting = [name for name in waiting if name not in shapes]
        for name, node in self.nodes.items():
            if isinstance(node, Input):
                continue
            incoming = [shapes[source] for source in self.sources(name)]
            if not incoming:
                raise UsageError("ND105", "no edge leads to this node", where=name, fix="connect or remove it")
            if len(set(incoming)) > 1:
                fix = "edges that meet are added: give them one shape"
                raise UsageError("ND105", f"edges of different shapes meet: {incoming}", where=name, fix=fix)
            self._shape_behind(name, incoming[0])
        return {name: shapes[name] for name in self.nodes}

    def _shape_behind(self, name: str, before: Shape) -> Shape:
        node = self.nodes[name]
        try:
            return node.output_shape(before)
        except ShapeError as error:
            fix = "the layer before it must put out that shape"
            raise UsageError("ND105", f"`{name}` ({node.kind}) {error}", where=name, fix=fix) from error

    @cached_property
    def _sources(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(a for a, b in self.edges if b == name) for name in self.nodes}

    @cached_property
    def _targets(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(b for a, b in self.edges if a == name) for name in self.nodes}

    def sources(self, name: str) -> tuple[str, ...]:
        """Names of the nodes whose output ``name`` adds up."""
        return self._sources[name]

    def targets(self, name: str) -> tuple[str, ...]:
        """Names of the nodes that read ``name``."""
        return self._targets[name]

    def input_shape(self, name: str) -> Shape:
        """Shape that enters ``name``."""
        return self.shapes[self.sources(name)[0]]

    @cached_property
    def cycles(self) -> tuple[frozenset[str], ...]:
        """The strongly connected components with more than one node, or with an edge to itself: what must be run step
        by step, in graph order."""
        found = set()
        for source, target in self.recurrent:
            behind = self._reachable(target) | {target}
            if source in behind:
                found.add(frozenset(n for n in behind if n == source or source in self._reachable(n)))
        rank = {name: index for index, name in enumerate(self.nodes)}
        return tuple(sorted(found, key=lambda members: min(rank[name] for name in members)))

    def _reachable(self, name: str) -> set[str]:
        """Every node behind ``name``, over all edges."""
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            for target in self.targets(waiting.pop()):
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
        return seen

    def names(self, kinds: type | tuple[type, ...]) -> list[str]:
        """Names of the nodes of these kinds, in graph order."""
        return [name for name, node in self.nodes.items() if isinstance(node, kinds)]

    @property
    def input(self) -> str:
        """Name of the one Input."""
        return self._only(Input)

    @property
    def output(self) -> str:
        """Name of the one Output."""
        return self._only(Output)

    def _only(self, kind: type) -> str:
        names = self.names(kind)
        if len(names) != 1:
            raise UnsupportedError(
                "ND212",
                f"the graph has {len(names)} {kind.__name__} nodes; exactly one is supported",
                where=", ".join(names),
                fix="split the network, or merge its inputs or outputs into one",
            )
        return names[0]

    def with_nodes(self, changed: Mapping[str, Node]) -> Graph:
        """The same graph with some nodes exchanged."""
        return replace(self, nodes={**self.nodes, **changed})

    def edges_without(self, name: str) -> tuple[Edge, ...]:
        """The edges when ``name`` is taken out and its sources are wired to its targets, in place of it."""
        edges: list[Edge] = []
        for source, target in self.edges:
            if target != name:
                edges.extend([(s, target) for s in self.sources(name)] if source == name else [(source, target)])
        return tuple(edges)

    def without(self, name: str, changed: Mapping[str, Node] | None = None) -> Graph:
        """The graph with one node taken out (see :meth:`edges_without`) and others exchanged."""
        nodes = {key: (changed or {}).get(key, node) for key, node in self.nodes.items() if key != name}
        return replace(self, nodes=nodes, edges=self.edges_without(name), recurrent=self._recurrent_without(name))

    def _recurrent_without(self, name: str) -> frozenset[Edge]:
        """The recurrent edges of :meth:`edges_without`: a path is late where an edge of it was.

        Raises:
            UnsupportedError: A path through ``name`` would be late by two steps (ND211).
        """
        late = {edge for edge in self.recurrent if name not in edge}
        for source in self.sources(name):
            for target in self.targets(name):
                steps = ((source, name) in self.recurrent) + ((name, target) in self.recurrent)
                if steps > 1:
                    raise UnsupportedError(
                        "ND211", "two delays would fall on one edge", where=name, fix="keep this layer, or one delay"
                    )
                if steps:
                    late.add((source, target))
        return frozenset(late)

    def subgraph(self, names: Iterable[str]) -> dict[str, Any]:
        """``nodes``, ``edges`` and ``recurrent`` of the part with these names, for the constructor."""
        keep = set(names)
        return {
            "nodes": {n: node for n, node in self.nodes.items() if n in keep},
            "edges": tuple(e for e in self.edges if e[0] in keep and e[1] in keep),
            "recurrent": frozenset(e for e in self.recurrent if e[0] in keep and e[1] in keep),
        }


def _topological(nodes: Mapping[str, Node], edges: Iterable[Edge]) -> list[str]:
    """Kahn's order, taking the earliest given node first; a cycle is refused."""
    waiting = dict.fromkeys(nodes, 0)
    out: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        waiting[target] += 1
        out[source].append(target)
    given = {name: index for index, name in enumerate(nodes)}
    ready = sorted((n for n, count in waiting.items() if count == 0), key=given.__getitem__)
    order: list[str] = []
    while ready:
        name = ready.pop(0)
        order.append(name)
        for target in out[name]:
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
        ready.sort(key=given.__getitem__)
    if len(order) < len(nodes):
        stuck = [name for name in nodes if name not in order]
        raise UnsupportedError(
            "ND211",
            "the graph has a cycle in which nothing is delayed",
            where=", ".join(stuck),
            fix="name the edge that closes it as recurrent: it delivers one step later",
        )
    return order
