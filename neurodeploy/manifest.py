"""What was run, with what, from which bytes: the ``manifest.json`` of runs and artifacts. No torch."""

from __future__ import annotations

import datetime
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

SCHEMA = "neurodeploy.manifest/1"

#: Packages whose version can change a result.
PACKAGES = (
    "h5py",
    "lava-dl",
    "lava-nc",
    "nir",
    "numba",
    "numpy",
    "onnx",
    "onnxruntime",
    "pydantic",
    "safetensors",
    "scikit-learn",
    "torch",
    "torchvision",
)


def collect(command: str, **extra: Any) -> dict[str, Any]:
    """Versions, platform, git commits, time and arguments, with what the caller adds.

    ``git`` is the commit of the folder that the command ran in, the user's project; ``neurodeploy_commit`` is ours.

    Args:
        command: The command that makes the thing, ``train`` or ``export``.
        extra: More keys, for example ``recipe_sha256``.
    """
    return {
        "schema": SCHEMA,
        "command": command,
        "neurodeploy": version("neurodeploy"),
        "neurodeploy_commit": neurodeploy_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: found for name in PACKAGES if (found := version(name)) is not None},
        "git": git_commit(),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "argv": list(sys.argv),
        **extra,
    }


def version(package: str) -> str | None:
    """Installed version of a package, None where it is not installed; the package is not imported."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_commit() -> dict[str, Any] | None:
    """Commit of the current folder and whether tracked files differ from it; None outside git or without git."""
    commit = _git("rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "modified": bool(_git("status", "--porcelain", "--untracked-files=no"))}


def neurodeploy_commit() -> str | None:
    """Commit of the checkout that this package lies in, ``-dirty`` where tracked files differ from it.

    None when it was installed from a wheel, also where the environment lies in someone else's checkout: this file is
    then not one of its tracked files.
    """
    here = Path(__file__)
    if _git("ls-files", "--error-unmatch", here.name, folder=here.parent) is None:
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*", folder=here.parent)


def _git(*arguments: str, folder: Path | None = None) -> str | None:
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
