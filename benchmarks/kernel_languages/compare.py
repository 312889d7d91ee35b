"""One inner loop in plain Numba, Numba with LLVM IR, and C: speed, start-up, length. Ratios, never absolute times.

    python benchmarks/kernel_languages/compare.py [--rates 5,10,20,40] [--repeats N] [--avx2]

``layer.py`` says what is computed. All three get the same arrays and run the same algorithm on one thread; every result
is compared with a dense product. Speed is CPU time of the kernel alone, taken in turns, the least of all turns; it is
printed in relation to the fastest. Start-up is measured in fresh processes that have imported NumPy: the import of the
module and its first call, cold (nothing compiled yet) and warm (compiled by an earlier process), divided by the time
that ``import numpy`` took in the same process. Lines are those that hold code. ``--avx2`` compiles all three for a CPU
without AVX-512.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tokenize
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
#: Name -> module and the files that hold its kernel.
LANGUAGES = {
    "plain Numba": ("plain_numba", ("plain_numba.py",)),
    "Numba with LLVM IR": ("numba_with_ir", ("numba_with_ir.py",)),
    "C with ctypes": ("c_with_ctypes", ("gather.c", "c_with_ctypes.py")),
}
#: Run in a fresh process: seconds for numpy, then for the module and its first call.
CHILD = """
import sys, time
begin = time.perf_counter()
import numpy
middle = time.perf_counter()
from layer import make_layer
layer = make_layer(0.1, pixels=4)
ready = time.perf_counter()
import importlib
module = importlib.import_module(sys.argv[1])
module.add_events(layer.starts, layer.events, layer.weight, layer.out)
print(middle - begin, time.perf_counter() - ready)
assert (layer.out == layer.expected).all()
"""


def speed(rates: list[float], repeats: int) -> dict[str, list[float]]:
    """Per language: seconds of CPU for the layer, at each rate."""
    from layer import make_layer

    kernels: dict[str, Callable[..., None]] = {
        name: importlib.import_module(module).add_events for name, (module, _) in LANGUAGES.items()
    }
    least: dict[str, list[float]] = {name: [] for name in kernels}
    for rate in rates:
        layer = make_layer(rate)
        turns: dict[str, list[float]] = {name: [] for name in kernels}
        for _ in range(repeats):
            for name, kernel in kernels.items():
                layer.out[...] = -1
                kernel(layer.starts, layer.events, layer.weight, layer.out)  # warms the caches
                before = time.process_time()
                for _ in range(4):
                    kernel(layer.starts, layer.events, layer.weight, layer.out)
                turns[name].append(time.process_time() - before)
                assert (layer.out == layer.expected).all(), f"{name} is wrong at a rate of {rate}"
        for name, times in turns.items():
            least[name].append(min(times))
    return least


def start_up(module: str, repeats: int) -> tuple[float, float]:
    """Import and first call, cold and warm, in units of ``import numpy``: medians over fresh processes."""
    cold, warm = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "NUMBA_CACHE_DIR": folder, "KERNEL_LANGUAGES_CACHE": folder}
            for found in (cold, warm, warm):
                command = [sys.executable, "-c", CHILD, module]
                done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=True)
                numpy, ours = map(float, done.stdout.split())
                found.append(ours / numpy)
    return statistics.median(cold), statistics.median(warm)


def lines_of_code(path: Path) -> int:
    """Lines with code: no blank ones, comments or docstrings."""
    if path.suffix == ".c":
        text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        return sum(bool(line.strip()) for line in text.splitlines())
    held: set[int] = set()
    nothing = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    starts_line = True
    with path.open("rb") as stream:
        for token in tokenize.tokenize(stream.readline):
            docstring = token.type == tokenize.STRING and starts_line
            if token.type not in (*nothing, tokenize.ENCODING) and not docstring:
                held.update(range(token.start[0], token.end[0] + 1))
            if token.type != tokenize.COMMENT:
                starts_line = token.type in (*nothing, tokenize.ENCODING)
    return len(held)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Compare one kernel in three languages.")
    parser.add_argument("--rates", default="5,10,20,40", help="firing rates in percent")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--avx2", action="store_true", help="as on a CPU without AVX-512")
    options = parser.parse_args()
    if shutil.which("cc") is None:
        raise SystemExit("this comparison needs a C compiler, `cc`")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    if options.avx2:
        # Without the second, Numba keeps the features of this CPU, AVX-512 among them.
        os.environ.update(NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="+avx2", KERNEL_LANGUAGES_CPU="haswell")
    rates = [float(word) / 100 for word in options.rates.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(NUMBA_CACHE_DIR=folder, KERNEL_LANGUAGES_CACHE=folder)
        least = speed(rates, options.repeats)
    print("128 -> 128 channels, 3x3, 16x16 pixels, one thread; " + ("AVX2" if options.avx2 else "this CPU"))
    print("time, in relation to the fastest; start-up, in relation to `import numpy`\n")
    columns = [f"{rate:.0%}" for rate in rates] + ["cold", "warm", "lines"]
    print(f"{'':20}" + "".join(f"{column:>8}" for column in columns))
    for name, (module, files) in LANGUAGES.items():
        ratios = [
            times / min(others) for times, others in zip(least[name], zip(*least.values(), strict=True), strict=True)
        ]
        cold, warm = start_up(module, 3)
        cells = [f"{ratio:8.2f}" for ratio in ratios] + [f"{cold:8.2f}", f"{warm:8.2f}"]
        print(f"{name:20}" + "".join(cells) + f"{sum(lines_of_code(HERE / file) for file in files):8d}")


if __name__ == "__main__":
    main()
