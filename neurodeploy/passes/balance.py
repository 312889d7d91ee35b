"""Delays of a pipelined chip: every synapse takes a step, so paths of different length would add different timesteps.

Pre: partitioned. Post: all paths from the Input to a node pass the same number of synapses (the graph is unchanged).

Cases:
    1. all paths into every node have the same length: nothing to do.
    2. they have not (a skip path): refused (ND221); relays and delays that pad the shorter path are not built yet.
"""

from __future__ import annotations

from neurodeploy.diagnostics import Finding, UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import SYNAPSES


def levels(graph: Graph) -> dict[str, set[int]]:
    """Node -> the numbers of synapses on the paths from the Input to it, itself included."""
    found: dict[str, set[int]] = {}
    for name, node in graph.nodes.items():
        own = int(isinstance(node, SYNAPSES))
        found[name] = {level + own for source in graph.sources(name) for level in found[source]} or {own}
    return found


def balance(graph: Graph) -> Graph:
    """The graph itself if its paths are balanced."""
    findings = [
        Finding(
            "ND221",
            "error",
            name,
            "paths of different length meet here; every synapse of this chip takes a step, so they would mix steps",
            " and ".join(map(str, sorted(found))),
            "one length",
            "synapses",
            "use a network without skip paths on this target; padding the shorter path is not built yet",
        )
        for name, found in levels(graph).items()
        if len(found) > 1 and len({frozenset(levels_of) for levels_of in _incoming(graph, name)}) > 1
    ]
    if findings:
        first = findings[0]
        raise UnsupportedError(first.code, first.rule, where=first.node, fix=first.fix, findings=findings)
    return graph


def _incoming(graph: Graph, name: str) -> list[set[int]]:
    found = levels(graph)
    return [found[source] for source in graph.sources(name)]
