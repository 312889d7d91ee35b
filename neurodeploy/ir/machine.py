"""The integer machine (``loihi`` arithmetic): constants, and the rules a graph must keep to run on it.

One timestep of a neuron, with ``>>`` truncating toward zero (Lava 0.10, ``lava/proc/lif/models.py``; Loihi)::

    a = Σ w·s                                       a convolution wraps at 24 bits
    u = (u·(4096 − iDecay) >> 12) + (a << 6)        wraps once at 24 bits
    v = clip((v·(4096 − vDecay) >> 12) + u + (bias << 6), ±(2^23 − 1))
    s = v > (vThMant << 6);  v = 0 where s

A :class:`~neurodeploy.ir.nodes.LIF` has no current state (iDecay = 4096), a CubaLIF's ``current_decay`` is
``(4096 − iDecay)/4096``; ``decay`` is ``(4096 − vDecay)/4096``, ``threshold`` is vThMant, compared with ``gt``. An
Integrator is a neuron with vDecay = 0 and vThMant = 131071.
Biases of all synapses into a neuron are added to v and never pass through u.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neurodeploy.diagnostics import Finding, UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import (
    LIF,
    NEURONS,
    SYNAPSES,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Integrator,
    Node,
    Output,
    Synapse,
)

DECAY_UNITY = 4096
SHIFT = 6
#: Limits of the fields, of Lava's models and of the chips behind them.
THRESHOLD_LIMIT = 2**17 - 1
BIAS_LIMIT = 2**12 - 1
STATE_LIMIT = 2**23 - 1
STATE_BITS = 24
#: The same in weight units, rounded down: |v| < 2^17.
STATE_UNITS = 2**17 - 1
WRAP = 2**24
READOUT_THRESHOLD = THRESHOLD_LIMIT


def voltage_decay(node: Node) -> int:
    """vDecay of a neuron: ``4096·(1 − decay)``; 0 for an integrator."""
    return round(DECAY_UNITY * (1.0 - float(node.decay)))  # type: ignore[attr-defined]


def current_decay(node: Node) -> int:
    """iDecay of a neuron: ``4096·(1 − current_decay)``; 4096 (no memory) where it has no current."""
    return round(DECAY_UNITY * (1.0 - float(node.current_decay))) if isinstance(node, CubaLIF) else DECAY_UNITY


def threshold_mantissa(node: Node) -> int:
    """vThMant of a neuron."""
    return int(node.threshold) if isinstance(node, LIF) else READOUT_THRESHOLD


def neuron_bias(graph: Graph, name: str) -> np.ndarray:
    """Sum of the biases of the synapses into neuron ``name``, int64, one per output channel."""
    return np.sum([_integers(graph.nodes[source].bias) for source in graph.sources(name)], axis=0)  # type: ignore[attr-defined]


def _integers(array: np.ndarray) -> np.ndarray:
    return np.asarray(array).astype(np.int64)


def machine_findings(graph: Graph) -> Iterator[Finding]:
    """Every reason why ``graph`` cannot run on the integer machine (ND213); none for a quantized graph."""

    def finding(node: str, rule: str, measured: object, fix: str) -> Finding:
        return Finding("ND213", "error", node, rule, str(measured), None, "", fix)

    quantize = "quantize it first: neurodeploy export MODEL --target loihi2"
    for name, node in graph.nodes.items():
        if isinstance(node, Output) and len(graph.sources(name)) > 1:
            states = [source for source in graph.sources(name) if isinstance(graph.nodes[source], Integrator)]
            if states:
                rule, fix = "states of different populations cannot be added", "let one integrator read all synapses"
                yield finding(name, rule, ", ".join(graph.sources(name)), fix)
        if isinstance(node, (Input, Output, Flatten, Delay)):
            continue
        if isinstance(node, SYNAPSES):
            for what, plural in (("weight", "weights"), ("bias", "biases")):
                array = getattr(node, what)
                if not np.array_equal(array, np.trunc(array)):
                    yield finding(name, f"{plural} must be integers", f"{np.asarray(array).flat[0]:.4g}, …", quantize)
            for target in graph.targets(name):
                if not isinstance(graph.nodes[target], NEURONS):
                    kind = graph.nodes[target].kind
                    yield finding(
                        name, "synapses must lead straight to neurons", f"leads to `{target}` ({kind})", quantize
                    )
        elif isinstance(node, NEURONS):
            for decay in (node.decay, *((node.current_decay,) if isinstance(node, CubaLIF) else ())):
                if decay.ndim or not float(decay * DECAY_UNITY).is_integer() or not 0 <= float(decay) <= 1:
                    fix = "round the decay"
                    yield finding(name, "the decay must be one multiple of 1/4096 for the layer", decay, fix)
            if np.any(node.gain != 1.0) or np.any(node.offset != 0.0):
                yield finding(name, "gain must be 1 and offset 0", f"gain {node.gain}, offset {node.offset}", quantize)
            if isinstance(node, LIF):
                yield from _lif_findings(name, node, finding, quantize)
            for source in graph.sources(name):
                if not isinstance(graph.nodes[source], SYNAPSES):
                    yield finding(name, "neurons must be fed by synapses", f"fed by `{source}`", quantize)
        else:
            yield finding(name, f"{node.kind} does not exist on the integer machine", node.kind, quantize)
    if isinstance(graph.nodes[graph.input], Input) and graph.nodes[graph.input].values == "real":  # type: ignore[attr-defined]
        yield finding(graph.input, "the input must be binary spikes", "real", quantize)


def _lif_findings(name: str, node: LIF, finding: object, quantize: str) -> Iterator[Finding]:
    make = finding
    assert callable(make)
    # 2^17 is what netx gives a layer without a neuron: one above the largest state, so it never fires.
    threshold = np.asarray(node.threshold)
    if threshold.ndim or not float(threshold).is_integer() or not 0 <= float(threshold) <= THRESHOLD_LIMIT + 1:
        yield make(name, f"the threshold must be one integer in 0…{THRESHOLD_LIMIT}", threshold, quantize)
    if node.compare != "gt":
        yield make(name, "the integer machine fires above the threshold, not at it", node.compare, quantize)
    if node.reset != "to" or float(np.max(np.abs(node.v_reset))) != 0.0:
        yield make(name, "the integer machine resets to zero", node.reset, "use reset to zero")
    if isinstance(node, CubaLIF) and np.any(node.current_gain != 1.0):
        yield make(name, "the gain of the current must be 1", f"gain {node.current_gain}", quantize)


def require_machine(graph: Graph) -> None:
    """Raise (ND213, exit 3) unless ``graph`` can run on the integer machine; all findings at once."""
    findings = list(machine_findings(graph))
    if findings:
        raise UnsupportedError(
            "ND213",
            f"this network cannot run in loihi arithmetic: {findings[0].rule} ({findings[0].measured})",
            where=findings[0].node,
            fix=findings[0].fix,
            findings=findings,
        )


def accumulator_bounds(node: Synapse) -> tuple[int, int]:
    """Smallest and largest ``Σ w·s`` over all binary inputs, over all output channels (bias left out)."""
    rows = node.weight.reshape(node.weight.shape[0], -1)  # integers below 2^31: sums of float64 are exact
    positive = np.maximum(rows, 0).sum(axis=1, dtype=np.float64)
    return int((rows.sum(axis=1, dtype=np.float64) - positive).min()), int(positive.max())
