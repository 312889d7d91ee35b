"""``network.onnx`` and ``network_step.onnx``: a graph in standard ONNX operators (opset 17), float32 in and out.

Unrolled: ``input`` ``(B, T, *shape)`` -> ``output`` ``(B, T, *shape)`` and ``spikes/<node>``, T fixed, B free. Layer
after layer: a synapse runs once over ``(T·B, *shape)``, a neuron T times on ``(B, *shape)``; only what lies on a cycle
runs step after step as a whole. (Scan would hide the network in a subgraph of one operator, and T copies of every
layer would be T times as many operators.)

One step: ``input`` ``(B, *shape)`` and the states, zero at the first step, -> ``output``, ``spikes/<node>`` and the
states for the next step. ``state/<node>`` is a neuron's membrane after reset, or what a Delay holds ``(B, steps,
*shape)``, latest first; ``state/<node>/current`` a CubaLIF's current; ``state/<node>/output`` what a node put out at
the step before, where a recurrent edge leaves it. They come back as ``state_out/…``.

A float32 graph differs from the interpreter only by the order of the sums in Conv and Gemm; a graph in loihi
arithmetic does not differ (:mod:`neurodeploy.targets.onnx_integers`), nor does one whose sums are exact in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from neurodeploy.diagnostics import Finding, UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.machine import require_machine
from neurodeploy.ir.nodes import SYNAPSES
from neurodeploy.targets.onnx_integers import integer_findings
from neurodeploy.targets.onnx_step import OneStep
from neurodeploy.targets.onnx_unrolled import Unrolled

UNROLLED, STEP = "network.onnx", "network_step.onnx"
#: Protocol buffers hold 2 GiB; the rest is for the operators.
LARGEST_FILE = 2**31 - 2**24


def write(graph: Graph, folder: Path) -> list[Finding]:
    """Both forms of ``graph`` into ``folder``; see :func:`unrolled` for what is refused. Nothing is left out."""
    (folder / UNROLLED).write_bytes(_bytes(unrolled(graph)))
    (folder / STEP).write_bytes(_bytes(one_step(graph)))
    return []


def unrolled(graph: Graph, timesteps: int | None = None) -> Any:
    """The ``ModelProto`` over ``timesteps`` steps (default: those of the graph).

    Raises:
        UnsupportedError: No number of steps, float64 arithmetic (ND245); a sum of integers not proven exact (ND246);
            not a graph of the integer machine (ND213); too large a file (ND247).
    """
    steps = timesteps if timesteps is not None else graph.timesteps
    _require(graph, [*onnx_findings(graph), *_steps_findings(steps)])
    assert steps is not None
    return Unrolled(graph, steps).model()


def one_step(graph: Graph) -> Any:
    """The ``ModelProto`` of one step with explicit states; refuses as :func:`unrolled`, but needs no T."""
    _require(graph, list(onnx_findings(graph)))
    return OneStep(graph).model()


def onnx_findings(graph: Graph) -> Iterator[Finding]:
    """Everything that stands between ``graph`` and its ONNX form."""
    if graph.arithmetic == "float64":
        rule, fix = "ONNX Runtime has no convolution in float64", "compile for float32"
        yield Finding("ND245", "error", "", rule, "float64", "float32", "", fix)
    size = sum(graph.nodes[name].weight.size for name in graph.names(SYNAPSES)) * 4  # type: ignore[attr-defined]
    if size > LARGEST_FILE:
        rule, fix = "the weights do not fit one ONNX file", "export for nir, whose HDF5 file has no such limit"
        yield Finding("ND247", "error", "", rule, size, LARGEST_FILE, "B", fix)
    if graph.arithmetic == "loihi":
        require_machine(graph)
        yield from integer_findings(graph)


def _steps_findings(steps: int | None) -> list[Finding]:
    if steps is not None and steps >= 1:
        return []
    rule = "the unrolled form needs the number of timesteps, and this graph does not say it"
    return [Finding("ND245", "error", "", rule, steps, "at least 1", "timesteps", "pass --timesteps T")]


def _require(graph: Graph, findings: Sequence[Finding]) -> None:
    if findings:
        first = findings[0]
        number = "" if first.measured is None else f" ({first.measured}; {first.limit})"
        where = first.node or graph.origin or "network"
        raise UnsupportedError(first.code, first.rule + number, where=where, fix=first.fix, findings=findings)


def _bytes(model: Any) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))
