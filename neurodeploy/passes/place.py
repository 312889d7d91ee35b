"""Place neuron populations on cores.

Each population is cut into blocks of whole output channels; a block holds its neurons, the weights into them (a
convolution's kernels once, at ``weight_bits``) and one input axon per source neuron that it reads: with groups, those
of its own groups. Blocks are as large as the core's tightest limit allows, so the number of cores is the smallest for
this cut. Relays and identity skips are populations and synapses like any other. Delays of a chip cost nothing here.

Pre: quantized (the weights are what will be stored). Post: every population has its cores, or a finding says which
limit stops it: ND202 neurons of one channel, ND203 synaptic memory of one channel, ND204 input axons, ND224 fan-in,
ND225 bits.
This is our model of the chip, not the vendor's compiler; compile.json says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurodeploy.diagnostics import Finding
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import NEURONS, SYNAPSES, Conv1d, Conv2d, Linear, as_conv2d


@dataclass(frozen=True)
class CoreLimits:
    """What one core holds; None where nobody publishes it (then it is not checked, and said so).

    Attributes:
        name: Where the numbers come from, for messages.
        neurons: Neurons per core.
        synaptic_memory_bytes: Bytes for weights per core.
        axons_in: Input axons per core.
        cores: Cores per chip.
        fan_in: Synapses per neuron.
        synapses: Synapses per chip.
        weight_bits: Bits per weight that the chip stores.
        state_bits: Bits of a membrane.
        needed_weight_bits: Bits per weight of the compiled network.
        needed_state_bits: Bits of its membranes, None for a float network.
    """

    name: str
    neurons: int | None = None
    synaptic_memory_bytes: int | None = None
    axons_in: int | None = None
    cores: int | None = None
    fan_in: int | None = None
    synapses: int | None = None
    weight_bits: int | None = None
    state_bits: int | None = None
    needed_weight_bits: int = 8
    needed_state_bits: int | None = None


@dataclass(frozen=True)
class Placement:
    """Resources per node and in total, cores per population, findings.

    Attributes:
        nodes: Neuron node -> ``{neurons, synapses, synaptic_memory_bytes, axons_in, axons_out, cores, limited_by}``.
        total: The same keys, summed.
        chips: Chips needed, None where cores per chip are unknown.
        bottleneck: ``{node, resource, cores}`` of the population that takes most cores.
        chips_limited_by: What the number of chips follows from: ``cores`` or ``synapses``.
    """

    nodes: dict[str, dict[str, Any]]
    total: dict[str, Any]
    chips: int | None
    bottleneck: dict[str, Any] | None
    findings: list[Finding] = field(default_factory=list)
    chips_limited_by: str | None = None

    def cores(self) -> dict[str, int]:
        """Neuron node -> number of cores it occupies; empty where it does not fit or nothing is known."""
        return {name: row["cores"] for name, row in self.nodes.items() if row["cores"]}

    def to_json(self) -> dict[str, Any]:
        """``resources`` of the contract."""
        return {"nodes": self.nodes, "total": self.total}


def place(graph: Graph, limits: CoreLimits) -> Placement:
    """Cut every population into channel blocks and count cores, chips and the limiting resource."""
    rows: dict[str, dict[str, Any]] = {}
    findings: list[Finding] = []
    for name in graph.names(NEURONS):
        row, problems = _population(graph, name, limits)
        rows[name] = row
        findings.extend(problems)
    for name, row in rows.items():
        fed = populations_behind(graph, name)
        row["axons_out"] = (
            None if any(rows[n]["cores"] is None for n in fed) else sum(row["neurons"] * rows[n]["cores"] for n in fed)
        )
    total: dict[str, Any] = {
        key: None if any(row[key] is None for row in rows.values()) else sum(row[key] for row in rows.values())
        for key in ("neurons", "synapses", "synaptic_memory_bytes", "axons_in", "axons_out", "cores")
    }
    findings.extend(_number_findings(limits))
    chips = None if total["cores"] is None or limits.cores is None else -(-total["cores"] // limits.cores)
    limited_by = None if chips is None else "cores"
    if chips is not None and limits.synapses is not None:
        # Where kernels are stored once per core, a chip's synapses are the weights that it stores, not the connections.
        stored = _weights(graph) if limits.synaptic_memory_bytes is not None else total["synapses"]
        if -(-stored // limits.synapses) > chips:
            chips, limited_by = -(-stored // limits.synapses), "synapses"
    bottleneck = None
    placed = {name: row for name, row in rows.items() if row["cores"]}
    if placed:
        name = max(placed, key=lambda n: placed[n]["cores"])
        bottleneck = {"node": name, "resource": placed[name]["limited_by"], "cores": placed[name]["cores"]}
    return Placement(rows, total, chips, bottleneck, findings, limited_by)


def _weights(graph: Graph) -> int:
    """Weights of the network, a convolution's kernels once: no block of channels repeats another's."""
    return sum(node.weight.size for node in graph.nodes.values() if isinstance(node, SYNAPSES))


def unchecked_limits(limits: CoreLimits) -> list[str]:
    """The limits that nobody published, and that a network was therefore not checked against."""
    known = {
        "neurons per core": limits.neurons,
        "synaptic memory per core": limits.synaptic_memory_bytes,
        "input axons per core": limits.axons_in,
        "cores per chip": limits.cores,
        "fan-in per neuron": limits.fan_in,
        "synapses per chip": limits.synapses,
        "bits per weight": limits.weight_bits,
        "bits per membrane": limits.state_bits,
    }
    return [name for name, value in known.items() if value is None]


def _number_findings(limits: CoreLimits) -> list[Finding]:
    """ND225: weights or membranes that need more bits than the chip has."""
    pairs = [
        ("weights", limits.needed_weight_bits, limits.weight_bits),
        ("membranes", limits.needed_state_bits, limits.state_bits),
    ]
    return [
        Finding(
            "ND225",
            "error",
            "",
            f"the {what} of this target need more bits than {limits.name} has",
            needed,
            available,
            "bits",
            "choose a target that is made for this chip",
        )
        for what, needed, available in pairs
        if needed is not None and available is not None and needed > available
    ]


def _population(graph: Graph, name: str, limits: CoreLimits) -> tuple[dict[str, Any], list[Finding]]:
    shape = graph.shapes[name]
    channels, plane = shape[0], int(np.prod(shape[1:], dtype=np.int64))
    weights = synapses = fan_in = 0
    axons: dict[tuple[str, ...], int] = {}  # parallel synapses share the axons of what they read
    for source in graph.sources(name):
        node = graph.nodes[source]
        if isinstance(node, SYNAPSES):
            weights += node.weight.size
            fan_in += int(np.prod(node.weight.shape[1:]))
            synapses += synapse_count(node, graph.input_shape(source), graph.shapes[source])
            axons[graph.sources(source)] = int(np.prod(graph.input_shape(source), dtype=np.int64))
    memory_bits = weights * limits.needed_weight_bits
    row: dict[str, Any] = {
        "neurons": channels * plane,
        "synapses": synapses,
        "synaptic_memory_bytes": -(-memory_bits // 8),
        "axons_in": sum(axons.values()),
        "cores": None,
        "limited_by": None,
    }
    per_channel_bytes = -(-memory_bits // channels // 8)
    findings = []
    if limits.neurons is not None and plane > limits.neurons:
        fix = "pool or stride earlier: one channel must be smaller; our placer does not split planes across cores"
        rule = f"one channel of this layer has more neurons than a core of {limits.name}"
        findings.append(Finding("ND202", "error", name, rule, plane, limits.neurons, "neurons", fix))
    if limits.synaptic_memory_bytes is not None and per_channel_bytes > limits.synaptic_memory_bytes:
        fix = "use fewer input channels or groups, or fewer weight bits"
        rule = f"the weights of one channel are larger than the synaptic memory of a core of {limits.name}"
        findings.append(
            Finding("ND203", "error", name, rule, per_channel_bytes, limits.synaptic_memory_bytes, "bytes", fix)
        )
    one_channel = _axons_of_block(graph, name, 1)
    if limits.axons_in is not None and one_channel > limits.axons_in:
        fix = "pool or stride before this layer, or use fewer channels; our placer does not split inputs across cores"
        rule = f"one channel of this layer has more source neurons than a core of {limits.name} has input axons"
        findings.append(Finding("ND204", "error", name, rule, one_channel, limits.axons_in, "axons", fix))
    if limits.fan_in is not None and fan_in > limits.fan_in:
        fix = "use smaller kernels, fewer input channels, or groups"
        rule = f"a neuron of this layer has more synapses than a neuron of {limits.name}"
        findings.append(Finding("ND224", "error", name, rule, fan_in, limits.fan_in, "synapses", fix))
    if findings or limits.neurons is None:
        return row, findings
    fits = {"neurons": limits.neurons // plane}
    if limits.synaptic_memory_bytes is not None and per_channel_bytes:
        fits["synaptic memory"] = limits.synaptic_memory_bytes // per_channel_bytes
    if limits.axons_in is not None:
        most = min(fits.values())
        fits["input axons"] = next(
            (c for c in range(most, 0, -1) if _axons_of_block(graph, name, min(c, channels)) <= limits.axons_in), 1
        )
    tightest = min(fits, key=lambda key: fits[key])
    row["cores"] = -(-channels // fits[tightest])
    row["limited_by"] = tightest
    return row, findings


def _axons_of_block(graph: Graph, name: str, channels: int) -> int:
    """Source neurons that the first ``channels`` channels of population ``name`` read."""
    axons: dict[tuple[str, ...], int] = {}
    for source in graph.sources(name):
        node = graph.nodes[source]
        if isinstance(node, SYNAPSES):
            groups = 1 if isinstance(node, Linear) else node.groups
            read = -(-channels * groups // node.weight.shape[0])
            size = read * int(np.prod(graph.input_shape(source), dtype=np.int64)) // groups
            axons[graph.sources(source)] = max(size, axons.get(graph.sources(source), 0))
    return sum(axons.values())


def synapse_count(node: Any, before: tuple[int, ...], after: tuple[int, ...]) -> int:
    """Connections of a synapse node: taps inside the input, borders, stride and groups included."""
    if isinstance(node, Conv1d):
        node, before, after = as_conv2d(node), (before[0], 1, before[1]), (after[0], 1, after[1])
    if not isinstance(node, Conv2d):
        return int(node.weight.size)
    taps = 1
    for axis in (0, 1):
        centers = np.arange(after[1 + axis])[:, None] * node.stride[axis] - node.padding[axis]
        rows = centers + np.arange(node.weight.shape[2 + axis]) * node.dilation[axis]
        taps *= int(np.count_nonzero((rows >= 0) & (rows < before[1 + axis])))
    return taps * node.weight.shape[0] * node.weight.shape[1]


def populations_behind(graph: Graph, name: str) -> list[str]:
    """Populations that the spikes of ``name`` reach through synapses."""
    found: list[str] = []
    open_names = list(graph.targets(name))
    while open_names:
        target = open_names.pop(0)
        if isinstance(graph.nodes[target], NEURONS):
            found += [target] if target not in found else []  # parallel synapses lead to one population
        else:
            open_names.extend(graph.targets(target))
    return found
