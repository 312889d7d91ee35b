"""Fold normalization into the threshold of the neurons behind it, channel by channel.

The norm of a branch is ``y = s·(x − μ) + β`` with ``s = gain·λ/√(σ² + ε)`` (RMP-Loss Eq. 6-7). Dividing the whole
membrane by ``|s|`` of one branch, the *reference*, leaves that branch's weights as they were trained but for a sign::

    W' = sgn(s)·W        b' = sgn(s)·(b − μ + β/s)        θ' = V_th/|s|,  v_reset' = v_reset/|s|, offset' = offset/|s|

and every other branch k into the same neurons is divided by ``|s|`` too::

    with a norm       W_k' = (s_k/|s|)·W_k     b_k' = (s_k·(b_k − μ_k) + β_k)/|s|
    without           W_k' = W_k/|s|           b_k' = b_k/|s|
    no synapse        a depthwise 1x1 convolution (a diagonal Linear for vectors) of weight 1/|s|

Where ``s = 0`` the branch is the constant β: ``W' = 0, b' = β``, and the channel keeps its unit (``|s|`` counts as 1).

Pre: every Norm follows one synapse that nothing else reads and leads to one LIF that nothing else of it reads.
Post: no Norm is left; the spikes are those of the unfolded graph (equal on dyadic numbers; else a spike may flip only
inside :func:`flip_bound`), the membranes those of the unfolded graph divided by :func:`units`.

Cases:
    1. the first normed branch into a LIF is the reference.
    2. other normed branches.
    3. branches whose synapse has no norm.
    4. branches without a synapse (an identity skip): get one, named ``<neuron>-skip``, ``<neuron>-skip-2``, …
    5. a norm before anything but LIF neurons (a ReLU, a readout, an Output: their scale is read, not only compared), or
       a synapse or norm with other readers: refused (ND235), all findings at once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.diagnostics import Finding, UnsupportedError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import LIF, SYNAPSES, Conv2d, CubaLIF, Linear, Node, Norm, Synapse
from neurodeploy.passes.fold_norm import refusals as norm_refusals
from neurodeploy.passes.new_names import free_name

_FIX = "--fold weights, which every layer can take"


def fold_threshold(graph: Graph) -> Graph:
    """The graph without Norm nodes; weights in float64 where they changed, thresholds per channel."""
    findings = [*norm_refusals(graph), *_refusals(graph)]
    if findings:
        first = findings[0]
        raise UnsupportedError(first.code, first.rule, where=first.node, fix=first.fix, findings=findings)
    for name in graph.names(LIF):
        norms = [s for s in graph.sources(name) if isinstance(graph.nodes[s], Norm)]
        if norms:
            graph = _folded(graph, name, norms[0])
    return graph


def units(graph: Graph) -> dict[str, np.ndarray]:
    """LIF -> ``|s|`` per channel of the unfolded ``graph``: its membrane divided by this is the folded one's."""
    found = {}
    for name in graph.names(LIF):
        norms = [s for s in graph.sources(name) if isinstance(graph.nodes[s], Norm)]
        if norms:
            found[name] = _unit(graph.nodes[norms[0]])
    return found


def _unit(norm: Node) -> np.ndarray:
    assert isinstance(norm, Norm)
    scale = norm.scale()
    return np.where(scale == 0.0, 1.0, np.abs(scale))


def _folded(graph: Graph, name: str, reference: str) -> Graph:
    node = graph.nodes[name]
    assert isinstance(node, LIF)
    unit = _unit(graph.nodes[reference])
    full = unit.reshape(-1, *(1,) * (len(node.shape) - 1))
    changed: dict[str, Node] = {
        name: replace(node, threshold=node.threshold / full, v_reset=node.v_reset / full, offset=node.offset / full)
    }
    identities: list[str] = []
    folded: list[str] = []
    for source in graph.sources(name):
        before = graph.nodes[source]
        if isinstance(before, Norm):
            (synapse,) = graph.sources(source)
            layer = graph.nodes[synapse]
            assert isinstance(layer, SYNAPSES)
            changed[synapse] = _reference(layer, before) if source == reference else _other(layer, before, unit)
            folded.append(source)
        elif isinstance(before, SYNAPSES):  # case 3
            changed[source] = _scaled(before, 1.0 / unit, before.bias / unit)
        else:
            identities.append(source)
    for norm in folded:
        graph = graph.without(norm, changed)
    for source in identities:
        graph = _with_skip(graph, source, name, free_name(graph.nodes, f"{name}-skip"), unit)
    return graph


def _reference(layer: Synapse, norm: Norm) -> Synapse:
    """Case 1. The division β/s comes first: a small s then loses nothing of b − μ."""
    scale, bias = norm.scale(), layer.bias.astype(np.float64)
    silent = scale == 0.0
    shift = np.divide(norm.bias, scale, out=np.zeros_like(scale), where=~silent)
    folded = np.where(silent, norm.bias, np.sign(scale) * (bias - norm.mean + shift))
    return _scaled(layer, np.sign(scale), folded)


def _other(layer: Synapse, norm: Norm, unit: np.ndarray) -> Synapse:
    """Case 2."""
    scale = norm.scale()
    return _scaled(layer, scale / unit, (scale * (layer.bias.astype(np.float64) - norm.mean) + norm.bias) / unit)


def _scaled(layer: Synapse, factor: np.ndarray, bias: np.ndarray) -> Synapse:
    weight = layer.weight.astype(np.float64) * factor.reshape(-1, *(1,) * (layer.weight.ndim - 1))
    return replace(layer, weight=weight, bias=bias)


def _with_skip(graph: Graph, source: str, target: str, name: str, unit: np.ndarray) -> Graph:
    """Case 4: ``source → target`` becomes ``source → name → target``; a late edge stays late."""
    shape, zeros = graph.shapes[source], np.zeros(unit.size)
    skip: Node
    if len(shape) == 3:
        skip = Conv2d((1.0 / unit).reshape(-1, 1, 1, 1), zeros, groups=unit.size)
    else:
        skip = Linear(np.diag(1.0 / unit), zeros)
    edges: list[Edge] = []
    for edge in graph.edges:
        edges.extend([(source, name), (name, target)] if edge == (source, target) else [edge])
    late = {(source, name) if edge == (source, target) else edge for edge in graph.recurrent}
    return replace(graph, nodes={**graph.nodes, name: skip}, edges=tuple(edges), recurrent=frozenset(late))


def _refusals(graph: Graph) -> list[Finding]:
    """Case 5."""
    findings = []

    def refuse(node: str, rule: str, measured: object) -> None:
        findings.append(Finding("ND235", "error", node, rule, str(measured), "one LIF", "", _FIX))

    for name in graph.names(Norm):
        readers = graph.targets(name)
        if len(readers) != 1 or not isinstance(graph.nodes[readers[0]], LIF):
            kinds = ", ".join(f"`{t}` ({graph.nodes[t].kind})" for t in readers)
            refuse(
                name, "a norm folds into the threshold of the spiking neurons that alone read it", f"read by {kinds}"
            )
            continue
        (reader,) = readers
        node = graph.nodes[reader]
        if isinstance(node, LIF) and len(node.shape) == 2:
            shapes = [graph.shapes[s] for s in graph.sources(reader) if _is_identity(graph, s)]
            if shapes:
                refuse(reader, "an identity skip of this shape has no depthwise layer", shapes[0])
        for source in graph.sources(reader):
            if isinstance(graph.nodes[source], SYNAPSES) and graph.targets(source) != (reader,):
                others = ", ".join(f"`{t}`" for t in graph.targets(source) if t != reader)
                refuse(source, f"dividing this branch by the norm's scale would change what {others} reads", "several")
    return findings


def _is_identity(graph: Graph, source: str) -> bool:
    return not isinstance(graph.nodes[source], (Norm, *SYNAPSES))


def reader_findings(folded: Graph) -> list[Finding]:
    """ND236, if a layer of a folded graph has thresholds that readers with one per layer cannot hold."""
    several = [name for name in folded.names(LIF) if folded.nodes[name].threshold.ndim]  # type: ignore[attr-defined]
    rule = "neurons have a threshold per channel; snnTorch and SpikingJelly read one per layer"
    fix = "--fold weights for those two; Norse and neurodeploy read it"
    measured = f"{len(several)} layers"
    return [Finding("ND236", "warning", ", ".join(several), rule, measured, 0, "layers", fix)] if several else []


def flip_bound(
    graph: Graph, name: str, timesteps: int, *, largest: float = 1.0, roundoff: float = 2.0**-53
) -> np.ndarray:
    """How near its threshold a potential must be for a folded form, in floats, to decide otherwise; per channel.

    Unfolded or folded either way, ``u_pre[t]`` is a sum of products: taps × spike × weight (× s), biases, means, β,
    each carried through the leak. In arithmetic with unit roundoff ε every such product passes through at most

        k = n + m + 12 + 4·(t + 1)

    roundings: n for the additions over the synapse's taps and bias, m for the edges that meet, at most 12 for the
    parameters themselves (s, its products, quotients and differences: three factors and three sums on either side,
    one for storing each), and in each of the t + 1 steps a product with the decay and one with the gain, and two sums,
    of which decay and gain may be rounded too. So (Higham, Accuracy and Stability, Lemma 3.1)::

        |computed − exact| ≤ γ_k · U[t],    γ_k = kε/(1 − kε)
        U[t] = |decay|·U[t−1] + |gain|·A + |offset| + |v_reset|
        A = Σ_branches  |s|·(Σ|W|·largest + |b| + |μ|) + |β|

    where U is the same sum with absolute values (a reset only makes it smaller). Both forms are that close to the
    exact membrane, and ``V_th/|s|`` is rounded twice, so as long as all earlier spikes agree a spike can differ only
    where ``|u_pre − V_th| ≤ 2·γ_k·U[T] + 2ε·V_th``, in units of the unfolded membrane.

    Args:
        graph: The unfolded graph.
        name: A LIF.
        timesteps: T.
        largest: Largest absolute value that enters the branches (1 for spikes).
        roundoff: ε: 2⁻⁵³ for float64, 2⁻²⁴ where weights or sums are float32.

    Returns:
        ``(C, 1, …)``, to compare with ``|potential − threshold|``.
    """
    node = graph.nodes[name]
    assert isinstance(node, LIF)
    assert not isinstance(node, CubaLIF), "the bound is derived for neurons without a current"
    channels = node.shape[0]
    reach, taps = np.zeros(channels), 0
    for source in graph.sources(name):
        norm = graph.nodes[source]
        layer = graph.nodes[graph.sources(source)[0]] if isinstance(norm, Norm) else norm
        scale = np.abs(norm.scale()) if isinstance(norm, Norm) else np.ones(channels)
        mean, beta = (np.abs(norm.mean), np.abs(norm.bias)) if isinstance(norm, Norm) else (0.0, 0.0)
        if isinstance(layer, SYNAPSES):
            flat = np.abs(layer.weight.astype(np.float64)).reshape(channels, -1)
            inside = flat.sum(axis=1) * largest + np.abs(layer.bias.astype(np.float64)) + mean
            taps = max(taps, flat.shape[1] + 1)
        else:
            inside = np.full(channels, largest)
        reach = reach + scale * inside + beta
    shape = (channels, *(1,) * (len(node.shape) - 1))
    offset, reset = np.abs(node.offset), np.abs(node.v_reset)
    growth = np.zeros(shape)
    for _ in range(timesteps):
        growth = np.abs(node.decay) * growth + np.abs(node.gain) * reach.reshape(shape) + offset + reset
    count = taps + len(graph.sources(name)) + 12 + 4 * timesteps
    gamma = count * roundoff / (1.0 - count * roundoff)
    return np.asarray(2.0 * gamma * growth + 2.0 * roundoff * np.abs(node.threshold))
