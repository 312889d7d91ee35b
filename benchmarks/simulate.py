"""Our engine beside other simulators on the same file, in one run: ratios, never absolute times.

    python benchmarks/simulate.py runs/digits-conv-rmp/seed-0/export-nir [--samples 256] [--repeats 5]

Every simulator runs the same ``network.nir`` on the same inputs, one thread, float32; spikes are compared first, and a
simulator whose spikes differ is reported as such. Files are read and networks built before the clock starts. The
image's first layer is computed at every step by all of them (the input is given as a sequence of T frames). Times are
medians of process CPU time after one warm-up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from neurodeploy.ir.interpret import interpret
from neurodeploy.reporting.text import table
from neurodeploy.sim.engine import Engine
from neurodeploy.targets.artifact import Artifact, find_artifact
from neurodeploy.verification.compare import compare
from neurodeploy.verification.readers import READERS, Reader, lacking


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    """Median process CPU time of ``run`` after one warm-up."""
    run()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return statistics.median(times)


def contenders(artifact: Artifact, x: np.ndarray) -> dict[str, Callable[[], dict[str, np.ndarray]]]:
    """Name -> a call that simulates ``x`` and returns ``spikes/<node>`` and ``output``."""
    graph = artifact.network
    engine = Engine(graph, graph.arithmetic)

    def ours() -> dict[str, np.ndarray]:
        result = engine.run(x, x.shape[1])
        return {"output": result.output, **{f"spikes/{name}": s for name, s in result.spikes.items()}}

    def slow() -> dict[str, np.ndarray]:
        meaning = interpret(graph, x, graph.arithmetic)
        return {"output": meaning.output, **{f"spikes/{name}": s for name, s in meaning.spikes.items()}}

    found: dict[str, Callable[[], dict[str, np.ndarray]]] = {
        "neurodeploy engine": ours,
        "neurodeploy interpreter": slow,
    }
    for name in READERS:
        if not lacking(name, artifact):
            found[name] = partial(Reader(name, artifact).run, x)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path, help="an artifact folder; export --target nir or loihi2")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    artifact = find_artifact(options.artifact)
    golden = artifact.golden["input"]
    x = np.concatenate([golden] * -(-options.samples // len(golden)))[: options.samples]
    runs = contenders(artifact, x)
    reference = {**runs["neurodeploy interpreter"](), "input": x}
    rows = []
    ours = None
    for name, run in runs.items():
        found = compare(artifact.network, reference, run(), exact=False)
        seconds = median_seconds(run, options.repeats)
        ours = ours or seconds
        rows.append((name, f"{seconds / ours:.1f}", found.spike_differences))
    print(table("", ("simulator", "time, engine = 1", "spikes that differ"), rows))
    print(f"{artifact.folder}: {len(x)} samples, {x.shape[1]} steps, one thread, medians of {options.repeats}")


if __name__ == "__main__":
    main()
