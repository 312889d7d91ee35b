"""``network.net``: an integer chain in lava-dl's format, which netx reads to the same network.

What netx can say: one path from the input to the output of Conv2d, Linear, Flatten and neurons (LIF, CubaLIF; an
integrator is vDecay 0 and vThMant 131071), each neuron behind one synapse, each synapse behind binary spikes; delays of
a Linear, or one recurrent Linear beside it. Everything else is left to ``network.nir`` and said in a note (ND256); then
no file is written. The layers are read back by our own reader before they are written, so whatever that refuses
(weights that Lava changes, 128 groups) is not written either.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from neurodeploy.diagnostics import Finding
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.machine import current_decay, machine_findings, threshold_mantissa, voltage_decay
from neurodeploy.ir.netx_file import Entry, Layer, write_layers
from neurodeploy.ir.netx_io import graph_of_layers
from neurodeploy.ir.nodes import NEURONS, Conv2d, Delay, Flatten, Input, Integrator, Linear, Node, Output

NAME, CODE = "network.net", "ND256"


def write(graph: Graph, folder: Path) -> list[Finding]:
    """Write ``network.net`` into ``folder``, or nothing; the findings (ND256, notes) say why not."""
    layers, findings = netx_layers(graph)
    if not findings:
        write_layers(layers, folder / NAME)
    return findings


def netx_layers(graph: Graph) -> tuple[list[Layer], list[Finding]]:
    """The layers of the file, or the reasons why netx cannot say this graph; one of the two is empty."""
    findings = list(_reasons(graph))
    if findings:
        return [], findings
    layers = _layers(graph)
    _, problems = graph_of_layers(layers, timesteps=graph.timesteps)
    findings = [_note(p.node, p.rule, p.measured) for p in problems if p.severity == "error"]
    return ([], findings) if findings else (layers, [])


def _note(node: str, rule: str, measured: object) -> Finding:
    fix = "no action: network.nir holds the whole network"
    return Finding(CODE, "note", node, f"no network.net: {rule}", str(measured), None, "", fix)


def _reasons(graph: Graph) -> list[Finding]:
    """Why this graph is no chain that netx can say."""
    if graph.arithmetic != "loihi" or any(machine_findings(graph)):
        return [_note("", "the graph is not an integer network", graph.arithmetic)]
    entry = graph.nodes[graph.input]
    assert isinstance(entry, Input)
    found = []
    if entry.values != "binary":
        found.append(_note(graph.input, "netx takes binary spikes", entry.values))
    if len(entry.shape) not in (1, 3):
        found.append(_note(graph.input, "an input is (C, H, W) or (N,)", entry.shape))
    forward = [edge for edge in graph.edges if not _closes_loop(graph, edge)]
    for name, node in graph.nodes.items():
        if not isinstance(node, (Input, Output, Conv2d, Linear, Flatten, Delay, *NEURONS)):
            found.append(_note(name, "netx has no such layer", node.kind))
        elif sum(b == name for _, b in forward) > 1 or sum(a == name for a, _ in forward) > 1:
            found.append(_note(name, "netx runs one chain: no branches, one synapse per neuron", "a branch"))
        elif isinstance(node, Delay) and any(not isinstance(graph.nodes[n], Linear) for n in graph.targets(name)):
            found.append(_note(name, "netx has delays in dense layers only", node.kind))
        elif isinstance(node, Integrator) and graph.targets(name) != (graph.output,):
            found.append(_note(name, "netx sends spikes: an integrator can only be the last layer", "inside"))
    if found:
        return found
    chain = _chain(graph)
    for before, after in pairwise(chain):
        nodes = graph.nodes[before], graph.nodes[after]
        if isinstance(nodes[1], Flatten) and not isinstance(_dense_behind(graph, chain, after), Linear):
            found.append(_note(after, "netx flattens before a dense layer only", graph.nodes[after].kind))
    return found


def _dense_behind(graph: Graph, chain: list[str], name: str) -> Node | None:
    behind = (graph.nodes[n] for n in chain[chain.index(name) + 1 :])
    return next((node for node in behind if not isinstance(node, (Delay, Flatten))), None)


def _closes_loop(graph: Graph, edge: tuple[str, str]) -> bool:
    """Whether ``edge`` belongs to a Linear that leads from a neuron population back to itself, one step late."""
    source, target = edge
    for loop, neuron in ((source, target), (target, source)):
        both = ((neuron, loop), (loop, neuron))
        if (
            isinstance(graph.nodes[loop], Linear)
            and graph.sources(loop) == (neuron,)
            and graph.targets(loop) == (neuron,)
            and isinstance(graph.nodes[neuron], NEURONS)
            and sum(e in graph.recurrent for e in both) == 1
            and edge in both
        ):
            return True
    return False


def _chain(graph: Graph) -> list[str]:
    """The nodes from the input to the output, without recurrent synapses."""
    chain = [graph.input]
    while chain[-1] != graph.output:
        chain.append(next(b for a, b in graph.edges if a == chain[-1] and not _closes_loop(graph, (a, b))))
    return chain


def _layers(graph: Graph) -> list[Layer]:
    layers: list[Layer] = []
    delay: np.ndarray | None = None
    for name in _chain(graph):
        node = graph.nodes[name]
        shape = np.array(graph.shapes[name], dtype=np.int64)
        if isinstance(node, Input):
            layers.append(Layer("input", {"shape": shape}))
        elif isinstance(node, Flatten) and len(graph.input_shape(name)) == 3:
            layers.append(Layer("flatten", {"shape": shape}))
        elif isinstance(node, Delay):
            steps = np.broadcast_to(node.steps, node.shape).reshape(-1)
            delay = steps if delay is None else delay + steps
        elif isinstance(node, (Conv2d, Linear)):
            layers.append(_synapse(node, shape, delay))
            delay = None
        elif isinstance(node, NEURONS):
            layers[-1] = _with_neuron(graph, name, node, layers[-1])
    return layers


def _synapse(node: Conv2d | Linear, shape: np.ndarray, delay: np.ndarray | None) -> Layer:
    entries: dict[str, Entry] = {"shape": shape, "weight": node.weight.astype(np.int32)}
    if np.any(node.bias):
        entries["bias"] = node.bias.astype(np.int32)
    if isinstance(node, Linear):
        if delay is not None and delay.any():
            # The whole matrix: netx takes a vector for delays per output wherever that fits.
            entries["delay"] = np.broadcast_to(delay, node.weight.shape).astype(np.int32)
        return Layer("dense", entries)
    for key in ("stride", "padding", "dilation"):
        entries[key] = np.array(getattr(node, key), dtype=np.int64)
    return Layer("conv", {**entries, "groups": np.asarray(node.groups, dtype=np.int64)})


def _with_neuron(graph: Graph, name: str, node: Node, layer: Layer) -> Layer:
    numbers = {"iDecay": current_decay(node), "vDecay": voltage_decay(node), "vThMant": threshold_mantissa(node)}
    neuron: dict[str, Entry] = {key: np.asarray(value, dtype=np.int64) for key, value in numbers.items()}
    neuron = {"type": "LOIHI", **neuron, "refDelay": np.asarray(1), "gradedSpike": np.asarray(False)}
    entries, kind = dict(layer.entries), layer.type
    for source in graph.sources(name):
        synapse = graph.nodes[source]
        if _closes_loop(graph, (source, name)) and isinstance(synapse, Linear):
            kind, entries["weight_rec"] = "dense_rec", synapse.weight.astype(np.int32)
            if np.any(synapse.bias):
                total = synapse.bias.astype(np.int64) + np.asarray(entries.get("bias", 0), dtype=np.int64)
                entries["bias"] = total.astype(np.int32)
    return Layer(kind, entries, neuron)
