"""Delays of a pipelined chip: every synapse takes a step, so paths of different length would add different timesteps.

A population fires at the physical step ``t + level`` for the timestep t of the (synchronous) graph. For a synapse from
population a to population b over an edge that delivers d steps late (a recurrent edge: 1; a Delay: its steps)::

    slack = level(b) − level(a) + d − 1  ≥ 0          the synapse itself takes one step

Levels are the smallest that satisfy this for every synapse. Where slack is left, the spikes of a pass through so many
**relays** before they enter the synapse: populations that repeat each spike (identity synapse, LIF with decay 0 and
threshold 0.5), named ``<a>-relay-1``, ``<a>-relay-2`` …, shared by all synapses that read a. A Delay takes up its slack
itself: it is a delay of the chip, set when the network is built there.

Relays are inserted before quantize, in float: then they are quantized, calibrated, counted and placed like every other
population, and the float graph of the chip still means what the network meant, exactly.

Pre: partitioned, every neuron is fed by synapses, pure.
Post: slack is 0 on every path without a Delay; the meaning did not change.

Cases:
    1. all paths into every population have the same length: nothing to do.
    2. a shorter path: relays.
    3. a recurrent edge: it has one step, which its synapse takes; no relay where it ends on the level it starts from.
    4. a loop of more synapses than it has steps of delay: no chip that takes a step for a synapse can run it (ND221).
    5. more than 62 relays on a path: refused (ND221).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from neurodeploy.diagnostics import Finding, UnsupportedError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import LIF, SYNAPSES, Delay, Flatten, Node, Shape
from neurodeploy.passes.new_names import free_name
from neurodeploy.passes.skip_synapses import identity

#: As many steps as a synaptic delay of the chip can have; a longer way around is no skip any more.
MOST_RELAYS = 62
#: Between 0 and 1: a relay fires where it receives a spike.
HALF = 0.5


@dataclass(frozen=True)
class Path:
    """From a population to a synapse: what its spikes pass on the way, and how late the way is by itself.

    Attributes:
        source: The population (or the Input).
        through: Nodes between them (Flatten, Delay), in order.
        synapse: The synapse.
        target: A population that reads the synapse.
        late: Steps of delay on the way, in the graph's meaning.
        delayed: Whether a Delay node is among ``through``; it can take up slack.
    """

    source: str
    through: tuple[str, ...]
    synapse: str
    target: str
    late: int
    delayed: bool


def balance(graph: Graph) -> Graph:
    """The graph with relays on the shorter paths."""
    found = paths(graph)
    level = levels(graph)
    slack = {p: level[p.target] - level[p.source] + p.late - 1 for p in found if not p.delayed}
    long = [_too_long(p, steps) for p, steps in slack.items() if steps > MOST_RELAYS]
    if long:
        raise UnsupportedError("ND221", long[0].rule, where=long[0].node, fix=long[0].fix, findings=long)
    needed = {p: steps for p, steps in slack.items() if steps > 0}
    return _with_relays(graph, needed) if needed else graph


def paths(graph: Graph) -> list[Path]:
    """Every way from a population through one synapse to a population."""
    found = []
    for synapse in graph.names(SYNAPSES):
        for source, through, late, delayed in _sources(graph, synapse):
            for target in graph.targets(synapse):
                after = int((synapse, target) in graph.recurrent)
                found.append(Path(source, through, synapse, target, late + after, delayed))
    return found


def levels(graph: Graph) -> dict[str, int]:
    """Node -> physical step at which its timestep 0 happens: the smallest that give every path a slack ≥ 0.

    Raises:
        UnsupportedError: Case 4 (ND221).
    """
    found = paths(graph)
    level = dict.fromkeys(graph.nodes, 0)
    for _ in range(len(graph.nodes) + 1):
        late = [p for p in found if level[p.target] < level[p.source] + 1 - p.late]
        if not late:
            break
        for p in late:
            level[p.target] = max(level[p.target], level[p.source] + 1 - p.late)
    else:  # a loop pushes its own levels up for ever
        raise _loop(graph, late[0])
    for name in graph.nodes:  # what stands between populations, in graph order
        if not any(name == p.target for p in found) and graph.sources(name):
            level[name] = max(level[s] for s in graph.sources(name)) + isinstance(graph.nodes[name], SYNAPSES)
    return level


def _sources(graph: Graph, name: str) -> list[tuple[str, tuple[str, ...], int, bool]]:
    """``(population, nodes between, steps late, whether a Delay)`` of everything that enters ``name``."""
    found: list[tuple[str, tuple[str, ...], int, bool]] = []
    for source in graph.sources(name):
        node = graph.nodes[source]
        late = int((source, name) in graph.recurrent)
        if not isinstance(node, (Flatten, Delay)):
            found.append((source, (), late, False))
            continue
        own = int(node.steps.min()) if isinstance(node, Delay) else 0
        for origin, through, steps, delayed in _sources(graph, source):
            found.append((origin, (*through, source), steps + late + own, delayed or isinstance(node, Delay)))
    return found


def _with_relays(graph: Graph, needed: dict[Path, int]) -> Graph:
    nodes: dict[str, Node] = dict(graph.nodes)
    edges: list[Edge] = list(graph.edges)
    late = set(graph.recurrent)
    for source in dict.fromkeys(p.source for p in needed):
        relay = source
        chain = [source]
        for number in range(1, max(steps for p, steps in needed.items() if p.source == source) + 1):
            name = free_name(nodes, f"{source}-relay-{number}")
            synapse = free_name(nodes, f"{name}-synapse")
            nodes[synapse], nodes[name] = identity(graph.shapes[source]), relay_neuron(graph.shapes[source])
            edges += [(relay, synapse), (synapse, name)]
            chain.append(name)
            relay = name
        copies: dict[tuple[str, int], str] = {}
        for p, steps in needed.items():
            if p.source == source:
                _move(p, chain[steps], steps, copies, nodes, edges, late)
    while unread := [n for n, node in nodes.items() if isinstance(node, Flatten) and all(a != n for a, _ in edges)]:
        nodes = {n: node for n, node in nodes.items() if n not in unread}
        edges = [e for e in edges if e[1] not in unread]
    return replace(graph, nodes=nodes, edges=tuple(edges), recurrent=frozenset(late))


def _move(
    path: Path,
    relay: str,
    steps: int,
    copies: dict[tuple[str, int], str],
    nodes: dict[str, Node],
    edges: list[Edge],
    late: set[Edge],
) -> None:
    """Let the path start at ``relay``; a Flatten on it is copied, since other paths may read the source itself."""
    reads, old = relay, path.source
    for name in path.through:
        copy = copies.get((name, steps))
        if copy is None:
            copy = copies[name, steps] = free_name(nodes, f"{name}-relay-{steps}")
            nodes[copy] = nodes[name]
            edges.append((reads, copy))
            if (old, name) in late:
                late.add((reads, copy))
        reads, old = copy, name
    if (old, path.synapse) in edges:  # a synapse with several readers is moved once
        edges[edges.index((old, path.synapse))] = (reads, path.synapse)
        if (old, path.synapse) in late:
            late.add((reads, path.synapse))


def relay_neuron(shape: Shape) -> LIF:
    """Fires where it receives a spike, and forgets."""
    return LIF(shape, np.asarray(0.0), np.asarray(HALF))


def _too_long(path: Path, steps: int) -> Finding:
    return Finding(
        "ND221",
        "error",
        path.target,
        f"the path from `{path.source}` through `{path.synapse}` is too short beside the longest one into this layer: "
        "every synapse of this chip takes a step",
        steps,
        MOST_RELAYS,
        "relays",
        "branch later, or meet earlier",
    )


def _loop(graph: Graph, path: Path) -> UnsupportedError:
    return UnsupportedError(
        "ND221",
        f"the loop through `{path.synapse}` has more synapses than steps of delay: every synapse of this chip takes a "
        "step, so its spikes would come back too late",
        where=path.target,
        fix="use one synapse from the layer to itself, or a Delay of as many steps as the loop has synapses",
    )
