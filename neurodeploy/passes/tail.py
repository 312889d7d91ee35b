"""Split off the host's tail: what is real-valued behind the last spikes and what the target does not have.

RepAct (EnOF-SNN Eq. 8) ends in ``ReLU → pool → flatten → fc → readout`` behind the last pre-activation. A ReLU of real
numbers is no spike, so the chip ends in front of it and the host goes on, in float32. Spiking nodes stay on the chip.

A machine of neurons (``accumulate``) puts out membranes and no sums of synapses. So the chip ends in a neuron that
never fires and never leaks and that the host reads after every step, and the tail takes the differences::

    acc[t] = acc[t−1] + x[t]          on the chip, its range proven for T steps by quantize
    x[t]   = (acc[t] − acc[t−1])·unit    on the host; unit is 1/(64·S) for the integer scale S, 1 in float

(Σ ReLU is not ReLU(Σ): reading the sum once, at the end, would be another network.) Elsewhere the chip puts out
``x[t]``.

Pre: norms are folded, partitioned.
Post: tail(chip(x)) = graph(x); chip holds only nodes in front of the cut.

Cases:
    1. nothing behind the last spikes is foreign to the target: no tail.
    2. the tail reads one sum of synapses: it becomes the accumulator (or the Output itself).
    3. the tail reads one population (spikes, or an integrator without leak): that is the chip's output.
    4. different sums would leave the chip: integrators that other parts of the tail look past go to the tail too; if
       that does not make it one sum: refused (ND307).
    5. neither the input nor any neuron spikes (an ANN): refused (ND306).
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

import numpy as np

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.kinds import BINARY, ValueKind, incoming_kind, value_kinds
from neurodeploy.ir.nodes import (
    LIF,
    SYNAPSES,
    Delay,
    Flatten,
    Input,
    Integrator,
    MaxPool2d,
    Output,
    Scale,
    SumPool2d,
)
from neurodeploy.passes.new_names import free_name
from neurodeploy.passes.partition import SPIKING, refuse_without_spikes

#: Nodes between spikes and a synapse that a later pass, or the chip, takes care of.
PASSING = (Flatten, SumPool2d, Delay)
#: Membranes of the integer machine have 6 fractional bits.
STATE_UNIT = 64.0


def split_tail(graph: Graph, kinds: Container[str] | None = None, *, accumulate: bool) -> tuple[Graph, Graph | None]:
    """``(chip, tail or None)``.

    Args:
        graph: The chip's part so far.
        kinds: Node kinds that the target holds; None: whatever the machine's rules say (with ``accumulate``).
        accumulate: The target puts out membranes only, and its neurons are fed by synapses that see spikes.
    """
    entry = graph.nodes[graph.input]
    if isinstance(entry, Input) and entry.values == "real":  # not the spikes of an encoder
        refuse_without_spikes(graph)
    tail = _tail(graph, kinds, accumulate)
    if graph.output not in tail:
        return graph, None  # case 1
    cut, tail = _cut(graph, tail)
    return _chip(graph, tail, cut, accumulate), _host(graph, tail, cut, accumulate)


def in_real_units(tail: Graph, chip: Graph) -> Graph:
    """The tail of a chip that has been quantized: membranes are multiplied by ``1/(64·S)`` where they come in."""
    (source,) = chip.sources(chip.output)
    if not isinstance(chip.nodes[source], Integrator):
        return tail
    (units,) = [name for name in tail.targets(tail.input) if isinstance(tail.nodes[name], Scale)]
    node = tail.nodes[units]
    assert isinstance(node, Scale)
    return tail.with_nodes({units: replace(node, scale=np.asarray(1.0 / (STATE_UNIT * chip.scales[source])))})


def as_tail_input(tail: Graph, chip: Graph, arithmetic: str, output: np.ndarray) -> np.ndarray:
    """What the tail reads of what the chip put out in ``arithmetic``: spikes, or membranes in 1/64 of a weight unit.

    An integer graph that is run in float arithmetic puts out weight units: a state of the machine has 6 bits more.
    """
    entry = tail.nodes[tail.input]
    assert isinstance(entry, Input)
    if entry.values == "binary":
        return output.astype(np.uint8)
    membranes = all(isinstance(chip.nodes[source], Integrator) for source in chip.sources(chip.output))
    if arithmetic != "loihi" and chip.arithmetic == "loihi" and membranes:
        output = output * STATE_UNIT
    return output.astype(np.float64 if arithmetic == "float64" else np.float32)


def _behind_spikes(graph: Graph) -> list[str]:
    """Nodes from which no spiking node can be reached, in graph order."""
    before = set(graph.names(SPIKING)) | {graph.input}
    waiting = list(before)
    while waiting:
        for source in graph.sources(waiting.pop()):
            if source not in before:
                before.add(source)
                waiting.append(source)
    return [name for name in graph.nodes if name not in before]


#: Sources of a node, each with whether its edge is late: what is added there.
Sum = tuple[tuple[str, bool], ...]


def _cut(graph: Graph, tail: set[str]) -> tuple[Sum, set[str]]:
    """The one sum that leaves the chip, and the tail, larger where that helps (cases 2 to 4)."""
    while True:
        sums = {_outside(graph, name, tail): None for name in graph.nodes if name in tail}
        sums.pop((), None)
        leaving = {source for one in sums for source, _ in one}
        idle = {name for name in leaving if not isinstance(graph.nodes[name], (*SPIKING, *SYNAPSES, Input))}
        if len(sums) == 1:
            (only,) = sums
            if len(only) > 1 and any(isinstance(graph.nodes[source], Integrator) for source, _ in only):
                raise UnsupportedError(
                    "ND307",
                    f"{len(only)} populations are added behind the last spikes, and each has a scale of its own",
                    where=", ".join(source for source, _ in only),
                    fix="let one integrator add up the synapses of all of them",
                )
            if len(only) > 1 or not idle or isinstance(graph.nodes[only[0][0]], Integrator):
                return only, tail
        if not idle:
            raise UnsupportedError(
                "ND307",
                f"{len(sums)} different sums would leave the chip for the host's part behind it",
                where=", ".join(sorted(leaving)),
                fix="let all that follows the last spiking layers read one layer, or put a LIF before each branch",
            )
        tail = tail | idle


def _outside(graph: Graph, name: str, tail: set[str]) -> Sum:
    return tuple((s, (s, name) in graph.recurrent) for s in graph.sources(name) if s not in tail)


def _chip(graph: Graph, tail: set[str], cut: Sum, accumulate: bool) -> Graph:
    """Everything in front of the cut, and the accumulator where one is needed."""
    part = graph.subgraph(set(graph.nodes) - tail)
    nodes, edges, late = dict(part["nodes"]), list(part["edges"]), set(part["recurrent"])
    end = graph.output
    if accumulate and not _leaves_by_itself(graph, cut):
        end = free_name(graph.nodes, "accumulator")
        nodes[end] = Integrator(graph.shapes[cut[0][0]])
        edges.append((end, graph.output))
    nodes[graph.output] = Output()
    edges.extend((source, end) for source, _ in cut)
    late.update((source, end) for source, is_late in cut if is_late)
    return replace(graph, nodes=nodes, edges=tuple(edges), recurrent=frozenset(late))


def _leaves_by_itself(graph: Graph, cut: Sum) -> bool:
    """Case 3: one population, whose spikes or states the host reads."""
    return len(cut) == 1 and isinstance(graph.nodes[cut[0][0]], (*SPIKING, Input, Integrator))


def _host(graph: Graph, tail: set[str], cut: Sum, accumulate: bool) -> Graph:
    """The tail, reading what the chip puts out."""
    part = graph.subgraph(tail)
    source = cut[0][0]
    shape, nodes = graph.shapes[source], part["nodes"]
    spikes = len(cut) == 1 and value_kinds(graph)[source].name == "binary"
    entry = free_name(nodes, "input")
    nodes = {entry: Input(shape, "binary" if spikes else "real"), **nodes}
    edges: list[Edge] = []
    reads = entry
    if accumulate and not spikes:
        reads = free_name(nodes, "units")
        nodes[reads] = Scale(shape, np.asarray(1.0))
        edges.append((entry, reads))
        if not _leaves_by_itself(graph, cut):
            before, minus = free_name(nodes, "previous"), free_name(nodes, "minus")
            nodes[before], nodes[minus] = Delay(shape, np.asarray(1)), Scale(shape, np.asarray(-1.0))
            edges += [(entry, before), (before, minus), (minus, reads)]
    for target in part["nodes"]:
        for other in graph.sources(target):
            edge = (other if other in tail else reads, target)
            if edge not in edges:
                edges.append(edge)
    return replace(
        graph,
        nodes=nodes,
        edges=tuple(edges),
        recurrent=part["recurrent"],
        arithmetic="float32",
        scales={},
        origin=f"{graph.origin} (host tail)",
    )


def _tail(graph: Graph, kinds: Container[str] | None, accumulate: bool) -> set[str]:
    """The nodes behind the last spikes that the target cannot hold, and all that read them."""
    behind = _behind_spikes(graph)
    values = value_kinds(graph)
    tail: set[str] = set()
    changed = True
    while changed:  # once, unless recurrent edges stand behind the last spikes
        before = len(tail)
        for name in behind:
            holds = _machine_holds(graph, name, values) if accumulate else True
            held = holds and (kinds is None or accumulate or graph.nodes[name].kind in kinds)
            if name not in tail and (not held or any(source in tail for source in graph.sources(name))):
                tail.add(name)
        changed = len(tail) != before
    return tail


def _machine_holds(graph: Graph, name: str, values: dict[str, ValueKind]) -> bool:
    node, sources = graph.nodes[name], graph.sources(name)
    if isinstance(node, (*SYNAPSES, *PASSING)):
        bare = not isinstance(node, MaxPool2d) or incoming_kind(graph, name, values) == BINARY
        return len(sources) == 1 and _carries_spikes(graph, sources[0]) and bare
    if isinstance(node, Integrator):
        plain = bool(np.all(node.decay == 1.0) and np.all(node.gain == 1.0) and np.all(node.offset == 0.0))
        return plain and all(isinstance(graph.nodes[s], SYNAPSES) or _carries_spikes(graph, s) for s in sources)
    if isinstance(node, Output):  # each population has a scale of its own: only spikes can be added there
        return (len(sources) == 1 and isinstance(graph.nodes[sources[0]], (LIF, Integrator, Input))) or all(
            _carries_spikes(graph, source) and isinstance(graph.nodes[source], (LIF, Input)) for source in sources
        )
    return False


def _carries_spikes(graph: Graph, name: str) -> bool:
    """Whether spikes leave ``name``, perhaps pooled: the next synapse can take the pool over."""
    node = graph.nodes[name]
    if isinstance(node, Input):
        return node.values == "binary"
    if isinstance(node, PASSING):
        return len(graph.sources(name)) == 1 and _carries_spikes(graph, graph.sources(name)[0])
    return isinstance(node, SPIKING)
