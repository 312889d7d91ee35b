"""From a fresh process to the first result, and to the first help text: wall-clock time of whole processes, in seconds
and in times ``python -c "import numpy"``.

``cold`` is the first process of all with an empty kernel cache; what the operating system has of the files in memory is
not thrown out. Each other process finds the cache that the first one left.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from neurodeploy.reporting.text import table
from neurodeploy.targets.artifact import GOLDEN, read_npz

#: What all times are compared with.
NUMPY = "python -c 'import numpy'"


def measure(folder: Path, repeats: int) -> dict[str, Any]:
    """``simulate`` of an artifact on its golden inputs, ``simulate --help``, a bare interpreter, and NumPy."""
    import numpy as np

    golden = read_npz(folder / GOLDEN, what="golden vectors")
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        np.savez(place / "input.npz", x=golden["host_input" if "host_input" in golden else "input"][:1])
        ours = [sys.executable, "-m", "neurodeploy", "simulate"]
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            NUMPY: [sys.executable, "-c", "import numpy"],
            "simulate --help": [*ours, "--help"],
            "simulate, first result": [*ours, str(folder), "--input", str(place / "input.npz"), "--json", "--quiet"],
        }
        cold = [_seconds(commands["simulate, first result"], place / "cold") for _ in range(1)]
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(repeats + 1):
            for name, command in commands.items():
                took = _seconds(command, place / "cold")
                if turn:
                    seconds[name].append(took)
    unit = statistics.median(seconds[NUMPY])
    rows = [("simulate, first result, empty kernel cache", *_row(cold, unit))]
    rows += [(name, *_row(times, unit)) for name, times in seconds.items()]
    columns = ("process", "seconds", "least", "most", "times NumPy's")
    print(table(f"{folder}: fresh processes, wall-clock time, medians of {repeats}", columns, rows))
    print(flush=True)
    return {"section": "startup", "artifact": str(folder), "cold": cold, "seconds": seconds}


def _row(seconds: list[float], unit: float) -> tuple[str, ...]:
    middle = statistics.median(seconds)
    return (*(f"{value:.3f}" for value in (middle, min(seconds), max(seconds))), f"{middle / unit:.2f}")


def _seconds(command: list[str], cache: Path) -> float:
    """Wall-clock seconds of a process, compiled Numba kernels in ``cache``."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "NUMBA_CACHE_DIR": str(cache)})
    return time.perf_counter() - began
