"""A wheel of the project, built without the network from the tools already installed."""

import os
import subprocess
import sys
from pathlib import Path


def build_wheel(source: Path, folder: Path, **environment: str) -> Path:
    """The wheel of ``source``, in ``folder``."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    done = subprocess.run(
        [*command, str(source)], capture_output=True, text=True, env=os.environ | environment, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel
