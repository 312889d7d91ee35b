"""Place populations on crossbar cores: blocks of neurons with all source neurons that they read as input axons.

A crossbar stores one cell per axon and neuron, so a convolution is unrolled: its kernel is there again for every
position. A block is ``rows x columns`` of the map times ``c`` channels; it fits when ::

    rows · columns · c ≤ neurons per core
    Σ over its synapses of channels read · window height · window width · copies ≤ input axons per core

where the window is what the block reads: ``(rows − 1)·stride + dilation·(kernel − 1) + 1``, at most the input. Where a
neuron chooses its weight by the axon's type, a source that neurons read with different weights needs an axon for each:
``copies`` is at most the number of different weights, and of neurons in the block. The block that needs fewest cores is
taken, for each population by itself.

Pre: norms are folded. Post: every population has its cores, or ND204 or ND224 says what stops it. This is our model of
the chip, an upper bound on the cores of a better packing; splitters for a fan-out beyond one core are not counted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.diagnostics import Finding
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import NEURONS, SYNAPSES
from neurodeploy.passes.layer_form import LayerForm, layer_form
from neurodeploy.passes.place import CoreLimits, Placement, place, populations_behind


def place_tiles(graph: Graph, limits: CoreLimits, distinct: dict[str, int] | None = None) -> Placement:
    """Cores and chips; ``distinct`` gives the different weights per population where types of axons choose them."""
    counted = place(graph, replace(limits, neurons=None, synaptic_memory_bytes=None, axons_in=None, synapses=None))
    rows = {name: dict(row) for name, row in counted.nodes.items()}
    findings = list(counted.findings)
    wide = {finding.node for finding in findings if finding.code == "ND224"}
    if limits.neurons is None or limits.axons_in is None:
        return Placement(rows, counted.total, None, None, findings)
    for name in graph.names(NEURONS):
        if name in wide:
            continue
        forms = _forms(graph, name)
        types = (distinct or {}).get(name, 1)
        cores, axons = _fewest(_map(graph.shapes[name]), forms, limits.neurons, limits.axons_in, types)
        if cores is None:
            rule = f"one neuron of this layer reads more source neurons than a core of {limits.name} has input axons"
            fix = "use smaller kernels, fewer input channels, or groups"
            findings.append(Finding("ND204", "error", name, rule, axons, limits.axons_in, "axons", fix))
            continue
        free, _ = _fewest(_map(graph.shapes[name]), [], limits.neurons, limits.axons_in, types)
        rows[name] |= {"cores": cores, "limited_by": "neurons" if cores == free else "input axons"}
    for row_name, row in rows.items():
        row["synaptic_memory_bytes"] = -(-row["synapses"] * limits.needed_weight_bits // 8)
        behind = [rows[reader]["cores"] for reader in populations_behind(graph, row_name)]
        row["axons_out"] = None if None in behind else row["neurons"] * sum(behind)
    counts = [row["cores"] for row in rows.values()]
    whole = None not in counts
    total = dict(counted.total) | {
        "cores": sum(counts) if whole else None,
        "synaptic_memory_bytes": sum(row["synaptic_memory_bytes"] for row in rows.values()),
        "axons_out": sum(row["axons_out"] for row in rows.values()) if whole else None,
    }
    chips = -(-total["cores"] // limits.cores) if whole and limits.cores else None
    known = {name: row for name, row in rows.items() if row["cores"]}
    bottleneck = None
    if known:
        name = max(known, key=lambda n: known[n]["cores"])
        bottleneck = {"node": name, "resource": known[name]["limited_by"], "cores": known[name]["cores"]}
    return Placement(rows, total, chips, bottleneck, findings, "cores" if chips else None)


def _map(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """``(C, H, W)``; ``(C, L)`` and ``(N,)`` have height 1."""
    if len(shape) == 3:
        return (shape[0], shape[1], shape[2])
    return (shape[0], 1, shape[1]) if len(shape) == 2 else (shape[0], 1, 1)


def _forms(graph: Graph, name: str) -> list[LayerForm]:
    return [layer_form(graph, s) for s in graph.sources(name) if isinstance(graph.nodes[s], SYNAPSES)]


def _fewest(
    shape: tuple[int, int, int], forms: list[LayerForm], neurons: int, axons: int, types: int
) -> tuple[int | None, int]:
    """The fewest cores (None where not even one neuron fits), and the axons of a block of one neuron."""
    channels, height, width = shape
    best: int | None = None
    for rows in range(1, height + 1):
        for columns in range(1, min(width, neurons // rows) + 1):
            most = min(channels, neurons // (rows * columns))
            most = next((c for c in range(most, 0, -1) if _axons(forms, rows, columns, c, types) <= axons), 0)
            if most == 0:
                break  # wider blocks read more
            cores = -(-height // rows) * -(-width // columns) * -(-channels // most)
            best = cores if best is None else min(best, cores)
    return best, _axons(forms, 1, 1, 1, types)


def _axons(forms: list[LayerForm], rows: int, columns: int, channels: int, types: int) -> int:
    """Input axons of a block."""
    copies = min(types, rows * columns * channels)
    total = 0
    for form in forms:
        window = 1
        for axis, count in ((0, rows), (1, columns)):
            reach = (count - 1) * form.stride[axis] + form.dilation[axis] * (form.kernel[axis] - 1) + 1
            window *= min(reach, form.input[1 + axis])
        # Blocks of c channels that no multiple of a group's size begins may straddle one group more.
        per_group = max(form.output[0] // form.groups, 1)
        aligned = channels % per_group == 0 or per_group % channels == 0
        touched = min(-(-channels // per_group) + (not aligned), form.groups)
        total += int(touched * (form.input[0] // form.groups) * window * copies)
    return total


def distinct_per_population(graph: Graph) -> dict[str, int]:
    """The largest number of different weights beside 0 of a neuron, per population."""
    from neurodeploy.passes.chip_rules import distinct_weights

    found = {}
    for name in graph.names(NEURONS):
        rows = [
            graph.nodes[s].weight.reshape(graph.nodes[s].weight.shape[0], -1)  # type: ignore[attr-defined]
            for s in graph.sources(name)
            if isinstance(graph.nodes[s], SYNAPSES)
        ]
        found[name] = max(distinct_weights(np.concatenate(rows, axis=1)), 1) if rows else 1
    return found
