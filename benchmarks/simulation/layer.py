"""One wide layer: 128 to 128 channels, 3x3, on 16x16, T = 4, batch 1, spikes drawn independently.

Two clocks: the convolution's own step of the engine (whatever it does there: collecting events, adding weights,
counting), and the whole run, with input, neurons and output. The roofline is measured between them, in the same turns.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, Conv2d, Input, Output
from neurodeploy.reporting.text import table
from neurodeploy.sim.engine import Engine
from simulation.contenders import environment
from simulation.nets import DECAY, SUM_LIMIT, Builder, T
from simulation.roofline import l1_roofline

CHANNELS, SIDE = 128, 16
CALLS = 20
#: The rate of the figure that is asked for.
SHOWN = 0.10


def layer_graph() -> Graph:
    """Input, convolution, and neurons whose threshold few sums reach."""
    shape = (CHANNELS, SIDE, SIDE)
    weight = Builder(0.0, np.random.default_rng(0)).weights((CHANNELS, CHANNELS, 3, 3), SUM_LIMIT // 2)
    nodes = {
        "input": Input(shape, "binary"),
        "conv": Conv2d(weight, np.zeros(CHANNELS, np.float32), padding=(1, 1)),
        "lif": LIF(shape, np.asarray(DECAY), np.asarray(4000.0), compare="gt"),
        "output": Output(),
    }
    edges = (("input", "conv"), ("conv", "lif"), ("lif", "output"))
    return Graph(nodes, edges, timesteps=T, arithmetic="loihi")


class StepClock:
    """CPU seconds that one node's step takes in an engine, summed over calls."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.seconds = 0.0
        engine.repeats = False  # step by step
        inner = engine._steps[name]

        def timed(*given: Any, **named: Any) -> Any:
            began = time.thread_time_ns()
            result = inner(*given, **named)
            self.seconds += (time.thread_time_ns() - began) / 1e9
            return result

        engine._steps[name] = timed


def measure(rates: list[float], repeats: int) -> dict[str, Any]:
    """Operations per second at every rate against the roofline, and how time grows with spikes. Events alone."""
    graph = layer_graph()
    with environment(NEURODEPLOY_DENSE="0"):
        engine = Engine(graph, "loihi")
    clock = StepClock(engine, "conv")
    rng = np.random.default_rng(1)
    inputs = {rate: (rng.random((1, T, *graph.shapes["input"])) < rate).astype(np.uint8) for rate in rates}
    operations, seconds, whole = {}, {r: [] for r in rates}, {r: [] for r in rates}
    roofs: list[float] = []
    for rate, x in inputs.items():
        layers = {layer.name: layer for layer in engine.run(x, T, keep_spikes=False).layers}
        operations[rate] = int(layers["conv"].total("sop") or 0)
    for _ in range(repeats):
        roof = l1_roofline()
        roofs += [roof] if roof else []
        for rate, x in inputs.items():
            engine.run(x, T, keep_spikes=False)
            clock.seconds, began = 0.0, time.process_time()
            for _ in range(CALLS):
                engine.run(x, T, keep_spikes=False)
            whole[rate].append((time.process_time() - began) / CALLS)
            seconds[rate].append(clock.seconds / CALLS)
    roof = statistics.median(roofs) if roofs else None
    rows = []
    for rate in rates:
        best, end = statistics.median(seconds[rate]), statistics.median(whole[rate])
        speed, total = operations[rate] / best / 1e9, operations[rate] / end / 1e9
        # A turn's roofline beside its own kernel: the clock of a shared machine changes between turns.
        shares = [operations[rate] / s / r for s, r in zip(seconds[rate], roofs, strict=False)]
        share = f"{statistics.median(shares):.0%}" if shares else None
        spikes = int(inputs[rate].sum())
        rows.append((f"{rate:.0%}", spikes, operations[rate], f"{speed:.1f}", share, f"{total:.1f}"))
    columns = ("rate", "spikes", "operations", "GSOP/s", "of the L1 roofline", "GSOP/s of the whole run")
    title = f"{CHANNELS} to {CHANNELS} channels, 3x3, {SIDE}x{SIDE}, T = {T}, batch 1, integers, events alone"
    print(table(title, columns, rows))
    if roof is None:
        print("no L1 roofline: the compiled kernels are not there (install with a C compiler)")
    else:
        spread = f"{min(roofs) / 1e9:.1f} to {max(roofs) / 1e9:.1f}"
        print(f"L1 roofline: {roof / 1e9:.1f} G additions/s (median of {repeats} turns, {spread})")
    fit = straight_line([int(inputs[r].sum()) for r in rates], [statistics.median(seconds[r]) for r in rates])
    span = f"{min(rates):.0%} to {max(rates):.0%}"
    print(f"time against spikes, {span}: a straight line explains R² = {fit['r2']:.4f} of it; ", end="")
    near = min(rates, key=lambda rate: abs(rate - SHOWN))
    share = fit["intercept"] / statistics.median(seconds[near])
    print(f"what it takes without any spike is {share:.0%} of the time at {near:.0%}\n", flush=True)
    return {
        "section": "layer", "roofline": roofs, "rates": rates, "operations": list(operations.values()),
        "seconds": list(seconds.values()), "whole_seconds": list(whole.values()), "fit": fit,
    }  # fmt: skip


def straight_line(x: list[int], y: list[float]) -> dict[str, float]:
    """Least squares ``y = intercept + slope·x``, and R²."""
    if len(x) < 3:
        return {"intercept": float("nan"), "slope": float("nan"), "r2": float("nan")}
    slope, intercept = np.polyfit(x, y, 1)
    rest = np.asarray(y) - (intercept + slope * np.asarray(x))
    return {"intercept": float(intercept), "slope": float(slope), "r2": float(1 - rest.var() / np.var(y))}
