"""Compare what an oracle computed with the golden vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.kinds import incoming_kind, value_kinds
from neurodeploy.ir.nodes import LIF, SYNAPSES, Integrator
from neurodeploy.passes.tail import as_tail_input
from neurodeploy.sim.run import predict

#: Integer membranes and outputs are in units of 2^-6 of a weight unit; NIR readers compute in weight units.
STATE_UNIT = 64.0


@dataclass(frozen=True)
class Comparison:
    """Differences between one oracle and the golden vectors.

    Attributes:
        samples: Samples replayed.
        spikes_compared: Spike bits compared, over all neuron populations.
        spike_differences: How many of them differ.
        state_differences: Membranes after reset and currents that differ, where the oracle shows them; None where not.
        output_max_difference: Largest absolute difference of the output.
        prediction_differences: Samples whose class differs.
        largest_distance: Over the samples with differing spikes, the largest distance ``|u_pre − threshold|`` at the
            first difference: a flip far from the threshold is no rounding. None when nothing differs.
        host_output_max_difference: Largest absolute difference of what the host's tail makes of the output; None where
            the artifact has no tail.
        encoder_differences: Spikes of the host's encoder that differ, where the oracle runs it; None where not.
        equal: No spike, state or class differs, nor the output where the oracle computes the same arithmetic.
        skipped: The oracle did not run.
        why: Why it was skipped, or a remark.
    """

    samples: int = 0
    spikes_compared: int = 0
    spike_differences: int = 0
    state_differences: int | None = None
    output_max_difference: float | None = None
    prediction_differences: int = 0
    largest_distance: float | None = None
    host_output_max_difference: float | None = None
    encoder_differences: int | None = None
    equal: bool = False
    skipped: bool = False
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """The oracle's entry in ``verify --json``."""
        return asdict(self)


def skipped(why: str) -> Comparison:
    """An oracle that could not run."""
    return Comparison(skipped=True, why=why)


def compare(
    graph: Graph,
    golden: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    *,
    exact: bool,
    why: str = "",
    tail: Graph | None = None,
) -> Comparison:
    """Count differences.

    Args:
        graph: The chip's graph.
        golden: Golden vectors; ``input`` is what both saw.
        found: ``spikes/<node>``, ``output``, perhaps ``membrane/<node>``, of the first samples of the golden vectors.
            Every spike population of ``golden`` must be there.
        exact: The oracle computes the same arithmetic: the output must be equal too.
        why: A remark for people.
        tail: The host's part behind the chip. Classes are what it says, and ``golden`` holds its ``host_output``; where
            ``found`` has none, the interpreter makes it of the output found.
    """
    samples = found["output"].shape[0]
    populations = [key for key in golden if key.startswith("spikes/")]
    differs = {key: golden[key][:samples] != found[key] for key in populations}
    output, expected = found["output"].astype(np.float64), golden["output"][:samples].astype(np.float64)
    states = [key for key in golden if key.startswith(("membrane/", "current/")) and key in found]
    state_differences = (
        sum(int(np.count_nonzero(golden[key][:samples] != found[key])) for key in states) if states else None
    )
    spike_differences = sum(int(np.count_nonzero(d)) for d in differs.values())
    output_difference = float(np.max(np.abs(output - expected)))
    host_difference, last = None, graph
    if tail is not None:
        entered = as_tail_input(tail, graph, graph.arithmetic, found["output"])
        host = found["host_output"] if "host_output" in found else interpret(tail, entered, "float32").output
        last, output, expected = tail, host.astype(np.float64), golden["host_output"][:samples].astype(np.float64)
        host_difference = float(np.max(np.abs(output - expected)))
    limit = None if exact or spike_differences else output_limit(graph, golden["output"].shape[1])
    off = limit is not None and output_difference > limit
    if off:
        why = f"the output differs by {output_difference:.3g}, float32 sums of these spikes by {limit:.3g} at most"
    classes = int(np.count_nonzero(predict(last, output) != predict(last, expected)))
    different = spike_differences or classes or state_differences
    return Comparison(
        samples=samples,
        spikes_compared=sum(d.size for d in differs.values()),
        spike_differences=spike_differences,
        state_differences=state_differences,
        output_max_difference=output_difference,
        prediction_differences=classes,
        largest_distance=_distance(graph, golden["input"][:samples], differs) if spike_differences else None,
        host_output_max_difference=host_difference,
        equal=not different and not off and not (exact and (output_difference or host_difference)),
        why=why,
    )


def output_limit(graph: Graph, timesteps: int) -> float | None:
    """How far two float32 outputs of the same spikes can lie apart, whatever the order of their sums.

    A sum of n terms is off by at most γ·Σ|w| with γ = n·2^-24/(1 − n·2^-24) (Higham 2002, Eq. 4.4) for spikes of 0 and
    1; an integrator adds T of them. Both sides round: twice that. None where the output is no sum of spikes.
    """
    largest, terms = 0.0, 0
    kinds = value_kinds(graph)
    waiting = list(graph.sources(graph.output))
    steps = 1
    while waiting:
        node = graph.nodes[name := waiting.pop()]
        if isinstance(node, Integrator) and np.all(np.abs(node.decay) <= 1) and _adds_only(node):
            steps = timesteps
            waiting += graph.sources(name)
        elif isinstance(node, SYNAPSES) and incoming_kind(graph, name, kinds).name == "binary":
            weights = np.abs(node.weight.reshape(node.weight.shape[0], -1).astype(np.float64))
            largest += float((weights.sum(axis=1) + np.abs(node.bias)).max())
            terms += weights.shape[1] + 1
        else:
            return None
    terms += steps
    return 2 * steps * largest * terms * 2.0**-24 / (1 - terms * 2.0**-24)


def _adds_only(node: Integrator) -> bool:
    return bool(np.all(node.gain == 1) and np.all(node.offset == 0))


def _distance(graph: Graph, x: np.ndarray, differs: Mapping[str, np.ndarray]) -> float:
    """Largest distance from the threshold at the first differing spike of each sample (later ones follow from it)."""
    meaning = interpret(graph, x, graph.arithmetic)
    largest = 0.0
    for sample in range(x.shape[0]):
        first: tuple[int, float] | None = None  # (step, distance); layers come in graph order
        for key, different in differs.items():
            where = different[sample].reshape(different.shape[1], -1)
            if not where.any():
                continue
            step = int(where.any(axis=1).argmax())
            if first is None or step < first[0]:
                node = graph.nodes[key.removeprefix("spikes/")]
                assert isinstance(node, LIF)
                name = key.removeprefix("spikes/")
                unit = STATE_UNIT if graph.arithmetic == "loihi" else 1.0
                gap = np.abs(meaning.potential[name][sample, step] / unit - node.threshold)
                first = (step, float(gap.reshape(-1)[where[step]].max()))
        if first is not None:
            largest = max(largest, first[1])
    return largest
