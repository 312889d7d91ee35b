"""Run a target's passes in order, each with its stated pre- and post-condition checked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from neurodeploy.config.target import TargetSpec
from neurodeploy.diagnostics import Finding, UnsupportedError, UsageError, first_error, nearest
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.machine import machine_findings
from neurodeploy.ir.nodes import AvgPool2d, Input, Norm
from neurodeploy.passes import balance as balancing
from neurodeploy.passes import bias_offset as biases
from neurodeploy.passes import calibrate as calibrating
from neurodeploy.passes import chip_rules as chips
from neurodeploy.passes import fold_norm as norms
from neurodeploy.passes import fold_pool as pools
from neurodeploy.passes import fold_threshold as thresholds
from neurodeploy.passes import layer_cores as layered
from neurodeploy.passes import partition as parts
from neurodeploy.passes import place as places
from neurodeploy.passes import place_tiles as tiles
from neurodeploy.passes import purity as pure
from neurodeploy.passes import quantize as quant
from neurodeploy.passes import round_weights as rounding
from neurodeploy.passes import skip_synapses as skips
from neurodeploy.passes import snap as snapping
from neurodeploy.passes import spiking_pool as spikings
from neurodeploy.passes import tail as tails
from neurodeploy.passes import unit_gain as gains
from neurodeploy.passes.place import CoreLimits, Placement


@dataclass(frozen=True)
class Compilation:
    """A network on its way to a target.

    Attributes:
        graph: The chip's part, as far as the passes have come.
        encoder: The host's part before it, once partitioned; float.
        tail: The host's part behind it, where there is one; float. Its Input takes what the chip puts out.
        findings: Everything a user should know.
        passes: ``{name, changed, seconds}`` per pass that ran.
        placement: Cores and memory, once placed.
        bounds: Per population of an integer graph: scale, how it was chosen, proven ranges; once quantized.
        training: How the weights were fine-tuned, empty where they were not.
        dumps: Graph after each pass, when asked for.
    """

    graph: Graph
    encoder: Graph | None = None
    tail: Graph | None = None
    findings: tuple[Finding, ...] = ()
    passes: tuple[dict[str, Any], ...] = ()
    placement: Placement | None = None
    bounds: tuple[dict[str, Any], ...] = ()
    training: dict[str, Any] = field(default_factory=dict)
    dumps: tuple[tuple[str, Graph], ...] = ()

    def adding(self, findings: list[Finding]) -> Compilation:
        """The same with more findings."""
        return replace(self, findings=(*self.findings, *findings))


@dataclass(frozen=True)
class Context:
    """What the passes of one compilation are told.

    Attributes:
        spec: The target.
        limits: What a core holds.
        exact: Snap weights, biases and thresholds to a grid on which every float32 sum is exact.
        fold: Norms go into ``weights`` or per-channel ``threshold``.
        quantize: How the scale of a population is chosen.
        calibration: ``(B, T, *shape)`` samples (``(B, 1, *shape)``: the same at every step) for the choices that look
            at data, None where there are none.
        finetune: Trains the float graph before it is quantized (:func:`neurodeploy.training.finetune.finetuner`).
    """

    spec: TargetSpec
    limits: CoreLimits
    exact: bool = False
    fold: Literal["weights", "threshold"] = "weights"
    quantize: Literal["proven", "minmax", "percentile", "mse"] = "proven"
    calibration: np.ndarray | None = None
    finetune: Callable[[Compilation, Context], Compilation] | None = None


Condition = Callable[[Graph], str]


@dataclass(frozen=True)
class Pass:
    """One pass: what it does, what must hold before and after (a condition returns "" or what is wrong)."""

    summary: str
    run: Callable[[Compilation, Context], Compilation]
    before: tuple[Condition, ...] = ()
    after: tuple[Condition, ...] = ()


def no_norms(graph: Graph) -> str:
    """Condition: no Norm is left."""
    return f"`{graph.names(Norm)[0]}` is an unfolded norm" if graph.names(Norm) else ""


def no_averages(graph: Graph) -> str:
    """Condition: no AvgPool2d that only synapses read is left."""
    left = [name for name in graph.names(AvgPool2d) if pools.synapses_behind(graph, name) is not None]
    return f"`{left[0]}` still averages" if left else ""


def is_pure(graph: Graph) -> str:
    """Condition: every synapse sees a binary edge."""
    findings = pure.purity(graph)
    return findings[0].rule if findings else ""


def runs_on_machine(graph: Graph) -> str:
    """Condition: the integer machine can run the graph."""
    found = next(machine_findings(graph), None)
    return f"`{found.node}`: {found.rule}" if found else ""


def _fold_norm(state: Compilation, context: Context) -> Compilation:
    if context.fold == "weights":
        return replace(state, graph=norms.fold_norm(state.graph))
    if "threshold" not in context.spec.folds:
        raise UnsupportedError(
            "ND235",
            f"{context.spec.name} has one threshold per layer; norms cannot go into thresholds there",
            where="--fold threshold",
            fix="--fold weights, or --target nir",
        )
    folded = thresholds.fold_threshold(state.graph)
    return replace(state, graph=folded).adding(thresholds.reader_findings(folded))


def _fold_pool(state: Compilation, context: Context) -> Compilation:
    graph, findings = pools.fold_where_right(state.graph)
    return replace(state, graph=graph).adding(findings)


def _average_to_sum(state: Compilation, context: Context) -> Compilation:
    return replace(state, graph=pools.average_to_sum(state.graph))


def _round_weights(state: Compilation, context: Context) -> Compilation:
    return replace(state, graph=rounding.round_weights(state.graph))


def _snap(state: Compilation, context: Context) -> Compilation:
    if not context.exact:
        return state
    graph, findings = snapping.snap(state.graph, context.calibration)
    return replace(state, graph=graph).adding(findings)


def _unit_gain(state: Compilation, context: Context) -> Compilation:
    return replace(state, graph=gains.unit_gain(state.graph))


def _partition(state: Compilation, context: Context) -> Compilation:
    encoder, chip = parts.partition(state.graph)
    return replace(state, graph=chip, encoder=None if encoder is None else rounding.round_weights(encoder))


def _tail(state: Compilation, context: Context) -> Compilation:
    spec = context.spec
    chip, tail = tails.split_tail(state.graph, spec.nodes, accumulate=spec.arithmetic == "loihi")
    return replace(state, graph=chip, tail=None if tail is None else rounding.round_weights(tail))


def _spiking_pool(state: Compilation, context: Context) -> Compilation:
    return replace(state, graph=spikings.spiking_pool(state.graph))


def _dense_spiking_pool(state: Compilation, context: Context) -> Compilation:
    return replace(state, graph=spikings.spiking_pool(state.graph, dense=True))


def _skip_synapses(state: Compilation, context: Context) -> Compilation:
    return replace(state, graph=skips.skip_synapses(state.graph))


def _pool_synapses(state: Compilation, context: Context) -> Compilation:
    return replace(state, graph=skips.skip_synapses(state.graph, pools_only=True))


def _purity(state: Compilation, context: Context) -> Compilation:
    told = {(f.code, f.node) for f in state.findings}  # a pool that could not be folded is told once
    return state.adding([f for f in pure.purity(state.graph) if (f.code, f.node) not in told])


def _quantize(state: Compilation, context: Context) -> Compilation:
    unknown = _kind_findings(state.graph, context.spec)
    if unknown:  # nothing of them has an integer form
        first = unknown[0]
        raise UnsupportedError(first.code, first.rule, where=first.node, fix=first.fix, findings=unknown)
    spec = context.spec.quantize
    bits = spec.accumulator_bits if spec else 17
    if context.finetune is not None:
        state = context.finetune(state, context)
    calibration = None
    if context.quantize != "proven":
        calibration = calibrating.calibrate(state.graph, state.encoder, context.calibration)
    done = quant.quantized(state.graph, quant.Limits(accumulator=2**bits - 1), context.quantize, calibration)
    tail = None if state.tail is None else tails.in_real_units(state.tail, done.graph)
    return replace(state, graph=done.graph, tail=tail, bounds=tuple(done.rows)).adding(done.findings)


def _balance(state: Compilation, context: Context) -> Compilation:
    return replace(state, graph=balancing.balance(state.graph))


def _place(state: Compilation, context: Context) -> Compilation:
    placement = places.place(state.graph, context.limits)
    return replace(state, placement=placement).adding(placement.findings)


def _partition_real(state: Compilation, context: Context) -> Compilation:
    entry = state.graph.nodes[state.graph.input]
    assert isinstance(entry, Input)
    return _partition(state, context) if entry.values == "real" else state


def _spike_tail(state: Compilation, context: Context) -> Compilation:
    chip, tail = tails.split_tail(state.graph, ("output",), accumulate=False)
    return replace(state, graph=chip, tail=None if tail is None else rounding.round_weights(tail))


def _bias_offset(state: Compilation, context: Context) -> Compilation:
    return replace(state, graph=biases.bias_offset(state.graph))


def _unit_dt(state: Compilation, context: Context) -> Compilation:
    return replace(state, graph=replace(state.graph, dt=1.0))


def _chip_rules(state: Compilation, context: Context) -> Compilation:
    rules = context.spec.chip
    return state if rules is None else state.adding(chips.chip_findings(state.graph, rules, context.spec.name))


def _place_tiles(state: Compilation, context: Context) -> Compilation:
    weights = context.spec.chip.weights if context.spec.chip else None
    types = tiles.distinct_per_population(state.graph) if weights is not None and weights.distinct else None
    placement = tiles.place_tiles(state.graph, context.limits, types)
    return replace(state, placement=placement).adding(placement.findings)


def _layer_cores(state: Compilation, context: Context) -> Compilation:
    memories = context.spec.chip.cores if context.spec.chip else None
    if memories is None:
        return state
    placement = layered.layer_cores(state.graph, memories, context.limits, context.spec.name)
    return replace(state, placement=placement).adding(placement.findings)


PASSES: dict[str, Pass] = {
    "fold_norm": Pass("fold tdBN into the weights before it", _fold_norm, after=(no_norms,)),
    "fold_pool": Pass("compose pooling with the synapse after it", _fold_pool, (no_norms,)),
    "average_to_sum": Pass(
        "average pooling becomes a sum, 1/k² goes into the next weights",
        _average_to_sum,
        (no_norms,),
        (no_averages,),
    ),
    "unit_gain": Pass("membranes in units of their gain, offsets into biases", _unit_gain),
    "partition": Pass("split off the host encoder", _partition, (no_norms,)),
    "tail": Pass("split off the host tail: what is real-valued behind the last spikes", _tail, (no_norms,)),
    "spiking_pool": Pass("max pools over spikes become spiking layers", _spiking_pool, (no_norms,)),
    "dense_spiking_pool": Pass(
        "the same without groups, which NIR readers cannot load", _dense_spiking_pool, (no_norms,)
    ),
    "skip_synapses": Pass("identity synapses where spikes enter a neuron without one", _skip_synapses, (no_norms,)),
    "pool_synapses": Pass("the same where a pool enters a neuron, and nowhere else", _pool_synapses, (no_norms,)),
    "purity": Pass("prove that only binary spikes reach synapses", _purity),
    "quantize": Pass(
        "integer weights and thresholds, bounds proven", _quantize, (no_norms, is_pure), (runs_on_machine,)
    ),
    "balance": Pass("relays on shorter paths: a pipelined chip", _balance, (no_norms, is_pure)),
    "round_weights": Pass("weights and biases to float32", _round_weights, (no_norms,)),
    "snap": Pass("with --exact: weights and thresholds to grids on which float32 is exact", _snap, (no_norms,)),
    "place": Pass("neurons and synaptic memory onto cores and chips", _place, (no_norms,)),
    "partition_real": Pass("split off the host encoder of a real input; spike counts are the chip's", _partition_real),
    "spike_tail": Pass("split off everything behind the last spikes: only spikes leave the chip", _spike_tail),
    "bias_offset": Pass("biases of convolutions into the constant drive of the neurons behind", _bias_offset),
    "unit_dt": Pass("one step is one unit of time in the file: tau in steps", _unit_dt),
    "chip_rules": Pass("neurons, weights, geometry and wiring against the chip's rules", _chip_rules, (no_norms,)),
    "place_tiles": Pass("blocks of neurons onto crossbar cores", _place_tiles, (no_norms,)),
    "layer_cores": Pass("layers onto cores, one each", _layer_cores, (no_norms,)),
}


def compile_graph(
    graph: Graph,
    spec: TargetSpec,
    limits: CoreLimits | None = None,
    *,
    context: Context | None = None,
    collect: bool = False,
    dump: bool = False,
) -> Compilation:
    """Run the passes of ``spec``.

    Args:
        graph: The lowered or read graph.
        spec: The target.
        limits: Core limits for placement; none: nothing is checked against a core.
        context: More that the passes are told; its spec and limits are those given here.
        collect: Gather all findings (``check``): a pass that refuses is skipped, and so are those that need it.
            Otherwise the first refusal is raised, with all findings of that pass.
        dump: Keep the graph after every pass.

    Raises:
        UnsupportedError: The network cannot be compiled for this target (unless ``collect``).
    """
    limits = limits or CoreLimits(name=spec.name)
    context = replace(context, spec=spec, limits=limits) if context else Context(spec, limits)
    state = Compilation(graph)
    for name in spec.passes:
        step = _known(name, spec)
        missing = [problem for condition in step.before if (problem := condition(state.graph))]
        if missing:
            if collect:
                continue
            raise UnsupportedError(
                "ND218",
                f"pass {name} cannot run: {missing[0]}",
                where=spec.name,
                fix="see the findings before it",
                findings=state.findings,
            )
        started = time.perf_counter()
        try:
            new = step.run(state, context)
        except UnsupportedError as error:
            if not collect:
                raise
            single = Finding(error.code, "error", error.where, error.message, fix=error.fix)
            state = state.adding(list(error.findings) or [single])
            if error.code == "ND306":  # an ANN: whatever the other passes say of it follows from that
                return state
            continue
        for condition in step.after:
            problem = condition(new.graph)
            assert not problem, f"pass {name} broke its promise: {problem}"
        log = {"name": name, "changed": new.graph != state.graph, "seconds": round(time.perf_counter() - started, 4)}
        state = replace(new, passes=(*state.passes, log))
        if dump:
            state = replace(state, dumps=(*state.dumps, (name, state.graph)))
        if not collect and first_error(state.findings):
            errors = [f for f in state.findings if f.severity == "error"]
            raise UnsupportedError(
                errors[0].code, errors[0].rule, where=errors[0].node, fix=errors[0].fix, findings=errors
            )
    return state.adding(_kind_findings(state.graph, spec))


def _known(name: str, spec: TargetSpec) -> Pass:
    if name not in PASSES:
        raise UsageError("ND115", f"target {spec.name} names an unknown pass: {name}", fix=nearest(name, PASSES))
    return PASSES[name]


def _kind_findings(graph: Graph, spec: TargetSpec) -> list[Finding]:
    """Nodes that are left and that the target does not have (ND217)."""
    return [
        Finding(
            "ND217",
            "error",
            name,
            f"{spec.name} has no {node.kind}",
            node.kind,
            ", ".join(spec.nodes),
            "",
            "replace this layer by one the target has",
        )
        for name, node in graph.nodes.items()
        if node.kind not in spec.nodes
    ]
