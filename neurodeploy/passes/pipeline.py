"""Run a target's passes in order, each with its stated pre- and post-condition checked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from neurodeploy.config.target import TargetSpec
from neurodeploy.diagnostics import Finding, UnsupportedError, UsageError, first_error, nearest
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.machine import machine_findings
from neurodeploy.ir.nodes import AvgPool2d, Norm
from neurodeploy.passes import balance as balancing
from neurodeploy.passes import fold_norm as norms
from neurodeploy.passes import fold_pool as pools
from neurodeploy.passes import partition as parts
from neurodeploy.passes import place as places
from neurodeploy.passes import purity as pure
from neurodeploy.passes import quantize as quant
from neurodeploy.passes import round_weights as rounding
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
        dumps: Graph after each pass, when asked for.
    """

    graph: Graph
    encoder: Graph | None = None
    tail: Graph | None = None
    findings: tuple[Finding, ...] = ()
    passes: tuple[dict[str, Any], ...] = ()
    placement: Placement | None = None
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
        calibration: ``(B, T, *shape)`` samples for the choices that look at data, None where there are none.
    """

    spec: TargetSpec
    limits: CoreLimits
    exact: bool = False
    fold: Literal["weights", "threshold"] = "weights"
    quantize: Literal["proven", "minmax", "percentile", "mse"] = "proven"
    calibration: np.ndarray | None = None


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
    return replace(state, graph=norms.fold_norm(state.graph))


def _fold_pool(state: Compilation, context: Context) -> Compilation:
    return replace(state, graph=pools.fold_pool(state.graph))


def _average_to_sum(state: Compilation, context: Context) -> Compilation:
    return replace(state, graph=pools.average_to_sum(state.graph))


def _round_weights(state: Compilation, context: Context) -> Compilation:
    return replace(state, graph=rounding.round_weights(state.graph))


def _unit_gain(state: Compilation, context: Context) -> Compilation:
    return replace(state, graph=gains.unit_gain(state.graph))


def _partition(state: Compilation, context: Context) -> Compilation:
    encoder, chip = parts.partition(state.graph)
    return replace(state, graph=chip, encoder=None if encoder is None else rounding.round_weights(encoder))


def _purity(state: Compilation, context: Context) -> Compilation:
    return state.adding(pure.purity(state.graph))


def _quantize(state: Compilation, context: Context) -> Compilation:
    spec = context.spec.quantize
    bits = spec.accumulator_bits if spec else 17
    graph, findings = quant.quantize(state.graph, quant.Limits(accumulator=2**bits - 1))
    return replace(state, graph=graph).adding(findings)


def _balance(state: Compilation, context: Context) -> Compilation:
    return replace(state, graph=balancing.balance(state.graph))


def _place(state: Compilation, context: Context) -> Compilation:
    placement = places.place(state.graph, context.limits)
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
    "purity": Pass("prove that only binary spikes reach synapses", _purity),
    "quantize": Pass(
        "integer weights and thresholds, bounds proven", _quantize, (no_norms, is_pure), (runs_on_machine,)
    ),
    "balance": Pass("equal path lengths for a pipelined chip", _balance, (no_norms,)),
    "round_weights": Pass("weights and biases to float32", _round_weights, (no_norms,)),
    "place": Pass("neurons and synaptic memory onto cores and chips", _place, (no_norms,)),
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
