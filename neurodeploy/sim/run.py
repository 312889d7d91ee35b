"""``simulate``: run an emitted file on arrays, count everything. Larger inputs: :mod:`neurodeploy.sim.stream`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from neurodeploy.ir.nir_io import ReadOptions
from neurodeploy.passes.purity import purity
from neurodeploy.sim.job import Job, Part, check_values, predict, prepare
from neurodeploy.sim.sources import ArraySource, Source
from neurodeploy.sim.totals import Totals, joined
from neurodeploy.sim.trace import Trace
from neurodeploy.targets.artifact import Runnable, load_runnable

__all__ = ["predict", "simulate"]


def simulate(
    model: str | Path | Runnable,
    x: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    timesteps: int | None = None,
    arithmetic: str | None = None,
    options: ReadOptions | None = None,
    keep_spikes: bool = False,
    keep_membrane: bool = False,
    batch: int = 32,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Trace:
    """Run an artifact or a ``.nir`` file on ``x``.

    Args:
        model: Artifact folder, ``.nir`` file, or what :func:`~neurodeploy.targets.artifact.load_runnable` gave.
        x: ``(B, T, *shape)``, or ``(B, *shape)`` repeated over T. For an artifact with a host encoder: what enters the
            host; spikes of the chip's own input shape are taken too, and then the encoder does not run.
        labels: ``(B,)`` integers, for the accuracy.
        timesteps: T of a static input; default: what the file says.
        arithmetic: ``float32``, ``float64``, ``loihi``; default: what the file says.
        options: What a foreign file leaves open.
        keep_spikes: Keep every spike in the trace.
        keep_membrane: Keep every state after reset too, and the currents of neurons that have one.
        batch: Samples in flight per thread; bounds memory, changes nothing else.
        threads: Tiles in parallel; changes nothing else.
        progress: Called with the number of samples finished since the last call.

    Raises:
        UsageError: Input of the wrong shape or values; unknown arithmetic.
        UnsupportedError: A network that the arithmetic cannot run.
    """
    runnable = model if isinstance(model, Runnable) else load_runnable(model, options)
    source = ArraySource(x, labels)
    job = prepare(
        runnable,
        source,
        timesteps=timesteps,
        arithmetic=arithmetic,
        keep_spikes=keep_spikes,
        keep_membrane=keep_membrane,
        batch=batch,
        threads=threads,
    )
    samples = source.shape[0]
    check_values(job, source, 0, samples)
    started = time.perf_counter()
    rows: dict[str, np.ndarray] = {}
    totals: list[Totals] = []
    for start, part in slabs(job, source, 0, samples, progress):
        totals.append(part.totals)
        for key, array in part.rows.items():
            if array.shape[0] == samples:
                rows[key] = array  # all in one slab: no copy
            else:
                if key not in rows:
                    rows[key] = np.empty((samples, *array.shape[1:]), array.dtype)
                rows[key][start : start + array.shape[0]] = array
    return traced(job, source, joined(totals), rows, time.perf_counter() - started)


def slabs(
    job: Job, source: Source, first: int, last: int, progress: Callable[[int], None] | None = None
) -> Iterator[tuple[int, Part]]:
    """``(first sample, what it gives)`` of every slab of samples ``first`` to ``last`` (exclusive), in order."""
    step = job.slab_samples()
    for start in range(first, last, step):
        x = source.read(start, min(start + step, last))
        if not source.values_are_read_twice:
            values = job.value_check()
            values.add(x)
            values.finish()
        yield start, job.run(x, progress)


def traced(job: Job, source: Source, totals: Totals, rows: dict[str, np.ndarray], seconds: float) -> Trace:
    """The trace of a run that is over; ``rows`` are what was kept of its samples."""
    graph = job.runnable.graph

    def under(folder: str) -> dict[str, np.ndarray]:
        return {key.removeprefix(folder): array for key, array in rows.items() if key.startswith(folder)}

    violations = purity(graph)
    nothing = np.zeros((0, job.timesteps, *graph.shapes[graph.output]), np.float32)
    return Trace(
        spikes=under("spikes/"),
        output=rows.get("output", nothing),
        predictions=totals.predictions,
        layers=totals.chip,
        host_layers=totals.host_layers,
        timesteps=job.timesteps,
        arithmetic=job.arithmetic,
        purity="impure" if violations else "pure",
        violations=tuple(f"{f.node}: {f.rule}" for f in violations),
        seconds=seconds,
        membrane=under("membrane/"),
        current=under("current/"),
        encoded=rows.get("encoded"),
        host_output=rows.get("host_output"),
        labels=source.labels,
    )
