"""``simulate``: run an emitted file, count everything."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from neurodeploy.diagnostics import UnsupportedError, UsageError, nearest
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import ARITHMETICS
from neurodeploy.ir.nir_io import ReadOptions
from neurodeploy.ir.nodes import LIF, Input, Integrator
from neurodeploy.passes.exact_input import snap_input
from neurodeploy.passes.purity import purity
from neurodeploy.passes.tail import as_tail_input
from neurodeploy.sim.engine import Engine, Result
from neurodeploy.sim.inputs import check_inputs
from neurodeploy.sim.trace import LayerCounts, Trace
from neurodeploy.targets.artifact import Runnable, load_runnable

#: Samples in flight from the chip to the host's tail.
SLAB = 256


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
    arithmetic = arithmetic or runnable.graph.arithmetic
    if arithmetic not in ARITHMETICS:
        raise UsageError(
            "ND101", f"no such arithmetic: {arithmetic}", where="--arithmetic", fix=nearest(arithmetic, ARITHMETICS)
        )
    for value, what in ((batch, "--batch"), (threads, "--threads")):
        if value < 1:
            raise UsageError("ND100", f"{what} is {value}", where=what, fix="at least 1")
    engine = Engine(runnable.graph, arithmetic, runnable.cores)
    encoder = runnable.encoder
    if encoder is not None and not _fits(x, encoder) and _fits(x, runnable.graph):
        encoder = None  # spikes for the chip itself
    entry = _entry(encoder or runnable.graph)
    inputs = check_inputs(
        x,
        labels,
        entry,
        timesteps,
        runnable.graph.timesteps,
        classes=int(np.prod(runnable.graph.shapes[runnable.graph.output])),
        double=arithmetic == "float64",
    )
    x, steps = _typed(inputs.x, entry), inputs.timesteps
    if encoder is None:
        x, _ = snap_input(runnable.graph, x)  # what was proven of an exact graph holds for inputs on its grid
    if arithmetic == "loihi":
        _require_proven(runnable.graph, steps)
    started = time.perf_counter()
    host_layers: tuple[LayerCounts, ...] = ()
    encoded = None
    if encoder is not None:
        host = Engine(encoder, "float64" if arithmetic == "float64" else "float32").run(
            x, steps, keep_spikes=False, tile=batch, threads=threads
        )
        host_layers, x = host.layers, host.output.astype(np.uint8)
        encoded = x if keep_spikes else None
    run = partial(
        _run, engine, runnable.tail, steps, keep_spikes, keep_membrane, batch=batch, threads=threads, progress=progress
    )
    if runnable.tail is None or keep_spikes:
        result, tail = run(x)
    else:  # what leaves the chip is whole feature maps: in slabs, so that not all of them are in memory at once
        slabs = [run(x[start : start + SLAB]) for start in range(0, x.shape[0], SLAB)]
        result, tail = _joined([r for r, _ in slabs]), _joined([t for _, t in slabs if t is not None])
        result = replace(result, output=result.output[:0])
    graph = runnable.graph
    violations = purity(graph)
    return Trace(
        spikes=result.spikes,
        output=result.output,
        predictions=predict(runnable.tail, tail.output) if runnable.tail and tail else predict(graph, result.output),
        layers=result.layers,
        host_layers=(*host_layers, *(_tail_layers(tail, host_layers) if tail else ())),
        timesteps=steps,
        arithmetic=arithmetic,
        purity="impure" if violations else "pure",
        violations=tuple(f"{f.node}: {f.rule}" for f in violations),
        seconds=time.perf_counter() - started,
        membrane=result.membrane,
        current=result.current,
        encoded=encoded,
        host_output=tail.output if tail else None,
        labels=inputs.y,
    )


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


def _run(
    engine: Engine,
    tail: Graph | None,
    steps: int,
    keep_spikes: bool,
    keep_membrane: bool,
    x: np.ndarray,
    *,
    batch: int,
    threads: int,
    progress: Callable[[int], None] | None,
) -> tuple[Result, Result | None]:
    """The chip's part and the host's tail behind it."""
    result = engine.run(
        x,
        steps,
        keep_spikes=keep_spikes,
        keep_membrane=keep_membrane,
        tile=batch,
        threads=threads,
        progress=progress,
    )
    if tail is None:
        return result, None
    entered = as_tail_input(tail, engine.graph, engine.arithmetic, result.output)
    host = Engine(tail, "float64" if engine.arithmetic == "float64" else "float32")
    return result, host.run(entered, steps, keep_spikes=False, tile=batch, threads=threads)


def _tail_layers(tail: Result, encoder: tuple[LayerCounts, ...]) -> tuple[LayerCounts, ...]:
    """The tail's counts; where the encoder encodes a static input once, the tail's ``mac_once`` is its ``mac``.

    So the sum over the host's layers is what the host computes then: the tail runs at every step all the same.
    """
    if not any(layer.total("mac_once") for layer in encoder):
        return tail.layers
    return tuple(replace(row, per_step={**row.per_step, "mac_once": row.per_step["mac"]}) for row in tail.layers)


def _joined(parts: list[Result]) -> Result:
    """Results of consecutive samples as one; only outputs and counts were kept."""
    layers = tuple(
        replace(same[0], per_step={key: _added([one.per_step[key] for one in same]) for key in same[0].per_step})
        for same in zip(*(part.layers for part in parts), strict=True)
    )
    return replace(parts[0], output=np.concatenate([part.output for part in parts]), layers=layers)


def _added(steps: list[np.ndarray | None]) -> np.ndarray | None:
    known = [step for step in steps if step is not None]
    return np.sum(known, axis=0) if len(known) == len(steps) else None


def predict(graph: Graph, output: np.ndarray) -> np.ndarray:
    """Class per sample: argmax of the last step for an integrator, of the sum over T otherwise; ``(B, T, *shape)``."""
    reads = [graph.nodes[source] for source in graph.sources(graph.output)]
    scores = output[:, -1] if all(isinstance(n, Integrator) for n in reads) else output.sum(axis=1)
    return np.asarray(scores.reshape(scores.shape[0], -1).argmax(axis=1), dtype=np.int64)


def _entry(graph: Graph) -> Input:
    node = graph.nodes[graph.input]
    assert isinstance(node, Input)
    return node


def _fits(x: np.ndarray, graph: Graph) -> bool:
    shape = _entry(graph).shape
    return np.shape(x)[1:] == shape or np.shape(x)[2:] == shape


def _typed(x: np.ndarray, entry: Input) -> np.ndarray:
    """Spikes as uint8; real inputs keep their precision (float64 data in float64 arithmetic)."""
    return x.astype(np.uint8) if entry.values == "binary" else x
