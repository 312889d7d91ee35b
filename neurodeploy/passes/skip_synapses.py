"""Give every connection into a neuron a synapse: on a chip a neuron is fed by nothing else.

An identity skip adds the spikes of one population to the membrane of another; on a chip that is a synapse of weight 1
per neuron::

    y[c, h, w] = 1·s[c, h, w]          a depthwise 1x1 convolution; in front of ``(C, L)`` and ``(N,)`` likewise

With ``pools_only`` just the pools in front of neurons get one (portable NIR adds spikes where edges meet, but has no
average pool): ``fold_pool`` or ``average_to_sum`` then finds a synapse to put the pool into. It has no groups, which
NIR readers cannot load; its zeros count as ``sop``, not as ``sop_nonzero``.

Pre: norms are folded.
Post: whatever carries spikes (a spiking population, a binary Input, either through pools, Flatten or Delay) into a
neuron does so through a synapse; the meaning did not change, exactly: 0 + 1·s + 0 = s.

Cases:
    1. spikes → neuron: an identity synapse ``<source>-to-<neuron>`` between them.
    2. pool → neuron: an identity behind the pool, into which fold_pool composes the window.
    3. Flatten or Delay of those → neuron: an identity behind it.
    4. real values (an integrator, a norm) → neuron: left alone.
    5. a synapse that several populations read: each gets its own, ``<synapse>-2`` …: the chip scales them apart.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.kinds import value_kinds
from neurodeploy.ir.nodes import NEURONS, SYNAPSES, Conv1d, Conv2d, Linear, Node, Shape, SumPool2d, Synapse
from neurodeploy.passes.new_names import free_name


def skip_synapses(graph: Graph, *, pools_only: bool = False) -> Graph:
    """The graph with an identity synapse on every edge that leads spikes straight into a neuron."""
    kinds = value_kinds(graph)
    nodes: dict[str, Node] = dict(graph.nodes)
    edges: list[Edge] = []
    late = set(graph.recurrent)
    for source, target in graph.edges:
        bare = isinstance(graph.nodes[target], NEURONS) and not isinstance(graph.nodes[source], SYNAPSES)
        if not bare or kinds[source].name == "real" or (pools_only and not isinstance(graph.nodes[source], SumPool2d)):
            edges.append((source, target))
            continue
        name = free_name(nodes, f"{source}-to-{target}")
        nodes[name] = identity(graph.shapes[source], dense=pools_only)
        edges.extend([(source, name), (name, target)])
        if (source, target) in late:  # the late edge stays the one that leaves the spikes
            late = (late - {(source, target)}) | {(source, name)}
    graph = replace(graph, nodes=nodes, edges=tuple(edges), recurrent=frozenset(late))
    return graph if pools_only else _own_synapses(graph)


def _own_synapses(graph: Graph) -> Graph:
    """Case 5."""
    nodes: dict[str, Node] = dict(graph.nodes)
    edges: list[Edge] = list(graph.edges)
    late = set(graph.recurrent)
    for name in graph.names(SYNAPSES):
        for target in [t for t in graph.targets(name) if isinstance(graph.nodes[t], NEURONS)][1:]:
            copy = free_name(nodes, name)
            nodes[copy] = graph.nodes[name]
            edges[edges.index((name, target))] = (copy, target)
            edges.extend((source, copy) for source in graph.sources(name))
            late |= {(copy, target)} if (name, target) in late else set()
            late |= {(source, copy) for source in graph.sources(name) if (source, name) in late}
    return replace(graph, nodes=nodes, edges=tuple(edges), recurrent=frozenset(late))


def identity(shape: Shape, *, dense: bool = False) -> Synapse:
    """The synapse that puts out what it reads; ``dense``: without groups, zeros beside the diagonal."""
    size = shape[0]
    bias = np.zeros(size, np.float32)
    if len(shape) == 1:
        return Linear(np.eye(size, dtype=np.float32), bias)
    if dense:
        eye = np.eye(size, dtype=np.float32).reshape(size, size, *(1,) * (len(shape) - 1))
        return Conv2d(eye, bias) if len(shape) == 3 else Conv1d(eye, bias)
    ones = np.ones((size, 1, *(1,) * (len(shape) - 1)), np.float32)
    return Conv2d(ones, bias, groups=size) if len(shape) == 3 else Conv1d(ones, bias, groups=size)
