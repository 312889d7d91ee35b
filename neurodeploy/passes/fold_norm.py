"""Fold normalization into the weights of the synapse before it.

With ``s = gain·λ/√(σ² + ε)`` (RMP-Loss Eq. 6-7; gain = α·V_th)::

    W' = s·W        b' = s·(b − μ) + β        per output channel, computed in float64

Pre: every Norm follows exactly one Conv2d or Linear that nothing else reads.
Post: no Norm is left; in float64 the spikes are those of the unfolded graph (equal on dyadic numbers, else up to the
rounding of the two products).

Cases:
    1. Synapse → Norm: the synapse takes over, the Norm's readers read the synapse.
    2. Norm after anything else, or after a synapse with other readers: refused (ND214).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.diagnostics import Finding, UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import SYNAPSES, Norm


def fold_norm(graph: Graph) -> Graph:
    """The graph without Norm nodes, weights in float64 where one was folded."""
    findings = refusals(graph)
    if findings:
        raise UnsupportedError(
            "ND214", findings[0].rule, where=findings[0].node, fix=findings[0].fix, findings=findings
        )
    for name in graph.names(Norm):
        (source,) = graph.sources(name)
        norm, synapse = graph.nodes[name], graph.nodes[source]
        assert isinstance(norm, Norm)
        assert isinstance(synapse, SYNAPSES)
        scale = norm.scale()
        weight = synapse.weight.astype(np.float64) * scale.reshape(-1, *(1,) * (synapse.weight.ndim - 1))
        bias = scale * (synapse.bias.astype(np.float64) - norm.mean) + norm.bias
        graph = graph.without(name, {source: replace(synapse, weight=weight, bias=bias)})
    return graph


def refusals(graph: Graph) -> list[Finding]:
    """Case 2: every norm that is in no place to be folded."""
    return [finding for name in graph.names(Norm) if (finding := _refusal(graph, name))]


def _refusal(graph: Graph, name: str) -> Finding | None:
    sources = graph.sources(name)
    fix = "put the norm straight after a convolution or linear layer of its own"
    if len(sources) != 1 or not isinstance(graph.nodes[sources[0]], SYNAPSES):
        kinds = ", ".join(f"`{s}` ({graph.nodes[s].kind})" for s in sources)
        return Finding("ND214", "error", name, f"a norm can only be folded into one synapse; it reads {kinds}", fix=fix)
    if (sources[0], name) in graph.recurrent:
        rule = f"`{sources[0]}` is read a step late: at the first step the norm puts out its shift, the synapse nothing"
        return Finding("ND214", "error", name, rule, fix="delay the edge before the synapse instead")
    if graph.targets(sources[0]) != (name,):
        readers = ", ".join(f"`{t}`" for t in graph.targets(sources[0]))
        rule = f"`{sources[0]}` is read by {readers}: folding the norm would change what the others read"
        return Finding("ND214", "error", name, rule, fix=fix)
    return None
