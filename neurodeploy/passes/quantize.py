"""Quantize for the integer machine: even 8-bit weights, integer biases and thresholds, one scale per neuron population.

For a LIF with threshold θ, every synapse into it is multiplied by the same scale S and rounded::

    w = 2·round(S·W/2), |w| ≤ 254        b = round(S·B), |b| ≤ 4095        vThMant = S·θ − 1/64

The chip fires when v > vThMant·64 in units of 2⁻⁶; with S·θ = vThMant + 1/64 that is exactly ``u ≥ θ`` on the integer
grid (``gt`` neurons take S·θ = vThMant). vThMant is an integer for which all ranges of
:mod:`~neurodeploy.passes.ranges` are *proven* from the weights, whatever method chose it:

    proven      the largest for which no weight is clipped (needs no data)
    minmax      the same, but weights that no spike of the calibration data reaches are clipped
    percentile  weights through which 0.1 % of the synaptic events go are clipped
    mse         of a grid of finer and finer scales, with more and more weights clipped, the one with the smallest
                squared error of the membrane relative to θ (:mod:`~neurodeploy.passes.calibrate`)

A readout (Integrator) has no threshold: its scale is the largest so chosen that it neither fires nor saturates within T
steps. Scales are stored; real membrane = integer v / (64·S).

Pre: norms and pools folded, pure (every synapse sees binary spikes), LIF with one threshold, one decay, gain 1, offset
0, reset to 0. A CubaLIF may have an offset, which becomes a bias: the machine's biases do not pass through its current.
Post: :func:`~neurodeploy.ir.machine.machine_findings` is empty.

Cases:
    1. a LIF, an IF (its range is proven for T steps), a CubaLIF; decays become multiples of 1/4096 (noted, ND238).
    2. a readout.
    3. a relay (decay 0, one weight ≥ θ per neuron, no bias): w = 2, vThMant = 1.
    4. a skip (at most one weight per neuron) beside other synapses does not bound the scale: what it needs beyond 254
       becomes parallel synapses (:mod:`~neurodeploy.passes.parallel_synapses`).

Refused: ND205 a layer whose weights are all zero, or become so (Lava overflows on it), ND206 a bias, ND207 a
threshold, ND208 an accumulator that keeps its range at no scale, ND215 a neuron that the machine does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from neurodeploy.diagnostics import Finding, UnsupportedError, first_error
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.machine import BIAS_LIMIT, THRESHOLD_LIMIT
from neurodeploy.ir.nodes import LIF, NEURONS, CubaLIF, Integrator, Node, Synapse
from neurodeploy.passes.calibrate import Calibration
from neurodeploy.passes.parallel_synapses import MOST_COPIES, copies_of, one_to_one, split_parallel
from neurodeploy.passes.quantizable import exact_steps, integer_decay, leak_findings, population_findings, synapses_into
from neurodeploy.passes.ranges import WEIGHT_LIMIT, Limits, accumulator_table, excess

__all__ = ["WEIGHT_LIMIT", "Limits", "Method", "Quantized", "accumulator_table", "exact_steps", "quantize", "quantized"]

Method = Literal["proven", "minmax", "percentile", "mse"]
#: ``mse`` tries the ranges max|W|·2^(−k/4), k = 0 … 12.
GRID = tuple(float(2.0 ** (-k / 4.0)) for k in range(13))


@dataclass(frozen=True)
class Population:
    """One neuron population in integers.

    Attributes:
        scale: S.
        neuron: With its integer threshold.
        synapses: Even integer weights, beyond ±254 where a skip will be split.
        clipped: Weights that were clipped.
    """

    scale: float
    neuron: LIF | Integrator
    synapses: Mapping[str, Synapse]
    clipped: int = 0


@dataclass(frozen=True)
class Quantized:
    """The integer graph, what a user should know about it, and per population how its scale was chosen."""

    graph: Graph
    findings: list[Finding]
    rows: list[dict[str, Any]]


def quantize(graph: Graph, limits: Limits | None = None) -> tuple[Graph, list[Finding]]:
    """:func:`quantized` with the largest provable scale: graph and findings."""
    done = quantized(graph, limits)
    return done.graph, done.findings


def quantized(
    graph: Graph, limits: Limits | None = None, method: Method = "proven", calibration: Calibration | None = None
) -> Quantized:
    """The integer graph; ``calibration`` is what every method but ``proven`` looks at.

    Raises:
        UnsupportedError: With every layer that cannot be quantized, not only the first.
    """
    found, findings = populations(graph, limits, method, calibration)
    nodes: dict[str, Node] = {}
    for name, population in found.items():
        nodes.update({name: population.neuron, **population.synapses})
    scales = {name: population.scale for name, population in found.items()}
    whole = replace(graph.with_nodes(nodes), arithmetic="loihi", scales=scales)
    split = split_parallel(whole)
    rows: list[dict[str, Any]] = [
        {
            **row,
            "method": method,
            "weights": sum(s.weight.size for s in population.synapses.values()),
            "clipped_weights": population.clipped,
            "parallel": {key: copies_of(s) for key, s in population.synapses.items() if copies_of(s) > 1},
        }
        for row, population in zip(accumulator_table(split), (found[n] for n in split.names(NEURONS)), strict=True)
    ]
    return Quantized(split, findings, rows)


def populations(
    graph: Graph, limits: Limits | None = None, method: Method = "proven", calibration: Calibration | None = None
) -> tuple[dict[str, Population], list[Finding]]:
    """Scale and integers of every population of a float graph, by the neurons' names."""
    found: dict[str, Population] = {}
    findings: list[Finding] = []
    for name in graph.names(NEURONS):
        problems = population_findings(graph, name)
        findings.extend(problems)
        if first_error(problems):
            continue
        node, synapses = _on_machine(graph, name)
        if graph.timesteps is None and 1.0 in (node.decay, getattr(node, "current_decay", 0.0)):
            rule = "nothing says the number of timesteps: the range of this layer is proven for one"
            findings.append(Finding("ND118", "warning", name, rule, fix="pass --timesteps T"))
        result = _chosen(name, node, synapses, limits or Limits(), graph.timesteps or 1, method, calibration)
        if isinstance(result, Population):
            found[name] = result
            vanished = [key for key, s in result.synapses.items() if not np.any(s.weight)]
            fix = "remove the layer: its weights are too small to matter beside the others into these neurons"
            findings.extend(
                Finding("ND205", "error", key, "all weights of this layer round to zero", 0, None, "", fix)
                for key in vanished
            )
            findings.extend(leak_findings(name, graph.nodes[name], graph.timesteps))  # type: ignore[arg-type]
        else:
            findings.append(result)
    error = first_error(findings)
    if error:
        errors = [f for f in findings if f.severity == "error"]
        raise UnsupportedError(error.code, error.rule, where=error.node, fix=error.fix, findings=errors)
    return found, findings


def _on_machine(graph: Graph, name: str) -> tuple[LIF | Integrator, dict[str, Synapse]]:
    """Neuron with decays of the machine, and its synapses; a CubaLIF's offset becomes a bias."""
    node, synapses = graph.nodes[name], synapses_into(graph, name)
    assert isinstance(node, NEURONS)
    node = replace(node, decay=np.asarray(integer_decay(float(node.decay))))
    if isinstance(node, CubaLIF):
        first = next(iter(synapses))
        drive = np.broadcast_to(node.offset, node.shape).reshape(node.shape[0], -1)
        if np.any(drive != drive[:, :1]):
            fix = "use one offset per channel"
            raise UnsupportedError("ND215", "the offset differs within a channel", where=name, fix=fix)
        synapses[first] = replace(synapses[first], bias=synapses[first].bias.astype(np.float64) + drive[:, 0])
        current = np.asarray(integer_decay(float(node.current_decay)))
        node = replace(node, offset=np.asarray(0.0), current_decay=current)
    return node, synapses


def _chosen(
    name: str,
    node: LIF | Integrator,
    synapses: dict[str, Synapse],
    limits: Limits,
    timesteps: int,
    method: Method,
    calibration: Calibration | None,
) -> Population | Finding:
    bounding = {key: s for key, s in synapses.items() if not one_to_one(s)} or synapses
    largest = max(_largest(s) for s in bounding.values())

    def at(reach: float) -> Population | Finding:
        return _population(name, node, synapses, set(bounding), reach, limits, timesteps)

    widest = at(largest)
    if method == "proven" or isinstance(widest, Finding) or _is_relay(node, synapses):
        return widest
    assert calibration is not None
    observed = calibration.observed(name, synapses)
    if method != "mse":
        reach = observed.range_of(method, bounding) or largest
        narrower = at(reach)
        return narrower if isinstance(narrower, Population) else widest
    tried = [at(largest * factor) for factor in GRID]
    errors = {
        index: observed.error(node, synapses, one.synapses, one.scale)
        for index, one in enumerate(tried)
        if isinstance(one, Population)
    }
    best = tried[min(errors, key=errors.__getitem__)]
    assert isinstance(best, Population)
    return best


def _population(
    name: str,
    node: LIF | Integrator,
    synapses: dict[str, Synapse],
    bounding: set[str],
    reach: float,
    limits: Limits,
    timesteps: int,
) -> Population | Finding:
    """The largest scale at which ``reach`` is a weight of 254 and every range is proven, or why there is none."""
    bias = np.sum([s.bias.astype(np.float64) for s in synapses.values()], axis=0)
    most_bias = float(np.max(np.abs(bias)))
    candidates = [WEIGHT_LIMIT / reach, *(MOST_COPIES * WEIGHT_LIMIT / _largest(s) for s in synapses.values())]
    if bounding == set(synapses):
        candidates = candidates[:1]
    if most_bias:
        candidates.append(BIAS_LIMIT / most_bias)

    def rounded_at(scale: float) -> dict[str, Synapse]:
        return {key: rounded(s, scale, 1 if key in bounding else MOST_COPIES) for key, s in synapses.items()}

    def population(scale: float, neuron: LIF | Integrator, integers: dict[str, Synapse]) -> Population:
        clipped = sum(_clipped(s, scale, 1 if key in bounding else MOST_COPIES) for key, s in synapses.items())
        return Population(scale, neuron, integers, clipped)

    if isinstance(node, Integrator):
        scale = min(candidates)
        for _ in range(64):
            integers = rounded_at(scale)
            over = excess(integers, node, 0, limits, timesteps)
            if over <= 1.0:
                return population(scale, node, integers)
            scale *= min(0.999, 1.0 / over)
        return _no_scale(name, "ND208", "the readout keeps its range at no scale", scale)
    threshold = float(node.threshold)
    eps = 1.0 / 64.0 if node.compare == "ge" else 0.0
    # 1e-9: a scale that was an integer's before it was divided is that integer's again.
    mantissa = int(min(np.floor(min(candidates) * threshold - eps + 1e-9), THRESHOLD_LIMIT))
    if _is_relay(node, synapses):
        mantissa = min(mantissa, 1)
    while mantissa >= 1:
        scale = (mantissa + eps) / threshold
        integers = rounded_at(scale)
        over = excess(integers, node, mantissa, limits, timesteps)
        if over <= 1.0:
            neuron = replace(node, threshold=np.asarray(float(mantissa)), compare="gt")
            return population(scale, neuron, integers)
        mantissa = min(mantissa - 1, int(mantissa / over))
    return _no_scale(
        name,
        "ND207" if WEIGHT_LIMIT / reach * threshold < 1 + eps else "ND208" if not most_bias else "ND206",
        "no integer threshold of at least 1 keeps weights, biases and sums in range",
        f"largest weight {reach:.4g}, largest bias {most_bias:.4g}, threshold {threshold:.4g}",
    )


def rounded(node: Synapse, scale: float, copies: int = 1) -> Synapse:
    """``w = 2·round(S·W/2)`` clipped at ``±254·copies``, ``b = round(S·B)``."""
    most = copies * WEIGHT_LIMIT // 2
    weight = 2.0 * np.clip(np.rint(scale * node.weight.astype(np.float64) / 2.0), -most, most)
    bias = np.rint(scale * node.bias.astype(np.float64))
    return replace(node, weight=weight.astype(np.float32), bias=bias.astype(np.float32))


def _clipped(node: Synapse, scale: float, copies: int) -> int:
    beyond = np.rint(scale * np.abs(node.weight.astype(np.float64)) / 2.0) > copies * WEIGHT_LIMIT // 2
    return int(np.count_nonzero(beyond))


def _largest(node: Synapse) -> float:
    return float(np.max(np.abs(node.weight)))


def _fires(value: float, node: LIF) -> bool:
    return value >= float(node.threshold) if node.compare == "ge" else value > float(node.threshold)


def _is_relay(node: Node, synapses: Mapping[str, Synapse]) -> bool:
    """Case 3: what leaves is what came in."""
    if not isinstance(node, LIF) or len(synapses) != 1 or float(node.decay) != 0.0:
        return False
    if isinstance(node, CubaLIF) and float(node.current_decay) != 0.0:
        return False
    (synapse,) = synapses.values()
    taps = synapse.weight.reshape(synapse.weight.shape[0], -1)
    values = taps[taps != 0]
    one_each = bool(np.all(np.count_nonzero(taps, axis=1) == 1)) and not np.any(synapse.bias)
    return one_each and bool(np.all(values == values[0])) and _fires(float(values[0]), node)


def _no_scale(name: str, code: str, rule: str, measured: object) -> Finding:
    fix = "train with smaller weights (weight decay), or clip the outlier weights of this layer"
    return Finding(code, "error", name, rule, str(measured), None, "", fix)
