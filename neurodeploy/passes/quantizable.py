"""What the integer machine does not have, population by population; all findings, not only the first."""

from __future__ import annotations

import numpy as np

from neurodeploy.diagnostics import Finding
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.machine import DECAY_UNITY, SHIFT
from neurodeploy.ir.nodes import LIF, SYNAPSES, CubaLIF, Integrator, Node, Synapse


def population_findings(graph: Graph, name: str) -> list[Finding]:
    """Why the population ``name`` and the synapses into it cannot be quantized (ND205, ND215)."""
    node = graph.nodes[name]
    return [*_neuron_findings(name, node), *_bias_findings(graph, name, node), *_synapse_findings(graph, name)]


def integer_decay(decay: float) -> float:
    """The nearest multiple of 1/4096."""
    return float(np.rint(decay * DECAY_UNITY) / DECAY_UNITY)


def exact_steps(decay: float) -> int:
    """Timesteps after a reset for which ``>>`` truncates nothing: the state has 6 fractional bits, each leak by 2^-k
    needs k of them (τ = 0.25: 4 steps). 1 for a decay that is no power of two; unbounded (2^31) for 0 and 1."""
    if decay in (0.0, 1.0):
        return 2**31
    bits = -np.log2(decay)
    return 1 + int(SHIFT // bits) if float(bits).is_integer() else 1


def leak_findings(name: str, node: LIF | Integrator, timesteps: int | None) -> list[Finding]:
    """What the machine's leak does to this population: a rounded decay (ND238), truncation (ND216)."""
    findings = []
    decays = {"decay": float(node.decay)}
    if isinstance(node, CubaLIF):
        decays["current decay"] = float(node.current_decay)
    for what, decay in decays.items():
        if integer_decay(decay) != decay:
            rule = f"the {what} is rounded to a multiple of 1/4096"
            fix = "no action: compare accuracy_target with accuracy_float"
            findings.append(Finding("ND238", "note", name, rule, decay, integer_decay(decay), "", fix))
    exact = min(exact_steps(integer_decay(decay)) for decay in decays.values())
    if timesteps is None or timesteps > exact:
        rule = "the leak truncates: beyond these timesteps the membrane is off by up to 1/64 of a weight unit a step"
        fix = "no action: the simulator and Lava truncate alike; compare accuracy_target with accuracy_float"
        findings.append(Finding("ND216", "note", name, rule, timesteps or "unknown", exact, "timesteps", fix))
    return findings


def _error(name: str, rule: str, measured: object, fix: str) -> Finding:
    return Finding("ND215", "error", name, rule, str(measured), None, "", fix)


def _neuron_findings(name: str, node: Node) -> list[Finding]:
    assert isinstance(node, (LIF, Integrator))
    findings = []
    decays = {"decay": node.decay, **({"current decay": node.current_decay} if isinstance(node, CubaLIF) else {})}
    for what, decay in decays.items():
        if decay.ndim:
            findings.append(_error(name, f"the integer machine has one {what} per layer", "several", f"use one {what}"))
        elif not 0.0 <= float(decay) <= 1.0:
            fix = "a leak shrinks a state: use 0 to 1"
            findings.append(_error(name, f"the integer machine's {what} is in 0…1", float(decay), fix))
    if isinstance(node, Integrator):
        if np.any(node.gain != 1.0) or np.any(node.offset != 0.0):
            have = f"gain {node.gain}, offset {node.offset}"
            fix = "put the gain into the weights of a linear layer of its own"
            findings.append(_error(name, "the integer machine's readout has gain 1, offset 0", have, fix))
        return findings
    if node.threshold.ndim:
        fix = "--fold weights: norms go into weights, not thresholds"
        findings.append(_error(name, "the integer machine has one threshold per layer", "several", fix))
    elif float(node.threshold) <= 0:
        fix = "use a positive threshold"
        findings.append(_error(name, "the threshold must be positive", float(node.threshold), fix))
    gains = [node.gain, *([node.current_gain] if isinstance(node, CubaLIF) else [])]
    offset = np.any(node.offset != 0.0) and not isinstance(node, CubaLIF)
    if any(np.any(gain != 1.0) for gain in gains) or offset or np.any(node.v_reset != 0.0) or node.reset != "to":
        have = f"gain {node.gain}, offset {node.offset}, v_reset {node.v_reset}, reset {node.reset}"
        rule = "the integer machine's neuron has gain 1, offset 0, reset to 0"
        findings.append(_error(name, rule, have, "use such neurons"))
    return findings


def _bias_findings(graph: Graph, name: str, node: Node) -> list[Finding]:
    """The machine adds a bias to the membrane at every step: neither through the current nor a step late."""
    findings = []
    for source in graph.sources(name):
        synapse = graph.nodes[source]
        if not isinstance(synapse, SYNAPSES) or not np.any(synapse.bias):
            continue
        largest = f"{np.max(np.abs(synapse.bias)):.4g}"
        if isinstance(node, CubaLIF) and np.any(node.current_decay != 0.0):
            rule = f"the bias of `{source}` passes through the current; the integer machine's goes to the membrane"
            fix = "train without a bias here, or with current decay 0"
            findings.append(_error(name, rule, largest, fix))
        if (source, name) in graph.recurrent:
            rule = f"the bias of `{source}` arrives one step late; the integer machine adds it from the first step on"
            fix = "make the edge into this synapse the recurrent one"
            findings.append(_error(name, rule, largest, fix))
    return findings


def _synapse_findings(graph: Graph, name: str) -> list[Finding]:
    findings = []
    for source in graph.sources(name):
        node = graph.nodes[source]
        if not isinstance(node, SYNAPSES):
            rule = f"a neuron of this target is fed by synapses, not by `{source}` ({node.kind})"
            fix = "put a convolution or linear layer before it (an identity skip is a 1x1 convolution)"
            findings.append(Finding("ND215", "error", name, rule, node.kind, "conv or linear", "", fix))
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


def synapses_into(graph: Graph, name: str) -> dict[str, Synapse]:
    """The synapses into a population, by name, in the order of the sum."""
    return {s: node for s in graph.sources(name) if isinstance(node := graph.nodes[s], SYNAPSES)}
