"""Lava as an oracle: the artifact's own ``run_lava.py`` in a Python 3.10 that has lava-nc."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from neurodeploy.diagnostics import UsageError, VerificationError
from neurodeploy.targets.artifact import GOLDEN, Artifact, read_npz

RUNNER = "run_lava.py"
VARIABLE = "NEURODEPLOY_LAVA_PYTHON"
ENVIRONMENT = Path(".venv-lava") / "bin" / "python"
#: Lava starts one process per Lava process and can hang; half an hour is far beyond any honest run.
LIMIT_SECONDS = 1800


@lru_cache(maxsize=1)
def find_lava_python() -> Path | None:
    """A Python that can import lava, nir and h5py; None if there is none.

    Looked for in this order: ``NEURODEPLOY_LAVA_PYTHON``, ``.venv-lava`` in the current folder, ``.venv-lava`` beside
    the package's checkout, this very Python.

    Raises:
        UsageError: The variable names something that cannot import Lava (ND121).
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not _has_lava(Path(named)):
            raise UsageError(
                "ND121",
                f"{VARIABLE} names a Python that cannot import lava, nir and h5py",
                where=named,
                fix="Python 3.10: pip install lava-nc==0.10.0 nir h5py",
            )
        return Path(named)
    places = (Path.cwd() / ENVIRONMENT, Path(__file__).parents[2] / ENVIRONMENT, Path(sys.executable))
    return next((place for place in places if place.exists() and _has_lava(place)), None)


def _has_lava(python: Path) -> bool:
    try:
        done = subprocess.run(
            [str(python), "-c", "import lava.proc.lif.process, nir, h5py"],
            capture_output=True,
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def lacking(artifact: Artifact) -> str:
    """Why Lava cannot replay this artifact here; empty if it can."""
    if not (artifact.folder / RUNNER).is_file():
        return f"the artifact has no {RUNNER}: export with --target loihi2 or loihi"
    if find_lava_python() is None:
        return f"no Python 3.10 with lava-nc found (make lava, or set {VARIABLE})"
    return ""


def replay(artifact: Artifact, samples: int) -> dict[str, np.ndarray]:
    """The first ``samples`` golden inputs through Lava's fixed-point simulation; keys as ``--trace``.

    Raises:
        VerificationError: The runner failed or took too long (ND403); its last words are in the message.
    """
    python = find_lava_python()
    assert python is not None
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "lava.npz"
        runner, golden = artifact.folder / RUNNER, artifact.folder / GOLDEN
        command = [str(python), str(runner), str(artifact.folder), "--input", str(golden), "--trace", str(trace)]
        command += ["--samples", str(samples)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise VerificationError(
                "ND403", f"Lava did not finish in {LIMIT_SECONDS} s", where=str(runner), fix="use fewer --samples"
            ) from error
        if done.returncode != 0:
            words = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise VerificationError(
                "ND403",
                "Lava could not run the artifact: " + (words[-1] if words else f"exit {done.returncode}"),
                where=str(runner),
                fix="run it by hand: " + " ".join(command),
            )
        return read_npz(trace, what="Lava's trace")
