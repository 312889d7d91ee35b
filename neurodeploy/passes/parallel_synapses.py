"""Synapses whose integer weights need more than 8 bits become several in parallel, which the neuron adds up.

``w = 2q`` with ``|w| > 254`` is split into ``n = ⌈max|w|/254⌉`` synapses of (nearly) equal value::

    w_i = 2·sgn(q)·⌊(|q| + i)/n⌋,  i = 0 … n − 1,      Σ_i w_i = w exactly,  |w_i| ≤ 254

named ``<name>``, ``<name>-2``, …, with the same source and target; the bias stays with the first. An identity skip
needs them: its real weight is 1, twice the papers' threshold, so as an integer it is 2·vThMant, and a single one would
bound vThMant by 127 for every other synapse of that population. Each copy is a synapse of its own: counted in
operations and memory.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import SYNAPSES, Node, Synapse
from neurodeploy.passes.new_names import free_name
from neurodeploy.passes.ranges import WEIGHT_LIMIT

#: Copies of one synapse at most: beyond, the scale is bounded instead.
MOST_COPIES = 8


def one_to_one(node: Synapse) -> bool:
    """Whether no neuron has more than one nonzero weight from it: a skip or a relay, cheap to double."""
    return bool(np.count_nonzero(node.weight.reshape(node.weight.shape[0], -1), axis=1).max() <= 1)


def copies_of(node: Synapse) -> int:
    """``⌈max|w|/254⌉``, at least 1."""
    return max(1, int(-(-np.max(np.abs(node.weight)) // WEIGHT_LIMIT)))


def parts(node: Synapse) -> list[Synapse]:
    """The parallel synapses that add up to ``node``, whose weights are even integers."""
    count = copies_of(node)
    if count == 1:
        return [node]
    halves = node.weight.astype(np.int64) // 2
    zeros = np.zeros_like(node.bias)
    return [
        replace(
            node,
            weight=(2 * np.sign(halves) * ((np.abs(halves) + i) // count)).astype(np.float32),
            bias=node.bias if i == 0 else zeros,
        )
        for i in range(count)
    ]


def split_parallel(graph: Graph) -> Graph:
    """The integer graph in which no weight is beyond ±254."""
    for name in graph.names(SYNAPSES):
        node = graph.nodes[name]
        assert isinstance(node, SYNAPSES)
        copies = parts(node)
        if len(copies) > 1:
            graph = _with_copies(graph, name, copies)
    return graph


def _with_copies(graph: Graph, name: str, copies: list[Synapse]) -> Graph:
    names = [name]
    for number in range(2, len(copies) + 1):
        names.append(free_name({*graph.nodes, *names}, f"{name}-{number}"))
    nodes: dict[str, Node] = {}
    for key, node in graph.nodes.items():
        nodes.update(zip(names, copies, strict=True) if key == name else [(key, node)])
    edges: list[Edge] = []
    late: set[Edge] = set()
    for source, target in graph.edges:
        if name in (source, target):
            doubled = [(one, target) if source == name else (source, one) for one in names]
        else:
            doubled = [(source, target)]
        edges.extend(doubled)
        late.update(doubled if (source, target) in graph.recurrent else [])
    return replace(graph, nodes=nodes, edges=tuple(edges), recurrent=frozenset(late))
