"""Shared fixtures: digits runs of three seeds each, trained once per session, and their artifacts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# The same examples in every run, so that a change and its test are judged by the same cases. To look for others:
# HYPOTHESIS_PROFILE=search python -m pytest …
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

SEEDS = (0, 1, 2)
RECIPES = {"vanilla": "digits/conv-vanilla", "rmp": "digits/conv-rmp"}


@pytest.fixture(scope="session")
def digits_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """``{"vanilla": folder, "rmp": folder}``, each with ``seed-0``, ``seed-1``, ``seed-2``; two processes at once."""
    root = tmp_path_factory.mktemp("digits")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    seeds = ",".join(map(str, SEEDS))
    running = {
        name: subprocess.Popen(
            [sys.executable, "-m", "neurodeploy", "train", recipe, "--seeds", seeds, "--out", root / name, "--quiet"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, recipe in RECIPES.items()
    }
    for name, process in running.items():
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, f"{name}: {output}"
    return {name: root / name for name in RECIPES}


@pytest.fixture(scope="session")
def digits_artifacts(digits_runs: dict[str, Path]) -> dict[str, Path]:
    """``{"nir": …, "loihi2": …}``: artifacts of the RMP network, seed 0."""
    from neurodeploy.targets.export import export

    return {target: export(digits_runs["rmp"] / "seed-0", target).folder for target in ("nir", "loihi2")}


@pytest.fixture(scope="session")
def lava_python() -> Path:
    """A Python 3.10 with lava-nc; the test is skipped, and the summary says so loudly, where there is none."""
    from neurodeploy.verification.lava import find_lava_python

    python = find_lava_python()
    if python is None:
        pytest.skip(NO_LAVA)
    return python


NO_LAVA = "LAVA IS NOT HERE: no Python 3.10 with lava-nc (make lava, or set NEURODEPLOY_LAVA_PYTHON)"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not compared with Lava."""
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if NO_LAVA in str(r.longrepr)]
    if skipped:
        terminalreporter.section("NOT VERIFIED IN LAVA", sep="!", red=True, bold=True)
        terminalreporter.write_line(f"{len(skipped)} tests were skipped: {NO_LAVA}")
