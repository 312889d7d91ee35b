"""Which edges of a NIR cycle deliver one step late: the rule, used when reading and, backwards, when writing.

NIR has no notion of a step, so a cycle says nothing of its delay. Here a cycle is late once:

1. a Delay node of d ≥ 1 steps on a cycle is that delay: every edge into it is late by one step, and d − 1 are left;
2. otherwise the late edge is the one that leaves the neuron into the synapse of the cycle (over Flatten, Scale, pooling
   and Threshold, which keep nothing), so that the bias of a recurrent Affine counts from t = 0;
3. a cycle without a synapse is late where it leaves the neuron;
4. where cycles meet in more than one such neuron, each of the edges could be meant: refused, naming them (ND230).

Norse 1.1.0 and SpikingJelly 2.0.0 step such a file to the same spikes, but let the bias of a recurrent Affine count
from t = 1 only: they run that node after the neuron, so nothing of it is there at t = 0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Edge

SYNAPSE_TYPES = ("Affine", "Linear", "Conv1d", "Conv2d")
NEURON_TYPES = ("LIF", "IF", "CubaLIF", "CubaLI", "LI", "I")


def late_edges(kinds: Mapping[str, str], edges: Collection[Edge], delayed: Collection[str]) -> frozenset[Edge]:
    """The edges that deliver one step late.

    Args:
        kinds: Node -> NIR type.
        edges: All edges.
        delayed: Delay nodes whose every element delays by one step or more.

    Raises:
        UnsupportedError: Several edges could be the late one (ND230). A cycle without a neuron is left as it is.
    """
    core = _on_cycles(edges)
    holding = {name for name in delayed if name in core}
    late = {edge for edge in edges if edge[1] in holding}  # case 1
    left = [edge for edge in edges if edge not in late]
    core = _on_cycles(left)
    if not core:
        return frozenset(late)
    inside = [edge for edge in left if set(edge) <= core]
    roots = {edge: _neurons_behind(edge[0], kinds, inside) for edge in inside if kinds[edge[1]] in SYNAPSE_TYPES}
    into_synapses = {edge: found for edge, found in roots.items() if found}  # case 2
    rest = [edge for edge in inside if edge not in into_synapses]
    bare = _on_cycles(rest)
    leaving = {e: {e[0]} for e in rest if set(e) <= bare and kinds[e[0]] in NEURON_TYPES}  # case 3
    chosen = {**into_synapses, **leaving}
    _refuse_several(chosen, inside)
    return frozenset(late | set(chosen))


def _neurons_behind(name: str, kinds: Mapping[str, str], edges: Iterable[Edge]) -> set[str]:
    """The neurons that ``name`` shows without a synapse between."""
    found, seen, waiting = set(), set(), [name]
    while waiting:
        node = waiting.pop()
        if node in seen or kinds[node] in SYNAPSE_TYPES:
            continue
        seen.add(node)
        if kinds[node] in NEURON_TYPES:
            found.add(node)
        else:
            waiting.extend(source for source, target in edges if target == node)
    return found


def _refuse_several(chosen: Mapping[Edge, set[str]], inside: Collection[Edge]) -> None:
    """Case 4: a cycle that is left by two neurons would be late twice."""
    unmarked: dict[str, list[str]] = {}
    for source, target in inside:
        if (source, target) not in chosen:
            unmarked.setdefault(source, []).append(target)
    arcs: set[Edge] = set()
    for (_, head), neurons in chosen.items():
        reached = _reachable([head], unmarked)
        arcs |= {
            (n, other) for (tail, _), others in chosen.items() if tail in reached for n in neurons for other in others
        }
    several = _on_cycles([arc for arc in arcs if arc[0] != arc[1]])
    if several:
        edges = [f"`{a}` -> `{b}`" for (a, b), neurons in chosen.items() if neurons & several]
        raise UnsupportedError(
            "ND230",
            f"a cycle has several edges that could be the one that delivers a step late: {', '.join(edges)}",
            where=", ".join(sorted(several)),
            fix="put a Delay node of one step (dt) on the edge that is meant",
        )


def _reachable(start: Iterable[str], targets: Mapping[str, Collection[str]]) -> set[str]:
    seen, waiting = set(start), list(start)
    while waiting:
        for target in targets.get(waiting.pop(), ()):
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen


def _on_cycles(edges: Collection[Edge]) -> set[str]:
    """The nodes that lie on a cycle."""
    targets: dict[str, set[str]] = {}
    sources: dict[str, set[str]] = {}
    for source, target in edges:
        targets.setdefault(source, set()).add(target)
        sources.setdefault(target, set()).add(source)
    # What no edge enters or leaves is on no cycle; take it away until nothing changes.
    waiting = [name for name in {*targets, *sources} if not targets.get(name) or not sources.get(name)]
    while waiting:
        name = waiting.pop()
        for near, far in ((targets, sources), (sources, targets)):
            for other in near.pop(name, ()):
                if other in far:
                    far[other].discard(name)
                    if not far[other]:
                        waiting.append(other)
    left = {name for name in targets if targets[name]}
    return {name for name in left if name in _reachable(targets[name], targets)}
