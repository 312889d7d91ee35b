"""An exported network in Lava's own CPU simulation of Loihi, beside our engine, per timestep.

Lava takes Python 3.10, so it runs in a process of its own (``lava_clock.py``), without recorders, and tells the
wall-clock time of some timesteps after others have been run: neither building the processes nor starting them counts.
Spikes and outputs are compared in another run, by the artifact's own ``run_lava.py``.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nir_io import write_nir
from neurodeploy.ir.nodes import NEURONS, Input
from neurodeploy.reporting.text import table
from neurodeploy.sim.engine import Engine
from neurodeploy.verification.lava import RUNNER, find_lava_python
from simulation.nets import CALIBRATION_IMAGES, Builder, T

ROOT = Path(__file__).parents[2]
KIT = (RUNNER, "lava_network.py")
RATE = 0.15
#: Name -> input shape, and channels and stride of the convolutions.
SIZES = {
    "large": ((2, 32, 32), ((64, 1), (32, 1), (64, 2))),
    "tiny": ((2, 8, 8), ((4, 1), (4, 2))),
}
LIMIT_SECONDS = 1800


def conv_network(size: str) -> tuple[Graph, np.ndarray]:
    """A convolutional network on spikes, and one sample."""
    shape, layers = SIZES[size]
    rng = np.random.default_rng(0)
    build = Builder(RATE, rng)
    build.add("input", Input(shape, "binary"))
    spikes = (rng.random((T, CALIBRATION_IMAGES, *shape)) < RATE).astype(np.float32)
    build.spikes["input"] = torch.from_numpy(spikes)
    last = "input"
    for index, (channels, stride) in enumerate(layers, 1):
        last = build.fire(f"lif{index}", build.conv(f"conv{index}", last, channels, 3, stride), f"conv{index}")
    return build.chip(last, f"conv-{size}"), np.moveaxis(spikes[:, :1], 0, 1).astype(np.uint8)


def measure(repeats: int, size: str = "large") -> dict[str, Any]:
    """Our engine against Lava on the same file and spikes."""
    python = find_lava_python()
    if python is None:
        print("left out: no Python 3.10 with lava-nc (make lava, or set NEURODEPLOY_LAVA_PYTHON)\n", flush=True)
        return {"section": "lava", "skipped": "no Lava"}
    graph, x = conv_network(size)
    neurons = sum(int(np.prod(graph.shapes[name])) for name in graph.names(NEURONS))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_nir(graph, folder / "network.nir")
        for name in KIT:
            shutil.copy(ROOT / "export" / "loihi2" / name, folder)
        np.savez(folder / "input.npz", input=x)
        given = ["--input", str(folder / "input.npz")]
        _lava([str(python), str(folder / RUNNER), str(folder), *given, "--trace", str(folder / "trace.npz")])
        with np.load(folder / "trace.npz") as archive:
            trace = dict(archive)
        clock = [str(python), str(Path(__file__).with_name("lava_clock.py")), str(folder), str(folder / "input.npz")]
        theirs = json.loads(_lava(clock).splitlines()[-1])
    engine = Engine(graph, "loihi")
    result = engine.run(x, T)
    pairs = [(result.spikes[name], trace[f"spikes/{name}"]) for name in result.spikes]
    pairs.append((result.output, trace["output"]))
    different = sum(int(np.count_nonzero(a != b)) for a, b in pairs)
    ours = []
    for _ in range(max(repeats, 2)):
        began = time.perf_counter()
        engine.run(x, T, keep_spikes=False)
        ours.append((time.perf_counter() - began) / T)
    ratio = statistics.median(theirs) / statistics.median(ours)
    columns = ("simulator", "time per timestep, ours = 1", "spikes and outputs that differ")
    rows = [("ours, one thread", "1.0", None), ("Lava, CPU, fixed point", f"{ratio:,.1f}", different)]
    print(table(f"conv-{size}: {neurons:,} neurons, {RATE:.0%} firing, wall-clock time", columns, rows))
    print(f"medians of {len(ours)} runs of ours and {len(theirs)} blocks of {T} timesteps of Lava's\n", flush=True)
    return {
        "section": "lava",
        "neurons": neurons,
        "ours": ours,
        "theirs": theirs,
        "different": different,
        "ratio": ratio,
    }


def _lava(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    if done.returncode:
        raise SystemExit(f"Lava failed: {' '.join(command)}\n{done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
