"""What exact counts cost: the engine with them against the engine without."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import numpy as np

from neurodeploy.reporting.text import table
from neurodeploy.sim.engine import Engine
from simulation.contenders import Ours, environment
from simulation.measure import interleaved
from simulation.nets import Network


def measure(network: Network, repeats: int) -> dict[str, Any]:
    """The chip's part of a network, integers, on its encoded input."""
    if "counts" not in inspect.signature(Engine.run).parameters:
        print("the engine always counts: it has no run(counts=False) to compare with\n", flush=True)
        return {"section": "counting", "skipped": "Engine.run has no counts"}
    encoded = Ours(network, network.chip.arithmetic).run()[0]
    x = encoded.output.astype(np.uint8) if encoded is not None else network.x
    with environment(NEURODEPLOY_DENSE="0"):
        engine = Engine(network.chip, network.chip.arithmetic)
    run = partial(engine.run, x, network.timesteps, keep_spikes=False, tile=len(x))
    with_counts, without = run(counts=True), run(counts=False)
    if not np.array_equal(with_counts.output, without.output):
        raise SystemExit("the output depends on whether operations are counted")
    times = interleaved({"counted": partial(run, counts=True), "not counted": partial(run, counts=False)}, repeats)
    ratio, low, high = times["counted"].over(times["not counted"])
    columns = ("counting", "time, not counted = 1", "middle half of turns")
    rows = [("off", "1.00", ""), ("on", f"{ratio:.3f}", f"{low:.3f}-{high:.3f}")]
    print(table(f"{network.name}: batch {len(x)}, T = {network.timesteps}, integers, events alone", columns, rows))
    print(flush=True)
    seconds = {name: times[name].seconds for name in times}
    return {"section": "counting", "network": network.name, "batch": len(x), "seconds": seconds, "ratio": ratio}
