"""Value kinds: what travels on an edge, inferred from the graph, never from tensor values."""

from __future__ import annotations

from dataclasses import dataclass

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, AvgPool2d, Flatten, Input, Output, SumPool2d


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
    """Kind of every node's output."""
    kinds: dict[str, ValueKind] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, Input):
            kinds[name] = {"binary": BINARY, "integer": ValueKind("integer"), "real": REAL}[node.values]
        elif isinstance(node, LIF):
            kinds[name] = BINARY
        elif isinstance(node, (Flatten, Output)):
            kinds[name] = incoming_kind(graph, name, kinds)
        elif isinstance(node, SumPool2d):
            kinds[name] = _pooled(incoming_kind(graph, name, kinds), node)
        else:
            kinds[name] = REAL
    return kinds


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
    if kind.name == "real" or (node.kernel == (1, 1) and node.padding == (0, 0)):
        return kind
    if isinstance(node, AvgPool2d) or kind.name == "graded":
        return GRADED
    window = node.kernel[0] * node.kernel[1]
    return ValueKind("integer", None if kind.most is None else kind.most * window)
