"""The input of an exact graph: its grid, its limit, and how to bring samples onto it.

A real input is rounded to multiples of ``2^-a`` and clipped to ``±limit``; both follow from calibration samples when
the graph is snapped, and afterwards from the graph alone: ``scales`` says ``2^a``, and the limit is the largest for
which everything in front of the first spikes is still proven.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from neurodeploy.diagnostics import Finding
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import SYNAPSES, Input
from neurodeploy.passes.exact_sums import SIGNIFICAND, Values, is_spiking, walk

#: Bits a real input may take: 2^-10 is a quarter of a step of an 8-bit image.
INPUT_BITS = 10
#: The limit of the input is kept to so many binary digits.
LIMIT_DIGITS = 4
#: Largest magnitude of a real input where nothing says it: standardized images lie within.
DEFAULT_LIMIT = 4.0


@dataclass(frozen=True)
class Entry:
    """What enters: multiples of ``2^-bits`` up to ``limit``, with the mean square of its values and of its error."""

    bits: int
    limit: float
    power: float
    error: float

    def values(self, graph: Graph) -> Values:
        """What the Input puts out."""
        return entering(graph, self.limit, self.bits)


def is_exact(graph: Graph) -> bool:
    """Whether ``graph`` came out of :func:`~neurodeploy.passes.snap.snap`: a float graph that says its grids."""
    return graph.arithmetic == "float32" and graph.input in graph.scales


def input_limit(graph: Graph) -> float:
    """How large a value of the input may be in an exact graph, to four binary digits; a binary input: 1."""
    node = graph.nodes[graph.input]
    assert isinstance(node, Input)
    if node.values == "binary":
        return 1.0

    reached, _ = behind(graph, (graph.input,), through_synapses=True)

    def fits(limit: float) -> bool:
        _, needs = walk(graph, entering(graph, limit), (graph.input, *reached))
        return all(need.bits <= need.limit for need in needs)

    low, high = -1 - SIGNIFICAND, SIGNIFICAND + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(2.0**middle) else (low, middle)
    limit = 2.0**low
    for digit in range(1, LIMIT_DIGITS):
        limit += 2.0 ** (low - digit) if fits(limit + 2.0 ** (low - digit)) else 0.0
    scale = graph.scales[graph.input]
    return math.floor(limit * scale) / scale


def snap_input(graph: Graph, x: np.ndarray) -> tuple[np.ndarray, int]:
    """``x`` on the grid of an exact graph's Input and within its limit, and how many values were clipped.

    Real values become float32; whole numbers are clipped only; spikes, and the input of other graphs, stay as they are.
    """
    node = graph.nodes[graph.input]
    assert isinstance(node, Input)
    if not is_exact(graph) or node.values == "binary":
        return x, 0
    limit, scale = input_limit(graph), graph.scales[graph.input]
    if node.values == "integer":
        snapped = np.minimum(x, limit).astype(x.dtype)
        return snapped, int(np.count_nonzero(snapped != x))
    rounded = np.rint(x * scale) / scale
    snapped = np.clip(rounded, -limit, limit)
    return snapped.astype(np.float32), int(np.count_nonzero(snapped != rounded))


def entering(graph: Graph, limit: float, bits: int | None = None) -> Values:
    """What enters an exact graph whose input stays within ``limit``; ``bits``: the grid of another graph's input."""
    node = graph.nodes[graph.input]
    assert isinstance(node, Input)
    lowest = -limit if node.values == "real" else 0.0
    bits = int(math.log2(graph.scales[graph.input])) if bits is None else bits
    return Values(bits, np.full(node.shape[0], lowest), np.full(node.shape[0], limit))


def entries(graph: Graph, calibration: np.ndarray | None) -> list[Entry]:
    """The grids to try for the input: one for spikes and integers, several for real values."""
    node = graph.nodes[graph.input]
    assert isinstance(node, Input)
    if node.values == "binary":
        return [Entry(0, 1.0, 0.5, 0.0)]
    x = None if calibration is None else np.asarray(calibration, np.float64)
    largest = DEFAULT_LIMIT if x is None or not x.size else float(np.max(np.abs(x)))
    step = 2.0 ** (math.frexp(largest)[1] - LIMIT_DIGITS)
    limit = math.ceil(largest / step) * step if largest > 0 else 1.0
    power = limit**2 / 3 if x is None else float(np.mean(x**2))
    if node.values == "integer":
        return [Entry(0, limit, power, 0.0)]
    entries = []
    for bits in range(INPUT_BITS + 1):
        step = 2.0**-bits
        error = step**2 / 12 if x is None else float(np.mean((x - np.rint(x / step) * step) ** 2))
        entries.append(Entry(bits, limit, power, error))
        if error == 0.0:
            break  # the samples lie on this grid
    return entries


def entry_finding(graph: Graph) -> Finding:
    node = graph.nodes[graph.input]
    assert isinstance(node, Input)
    limit = f"{input_limit(graph):g}"
    if node.values != "real":
        rule = f"the proof holds for whole numbers from 0 to {limit} at the input"
        return Finding("ND241", "note", graph.input, rule, fix="no action: spikes and counts are whole numbers")
    bits = int(math.log2(graph.scales[graph.input]))
    rule = f"the proof holds for multiples of 2^-{bits} in ±{limit} at the input: golden vectors were rounded to them"
    fix = f"round what you feed to other readers: numpy.rint(x * {2**bits}) / {2**bits}"
    return Finding("ND241", "note", graph.input, rule, fix=fix)


def behind(graph: Graph, start: tuple[str, ...], *, through_synapses: bool = False) -> tuple[list[str], bool]:
    """Nodes that the values of ``start`` reach before the next synapse or behind a neuron; whether a synapse is among
    them (case 2)."""
    found: list[str] = []
    chained = False
    waiting = list(start)
    while waiting:
        for target in graph.targets(waiting.pop()):
            synapse = isinstance(graph.nodes[target], SYNAPSES)
            chained = chained or synapse
            if target not in found and (through_synapses or not synapse):
                found.append(target)
                if not is_spiking(graph.nodes[target]):
                    waiting.append(target)
    return found, chained
