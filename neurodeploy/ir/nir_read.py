"""NIR -> Graph, from a file or from a graph in memory, ours or foreign.

In this order: the file as a tree, nested graphs written out flat, node after node with its shape, the late edges of
cycles, and in a file of ours the notes that say all this exactly.

What neurodeploy wrote says everything in ``metadata["neurodeploy"]``, and the file's own numbers must agree with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurodeploy.diagnostics import Finding, UnsupportedError, UsageError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.interpret import ARITHMETICS
from neurodeploy.ir.nir_build import READABLE, TIMED, Built
from neurodeploy.ir.nir_fields import Fields
from neurodeploy.ir.nir_file import KEY, SCHEMA, Tree, read_tree, tree_of
from neurodeploy.ir.nir_inline import bypass, flatten_graph
from neurodeploy.ir.nir_neurons import Clock
from neurodeploy.ir.nir_timed import timed_numbers
from neurodeploy.ir.nodes import Delay, Integrator, Node
from neurodeploy.ir.read_options import ReadOptions, apply_options

if TYPE_CHECKING:
    import nir

DEFAULT_DT = 1e-4


def read_nir(path: Path, options: ReadOptions | None = None) -> Graph:
    """Read a ``.nir`` file, ours or foreign.

    Raises:
        UsageError: Not readable (ND103), not a NIR file (ND104), shapes that do not meet (ND105), time that does not
            go with dt (ND114).
        UnsupportedError: A node kind this version does not read (ND201), a cycle that is undelayed (ND211) or ambiguous
            (ND230), not one Input and one Output (ND212).
    """
    return _guarded(read_tree(path), options, str(path))


def from_nir(read: nir.NIRGraph, options: ReadOptions | None = None, *, where: str = "NIR graph") -> Graph:
    """The graph of a NIR graph in memory; what it leaves open comes from ``options``. Raises as :func:`read_nir`."""
    return _guarded(tree_of(read), options, where)


def _guarded(tree: Tree, options: ReadOptions | None, where: str) -> Graph:
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused, by name, when all is read
            return _read(tree, options or ReadOptions(), where)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise UsageError(
            "ND104",
            f"something in this NIR file is not of the kind that NIR says: {type(error).__name__}: {error}",
            where=where,
            fix="write it again with nir >= 1.0.8",
        ) from error


def _read(tree: Tree, options: ReadOptions, where: str) -> Graph:
    notes = _notes(tree)
    if notes and int(notes.get("schema", 0)) > SCHEMA:
        raise UsageError(
            "ND104",
            f"written by a newer neurodeploy (metadata schema {notes['schema']}, this one reads {SCHEMA})",
            where=where,
            fix="update neurodeploy",
        )
    own_dt, timesteps, arithmetic = _said(notes)
    dt = own_dt if options.dt is None else options.dt
    exact = options.discretize == "exp"
    clock = Clock(dt, exact, trust=bool(notes) and dt == own_dt and not exact)
    flat, edges = flatten_graph(tree)
    nodes = {name: Fields(name, node["type"], node, _notes(node) if notes else {}) for name, node in flat.items()}
    order = sorted(nodes, key=lambda name: int(nodes[name].notes.get("index", 1 << 30)))
    nodes = {name: nodes[name] for name in order}
    _refuse_unread(nodes, edges, where)
    _one_of_each(nodes)
    built = Built(nodes, edges, clock).run()
    if clock.trust:
        built = _as_noted(built, nodes, notes)
    graph = Graph(
        nodes=built.graph,
        edges=tuple(built.edges),
        timesteps=timesteps,
        dt=dt,
        arithmetic=arithmetic,
        scales={str(k): float(v) for k, v in notes.get("scales", {}).items()},
        origin=str(notes.get("origin", "")),
        recurrent=built.late,
    )
    _check_numbers(graph)
    if clock.trust:
        _check_notes(graph, nodes, where)
    if "readout" in notes:
        graph = _with_readout(graph, notes["readout"])
    return apply_options(graph, options)


def _notes(node: Mapping[str, Any]) -> dict[str, Any]:
    metadata = node.get("metadata")
    found = metadata.get(KEY, {}) if isinstance(metadata, dict) else {}
    if not isinstance(found, dict):
        raise TypeError(f"metadata[{KEY!r}] is {found!r}")
    return found


def _said(notes: Mapping[str, Any]) -> tuple[float, int | None, str]:
    """dt, T and arithmetic of the notes."""
    dt = float(notes.get("dt", DEFAULT_DT))
    timesteps = int(notes["timesteps"]) if "timesteps" in notes else None
    arithmetic = str(notes.get("arithmetic", "float32"))
    if not 0 < dt < float("inf") or (timesteps or 1) < 1 or arithmetic not in ARITHMETICS:
        raise ValueError(f"the notes say dt = {dt:g}, {timesteps} timesteps, {arithmetic} arithmetic")
    return dt, timesteps, arithmetic


def _refuse_unread(nodes: Mapping[str, Fields], edges: list[Edge], where: str) -> None:
    unread = [node for node in nodes.values() if node.kind not in READABLE]
    if unread:
        found = [
            Finding("ND201", "error", n.name, f"{n.kind} is no node of NIR 1.0.8", n.kind, fix="rewrite it")
            for n in unread
        ]
        raise UnsupportedError(
            "ND201",
            "this version cannot read these NIR nodes: " + ", ".join(f"`{n.name}` is {n.kind}" for n in unread),
            where=where,
            fix=f"readable: {', '.join((*READABLE, 'NIRGraph'))}; rewrite the network with those. NIR 1.0.8 has no "
            "other node, so snnTorch, Norse, SpikingJelly, Sinabs, Rockpool and Spyx do not read this file either",
            findings=found,
        )
    for edge in edges:
        for end in edge:
            if end not in nodes:
                raise UsageError("ND105", f"edge {edge} names a node that is not there", where=end, fix="add it")


def _one_of_each(nodes: Mapping[str, Fields]) -> None:
    for kind in ("Input", "Output"):
        names = [name for name, node in nodes.items() if node.kind == kind]
        if len(names) != 1:
            raise UnsupportedError(
                "ND212",
                f"the graph has {len(names)} {kind} nodes; exactly one is supported",
                where=", ".join(names) or "node/nodes",
                fix="split the network, or merge its inputs or outputs into one",
            )


def _as_noted(built: Built, nodes: Mapping[str, Fields], notes: Mapping[str, Any]) -> Built:
    """A file of ours: its own late edges and delays; the Delay nodes that only stand for a late edge go."""
    late = {(str(a), str(b)) for a, b in notes.get("recurrent", ())}
    edges = built.edges
    for name, node in nodes.items():
        if "inserted" in node.notes:
            edges = bypass(edges, name)
            del built.graph[name]
        elif node.kind == "Delay":
            shape = built.shapes[name]
            built.graph[name] = Delay(shape, Fields(name, "its notes", node.notes, {}).array("steps"))
    strange = late - set(edges)
    if strange:
        raise UsageError(
            "ND104",
            f"neurodeploy's notes call {min(strange)} a recurrent edge, but the file has no such edge",
            where=min(strange)[0],
            fix='another tool changed it: delete metadata["neurodeploy"] to read it as a plain NIR file',
        )
    built.edges, built.late = edges, frozenset(late)
    return built


def _with_readout(graph: Graph, notes: Mapping[str, Any]) -> Graph:
    """Put the integrator back that the file left to the host."""
    name, output = str(notes["name"]), graph.output
    node = Integrator(graph.shapes[output], np.asarray(float(notes["decay"])))
    edges = tuple((a, name) if b == output else (a, b) for a, b in graph.edges)
    nodes: dict[str, Node] = {}
    for key, value in graph.nodes.items():
        if key == output:
            nodes[name] = node
        nodes[key] = value
    recurrent = frozenset((a, name) if b == output else (a, b) for a, b in graph.recurrent)
    return replace(graph, nodes=nodes, edges=(*edges, (name, output)), recurrent=recurrent)


def _check_numbers(graph: Graph) -> None:
    """No product of the file's numbers has overflown (ND104)."""
    for name, node in graph.nodes.items():
        for field in fields(node):
            value = getattr(node, field.name)
            if isinstance(value, np.ndarray) and not np.all(np.isfinite(value)):
                raise UsageError(
                    "ND104", f"`{name}`: its {field.name} is beyond float64", where=name, fix="write the file again"
                )


def _check_notes(graph: Graph, nodes: Mapping[str, Fields], where: str) -> None:
    """Our notes and the file's own numbers must agree: another tool may have changed one and not the other."""
    for name, node in graph.nodes.items():
        if nodes[name].kind not in TIMED:
            continue
        for key, value in timed_numbers(graph, name, node)[1].items():
            if not np.array_equal(value, np.asarray(nodes[name].values.get(key))):
                raise UsageError(
                    "ND104",
                    f"`{name}`: {key} in the file is not what neurodeploy's notes in the same file say",
                    where=where,
                    fix='another tool changed it: delete metadata["neurodeploy"] to read it as a plain NIR file',
                )
