"""Snap weights, biases and thresholds to grids on which every float32 sum is exact: ``export --exact``.

Float sums depend on their order, so two readers of one file may put a membrane on different sides of the threshold.
On a grid ``2^-G`` they cannot: with the weights of a layer at multiples of ``2^-(G − a)`` (its input at multiples of
``2^-a``; spikes: a = 0) and its bias at multiples of ``2^-G``, every partial sum and every step of the membrane is an
integer multiple of a power of two below 2^24, which float32 holds. :mod:`neurodeploy.passes.exact_sums` derives what
must fit; for τ = 0.25 and T = 4 it is ``|x − v| < 2^(16 − G)``. Then float32 = float64 = every reader, bit for bit.

The synapses that meet in one neuron share a grid: the finest one for which everything up to the next synapse fits.
``u ≥ θ`` on a grid is ``u ≥ ⌈θ⌉`` (rounded up to a grid point), and the threshold written lies half a step below that,
where no membrane can be, so ``>`` and ``≥`` readers agree; the meaning of the threshold has not changed at all.
A real input is snapped too: to multiples of ``2^-a`` in ``[−A, A]``, with A just above the calibration
samples and a chosen so that the two roundings, of the input and of the weights behind it, do the least harm together.

Pre: norms are folded; the timesteps are known.
Post: :func:`missing_bits` is empty; the graph says its grids in ``scales`` (Input: ``2^a``; neuron: ``2^bits`` of its
membrane), weights and biases are float32.

Cases:
    1. synapse → neuron, and synapses that meet there: one grid for all, as fine as float32 allows.
    2. synapse → … → synapse without spikes between: the first takes half of the bits.
    3. neurons: gain and offset are moved into the weights (unit_gain), the threshold between two grid points.
    4. a node for which no grid can be proven (a decay that is no binary fraction, CubaLIF, a reset that subtracts, an
       average over nine), or one whose weights would keep fewer than four bits with their sign: refused (ND240), all
       at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from neurodeploy.diagnostics import Finding, UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, SYNAPSES, Integrator, Synapse
from neurodeploy.passes.exact_input import Entry, behind, entries, entry_finding
from neurodeploy.passes.exact_sums import (
    SIGNIFICAND,
    THRESHOLD,
    Need,
    Values,
    finest_bits,
    fraction_bits,
    is_spiking,
    obstacle,
    spikes,
    walk,
)
from neurodeploy.passes.unit_gain import unit_gain

#: The largest weight of a layer spans at least 2^3 steps of the grid: four bits with the sign.
WEIGHT_BITS = 3
#: Below this a user is told that the grid is coarse: the 7 bits of an 8-bit chip, less one.
COARSE_BITS = 5


def snap(graph: Graph, calibration: np.ndarray | None = None) -> tuple[Graph, list[Finding]]:
    """The graph on its grids, and what a user should know (ND241: the input's grid; ND244: a coarse layer).

    Args:
        graph: Float graph, norms folded.
        calibration: ``(B, T or 1, *shape)`` samples for the range of the input.

    Raises:
        UnsupportedError: No grid can be proven (ND240); all findings.
    """
    graph = unit_gain(graph)
    findings = list(_obstacles(graph))
    if findings:
        raise _refused(findings)
    best = _snapped(graph, min(entries(graph, calibration), key=lambda entry: _harm_of(graph, entry)))
    errors = [finding for finding in best.findings if finding.severity == "error"]
    if errors:
        raise _refused(errors)
    left = missing_bits(best.graph, best.entry)
    assert not left, f"snap left {left[0]}"
    return best.graph, [entry_finding(best.graph), *best.findings]


def missing_bits(graph: Graph, entry: Values) -> list[Need]:
    """What of ``graph`` float32 cannot hold, for an input as ``entry`` says; empty: every reader is exact.

    A threshold that a membrane can meet counts as missing one bit.
    """
    values, needs = walk(graph, entry)
    missing = [need for need in needs if need.bits > need.limit]
    for name in graph.names(LIF):
        node = graph.nodes[name]
        assert isinstance(node, LIF)
        sources = [values[s] if s in values else spikes(1) for s in graph.sources(name)]
        assert graph.timesteps is not None
        finest = finest_bits(node, max(value.bits for value in sources), graph.timesteps)
        if np.any(node.threshold * 2.0 ** (finest + 1) % 2.0 != 1.0):
            missing.append(Need(name, "a threshold between two grid points", finest + 1, finest))
    return missing


# ---------------------------------------------------------------------------------------------------------------------
# grids


@dataclass(frozen=True)
class _Snapped:
    """A graph with its grids, or as far as they could be found."""

    graph: Graph
    entry: Values
    findings: tuple[Finding, ...]


def _snapped(graph: Graph, entry: Entry) -> _Snapped:
    assert graph.timesteps is not None
    enters = entry.values(graph)
    known: dict[str, Values] = {graph.input: enters}
    findings: list[Finding] = []
    groups = {name: group for group in _groups(graph) for name in group}
    done: set[str] = set()
    for name in graph.nodes:
        for synapse in (name, *graph.sources(name)):
            group = groups.get(synapse, ())
            if done >= set(group) or not all(_known(graph, member, known) for member in group):
                continue
            reached, _ = behind(graph, group)
            if not all(_known(graph, other, known, (*group, *reached)) for other in reached):
                continue  # what meets the group in a neuron is not known yet: its membrane could not be bounded
            graph, _, found = _decide(graph, group, known)
            findings += found
            done |= set(group)
            known.update(walk(graph, enters, group, known)[0])
        if done >= set(groups.get(name, ())):
            known.update(walk(graph, enters, [name], known)[0])
    graph = graph.with_nodes({name: _between(graph, name, known) for name in graph.names(LIF)})
    scales = {graph.input: 2.0**entry.bits}
    for name in graph.names((LIF, Integrator)):
        neuron = graph.nodes[name]
        assert isinstance(neuron, (LIF, Integrator))
        scales[name] = 2.0 ** finest_bits(neuron, _bits_entering(graph, name, known), graph.timesteps or 1)
    return _Snapped(replace(graph, scales=scales), enters, tuple(findings))


def _harm_of(graph: Graph, entry: Entry) -> tuple[int, float]:
    """Layers behind the Input that find no grid, then the mean square of what rounding adds to their currents."""
    errors, harm = 0, 0.0
    known = {graph.input: entry.values(graph)}
    for group in _groups(graph):
        first = [name for name in group if graph.input in graph.sources(name)]
        if first and all(_known(graph, name, known) for name in group):
            _, bits, findings = _decide(graph, group, known)
            errors += any(finding.severity == "error" for finding in findings)
            harm += sum(_harm(graph, name, entry, bits) for name in first)
    return errors, harm


def _known(graph: Graph, name: str, known: dict[str, Values], group: tuple[str, ...] = ()) -> bool:
    return all(s in known or s in group or is_spiking(graph.nodes[s]) for s in graph.sources(name))


def _groups(graph: Graph) -> list[tuple[str, ...]]:
    """Synapses that share a grid: those that meet in a node, directly or through others that do."""
    group = {name: {name} for name in graph.names(SYNAPSES)}
    reached = {name: behind(graph, (name,))[0] for name in group}
    for name in graph.nodes:
        meeting = [synapse for synapse in group if name in reached[synapse]]
        for other in meeting[1:]:
            if group[other] is not group[meeting[0]]:
                group[meeting[0]] |= group[other]
                for member in group[other]:
                    group[member] = group[meeting[0]]
    return [tuple(n for n in graph.nodes if n in members) for members in {id(g): g for g in group.values()}.values()]


def _decide(graph: Graph, group: tuple[str, ...], known: dict[str, Values]) -> tuple[Graph, int, list[Finding]]:
    """The finest grid of a group's currents, and the graph with its weights on it.

    Where even the coarsest allowed grid does not fit, that grid is taken and the finding says so.
    """
    reached, chained = behind(graph, group)
    fed = {t for name in group for t in graph.targets(name) if isinstance(graph.nodes[t], LIF)}
    allowed = SIGNIFICAND // 2 if chained else SIGNIFICAND
    entering = {name: _bits_entering(graph, name, known) for name in group}
    coarsest = max(_coarsest(graph, name, entering[name]) for name in group)

    def tried(bits: int) -> tuple[Graph, int, Need]:
        trial = graph.with_nodes({name: _rounded(graph, name, bits, entering[name]) for name in group})
        trial = trial.with_nodes({name: _reset_on_grid(trial, name, bits) for name in fed})
        _, needs = walk(trial, known[graph.input], (*group, *reached), known)
        limits = [need.limit if need.what == THRESHOLD else min(need.limit, allowed) for need in needs]
        over = [need.bits - limit for need, limit in zip(needs, limits, strict=True)]
        excess = max(over)
        worst = needs[over.index(excess)]
        return trial, excess, worst

    trial, excess, worst = tried(coarsest)
    if excess > 0:
        return trial, coarsest, [_no_grid(graph, group, worst, excess)]
    # One bit finer takes one bit more of everything, but for what rounding the weights does.
    for bits in range(coarsest - excess + 1, coarsest, -1):
        finer, excess, _ = tried(bits)
        if excess <= 0:
            return finer, bits, _coarse(finer, group, bits, entering)
    return trial, coarsest, _coarse(trial, group, coarsest, entering)


def _bits_entering(graph: Graph, name: str, known: dict[str, Values]) -> int:
    return max(known[s].bits if s in known else 0 for s in graph.sources(name))


def _coarsest(graph: Graph, name: str, entering: int) -> int:
    """The grid of the currents on which the largest weight still spans 2^WEIGHT_BITS steps."""
    node = graph.nodes[name]
    assert isinstance(node, SYNAPSES)
    largest = float(np.max(np.abs(node.weight), initial=0.0))
    return entering + (WEIGHT_BITS - math.floor(math.log2(largest)) if largest > 0 else 0)


def _rounded(graph: Graph, name: str, bits: int, entering: int) -> Synapse:
    node = graph.nodes[name]
    assert isinstance(node, SYNAPSES)
    weight, bias = (
        (np.rint(array.astype(np.float64) * 2.0**b) / 2.0**b).astype(np.float32)
        for array, b in ((node.weight, bits - entering), (node.bias, bits))
    )
    return replace(node, weight=weight, bias=bias)


def _reset_on_grid(graph: Graph, name: str, bits: int) -> LIF:
    node = graph.nodes[name]
    assert isinstance(node, LIF)
    return replace(node, v_reset=np.rint(node.v_reset * 2.0**bits) / 2.0**bits)


def _between(graph: Graph, name: str, known: dict[str, Values]) -> LIF:
    """Case 3: reset value onto the grid, threshold half a step below the grid point that it means."""
    node = graph.nodes[name]
    assert isinstance(node, LIF)
    assert graph.timesteps is not None
    current = _bits_entering(graph, name, known)
    node = _reset_on_grid(graph, name, current)
    step = 2.0 ** -finest_bits(node, current, graph.timesteps)
    first = np.ceil(node.threshold / step)  # the first grid point that fires
    if node.compare == "gt":
        first = np.where(first == node.threshold / step, first + 1, first)
    return replace(node, threshold=(first - 0.5) * step)


def _harm(graph: Graph, name: str, entry: Entry, bits: int) -> float:
    """Mean square of what rounding input and weights adds to a current of ``name``, which reads the Input."""
    node = graph.nodes[name]
    assert isinstance(node, SYNAPSES)
    inputs = node.weight[0].size
    weights = float(np.mean(np.sum(node.weight.astype(np.float64) ** 2, axis=tuple(range(1, node.weight.ndim)))))
    return weights * entry.error + inputs * entry.power * 4.0 ** (entry.bits - bits) / 12


# ---------------------------------------------------------------------------------------------------------------------
# what cannot be


def _obstacles(graph: Graph) -> Iterator[Finding]:
    if graph.timesteps is None:
        fix = "pass --timesteps T"
        yield Finding("ND240", "error", "", "a grid is proven for a number of timesteps: say which", fix=fix)
    for name, node in graph.nodes.items():
        why = obstacle(graph, name)
        if why:
            fix = "leave out --exact (flips are then counted), or train with a decay of 0.25 or 0.5 and a reset to zero"
            yield Finding("ND240", "error", name, f"--exact: {why}", node.kind, "", "", fix)


def _no_grid(graph: Graph, group: tuple[str, ...], need: Need, excess: int) -> Finding:
    """Case 4: no grid on which the weights keep four bits."""
    fixes = ["leave out --exact (flips are then counted)"]
    node = graph.nodes[need.node]
    per_step = fraction_bits(node.decay) if isinstance(node, (LIF, Integrator)) else 0
    if per_step and graph.timesteps and (steps := graph.timesteps - math.ceil(excess / per_step)) >= 1:
        fixes.insert(0, f"--timesteps {steps}")
    rule = (
        f"--exact: with weights of {WEIGHT_BITS + 1} bits, {need.what}"
        + (f" of `{need.node}`" if need.node != group[0] else "")
        + " does not fit float32"
    )
    return Finding("ND240", "error", group[0], rule, need.limit + excess, need.limit, "bits", ", or ".join(fixes))


def _coarse(graph: Graph, group: tuple[str, ...], bits: int, entering: dict[str, int]) -> list[Finding]:
    findings = []
    for name in group:
        kept = bits - _coarsest(graph, name, entering[name]) + WEIGHT_BITS
        if kept < COARSE_BITS:
            rule = "--exact leaves the weights of this layer few bits: look at the accuracy"
            fix = "fewer timesteps leave more; or leave out --exact"
            findings.append(Finding("ND244", "warning", name, rule, kept + 1, COARSE_BITS + 1, "bits", fix))
    return findings


def _refused(findings: list[Finding]) -> UnsupportedError:
    first = findings[0]
    return UnsupportedError("ND240", first.rule, where=first.node, fix=first.fix, findings=findings)
