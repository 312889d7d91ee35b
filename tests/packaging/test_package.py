"""What is shipped, and what must be importable without torch."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from wheels import build_wheel

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

TORCH_FREE = [
    "ir",
    "passes",
    "sim",
    "energy",
    "reporting",
    "config",
    "diagnostics",
    "cli",
    "targets",
    "verification",
    "data",
]


def toml():
    try:
        import tomllib
    except ModuleNotFoundError:
        import tomli as tomllib
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_listed():
    listed = set(toml()["tool"]["setuptools"]["packages"])
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "neurodeploy").rglob("__init__.py")
        if "__pycache__" not in path.parts
    }
    mapped = {f"neurodeploy.shipped.{name}" for name in ("models", "export", "hardware_profiles")}
    assert listed == found | mapped


def run_without_torch(code: str) -> subprocess.CompletedProcess:
    blocker = "import sys\nfor name in ('torch', 'torchvision'): sys.modules[name] = None\n"
    return subprocess.run([sys.executable, "-c", blocker + code], capture_output=True, text=True, check=False)


def test_no_torch_is_needed_beside_training():
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for part in TORCH_FREE
        for path in [*(ROOT / "neurodeploy" / part).rglob("*.py"), ROOT / "neurodeploy" / f"{part}.py"]
        if path.exists()
    )
    assert len(modules) > 40
    done = run_without_torch("import importlib\n" + "\n".join(f"importlib.import_module({m!r})" for m in modules))
    assert done.returncode == 0, done.stderr


def test_simulate_runs_without_torch(tmp_path):
    code = f"""
import sys; sys.path.insert(0, {str(ROOT / "tests")!r})
import numpy as np
from pathlib import Path
from graphs import paper_chain
from neurodeploy.ir.nir_io import write_nir
from neurodeploy.sim.run import simulate
write_nir(paper_chain(), Path({str(tmp_path / "a.nir")!r}))
print(simulate({str(tmp_path / "a.nir")!r}, np.ones((2, 1, 8, 8))).samples)
"""
    done = run_without_torch(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2"


def test_a_command_that_needs_torch_says_so(tmp_path):
    code = (
        f"import os; os.chdir({str(tmp_path)!r}); from neurodeploy.cli import main; main(['train', 'digits/conv-rmp'])"
    )
    done = run_without_torch(code)
    assert done.returncode == 2, done.stderr
    assert "ND124" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_command_line_imports_nothing_heavy():
    code = (
        "import neurodeploy.cli, sys; "
        "print([m for m in ('torch', 'numpy', 'numba', 'nir', 'h5py', 'pydantic', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_wheel_holds_recipes_targets_and_profiles(tmp_path):
    """Built without the network, from the tools already installed."""
    pytest.importorskip("setuptools")
    wheel = build_wheel(ROOT, tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for wanted in (
        "neurodeploy/shipped/models/digits/conv-rmp.toml",
        "neurodeploy/shipped/export/loihi2/target.toml",
        "neurodeploy/shipped/export/loihi2/run_lava.py",
        "neurodeploy/shipped/hardware_profiles/loihi.toml",
        "neurodeploy/diagnostics/pages/ND203.md",
        "neurodeploy/reporting/report.schema.json",
    ):
        assert wanted in names
    assert not [name for name in names if name.startswith(("models/", "export/", "tests/"))]
    assert not [name for name in names if "__pycache__" in name]
    extracted = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(extracted)
    code = (
        f"import sys; sys.path.insert(0, {str(extracted)!r}); import neurodeploy; "
        f"assert neurodeploy.__file__.startswith({str(extracted)!r}), neurodeploy.__file__; "
        "from neurodeploy.cli import run; run(['list', 'models'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "digits/conv-rmp" in done.stdout
