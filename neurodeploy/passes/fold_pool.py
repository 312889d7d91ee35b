"""Fold pooling into the synapse that reads it, so that synapses see binary spikes again.

Pooling between a spike and a synapse makes graded values. Summing is linear, so it can move into the next weights.

``fold_pool`` (chips) composes the kernels. A convolution with kernel k, stride s, dilation d, padding p over a pool
with window m and stride n becomes one with window ``(k − 1)·d·n + m``, stride ``s·n``, padding ``p·n`` (plus the pool's
own), its weights the pool's window copied at every tap; a Linear after Flatten gets each weight copied over the window.
``average_to_sum`` (portable NIR: some readers drop AvgPool2d) keeps a SumPool2d and divides the next weights by m².

Pre: norms are folded (a Norm between pool and synapse stops the fold).
Post: the meaning did not change. No pool is left in front of a foldable synapse.

Cases:
    1. pool → Conv2d, padding 0: always right.
    2. pool → Conv2d with padding: right only when the pool's windows tile the input (m = n, none dropped, no padding of
       its own); otherwise a composed border tap would read real pixels where the pooled map had zeros: refused (ND302).
    3. pool → Flatten → Linear: always right.
    4. anything else (pool → neuron, pool → pool): left alone; purity says what it means for the target.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.diagnostics import Finding, UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import AvgPool2d, Conv2d, Flatten, Linear, Node, SumPool2d


def fold_pool(graph: Graph) -> Graph:
    """Compose pools into the convolutions and linear layers that alone read them."""
    findings = [f for name in graph.names(SumPool2d) for f in _border_findings(graph, name)]
    if findings:
        first = findings[0]
        raise UnsupportedError("ND302", first.rule, where=first.node, fix=first.fix, findings=findings)
    for name in graph.names(SumPool2d):
        readers = synapses_behind(graph, name)
        if readers is None:
            continue  # case 4
        changed: dict[str, Node] = {}
        pool = graph.nodes[name]
        assert isinstance(pool, SumPool2d)
        for reader in readers:
            node = graph.nodes[reader]
            if isinstance(node, Conv2d):
                changed[reader] = _compose_conv(pool, node)
            else:
                assert isinstance(node, Linear)
                changed[reader] = _compose_linear(pool, node, graph.input_shape(name), graph.shapes[name])
        graph = graph.without(name, changed)
    return graph


def average_to_sum(graph: Graph) -> Graph:
    """AvgPool2d → SumPool2d with ``1/(kH·kW)`` in the next weights, for every average that only synapses read."""
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


def synapses_behind(graph: Graph, name: str) -> list[str] | None:
    """Synapses that read ``name``, through Flatten too; None unless all readers are such and read nothing else."""
    found: list[str] = []
    for target in graph.targets(name):
        node = graph.nodes[target]
        if len(graph.sources(target)) != 1:
            return None
        if isinstance(node, (Conv2d, Linear)):
            found.append(target)
        elif isinstance(node, Flatten):
            behind = synapses_behind(graph, target)
            if behind is None:
                return None
            found.extend(behind)
        else:
            return None
    return found


def _border_findings(graph: Graph, name: str) -> list[Finding]:
    """Case 2 where it would be wrong."""
    pool = graph.nodes[name]
    assert isinstance(pool, SumPool2d)
    shape = graph.input_shape(name)
    tiles = pool.kernel == pool.stride and pool.padding == (0, 0)
    tiles = tiles and all(shape[1 + a] % pool.stride[a] == 0 for a in (0, 1))
    findings = []
    for reader in synapses_behind(graph, name) or []:
        node = graph.nodes[reader]
        if isinstance(node, Conv2d) and node.padding != (0, 0) and not tiles:
            findings.append(
                Finding(
                    "ND302",
                    "error",
                    reader,
                    f"pool `{name}` cannot be folded into this convolution: the convolution pads, and the pool's "
                    f"windows do not tile its {shape[1]}x{shape[2]} input",
                    f"window {pool.kernel}, stride {pool.stride}, padding {pool.padding}",
                    "window = stride, no padding, no remainder",
                    "",
                    "make the input a multiple of the window, or use a strided convolution instead of the pool",
                )
            )
    return findings


def _factor(pool: SumPool2d) -> float:
    return 1.0 / (pool.kernel[0] * pool.kernel[1]) if isinstance(pool, AvgPool2d) else 1.0


def _compose_conv(pool: SumPool2d, conv: Conv2d) -> Conv2d:
    """Cases 1 and 2."""
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
