"""Check a network against a chip's rules (:mod:`neurodeploy.config.chip`): one finding per layer and rule.

Pre: norms are folded; the graph is the chip's part. Post: unchanged; every rule that a layer breaks is said, none hides
another.

Codes:
    ND259  a neuron leaks by a factor and the chip cannot
    ND260  a neuron resets, compares, fires or is parameterized as the chip's does not
    ND261  weights: too many different ones (error), or more bits than are stored (warning: somebody will round them)
    ND262  the geometry of a layer or a pool
    ND263  wiring: sums of synapses, sums of spikes, fan-out, recurrence
    ND264  a layer, or all of them, do not fit the memories of the cores (:mod:`neurodeploy.passes.layer_cores`)
    ND265  biases that the chip's clock adds (warning)
    ND301, ND304  real or graded values reach a synapse, where several spikes at once may
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from neurodeploy.config.chip import ChipRules, LayerRules, NeuronRules, WeightRules, WiringRules
from neurodeploy.diagnostics import Finding
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, NEURONS, SYNAPSES, Conv1d, Conv2d, SumPool2d
from neurodeploy.passes.exact_bits import exact_bits
from neurodeploy.passes.layer_form import layer_form
from neurodeploy.passes.place import populations_behind
from neurodeploy.passes.purity import purity

Number = float | int | str


def chip_findings(graph: Graph, rules: ChipRules, chip: str) -> list[Finding]:
    """Everything about ``graph`` that ``chip`` does not hold, in the order of the codes."""
    found: list[Finding] = []
    if rules.neuron is not None:
        for name in graph.names(LIF):
            found.extend(_neuron(graph, name, rules.neuron, chip))
        found.extend(_one_reset(graph, rules.neuron, chip))
    if rules.weights is not None:
        for name in graph.names(NEURONS):
            found.extend(_weights(graph, name, rules.weights, chip))
    if rules.layers is not None:
        for name in graph.names((*SYNAPSES, SumPool2d)):
            found.extend(_layer(graph, name, rules.layers, chip))
    if rules.wiring is not None:
        found.extend(_wiring(graph, rules.wiring, chip))
    if rules.values == "integer":
        found.extend(f for f in purity(graph) if not str(f.measured).startswith("integer"))
    return sorted(found, key=lambda finding: finding.code)


# ---------------------------------------------------------------------------------------------------------------------
# neurons


def _neuron(graph: Graph, name: str, rules: NeuronRules, chip: str) -> Iterator[Finding]:
    node = graph.nodes[name]
    assert isinstance(node, LIF)

    def wrong(rule: str, measured: Number, limit: Number, fix: str) -> Finding:
        return Finding("ND260", "error", name, f"{chip} {rule}", measured, limit, "", fix)

    if rules.leak != "multiplicative" and np.any(node.decay != 1.0):
        what = "only a constant leak per step" if rules.leak == "additive" else "no leak"
        fix = "train without leak (neuron.tau = 1), or use a target whose neurons leak: loihi2, spinnaker2"
        rule = f"the membrane of this layer is multiplied by its decay at every step; {chip} has {what}"
        yield Finding("ND259", "error", name, rule, _some(node.decay), 1, "decay", fix)
    if rules.resets is not None and node.reset not in rules.resets:
        fix = "train with the other reset, or use a target that has this one: nir, onnx, loihi2"
        if node.spikes == "multi":
            fix = "use --spikes single"
        yield wrong("does not reset like this layer", node.reset, ", ".join(rules.resets), fix)
    if rules.spikes is not None and node.spikes not in rules.spikes:
        fix = f"read the file with --spikes {rules.spikes[0]} if its neurons do so, else train for it"
        yield wrong("does not fire like this layer", node.spikes, ", ".join(rules.spikes), fix)
    if rules.compares is not None and node.compare not in rules.compares:
        fix = f"read the file with --compare {rules.compares[0]} if that is what it means"
        yield wrong("does not compare with the threshold like this layer", node.compare, ", ".join(rules.compares), fix)
    if rules.v_reset_zero and node.reset == "to" and np.any(node.v_reset != 0.0):
        yield wrong("resets to zero", _some(node.v_reset), 0, "train with a reset to zero")
    if rules.one_threshold and node.threshold.size > 1:
        count = int(np.unique(node.threshold).size)
        yield wrong("has one threshold for a layer", count, 1, "fold norms into weights, not into thresholds")
    behind = [s for s in graph.sources(name) if isinstance(graph.nodes[s], (Conv1d, Conv2d))]
    if rules.bias == "linear":
        for source in (s for s in behind if _has_bias(graph, s)):
            fix = "give the neurons a leak (the bias then becomes their constant drive), or train without biases"
            yield replace(wrong("reads biases of linear layers only", "a bias", "none", fix), node=source)
    if rules.bias == "clock":
        biased = [s for s in graph.sources(name) if isinstance(graph.nodes[s], SYNAPSES) and _has_bias(graph, s)]
        for source in biased:
            count = int(np.count_nonzero(graph.nodes[source].bias))  # type: ignore[attr-defined]
            fix = "train without biases, or set the chip's leak clock to one tick per timestep"
            rule = f"{chip} adds biases by its leak clock, not with the spikes of a step"
            yield Finding("ND265", "warning", source, rule, count, 0, "biases", fix)


def _has_bias(graph: Graph, name: str) -> bool:
    return bool(np.any(graph.nodes[name].bias != 0.0))  # type: ignore[attr-defined]


def _one_reset(graph: Graph, rules: NeuronRules, chip: str) -> Iterator[Finding]:
    resets = {name: graph.nodes[name].reset for name in graph.names(LIF)}  # type: ignore[attr-defined]
    kinds = sorted(set(resets.values()))
    if rules.one_reset and len(kinds) > 1:
        rule = f"{chip} resets all layers of a network in one way"
        node = next(name for name, reset in resets.items() if reset != next(iter(resets.values())))
        yield Finding("ND260", "error", node, rule, ", ".join(kinds), 1, "resets", "train with one kind of reset")


# ---------------------------------------------------------------------------------------------------------------------
# weights


def _weights(graph: Graph, name: str, rules: WeightRules, chip: str) -> Iterator[Finding]:
    incoming = [graph.nodes[s].weight for s in graph.sources(name) if isinstance(graph.nodes[s], SYNAPSES)]  # type: ignore[attr-defined]
    if not incoming:
        return
    rows = np.concatenate([weight.reshape(weight.shape[0], -1).astype(np.float64) for weight in incoming], axis=1)
    if rules.distinct is not None:
        most = distinct_weights(rows)
        if most > rules.distinct:
            fix = f"train with at most {rules.distinct} weight values beside 0 for each neuron: ternary weights, say"
            rule = f"a neuron of this layer has more different weights than one of {chip}"
            yield Finding("ND261", "error", name, rule, most, rules.distinct, "values", fix)
    bits = exact_bits(rows)
    if bits > rules.bits:
        fix = "whoever writes the chip's memory rounds them: measure the accuracy there, or train with rounded weights"
        rule = f"{chip} stores fewer bits than the weights of this layer need to be exact"
        yield Finding("ND261", "warning", name, rule, bits, rules.bits, "bits", fix)


def distinct_weights(rows: np.ndarray) -> int:
    """The largest number of different weights beside 0 in a row of ``(O, I)``."""
    ordered = np.sort(rows, axis=1)
    new = np.ones(ordered.shape, bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return int((new & (ordered != 0.0)).sum(axis=1).max(initial=0))


# ---------------------------------------------------------------------------------------------------------------------
# geometry


def _layer(graph: Graph, name: str, rules: LayerRules, chip: str) -> Iterator[Finding]:
    node = graph.nodes[name]

    def wrong(rule: str, measured: Number, limit: Number, unit: str, fix: str) -> Finding:
        return Finding("ND262", "error", name, f"{chip} {rule}", measured, limit, unit, fix)

    if isinstance(node, SumPool2d):
        yield from _pool(graph, name, rules, wrong)
        return
    form = layer_form(graph, name)
    smaller = "pool or stride earlier"
    if rules.max_input is not None and max(form.input[1:]) > rules.max_input:
        yield wrong("reads smaller maps", max(form.input[1:]), rules.max_input, "pixels", "crop or pool the input")
    if rules.max_output is not None and max(form.output[1:]) > rules.max_output:
        yield wrong("has smaller maps of neurons", max(form.output[1:]), rules.max_output, "pixels", smaller)
    channels = max(form.input[0], form.output[0])
    if rules.max_channels is not None and channels > rules.max_channels:
        yield wrong("has fewer channels in a layer", channels, rules.max_channels, "channels", "use fewer channels")
    if rules.max_kernel is not None and max(form.kernel) > rules.max_kernel:
        fix = f"use a smaller kernel; before a linear layer, {smaller}"
        yield wrong("has smaller kernels", max(form.kernel), rules.max_kernel, "taps", fix)
    if rules.square_kernel and form.kernel[0] != form.kernel[1]:
        yield wrong("has square kernels only", _pair(form.kernel), "square", "", "use a square kernel")
    odd = [step for step in form.stride if rules.strides is not None and step not in rules.strides]
    if odd and rules.strides is not None:
        allowed = ", ".join(map(str, rules.strides))
        yield wrong("does not have this stride", odd[0], allowed, "", "use another stride, or a pool")
    if rules.square_stride and form.stride[0] != form.stride[1]:
        yield wrong("has the same stride on both axes", _pair(form.stride), "equal", "", "use a square stride")
    if rules.max_padding is not None and max(form.padding) > rules.max_padding:
        yield wrong("pads less", max(form.padding), rules.max_padding, "pixels", "pad less")
    if not rules.dilation and form.dilation != (1, 1):
        yield wrong("has no dilation", _pair(form.dilation), "1x1", "", "train without dilation")
    if not rules.groups and form.groups != 1:
        yield wrong("has no groups", form.groups, 1, "groups", "train without groups")


def _pool(graph: Graph, name: str, rules: LayerRules, wrong) -> Iterator[Finding]:  # type: ignore[no-untyped-def]
    node = graph.nodes[name]
    assert isinstance(node, SumPool2d)
    plain = node.kernel[0] == node.kernel[1] and node.stride == node.kernel and node.padding == (0, 0)
    if (rules.tiled_pool or rules.pools is not None) and not plain:
        measured = f"window {_pair(node.kernel)}, stride {_pair(node.stride)}, padding {_pair(node.padding)}"
        yield wrong("has only square pools that tile their input", measured, "a tiling", "", "use such a pool")
    elif rules.pools is not None:
        window, source = node.kernel[0], graph.sources(name)[0]
        while isinstance(graph.nodes[source], SumPool2d):
            window *= graph.nodes[source].kernel[0]  # type: ignore[attr-defined]
            source = graph.sources(source)[0]
        if window not in rules.pools:
            allowed = ", ".join(map(str, rules.pools))
            yield wrong("does not have this pool", window, allowed, "pixels", "use another window, or a stride")


def _pair(values: tuple[int, int]) -> str:
    return f"{values[0]}x{values[1]}"


# ---------------------------------------------------------------------------------------------------------------------
# wiring


def _wiring(graph: Graph, rules: WiringRules, chip: str) -> Iterator[Finding]:
    def wrong(name: str, rule: str, measured: int, limit: int, unit: str, fix: str) -> Finding:
        return Finding("ND263", "error", name, f"{chip} {rule}", measured, limit, unit, fix)

    chain = "train a network without skip paths (net.name = vgg16 or conv), or use loihi2"
    for name in graph.names(NEURONS):
        count = sum(isinstance(graph.nodes[s], SYNAPSES) for s in graph.sources(name))
        most = rules.synapses_per_population
        if most is not None and count > most:
            yield wrong(name, "does not add up so many synapses in one layer", count, most, "synapses", chain)
    for name in graph.names(SYNAPSES):
        count, most = len(graph.sources(name)), rules.sources_per_synapse
        if most is not None and count > most:
            yield wrong(name, "does not add up spikes before a synapse", count, most, "sources", chain)
    for name in (graph.input, *graph.names(NEURONS)):
        count, most = len(set(populations_behind(graph, name))), rules.fan_out
        if most is not None and count > most:
            fix = f"let at most {most} layers read this one"
            yield wrong(name, "sends the spikes of a layer to fewer layers", count, most, "layers", fix)
    if not rules.recurrent:
        for source, target in sorted(graph.recurrent):
            yield wrong(source, f"has no recurrent edges (to `{target}`)", 1, 0, "edges", "use loihi2, or unroll it")


def _some(array: np.ndarray) -> Number:
    """The one value of an array, or its ends."""
    low, high = float(np.min(array)), float(np.max(array))
    return low if low == high else f"{low:g} … {high:g}"
