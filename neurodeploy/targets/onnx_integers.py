"""The integer machine in floating-point operators, exact: every number in them is a proven integer or dyadic.

``x >> n`` toward zero is ``sign(x) · floor(|x| · 2^-n)``. A synapse is a float32 Conv or Gemm whose every partial sum,
in any order, is at most ``Σ|w| · most < 2^24``: exact, and refused otherwise (ND246). A neuron
(:mod:`neurodeploy.ir.machine`) stays in float32 where its leak is a shift and its largest sum is below 2^24,
as in a quantized network of the papers (decay 1/4); otherwise it computes in float64, whose 53 bits hold the product
of a 24-bit state and a 12-bit factor. ONNX Runtime has float64 for every elementwise operator, not for Conv.

What enters and leaves a graph is float32: spikes, and states below 2^24.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from neurodeploy.diagnostics import Finding
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.kinds import incoming_kind, value_kinds
from neurodeploy.ir.machine import (
    DECAY_UNITY,
    SHIFT,
    STATE_LIMIT,
    WRAP,
    current_decay,
    neuron_bias,
    threshold_mantissa,
    voltage_decay,
)
from neurodeploy.ir.nodes import LIF, SYNAPSES, CubaLIF, Integrator, Linear
from neurodeploy.targets.onnx_operators import CURRENT, FLOAT, MEMBRANE, State
from neurodeploy.targets.onnx_writer import Site

#: Float32 counts exactly up to here.
EXACT = 2**24
#: ``TensorProto.DOUBLE``.
DOUBLE = 11


@dataclass(frozen=True)
class Bounds:
    """Proven bounds of a neuron, all of absolute values.

    Attributes:
        arriving: The sum of its synapses, in weight units, each wrapped where it is a convolution.
        before: ``u`` before it wraps.
        current: ``u`` after it.
        potential: ``v`` before it is clipped.
        wide: The neuron needs float64.
    """

    arriving: int
    before: int
    current: int
    potential: int
    wide: bool


def sum_bounds(graph: Graph) -> dict[str, int | None]:
    """Synapse -> the largest ``Σ|w|·most`` of its output channels; None where its input is not bounded."""
    kinds = value_kinds(graph)
    bounds: dict[str, int | None] = {}
    for name in graph.names(SYNAPSES):
        most = incoming_kind(graph, name, kinds).most
        weight = np.abs(graph.nodes[name].weight.astype(np.int64))  # type: ignore[attr-defined]
        total = int(weight.reshape(len(weight), -1).sum(axis=1).max())
        bounds[name] = 0 if total == 0 else None if most is None else total * most
    return bounds


def neuron_bounds(graph: Graph, name: str, sums: dict[str, int | None]) -> Bounds:
    """The bounds of neuron ``name``, over any number of steps."""
    node = graph.nodes[name]
    assert isinstance(node, (LIF, Integrator))
    arriving = sum(_after_wrap(graph, source, sums[source] or 0) for source in graph.sources(name))
    factor_i, factor_v = DECAY_UNITY - current_decay(node), DECAY_UNITY - voltage_decay(node)
    driven = arriving << SHIFT
    before = _current_bound(driven, factor_i)
    current = before if before < WRAP // 2 else max(WRAP // 2, before - WRAP)
    bias = int(np.abs(neuron_bias(graph, name)).max()) << SHIFT
    potential = (STATE_LIMIT * factor_v >> 12) + current + bias
    shifts = all(factor & (factor - 1) == 0 for factor in (factor_i, factor_v))
    return Bounds(arriving, before, current, potential, not shifts or max(potential, before) >= EXACT)


def _current_bound(driven: int, factor: int) -> int:
    """The largest ``|u|`` before it wraps, where each step adds at most ``driven`` and keeps ``factor``/4096.

    The sum settles at ``driven / (1 − factor/4096)``. Where that can wrap, at most half the range is left of it, as
    long as one step stays below three halves (:func:`integer_findings` refuses the rest).
    """
    settled = driven * DECAY_UNITY // (DECAY_UNITY - factor) if factor < DECAY_UNITY else WRAP if driven else 0
    return settled if factor == 0 or settled < WRAP // 2 else driven + ((WRAP // 2) * factor >> 12)


def _after_wrap(graph: Graph, synapse: str, bound: int) -> int:
    return bound if isinstance(graph.nodes[synapse], Linear) else min(bound, WRAP // 2)


def integer_findings(graph: Graph) -> Iterator[Finding]:
    """Every sum that is not proven to stay exact (ND246)."""
    sums = sum_bounds(graph)
    for name, bound in sums.items():
        if bound is None or bound >= EXACT:
            rule = "a sum of this layer is not proven to stay below 2^24, where float32 stops counting"
            measured = "unbounded input" if bound is None else bound
            fix = "smaller weights, fewer inputs, or binary spikes before it"
            yield Finding("ND246", "error", name, rule, measured, EXACT, "weight units", fix)
    for name in graph.names(CubaLIF):
        before = neuron_bounds(graph, name, sums).before
        if current_decay(graph.nodes[name]) < DECAY_UNITY and before > 3 * (WRAP // 2):
            rule = "the current of this layer is not proven to stay in 24 bits after it wraps"
            fix = "smaller weights or fewer inputs"
            yield Finding("ND246", "error", name, rule, before, 3 * (WRAP // 2), "state units", fix)


def wrapped_synapse(site: Site, value: str, bound: int) -> str:
    """A convolution's sum as 24 bits hold it: −2^23 … 2^23 − 1."""
    half = WRAP // 2
    if bound < half:
        return value
    over = site.op("GreaterOrEqual", [value, _number(site, half)], "over")
    under = site.op("Less", [value, _number(site, -half)], "under")
    down = site.op("Sub", [value, _number(site, WRAP)], "down")
    up = site.op("Add", [value, _number(site, WRAP)], "up")
    inner = site.op("Where", [under, up, value], "wrapped_up")
    return site.op("Where", [over, down, inner], "wrapped")


def integer_neuron(site: Site, graph: Graph, bounds: Bounds, a: str, state: State) -> str:
    """One step of a neuron of the integer machine; writes the new ``state``, in the neuron's own precision."""
    name, wide = site.name, bounds.wide
    node = graph.nodes[name]

    def add_kept(key: str, decay: int, value: str, result: str) -> str:
        """``(state · (4096 − decay) >> 12) + value``."""
        kept = state.get(key)
        if kept is None or decay == DECAY_UNITY:
            return value
        if decay:
            factor = _number(site, (DECAY_UNITY - decay) / DECAY_UNITY, wide)
            part = site.op("Mul", [site.op("Abs", [kept], f"{key}_size"), factor], f"{key}_part")
            floor = site.op("Floor", [part], f"{key}_floor")
            kept = site.op("Mul", [site.op("Sign", [kept], f"{key}_sign"), floor], f"leaked_{key}")
        return site.op("Add", [kept, value], result)

    a = widen(site, a, "wide", wide)
    i = add_kept(CURRENT, current_decay(node), site.op("Mul", [a, _number(site, 2**SHIFT, wide)], "shifted"), "current")
    i = _wrap_once(site, i, wide) if bounds.before >= WRAP // 2 else i
    if isinstance(node, CubaLIF):
        state[CURRENT] = i
    v = add_kept(MEMBRANE, voltage_decay(node), i, "potential")
    bias = np.asarray(neuron_bias(graph, name)).reshape(-1, *(1,) * (len(graph.shapes[name]) - 1)) << SHIFT
    if np.any(bias):
        v = site.op("Add", [v, site.constant("bias", bias, np.float64 if wide else np.float32)], "biased")
    v = site.op("Clip", [v, _number(site, -STATE_LIMIT, wide), _number(site, STATE_LIMIT, wide)], "clipped")
    fired = site.op("Greater", [v, _number(site, threshold_mantissa(node) << SHIFT, wide)], "fired")
    state[MEMBRANE] = site.op("Where", [fired, _number(site, 0, wide), v], "membrane")
    if isinstance(node, LIF):
        return site.result("Cast", [fired], "spikes", "o = 1 where v > vThMant · 64", to=FLOAT)
    return narrow(site, state[MEMBRANE], "narrow", wide)


def _wrap_once(site: Site, i: str, wide: bool) -> str:
    """Above 2^23 less 2^24, at or below −2^23 plus 2^24, once."""
    half, full = _number(site, WRAP // 2, wide), _number(site, WRAP, wide)
    over = site.op("Greater", [i, half], "over")
    under = site.op("LessOrEqual", [i, _number(site, -(WRAP // 2), wide)], "under")
    inner = site.op("Where", [under, site.op("Add", [i, full], "up"), i], "wrapped_up")
    return site.op("Where", [over, site.op("Sub", [i, full], "down"), inner], "wrapped")


def narrow(site: Site, value: str, what: str, wide: bool) -> str:
    """A state as float32: exact, it is at most 2^24."""
    return site.op("Cast", [value], what, to=FLOAT) if wide else value


def widen(site: Site, value: str, what: str, wide: bool) -> str:
    """A value as the neuron computes with it."""
    return site.op("Cast", [value], what, to=DOUBLE) if wide else value


def _number(site: Site, value: float, wide: bool = False) -> str:
    kind, text = "double" if wide else "number", f"{value:.0f}" if float(value).is_integer() else f"{value:g}"
    return site.writer.constant(f"{kind}.{text}", value, np.float64 if wide else np.float32)
