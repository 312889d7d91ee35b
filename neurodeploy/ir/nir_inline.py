"""Nested NIR graphs written out flat, and the Input and Output that old files leave out.

A subgraph ``sub`` with a node ``lif`` becomes a node ``sub_lif``; its Input and Output go, and the edges that met in
them are joined: each source with each target.
"""

from __future__ import annotations

from typing import Any

from neurodeploy.diagnostics import UnsupportedError, UsageError
from neurodeploy.ir.graph import Edge
from neurodeploy.ir.nir_file import Tree

Flat = tuple[dict[str, Tree], list[Edge]]


def flatten_graph(tree: Tree) -> Flat:
    """Nodes by name and edges of a graph without graphs in it, with one Input and one Output or more."""
    nodes, edges = _flat(tree, "")
    return _with_end(*_with_end(nodes, edges, "Input"), "Output")


def _flat(tree: Tree, path: str) -> Flat:
    given, pairs = tree.get("nodes"), _pairs(tree.get("edges"), path)
    if not isinstance(given, dict) or not given:
        raise UsageError(
            "ND104", "the graph has no nodes", where=path or "node", fix="write it again with nir >= 1.0.8"
        )
    nodes: dict[str, Tree] = {}
    edges = pairs
    for name, node in given.items():
        if not isinstance(node, dict) or not isinstance(node.get("type"), str):
            raise UsageError("ND104", f"`{name}` does not say its type", where=path + name, fix="write the file again")
        if node["type"] == "NIRGraph":
            inner, inner_edges = _flat(node, f"{path}{name}.")
            nodes, edges = _joined(nodes, edges, name, inner, inner_edges, {*given})
        else:
            nodes[name] = node
    return nodes, edges


def _pairs(edges: Any, path: str) -> list[Edge]:
    if edges is None or len(edges) == 0:
        return []
    pairs = [tuple(edge) for edge in edges]
    if any(len(pair) != 2 or not all(isinstance(end, str) for end in pair) for pair in pairs):
        raise UsageError("ND104", "the edges are not pairs of names", where=path or "edges", fix="write the file again")
    return [(a, b) for a, b in pairs]


def _joined(
    nodes: dict[str, Tree],
    edges: list[Edge],
    name: str,
    inner: dict[str, Tree],
    inner_edges: list[Edge],
    taken: set[str],
) -> Flat:
    """Put the nodes of subgraph ``name`` in its place."""
    new: dict[str, str] = {}
    for old in inner:
        joined = f"{name}_{old}"
        while joined in taken or joined in nodes or joined in new.values():
            joined += "_"
        new[old] = joined
    inner_edges = [(new.get(a, a), new.get(b, b)) for a, b in inner_edges]
    ends = {}
    for kind, other in (("Input", 1), ("Output", 0)):
        ports = [new[old] for old, node in inner.items() if node["type"] == kind]
        # A graph without such a port begins (ends) where no edge of its own arrives (leaves).
        met = {edge[other] for edge in inner_edges}
        loose = [n for n in new.values() if n not in met]
        ends[kind] = ports or loose
        if len(ends[kind]) != 1:
            raise UnsupportedError(
                "ND212",
                f"subgraph `{name}` has {len(ports) or len(loose)} {kind} nodes; exactly one is supported",
                where=name,
                fix="write the network flat, or give each subgraph one Input and one Output",
            )
    edges = [(ends["Output"][0] if a == name else a, ends["Input"][0] if b == name else b) for a, b in edges]
    edges += inner_edges
    nodes = {**nodes, **{new[old]: node for old, node in inner.items()}}
    for port in {ends["Input"][0], ends["Output"][0]}:
        if nodes[port]["type"] in ("Input", "Output"):
            edges = bypass(edges, port)
            del nodes[port]
    return nodes, edges


def bypass(edges: list[Edge], name: str) -> list[Edge]:
    """The edges when ``name`` goes and each of its sources meets each of its targets, in its place."""
    sources = [a for a, b in edges if b == name and a != name]
    out: list[Edge] = []
    for a, b in edges:
        if b == name:
            continue
        out.extend([(s, b) for s in sources] if a == name else [(a, b)])
    return out


def _with_end(nodes: dict[str, Tree], edges: list[Edge], kind: str) -> Flat:
    """An Input before the one first node, an Output behind the one last node, where the file has none."""
    if any(node["type"] == kind for node in nodes.values()):
        return nodes, edges
    other = 1 if kind == "Input" else 0
    met = {edge[other] for edge in edges}
    free = [name for name in nodes if name not in met]
    if len(free) != 1:
        which = "no edge enters" if kind == "Input" else "no edge leaves"
        raise UnsupportedError(
            "ND212",
            f"the graph has no {kind} node, and {which} {len(free)} of its nodes, not one",
            where=", ".join(free) or "node/nodes",
            fix=f"write the file with one {kind} node",
        )
    name = kind.lower()
    while name in nodes:
        name += "_"
    end: Tree = {"type": kind, "shape": None}
    if kind == "Input":
        return {name: end, **nodes}, [(name, free[0]), *edges]
    return {**nodes, name: end}, [*edges, (free[0], name)]
