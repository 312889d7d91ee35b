"""Split a network into the host's encoder and the chip's part.

The encoder holds every node that depends on a non-binary input and does not lie behind a spiking neuron: the first
real-valued synapses up to and including the neurons they feed. What leaves it is spikes.

Pre: norms are folded.
Post: chip(encoder(x)) = graph(x); the chip's Input holds spikes, or there was nothing to split.

Cases:
    1. binary Input: the whole graph is the chip's.
    2. one neuron population leaves the encoder: it becomes the chip's Input, under the name ``input``. A loop of
       recurrent edges through the encoder is part of it.
    3. several populations leave it, or the input reaches the Output without a neuron: refused (ND305).
    4. no neuron of the network spikes (an ANN): refused (ND306).
"""

from __future__ import annotations

from dataclasses import replace

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.kinds import BINARY, value_kinds
from neurodeploy.ir.nodes import LIF, SYNAPSES, Input, Node, Output, ReLU, Threshold
from neurodeploy.passes.new_names import free_name

#: Nodes that put out spikes.
SPIKING = (LIF, Threshold)


def partition(graph: Graph) -> tuple[Graph | None, Graph]:
    """``(encoder or None, chip)``."""
    refuse_without_spikes(graph)
    entry = graph.nodes[graph.input]
    assert isinstance(entry, Input)
    if entry.values == "binary":
        return None, graph
    host = _host(graph)
    leaving = [n for n in graph.nodes if n in host and any(t not in host for t in graph.targets(n))]
    feeding = [s for n in graph.nodes if n in host for s in graph.sources(n) if s not in host]
    if len(leaving) != 1 or feeding or not isinstance(graph.nodes[leaving[0]], SPIKING):
        raise UnsupportedError(
            "ND305",
            f"the real-valued part cannot be cut off: {len(leaving)} populations leave it",
            where=", ".join(leaving + feeding),
            fix="let the first layer end in one LIF population that everything else reads",
        )
    exit_name = leaving[0]
    part = graph.subgraph(host)
    if not any(isinstance(node, SYNAPSES) for name, node in graph.nodes.items() if name not in host):
        raise UnsupportedError(
            "ND305",
            f"the {entry.values} input keeps every layer on the host: nothing is left for the chip",
            where=exit_name,
            fix="say --input-kind binary if the input is spikes, or use a network with more layers",
        )
    encoder_output, chip_input = free_name(host, "output"), free_name(set(graph.nodes) - host, "input")
    encoder = replace(
        graph,
        nodes={**part["nodes"], encoder_output: Output()},
        edges=(*part["edges"], (exit_name, encoder_output)),
        recurrent=part["recurrent"],
        scales={},
        origin=f"{graph.origin} (host encoder)",
    )
    rest = graph.subgraph(set(graph.nodes) - host)
    binary = value_kinds(graph)[exit_name] == BINARY
    nodes: dict[str, Node] = {
        chip_input: Input(graph.shapes[exit_name], "binary" if binary else "integer"),
        **rest["nodes"],
    }

    def moved(edges: object) -> list[tuple[str, str]]:
        assert isinstance(edges, (tuple, frozenset))
        return [(chip_input if a == exit_name else a, b) for a, b in edges if b not in host]

    return encoder, replace(
        graph, nodes=nodes, edges=tuple(moved(graph.edges)), recurrent=frozenset(moved(graph.recurrent))
    )


def _host(graph: Graph) -> set[str]:
    """The nodes that raw input reaches, up to the first neurons, with the loops they stand in."""
    entry = graph.nodes[graph.input]
    host = {graph.input}
    waiting = [graph.input]
    while waiting:
        for target in graph.targets(waiting.pop()):
            node = graph.nodes[target]
            if isinstance(node, Output):
                raise UnsupportedError(
                    "ND305",
                    f"the {entry.values} input reaches the output without passing a spiking neuron",  # type: ignore[attr-defined]
                    where=target,
                    fix="put a LIF after the first layer: it encodes the input as spikes",
                )
            if target not in host:
                host.add(target)
                if not isinstance(node, SPIKING):
                    waiting.append(target)
    for loop in graph.cycles:
        if host & loop:
            host |= loop
    return host


def refuse_without_spikes(graph: Graph) -> None:
    """Case 4.

    Raises:
        UnsupportedError: ND306.
    """
    rectified = graph.names(ReLU)
    if rectified and not graph.names(SPIKING):
        raise UnsupportedError(
            "ND306",
            f"no neuron of this network spikes: it is an ANN ({len(rectified)} ReLU layers, no LIF)",
            where=rectified[0],
            fix='export the spiking network: train the recipe with neuron.kind = "lif"',
        )
