"""A network prepared for a run: host encoder, chip and host tail, over a slab of samples at a time.

How large a slab is (:func:`slab_samples`) follows from the bytes that one sample needs, so memory does not grow with
the number of samples; results do not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from neurodeploy.diagnostics import UnsupportedError, UsageError, nearest
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import ARITHMETICS
from neurodeploy.ir.nodes import LIF, NEURONS, Input, Integrator, Shape
from neurodeploy.passes.exact_input import snap_input
from neurodeploy.passes.tail import as_tail_input
from neurodeploy.sim.engine import Engine, Result
from neurodeploy.sim.inputs import ValueCheck, check_form, check_labels
from neurodeploy.sim.sources import Source
from neurodeploy.sim.totals import Totals
from neurodeploy.targets.artifact import Runnable

#: A slab holds as many samples as fit into this, in whole rounds of ``batch`` x ``threads``, at least one round.
SLAB_BYTES = 32 << 20
#: … and no more than this, so that a killed run loses little.
SLAB_SAMPLES = 1024


@dataclass(frozen=True)
class Part:
    """What a slab gives.

    Attributes:
        rows: Arrays with one row per sample, by their key in a trace: ``spikes/<node>``, ``output`` …
        totals: Predictions and counts.
    """

    rows: dict[str, np.ndarray]
    totals: Totals


@dataclass(frozen=True)
class Job:
    """How samples of one shape run on one network.

    Attributes:
        runnable: The network.
        chip: Its chip's part, prepared for the arithmetic of the run.
        encoder: The host's part before the chip; None where the input is for the chip itself.
        timesteps: T.
        static: The input has no time axis.
        keep_spikes: Rows of spikes, of what entered the chip, and of its output even where a tail reads it.
        keep_membrane: Rows of states after reset, and of currents.
        keep_output: Rows of output.
        batch: Samples in flight per thread.
        threads: Tiles in parallel.
    """

    runnable: Runnable
    chip: Engine
    encoder: Graph | None
    timesteps: int
    static: bool
    keep_spikes: bool = False
    keep_membrane: bool = False
    keep_output: bool = True
    batch: int = 32
    threads: int = 1

    @property
    def arithmetic(self) -> str:
        """``float32``, ``float64`` or ``loihi``."""
        return self.chip.arithmetic

    @cached_property
    def _before(self) -> Engine | None:
        return None if self.encoder is None else Engine(self.encoder, self._host_arithmetic)

    @cached_property
    def _behind(self) -> Engine | None:
        return None if self.runnable.tail is None else Engine(self.runnable.tail, self._host_arithmetic)

    @property
    def _host_arithmetic(self) -> str:
        return "float64" if self.arithmetic == "float64" else "float32"

    @property
    def entry(self) -> Input:
        """The Input of the first graph that runs."""
        return entry_of(self.encoder or self.runnable.graph)

    def value_check(self) -> ValueCheck:
        """For the values of this job's input."""
        return ValueCheck(self.entry.values, self.arithmetic == "float64")

    def run(self, x: np.ndarray, progress: Callable[[int], None] | None = None) -> Part:
        """Samples ``(b, T, *shape)``, or ``(b, *shape)`` where static; values were checked.

        Raises:
            UnsupportedError: A value left the range of what holds it (ND223).
        """
        graph, tail = self.runnable.graph, self.runnable.tail
        x = x[:, None] if self.static else x
        x = x.astype(np.uint8) if self.entry.values == "binary" else x  # others keep their precision for float64
        encoded = None
        if self._before is None:
            x, _ = snap_input(graph, x)  # what was proven of an exact graph holds for inputs on its grid
        else:
            encoded = self._run(self._before, x)
            x = encoded.output.astype(np.uint8)
        result = self._run(self.chip, x, keep_spikes=self.keep_spikes, keep_membrane=self.keep_membrane, last=progress)
        behind = None
        if tail is not None and self._behind is not None:
            behind = self._run(self._behind, as_tail_input(tail, graph, self.arithmetic, result.output))
        rows = {f"spikes/{name}": array for name, array in result.spikes.items()}
        if self.keep_output and (behind is None or self.keep_spikes):
            rows["output"] = result.output
        if self.keep_output and behind is not None:
            rows["host_output"] = behind.output
        rows.update({f"membrane/{name}": array for name, array in result.membrane.items()})
        rows.update({f"current/{name}": array for name, array in result.current.items()})
        if encoded is not None and self.keep_spikes:
            rows["encoded"] = x
        reads, output = (graph, result.output) if tail is None or behind is None else (tail, behind.output)
        before, after = (None if part is None else part.layers for part in (encoded, behind))
        return Part(rows, Totals(predict(reads, output), before, result.layers, after))

    def _run(
        self,
        engine: Engine,
        x: np.ndarray,
        *,
        keep_spikes: bool = False,
        keep_membrane: bool = False,
        last: Callable[[int], None] | None = None,
    ) -> Result:
        return engine.run(
            x,
            self.timesteps,
            keep_spikes=keep_spikes,
            keep_membrane=keep_membrane,
            tile=self.batch,
            threads=self.threads,
            progress=last,
        )

    def slab_samples(self) -> int:
        """Samples of a slab: :data:`SLAB_BYTES` of input, of what passes between host and chip, and of kept rows, at
        most :data:`SLAB_SAMPLES`, rounded down to whole rounds of ``batch`` x ``threads``, but at least one.

        Every number is taken as 8 bytes (a spike as 1), and what the engine puts out as there twice: in tiles, and
        joined.
        """
        graph, steps = self.runnable.graph, self.timesteps
        size = {name: int(np.prod(shape)) for name, shape in graph.shapes.items()}
        numbers = int(np.prod(self.entry.shape)) * (1 if self.static else steps) + 2 * steps * size[graph.output]
        if self.runnable.tail is not None:
            tail = self.runnable.tail
            numbers += 2 * steps * int(np.prod(tail.shapes[tail.output]))
        spikes = 0 if self.encoder is None else 2 * steps * size[graph.input]
        spikes += 2 * steps * sum(size[name] for name in graph.names(LIF)) * self.keep_spikes
        numbers += 4 * steps * sum(size[name] for name in graph.names(NEURONS)) * self.keep_membrane
        fitting = min(SLAB_BYTES // (8 * numbers + spikes), SLAB_SAMPLES)
        tile = self.batch * self.threads
        return max(1, fitting // tile) * tile


def prepare(
    runnable: Runnable,
    source: Source,
    *,
    timesteps: int | None = None,
    arithmetic: str | None = None,
    keep_spikes: bool = False,
    keep_membrane: bool = False,
    keep_output: bool = True,
    batch: int = 32,
    threads: int = 1,
) -> Job:
    """The job of running ``source`` on ``runnable``; everything is checked but the values of the samples.

    Raises:
        UsageError: Wrong shape or labels (ND105), unknown arithmetic (ND101), no T (ND118), no batch (ND100).
        UnsupportedError: A network that the arithmetic cannot run.
    """
    arithmetic = arithmetic or runnable.graph.arithmetic
    if arithmetic not in ARITHMETICS:
        raise UsageError(
            "ND101", f"no such arithmetic: {arithmetic}", where="--arithmetic", fix=nearest(arithmetic, ARITHMETICS)
        )
    for value, what in ((batch, "--batch"), (threads, "--threads")):
        if value < 1:
            raise UsageError("ND100", f"{what} is {value}", where=what, fix="at least 1")
    graph, encoder = runnable.graph, runnable.encoder
    chip = Engine(graph, arithmetic, runnable.cores)  # what cannot run is said before the input is looked at
    if encoder is not None and not _fits(source.shape, encoder) and _fits(source.shape, graph):
        encoder = None  # spikes for the chip itself
    steps, static = check_form(source.shape, source.dtype, entry_of(encoder or graph), timesteps, graph.timesteps)
    last = runnable.tail or graph
    source.labels = check_labels(source.labels, source.shape[0], int(np.prod(last.shapes[last.output])))
    if arithmetic == "loihi":
        _require_proven(graph, steps)
    return Job(runnable, chip, encoder, steps, static, keep_spikes, keep_membrane, keep_output, batch, threads)


def check_values(job: Job, source: Source, first: int, last: int) -> None:
    """Read samples ``first`` to ``last`` (exclusive) once and refuse values that the network cannot take (ND108)."""
    values, step = job.value_check(), job.slab_samples()
    for start in range(first, last, step):
        values.add(source.read(start, min(start + step, last)))
    values.finish()


def predict(graph: Graph, output: np.ndarray) -> np.ndarray:
    """Class per sample: argmax of the last step for an integrator, of the sum over T otherwise; ``(B, T, *shape)``."""
    reads = [graph.nodes[source] for source in graph.sources(graph.output)]
    scores = output[:, -1] if all(isinstance(n, Integrator) for n in reads) else output.sum(axis=1)
    return np.asarray(scores.reshape(scores.shape[0], -1).argmax(axis=1), dtype=np.int64)


def entry_of(graph: Graph) -> Input:
    """The Input node."""
    node = graph.nodes[graph.input]
    assert isinstance(node, Input)
    return node


def _fits(given: Shape, graph: Graph) -> bool:
    shape = entry_of(graph).shape
    return given[1:] == shape or given[2:] == shape


def _require_proven(graph: Graph, steps: int) -> None:
    """Neurons that never forget were given a scale for the graph's T: beyond it they may saturate or wrap.

    Raises:
        UnsupportedError: ND223.
    """
    forever = [
        name
        for name, node in graph.nodes.items()
        if isinstance(node, LIF) and name in graph.scales and 1.0 in (node.decay, getattr(node, "current_decay", 0.0))
    ]
    if forever and graph.timesteps is not None and steps > graph.timesteps:
        raise UnsupportedError(
            "ND223",
            f"neurons without leak keep their range for {graph.timesteps} timesteps, this run has {steps}",
            where=", ".join(forever),
            fix=f"run at most {graph.timesteps}, or export for this many: "
            f"neurodeploy export MODEL --target loihi2 --timesteps {steps}",
        )
