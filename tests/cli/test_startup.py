"""What a fresh process imports and reads before its first answer: counted, and once timed against ``import numpy``."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from neurodeploy.ir import nir_read
from neurodeploy.sim import native

#: What takes long to import, and what is not needed to run a file; each is a top-level module.
HEAVY = {
    *("torch", "torchvision", "sklearn", "onnx", "onnxruntime", "safetensors", "PIL", "jinja2", "pydantic", "rich"),
    *("numba", "llvmlite", "scipy", "cffi", "nir", "h5py", "numpy"),
}
#: The Numba kernels, and what Numba imports for its own use.
NUMBA = {"numba", "llvmlite", "scipy", "cffi"}

#: Runs a command line in this process and prints which modules it has imported, on the last line.
PROBE = """
import sys
from neurodeploy.cli import run
code = run(sys.argv[2:])
print()
print(code, *(name for name in sys.argv[1].split(",") if name in sys.modules))
"""


def heavy_imports(*words: str | Path, kernels: str | None = None) -> set[str]:
    """Which of ``HEAVY`` a command imports in a fresh process; ``kernels`` sets ``NEURODEPLOY_KERNELS``."""
    environment = {key: value for key, value in os.environ.items() if key != "NEURODEPLOY_KERNELS"}
    if kernels is not None:
        environment["NEURODEPLOY_KERNELS"] = kernels
    command = [sys.executable, "-c", PROBE, ",".join(sorted(HEAVY)), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    code, *names = done.stdout.splitlines()[-1].split()
    assert code == "0", done.stderr
    return set(names)


@pytest.mark.parametrize("words", ["--help", "--version", "simulate --help", "export --help", "train --help"])
def test_help_imports_nothing_heavy(words: str) -> None:
    assert heavy_imports(*words.split()) == set()


@pytest.mark.parametrize(("model", "inputs"), [("chip", "static.npz"), ("artifact", "static.npz")])
def test_simulate_imports_what_it_needs(files: Path, model: str, inputs: str) -> None:
    imported = heavy_imports("simulate", files / model, "--input", files / inputs, "--json")
    assert {"numpy", "h5py"} <= imported <= {"numpy", "h5py", *NUMBA}


@pytest.mark.skipif(native.library() is None, reason="no compiled kernels here")
@pytest.mark.parametrize("model", ["chip", "artifact"])
def test_with_compiled_kernels_numba_is_not_imported(files: Path, model: str) -> None:
    """``chip`` is an integer network behind a float32 encoder, ``artifact`` float32; both take real values."""
    imported = heavy_imports("simulate", files / model, "--input", files / "static.npz", "--json")
    assert not imported & NUMBA


def test_the_probe_sees_what_is_imported(files: Path) -> None:
    """The tests above can fail: a command that reads a run's recipe and prints tables imports these."""
    assert "pydantic" in heavy_imports("list", "profiles")
    assert "numba" in heavy_imports("simulate", files / "chip", "--input", files / "static.npz", kernels="numba")


@pytest.mark.parametrize("model", ["chip", "artifact"])
def test_every_file_is_read_once(files: Path, call, monkeypatch, model: str) -> None:
    expected = ["encoder.nir", "network.nir"] if model == "chip" else ["network.nir"]
    seen: list[str] = []
    whole = nir_read.read_tree
    monkeypatch.setattr(nir_read, "read_tree", lambda path: seen.append(Path(path).name) or whole(path))
    call(0, "simulate", files / model, "--input", files / "static.npz")
    assert sorted(seen) == expected
    seen.clear()
    call(0, "simulate", files / model, "--input", files / "static.npz", "--timesteps", "2")
    assert set(seen) == set(expected)  # and once more to say what the option overrules


def cpu_seconds(*words: str) -> float:
    """CPU time of a fresh Python process, whose output is thrown away."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_costs_no_more_than_importing_numpy() -> None:
    """Both with the start of the interpreter. Measured at three quarters; the factor is for noise, and still less than
    what Numba or torch add, which cost several times as much as NumPy."""
    words = (("-m", "neurodeploy", "simulate", "--help"), ("-c", "import numpy"))
    turns = [[cpu_seconds(*word) for word in words] for _ in range(4)]
    ours, numpy = (min(times) for times in zip(*turns, strict=True))
    assert ours < 1.8 * numpy, f"{ours / numpy:.2f} times `import numpy`"
