"""Fold pooling into the synapses that read it, so that synapses see binary spikes again.

Pooling between a spike and a synapse makes graded values. Summing is linear, so it can move into the next weights.

``fold_pool`` (chips) composes the kernels. A convolution with kernel k, stride s, dilation d, padding p over a pool
with window m and stride n becomes one with window ``(k − 1)·d·n + m``, stride ``s·n``, padding ``p·n`` (plus the pool's
own), its weights the pool's window copied at every tap; a Linear after Flatten gets each weight copied over the window.
``average_to_sum`` (portable NIR: some readers drop AvgPool2d) keeps a SumPool2d and divides the next weights by m².

Pre: norms are folded (a Norm between pool and synapse stops the fold).
Post: the meaning did not change. No pool is left in front of a foldable synapse.

Cases:
    1. pool → Conv2d: right exactly where every position of the padding that the convolution reads stands for a window
       of the pool that holds no pixel. Without padding there is none; windows that tile the input (m = n, none dropped,
       no padding of its own) have none either; an odd map under the 3/2/1 pool of an ImageNet stem has none.
    2. pool → Conv2d where such a window holds pixels: the composed border tap would read them where the pooled map had
       zeros: refused (ND302).
    3. pool → Flatten → Linear: always right.
    4. pool → pool with windows that do not overlap in the first and no padding in the second: one pool.
    5. anything else (pool → neuron, a sum of pools): left alone; skip_synapses or the tail takes it, or purity says
       what it means for the target.

A pool with several readers (a convolution and a skip) is folded into each of them by itself, and is gone when all have
it. A max pool is not linear: see :mod:`neurodeploy.passes.spiking_pool`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from neurodeploy.diagnostics import Finding, UnsupportedError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, Node, SumPool2d


def fold_pool(graph: Graph) -> Graph:
    """Compose pools into the convolutions and linear layers that read them.

    Raises:
        UnsupportedError: Case 2, with every convolution that it is about (ND302).
    """
    graph, findings = fold_where_right(graph)
    if findings:
        first = findings[0]
        raise UnsupportedError("ND302", first.rule, where=first.node, fix=first.fix, findings=findings)
    return graph


def fold_where_right(graph: Graph) -> tuple[Graph, list[Finding]]:
    """The same, with the pools of case 2 left where they are, and what there is to say about them."""
    graph = merge_pools(graph)
    findings = [f for name in _pools(graph) for f in _border_findings(graph, name)]
    refused = {finding.node for finding in findings}
    for name in _pools(graph):
        readers = {r: synapses for r, synapses in _foldable(graph, name).items() if r not in refused}
        if not readers:
            continue  # cases 2 and 5
        pool = graph.nodes[name]
        assert isinstance(pool, SumPool2d)
        nodes = dict(graph.nodes)
        for synapses in readers.values():
            for synapse in synapses:
                node = nodes[synapse]
                if isinstance(node, Conv2d):
                    nodes[synapse] = _compose_conv(pool, node)
                else:
                    assert isinstance(node, Linear)
                    nodes[synapse] = _compose_linear(pool, node, graph.input_shape(name), graph.shapes[name])
        graph = _rewired(graph, nodes, name, readers)
    return graph, findings


def average_to_sum(graph: Graph) -> Graph:
    """AvgPool2d that only synapses read becomes SumPool2d, its ``1/k²`` goes into their weights."""
    for name in graph.names(AvgPool2d):
        readers = synapses_behind(graph, name)
        if readers is None:
            continue
        pool = graph.nodes[name]
        assert isinstance(pool, AvgPool2d)
        share = 1.0 / (pool.kernel[0] * pool.kernel[1])
        changed: dict[str, Node] = {name: SumPool2d(pool.kernel, pool.stride, pool.padding)}
        for reader in readers:
            node = graph.nodes[reader]
            assert isinstance(node, (Conv2d, Linear))
            changed[reader] = replace(node, weight=node.weight.astype(np.float64) * share)
        graph = graph.with_nodes(changed)
    return graph


def merge_pools(graph: Graph) -> Graph:
    """Case 4: two sums (or two averages) in a row that nothing else reads become one."""
    for name in _pools(graph):
        pool = graph.nodes[name]
        readers = graph.targets(name)
        if len(readers) != 1 or len(graph.sources(readers[0])) != 1 or (name, readers[0]) in graph.recurrent:
            continue
        after = graph.nodes[readers[0]]
        assert isinstance(pool, SumPool2d)
        if type(after) is type(pool) and pool.kernel == pool.stride and after.padding == (0, 0):
            window = (pool.kernel[0] * after.kernel[0], pool.kernel[1] * after.kernel[1])
            step = (pool.stride[0] * after.stride[0], pool.stride[1] * after.stride[1])
            graph = graph.without(name, {readers[0]: type(pool)(window, step, pool.padding)})
    return graph


def synapses_behind(graph: Graph, name: str) -> list[str] | None:
    """Synapses that read ``name``, through Flatten too; None unless all readers are such and read nothing else."""
    readers = _foldable(graph, name)
    if len(readers) != len(graph.targets(name)):
        return None
    return [synapse for synapses in readers.values() for synapse in synapses]


def _pools(graph: Graph) -> list[str]:
    """Sum and average pools; a max pool is neither."""
    return [name for name in graph.names(SumPool2d) if not isinstance(graph.nodes[name], MaxPool2d)]


def _foldable(graph: Graph, name: str) -> dict[str, list[str]]:
    """Direct reader of pool ``name`` -> the synapses that would take the pool over (itself, or behind a Flatten).

    Readers that read something else too, or that would be two steps late, are left out.
    """
    late_before = any((source, name) in graph.recurrent for source in graph.sources(name))
    found: dict[str, list[str]] = {}
    for target in graph.targets(name):
        node = graph.nodes[target]
        if len(graph.sources(target)) != 1 or (late_before and (name, target) in graph.recurrent):
            continue
        if isinstance(node, (Conv2d, Linear)):
            found[target] = [target]
        elif isinstance(node, Flatten):
            behind = graph.targets(target)
            if all(isinstance(graph.nodes[n], Linear) and len(graph.sources(n)) == 1 for n in behind):
                found[target] = list(behind)
    return found


def _rewired(graph: Graph, nodes: dict[str, Node], name: str, readers: dict[str, list[str]]) -> Graph:
    """The graph with ``nodes`` in which ``readers`` read what pool ``name`` reads.

    The pool is gone when nothing else reads it.
    """
    edges: list[Edge] = []
    late = set(graph.recurrent)
    for edge in graph.edges:
        if edge[0] != name or edge[1] not in readers:
            edges.append(edge)
            continue
        for source in graph.sources(name):
            edges.append((source, edge[1]))
            if edge in graph.recurrent or (source, name) in graph.recurrent:
                late.add((source, edge[1]))
    if not any(a == name for a, _ in edges):
        del nodes[name]
        edges = [edge for edge in edges if edge[1] != name]
    return replace(graph, nodes=nodes, edges=tuple(edges), recurrent=frozenset(late))


def _border_findings(graph: Graph, name: str) -> Iterator[Finding]:
    """Case 2."""
    pool = graph.nodes[name]
    assert isinstance(pool, SumPool2d)
    shape = graph.input_shape(name)
    for readers in _foldable(graph, name).values():
        for reader in readers:
            node = graph.nodes[reader]
            if isinstance(node, Conv2d) and not _border_is_empty(pool, node, shape, graph.shapes[name]):
                yield Finding(
                    "ND302",
                    "error",
                    reader,
                    f"pool `{name}` cannot be folded into this convolution: the convolution pads, and the pool's "
                    f"windows do not tile its {shape[1]}x{shape[2]} input",
                    f"window {pool.kernel}, stride {pool.stride}, padding {pool.padding}",
                    "no pixel in a window beyond the border",
                    "",
                    'train with a max pool (net.stem_pool = "max": it becomes a spiking layer), make the input a '
                    "multiple of the window, or use a strided convolution instead of the pool",
                )


def _border_is_empty(pool: SumPool2d, conv: Conv2d, before: tuple[int, ...], pooled: tuple[int, ...]) -> bool:
    """Whether all windows of the pool that stand where ``conv`` reads its padding lie outside of the image."""
    after = conv.output_shape(pooled)
    for axis in (0, 1):
        taps = np.arange(conv.weight.shape[2 + axis]) * conv.dilation[axis] - conv.padding[axis]
        positions = np.arange(after[1 + axis])[:, None] * conv.stride[axis] + taps
        padding = positions[(positions < 0) | (positions >= pooled[1 + axis])]
        first = padding * pool.stride[axis] - pool.padding[axis]
        if np.any((first + pool.kernel[axis] > 0) & (first < before[1 + axis])):
            return False
    return True


def _factor(pool: SumPool2d) -> float:
    return 1.0 / (pool.kernel[0] * pool.kernel[1]) if isinstance(pool, AvgPool2d) else 1.0


def _compose_conv(pool: SumPool2d, conv: Conv2d) -> Conv2d:
    """Case 1."""
    (mh, mw), (nh, nw), (dh, dw) = pool.kernel, pool.stride, conv.dilation
    out, per_group, kh, kw = conv.weight.shape
    weight = np.zeros((out, per_group, (kh - 1) * dh * nh + mh, (kw - 1) * dw * nw + mw))
    share = conv.weight.astype(np.float64) * _factor(pool)
    for ky in range(kh):
        for kx in range(kw):
            y, x = ky * dh * nh, kx * dw * nw
            # += because windows overlap where the pool's stride is smaller than its window.
            weight[:, :, y : y + mh, x : x + mw] += share[:, :, ky, kx, None, None]
    return Conv2d(
        weight,
        conv.bias,
        stride=(conv.stride[0] * nh, conv.stride[1] * nw),
        padding=(conv.padding[0] * nh + pool.padding[0], conv.padding[1] * nw + pool.padding[1]),
        groups=conv.groups,
    )


def _compose_linear(pool: SumPool2d, linear: Linear, before: tuple[int, ...], after: tuple[int, ...]) -> Linear:
    """Case 3."""
    channels, height, width = before
    pooled = (linear.weight.astype(np.float64) * _factor(pool)).reshape(-1, *after)
    (ph, pw) = pool.padding
    weight = np.zeros((pooled.shape[0], channels, height + 2 * ph, width + 2 * pw))
    for oy in range(after[1]):
        for ox in range(after[2]):
            y, x = oy * pool.stride[0], ox * pool.stride[1]
            weight[:, :, y : y + pool.kernel[0], x : x + pool.kernel[1]] += pooled[:, :, oy, ox, None, None]
    weight = weight[:, :, ph : ph + height, pw : pw + width]
    return Linear(np.ascontiguousarray(weight.reshape(pooled.shape[0], -1)), linear.bias)
