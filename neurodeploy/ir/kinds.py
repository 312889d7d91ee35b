"""Value kinds: what travels on an edge, inferred from the graph, never from tensor values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Delay,
    Flatten,
    Input,
    MaxPool2d,
    Output,
    Scale,
    SumPool2d,
    Threshold,
)


@dataclass(frozen=True)
class ValueKind:
    """``binary``: 0 or 1. ``integer``: 0…``most`` (None: unbounded). ``graded``: a spike's multiple."""

    name: str
    most: int | None = None

    def __str__(self) -> str:
        return f"integer({self.most})" if self.name == "integer" and self.most is not None else self.name


BINARY = ValueKind("binary", 1)
REAL = ValueKind("real")
GRADED = ValueKind("graded")


def value_kinds(graph: Graph) -> dict[str, ValueKind]:
    """Kind of every node's output.

    Neurons and synapses say their own kind, so a cycle that holds one is decided; one that holds none is real.
    """
    kinds: dict[str, ValueKind] = {}
    waiting = list(graph.nodes)
    while waiting:
        ready = [name for name in waiting if _decided(graph, name, kinds)]
        for name in ready or waiting:
            kinds[name] = _put_out(graph, name, kinds) if ready else REAL
        waiting = [name for name in waiting if name not in kinds]
    return {name: kinds[name] for name in graph.nodes}


#: Nodes whose kind follows from what enters them.
_PASSING = (Flatten, Output, SumPool2d, Delay, Scale)


def _decided(graph: Graph, name: str, kinds: dict[str, ValueKind]) -> bool:
    return not isinstance(graph.nodes[name], _PASSING) or all(source in kinds for source in graph.sources(name))


def _put_out(graph: Graph, name: str, kinds: dict[str, ValueKind]) -> ValueKind:
    node = graph.nodes[name]
    if isinstance(node, Input):
        return {"binary": BINARY, "integer": ValueKind("integer"), "real": REAL}[node.values]
    if isinstance(node, LIF):
        return BINARY if node.spikes == "single" else ValueKind("integer")
    if isinstance(node, Threshold):
        return BINARY
    if not isinstance(node, _PASSING):
        return REAL
    incoming = incoming_kind(graph, name, kinds)
    if isinstance(node, SumPool2d):
        return _pooled(incoming, node)
    if isinstance(node, Scale) and np.any(node.scale != 1.0):
        return GRADED if incoming.name != "real" else REAL
    return incoming


def incoming_kind(graph: Graph, name: str, kinds: dict[str, ValueKind]) -> ValueKind:
    """Kind of the sum that enters ``name``: two binary edges give integer(2)."""
    incoming = [kinds[source] for source in graph.sources(name)]
    if len(incoming) == 1:
        return incoming[0]
    names = {kind.name for kind in incoming}
    if "real" in names:
        return REAL
    if "graded" in names:
        return GRADED
    most = [kind.most for kind in incoming]
    return ValueKind("integer", None if None in most else sum(m for m in most if m is not None))


def _pooled(kind: ValueKind, node: SumPool2d) -> ValueKind:
    if kind.name == "real" or isinstance(node, MaxPool2d) or (node.kernel == (1, 1) and node.padding == (0, 0)):
        return kind
    if isinstance(node, AvgPool2d) or kind.name == "graded":
        return GRADED
    window = node.kernel[0] * node.kernel[1]
    return ValueKind("integer", None if kind.most is None else kind.most * window)
