"""The compiled kernels in packages: the sdist holds their sources; without a compiler, or broken, Numba runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from wheels import build_wheel

ROOT = Path(__file__).parents[2]
NATIVE = Path("neurodeploy/sim/native")
PARTS = [
    "neurodeploy",
    "models",
    "export",
    "hardware_profiles",
    "pyproject.toml",
    "setup.py",
    "README.md",
]
#: What an integer network gives; the folder of the package comes first on the path.
NUMBERS = """
import numpy as np
import neurodeploy
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, Input, Integrator, Linear, Output
from neurodeploy.sim.engine import Engine
from neurodeploy.sim.native import kernels_name
rng = np.random.default_rng(0)
nodes = {
    "input": Input((40,), "binary"),
    "a": Linear(rng.integers(-20, 21, (30, 40)).astype(float), rng.integers(-3, 4, 30).astype(float)),
    "lif": LIF((30,), 0.5, 40.0, compare="gt"),
    "b": Linear(rng.integers(-9, 10, (5, 30)).astype(float), np.zeros(5)),
    "readout": Integrator((5,)),
    "output": Output(),
}
names = list(nodes)
engine = Engine(Graph(nodes, tuple(zip(names, names[1:])), timesteps=4), "loihi")
result = engine.run((rng.random((9, 4, 40)) < 0.3).astype(np.uint8), 4, tile=2)
assert result.totals.any() and result.output.any()
print(neurodeploy.__file__)
print(kernels_name())
print(result.output.tolist(), result.totals.tolist(), [layer.to_json() for layer in result.layers])
"""


def numbers(folder: Path, code: str = NUMBERS) -> tuple[str, str]:
    """Which kernels run in the package under ``folder``, and what they give."""
    environment = {name: value for name, value in os.environ.items() if name != "NEURODEPLOY_KERNELS"}
    environment["PYTHONPATH"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    where, kernels, found = done.stdout.splitlines()
    assert where.startswith(str(folder)), where
    return kernels, found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree as it comes from the repository: nothing is built."""
    folder = tmp_path_factory.mktemp("source")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy(ROOT / part, folder)
    return folder


def test_an_sdist_holds_what_the_kernels_are_compiled_from(source, tmp_path):
    code = f"from setuptools import build_meta; print(build_meta.build_sdist({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=source, check=False)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    written = {
        path.relative_to(ROOT).as_posix() for end in ("c", "h", "py") for path in (ROOT / NATIVE).glob(f"*.{end}")
    }
    assert len(written) > 15
    assert names >= written | {"setup.py"}
    assert not [name for name in names if name.endswith(".so")]


@pytest.mark.slow
def test_without_a_compiler_a_wheel_runs_numba(source, tmp_path):
    wheel = build_wheel(source, tmp_path, CC="/bin/false")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert not list((tmp_path / "site").rglob("*.so"))
    kernels, found = numbers(tmp_path / "site")
    assert kernels == "numba"
    assert found == numbers(ROOT)[1]


def test_libraries_that_are_none_of_ours_are_passed_over(source):
    """Text, nothing at all, the library of something else: as if there were none."""
    import _ctypes

    for broken in (b"not a library", b"", Path(_ctypes.__file__).read_bytes()):
        for name in ("avx512", "avx2", "generic"):
            (source / NATIVE / f"kernels_{name}.so").write_bytes(broken)
        code = "import neurodeploy; from neurodeploy.sim.native import describe, kernels_name as k; "
        kernels, found = numbers(source, code + "print(neurodeploy.__file__); print(k()); print(describe())")
        assert kernels == "numba"
        assert "not built" in found
    for path in (source / NATIVE).glob("*.so"):
        path.unlink()
