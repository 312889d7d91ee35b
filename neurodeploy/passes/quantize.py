"""Quantize for the integer machine: even 8-bit weights, integer biases and thresholds, one scale per neuron population.

For a LIF with threshold θ, every synapse into it is multiplied by the same scale S and rounded::

    w = 2·round(S·W/2), |w| ≤ 254        b = round(S·B), |b| ≤ 4095        vThMant = S·θ − 1/64

The chip fires when v > vThMant·64 in units of 2⁻⁶; with S·θ = vThMant + 1/64 that is exactly ``u ≥ θ`` on the integer
grid (``gt`` neurons take S·θ = vThMant). vThMant is the largest integer for which all of this holds, proven from the
weights, never hoped for from data:

    * weights and biases keep their range,
    * ``|Σ w·s| ≤ limit`` per step over all binary inputs (2¹⁵ − 1 on Loihi, 2¹⁷ − 1 on Loihi 2: no 24-bit wrap),
    * ``|v| < 2¹⁷`` for ever: ``(max|Σ w·s| + |b|)/(1 − decay)`` (no saturation).

A readout (Integrator) has no threshold: its scale is the largest with ``T·(Σ|w| + |b|) < 131071``, so that it neither
fires nor saturates within T steps. Scales are stored; real membrane = integer v / (64·S).

Pre: norms and pools folded, pure (every synapse sees binary spikes), LIF with one threshold, one decay, gain 1, offset
0, reset to 0.
Post: :func:`~neurodeploy.ir.machine.machine_findings` is empty.

Refused: ND205 a layer whose weights are all zero (Lava overflows on it), ND206 a bias, ND207 a threshold, ND208 an
accumulator that keeps its range at no scale, ND215 a neuron that the machine does not have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from neurodeploy.diagnostics import Finding, UnsupportedError, first_error
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.machine import (
    BIAS_LIMIT,
    DECAY_UNITY,
    SHIFT,
    STATE_UNITS,
    THRESHOLD_LIMIT,
    accumulator_bounds,
    neuron_bias,
)
from neurodeploy.ir.nodes import LIF, NEURONS, SYNAPSES, Integrator, Node, Synapse

#: w = 2q with q in [-127, 127]: exact in Lava's Dense and Conv at 8 bits, whatever the sign mix.
WEIGHT_LIMIT = 254


@dataclass(frozen=True)
class Limits:
    """What the integer machine of a chip allows per step: ``|Σ w·s|`` in weight units."""

    accumulator: int = 2**17 - 1


def quantize(graph: Graph, limits: Limits | None = None) -> tuple[Graph, list[Finding]]:
    """The integer graph and what a user should know about it.

    Raises:
        UnsupportedError: With every layer that cannot be quantized, not only the first.
    """
    limits = limits or Limits()
    nodes: dict[str, Node] = {}
    scales: dict[str, float] = {}
    findings: list[Finding] = []
    for name in graph.names(NEURONS):
        node = graph.nodes[name]
        synapses = {source: graph.nodes[source] for source in graph.sources(name)}
        problems = [*_neuron_findings(name, node), *_synapse_findings(graph, name, synapses)]
        findings.extend(problems)
        if first_error(problems):
            continue
        result = _population(name, node, synapses, limits, graph.timesteps or 1)
        if isinstance(result, Finding):
            findings.append(result)
            continue
        scales[name], population = result
        nodes.update(population)
        findings.extend(_leak_findings(name, node, graph.timesteps))
    error = first_error(findings)
    if error:
        errors = [f for f in findings if f.severity == "error"]
        raise UnsupportedError(error.code, error.rule, where=error.node, fix=error.fix, findings=errors)
    return replace(graph.with_nodes(nodes), arithmetic="loihi", scales=scales), findings


def _population(
    name: str, node: Node, synapses: dict[str, Node], limits: Limits, timesteps: int
) -> tuple[float, dict[str, Node]] | Finding:
    """Scale and integer nodes of one neuron population, or why there are none."""
    largest = max(float(np.max(np.abs(s.weight))) for s in synapses.values())  # type: ignore[attr-defined]
    bias = np.sum([s.bias.astype(np.float64) for s in synapses.values()], axis=0)  # type: ignore[attr-defined]
    most_bias = float(np.max(np.abs(bias)))
    candidates = [WEIGHT_LIMIT / largest]
    if most_bias:
        candidates.append(BIAS_LIMIT / most_bias)
    if isinstance(node, Integrator):
        reach = sum(_reach(s) for s in synapses.values()) + most_bias
        candidates.append((STATE_UNITS - 1) / (timesteps * reach))
        candidates.append(limits.accumulator / sum(_reach(s) for s in synapses.values()))
        scale = min(candidates)
        for _ in range(64):
            integers = {key: _rounded(s, scale) for key, s in synapses.items()}
            if _readout_fits(integers, timesteps, limits):
                return scale, {**integers, name: node}
            scale *= 0.99  # rounding went over a bound: a hair less
        return _no_scale(name, "ND208", "the readout keeps its range at no scale", scale)
    assert isinstance(node, LIF)
    threshold = float(node.threshold)
    eps = 1.0 / 64.0 if node.compare == "ge" else 0.0
    mantissa = int(min(np.floor(min(candidates) * threshold - eps), THRESHOLD_LIMIT))
    while mantissa >= 1:
        scale = (mantissa + eps) / threshold
        integers = {key: _rounded(s, scale) for key, s in synapses.items()}
        over = _excess(integers, node, mantissa, limits)
        if over <= 1.0:
            return scale, {**integers, name: replace(node, threshold=np.asarray(float(mantissa)), compare="gt")}
        mantissa = min(mantissa - 1, int(mantissa / over))
    return _no_scale(
        name,
        "ND207" if WEIGHT_LIMIT / largest * threshold < 1 + eps else "ND208" if not most_bias else "ND206",
        "no integer threshold of at least 1 keeps weights, biases and sums in range",
        f"largest weight {largest:.4g}, largest bias {most_bias:.4g}, threshold {threshold:.4g}",
    )


def exact_steps(decay: float) -> int:
    """Timesteps after a reset for which ``>>`` truncates nothing: the state has 6 fractional bits, each leak by 2^-k
    needs k of them (τ = 0.25: 4 steps). 1 for a decay that is no power of two; unbounded (2^31) for 0 and 1."""
    if decay in (0.0, 1.0):
        return 2**31
    bits = -np.log2(decay)
    return 1 + int(SHIFT // bits) if float(bits).is_integer() else 1


def _leak_findings(name: str, node: Node, timesteps: int | None) -> list[Finding]:
    if not isinstance(node, LIF):
        return []
    exact = exact_steps(float(node.decay))
    if timesteps is not None and timesteps <= exact:
        return []
    rule = "the leak truncates: beyond these timesteps the membrane is off by up to 1/64 of a weight unit a step"
    fix = "no action: the simulator and Lava truncate alike; compare accuracy_target with accuracy_float"
    return [Finding("ND216", "note", name, rule, timesteps or "unknown", exact, "timesteps", fix)]


def _no_scale(name: str, code: str, rule: str, measured: object) -> Finding:
    fix = "train with smaller weights (weight decay), or clip the outlier weights of this layer"
    return Finding(code, "error", name, rule, str(measured), None, "", fix)


def _rounded(node: Node, scale: float) -> Synapse:
    assert isinstance(node, SYNAPSES)
    weight = 2.0 * np.rint(scale * node.weight.astype(np.float64) / 2.0)
    bias = np.rint(scale * node.bias.astype(np.float64))
    return replace(node, weight=weight.astype(np.float32), bias=bias.astype(np.float32))


def _reach(node: Node) -> float:
    """Largest ``Σ|w|`` of an output channel."""
    assert isinstance(node, SYNAPSES)
    return float(np.abs(node.weight.astype(np.float64)).reshape(node.weight.shape[0], -1).sum(axis=1).max())


def _bounds(synapses: dict[str, Synapse]) -> tuple[int, int, int]:
    """Lowest and highest ``Σ w·s`` of the population, largest ``|bias|``; all exact integers."""
    pairs = [accumulator_bounds(s) for s in synapses.values()]
    bias = np.sum([s.bias.astype(np.int64) for s in synapses.values()], axis=0)
    return sum(p[0] for p in pairs), sum(p[1] for p in pairs), int(np.max(np.abs(bias)))


def _excess(synapses: dict[str, Synapse], node: LIF, mantissa: int, limits: Limits) -> float:
    """Largest ratio of a bound to its limit; at most 1 when everything is in range."""
    low, high, bias = _bounds(synapses)
    weight = max(float(np.max(np.abs(s.weight))) for s in synapses.values())
    leak = 1.0 - float(node.decay)
    # Downwards a neuron that never fires sums a geometric series; upwards it is reset above the threshold.
    deepest = (bias - low) / leak if leak > 0 else np.inf
    highest = mantissa + high + bias
    return max(
        weight / WEIGHT_LIMIT,
        bias / BIAS_LIMIT,
        max(-low, high) / limits.accumulator,
        deepest / STATE_UNITS,
        highest / STATE_UNITS,
    )


def _readout_fits(synapses: dict[str, Synapse], timesteps: int, limits: Limits) -> bool:
    low, high, bias = _bounds(synapses)
    weight = max(float(np.max(np.abs(s.weight))) for s in synapses.values())
    total = timesteps * (max(-low, high) + bias)
    return (
        weight <= WEIGHT_LIMIT and bias <= BIAS_LIMIT and max(-low, high) <= limits.accumulator and total < STATE_UNITS
    )


def _neuron_findings(name: str, node: Node) -> list[Finding]:
    def error(rule: str, measured: object, fix: str) -> Finding:
        return Finding("ND215", "error", name, rule, str(measured), None, "", fix)

    findings = []
    decay = np.asarray(node.decay)  # type: ignore[attr-defined]
    if decay.ndim:
        findings.append(error("the integer machine has one decay per layer", "several", "use one decay"))
    elif not float(decay * DECAY_UNITY).is_integer():
        findings.append(
            error(
                "the decay must be a multiple of 1/4096",
                float(decay),
                f"train with {round(float(decay) * DECAY_UNITY) / DECAY_UNITY}",
            )
        )
    if isinstance(node, Integrator):
        if float(decay) != 1.0:
            findings.append(error("a readout must not leak on this target", float(decay), "use decay 1"))
        return findings
    assert isinstance(node, LIF)
    if node.threshold.ndim:
        findings.append(
            error(
                "the integer machine has one threshold per layer", "several", "fold norms into weights, not thresholds"
            )
        )
    elif float(node.threshold) <= 0:
        findings.append(error("the threshold must be positive", float(node.threshold), "use a positive threshold"))
    if float(np.max(decay)) >= 1.0:
        findings.append(
            error("a firing neuron must leak: its sum has no proven bound", float(np.max(decay)), "decay < 1")
        )
    if np.any(node.gain != 1.0) or np.any(node.offset != 0.0) or np.any(node.v_reset != 0.0) or node.reset != "to":
        have = f"gain {node.gain}, offset {node.offset}, v_reset {node.v_reset}, reset {node.reset}"
        findings.append(
            error("the integer machine's neuron has gain 1, offset 0, reset to 0", have, "use such neurons")
        )
    return findings


def _synapse_findings(graph: Graph, name: str, synapses: dict[str, Node]) -> list[Finding]:
    findings = []
    for source, node in synapses.items():
        if not isinstance(node, SYNAPSES):
            rule = f"a neuron of this target is fed by synapses, not by `{source}` ({node.kind})"
            fix = "put a convolution or linear layer before it (an identity skip is a 1x1 convolution)"
            findings.append(Finding("ND215", "error", name, rule, node.kind, "conv2d or linear", "", fix))
        elif not np.any(node.weight):
            fix = "remove the layer, or train it again: it passes nothing on"
            findings.append(Finding("ND205", "error", source, "all weights of this layer are zero", 0, None, "", fix))
        elif not np.all(np.isfinite(node.weight)) or not np.all(np.isfinite(node.bias)):
            fix = "train again: the run diverged"
            findings.append(Finding("ND205", "error", source, "weights are not finite", "nan or inf", None, "", fix))
        elif graph.targets(source) != (name,):
            fix = "give each neuron population a synapse of its own"
            rule = f"`{source}` feeds several populations; each has its own scale"
            findings.append(Finding("ND215", "error", source, rule, len(graph.targets(source)), 1, "populations", fix))
    return findings


def accumulator_table(graph: Graph) -> list[dict[str, object]]:
    """Per neuron population of an integer graph: the proven bounds, for ``compile.json``."""
    rows: list[dict[str, object]] = []
    for name in graph.names(NEURONS):
        low = high = 0
        for source in graph.sources(name):
            node = graph.nodes[source]
            assert isinstance(node, SYNAPSES)
            a, b = accumulator_bounds(node)
            low, high = low + a, high + b
        node_bias = neuron_bias(graph, name)
        node = graph.nodes[name]
        rows.append(
            {
                "node": name,
                "scale": graph.scales.get(name),
                "threshold": int(node.threshold) if isinstance(node, LIF) else None,
                "accumulator_low": low,
                "accumulator_high": high,
                "bias_low": int(node_bias.min()),
                "bias_high": int(node_bias.max()),
            }
        )
    return rows
