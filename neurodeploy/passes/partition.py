"""Split a network into the host's encoder and the chip's part.

The encoder holds every node that depends on a non-binary input and does not lie behind a spiking neuron: the first
real-valued synapses up to and including the neurons they feed. What leaves it is binary spikes.

Pre: norms and pools are folded.
Post: chip(encoder(x)) = graph(x); the chip's Input is binary, or there was nothing to split.

Cases:
    1. binary Input: the whole graph is the chip's.
    2. one neuron population leaves the encoder: it becomes the chip's Input, under the name ``input``.
    3. several populations leave it, or the input reaches the Output without a neuron: refused (ND305).
"""

from __future__ import annotations

from dataclasses import replace

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import LIF, Input, Node, Output


def partition(graph: Graph) -> tuple[Graph | None, Graph]:
    """``(encoder or None, chip)``."""
    entry = graph.nodes[graph.input]
    assert isinstance(entry, Input)
    if entry.values == "binary":
        return None, graph
    host = {graph.input}
    for name, node in graph.nodes.items():  # topological: sources are decided first
        raw = [s for s in graph.sources(name) if s in host and not isinstance(graph.nodes[s], LIF)]
        if raw:
            if isinstance(node, Output):
                raise UnsupportedError(
                    "ND305",
                    f"the {entry.values} input reaches the output without passing a spiking neuron",
                    where=name,
                    fix="put a LIF after the first layer: it encodes the input as spikes",
                )
            host.add(name)
    leaving = [n for n in host if any(t not in host for t in graph.targets(n))]
    feeding = [s for n in host for s in graph.sources(n) if s not in host]
    if len(leaving) != 1 or feeding:
        raise UnsupportedError(
            "ND305",
            f"the real-valued part cannot be cut off: {len(leaving)} populations leave it",
            where=", ".join(leaving + feeding),
            fix="let the first layer end in one LIF population that everything else reads",
        )
    exit_name = leaving[0]
    part = graph.subgraph(host)
    encoder = replace(
        graph,
        nodes={**part["nodes"], "output": Output()},
        edges=(*part["edges"], (exit_name, "output")),
        scales={},
        origin=f"{graph.origin} (host encoder)",
    )
    rest = graph.subgraph(set(graph.nodes) - host)
    edges: tuple[Edge, ...] = tuple(("input" if a == exit_name else a, b) for a, b in graph.edges if b not in host)
    nodes: dict[str, Node] = {"input": Input(graph.shapes[exit_name], "binary"), **rest["nodes"]}
    return encoder, replace(graph, nodes=nodes, edges=edges)
