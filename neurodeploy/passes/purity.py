"""Binary-spike purity: every synapse that the chip executes sees a ``binary`` edge.

The kinds are inferred from the graph (:mod:`neurodeploy.ir.kinds`), never from tensor values; the simulator
checks the values of a binary input at run time, and neurons put out nothing else than 0 and 1.

Causes, each with its code and ways out:
    ND301  a real-valued input reaches a synapse
    ND302  pooling stands between the spikes and a synapse
    ND303  spikes are added before a synapse and give {0, 1, 2}
    ND304  something real inside the network (a synapse without a neuron after it, an integrator), or graded spikes (a
           scale, a neuron that fires several at once), reaches a synapse
"""

from __future__ import annotations

from neurodeploy.diagnostics import Finding
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.kinds import incoming_kind, value_kinds
from neurodeploy.ir.nodes import LIF, SYNAPSES, Delay, Flatten, Input, MaxPool2d, Scale, SumPool2d


def purity(graph: Graph) -> list[Finding]:
    """One error per synapse whose input is not binary; empty when the graph is pure."""
    kinds = value_kinds(graph)
    findings = []
    for name in graph.names(SYNAPSES):
        kind = incoming_kind(graph, name, kinds)
        if kind.name == "binary":
            continue
        code, cause, fix = _cause(graph, name)
        findings.append(
            Finding(code, "error", name, f"a chip synapse sees a {kind} edge: {cause}", str(kind), "binary", "", fix)
        )
    return findings


def _cause(graph: Graph, name: str) -> tuple[str, str, str]:
    """Code, cause and remedy for the edge into ``name``: walk back to what made it non-binary."""
    place = name
    for _ in graph.nodes:  # a loop of flattens and delays leads nowhere
        sources = graph.sources(place)
        if len(sources) > 1:
            added = " + ".join(f"`{s}`" for s in sources)
            return (
                "ND303",
                f"{added} are added before it",
                'add currents into one neuron instead of spikes: LIF after the add (net.block = "basic", not SEW)',
            )
        source = graph.nodes[sources[0]]
        if isinstance(source, Input):
            fix = "run the first layer and its LIF on the host (pass `partition`, as loihi2 does), or give it spikes"
            fix += " (--input-kind binary)"
            return "ND301", f"the {source.values} input `{sources[0]}`", fix
        if isinstance(source, MaxPool2d):
            fix = "a max pool becomes a spiking layer (pass `spiking_pool`) only straight behind a spiking layer"
            return "ND302", f"max pool `{sources[0]}` stands between the spikes and it", fix
        if isinstance(source, SumPool2d):
            return (
                "ND302",
                f"pool `{sources[0]}` stands between the spikes and it",
                'fold the pool into the next weights (pass `fold_pool`), use a max pool (net.stem_pool = "max", pass '
                "`spiking_pool`), or a strided convolution",
            )
        if isinstance(source, Scale):
            fix = "multiply the scale into the weights of this layer"
            return "ND304", f"`{sources[0]}` (scale) makes the spikes graded", fix
        if isinstance(source, LIF):
            fix = "let it fire one spike a step (--spikes single), or use a target with graded spikes"
            return "ND304", f"`{sources[0]}` fires several spikes at once", fix
        if not isinstance(source, (Flatten, Delay)):
            return (
                "ND304",
                f"`{sources[0]}` ({source.kind}) puts out real values",
                "put a spiking neuron between them and train again; only what no spiking layer follows can go to the "
                "host (pass `tail`)",
            )
        place = sources[0]
    return "ND304", "it reads only itself", "connect it to the input"
