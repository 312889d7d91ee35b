"""What this machine offers neurodeploy: versions, processors, Lava, data. Nothing heavy is imported."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from neurodeploy.diagnostics import UsageError
from neurodeploy.manifest import PACKAGES, neurodeploy_commit, version
from neurodeploy.sim import native
from neurodeploy.verification.lava import find_lava_python

#: Peers that verification can replay in.
PEERS = ("norse", "snntorch", "spikingjelly", "nirtorch", "neurobench")


def examine() -> dict[str, Any]:
    """The ``result`` of ``neurodeploy doctor --json``."""
    data = os.environ.get("NEURODEPLOY_DATA")
    notes = []
    try:
        lava = find_lava_python()
    except UsageError as error:  # a wrong variable is what doctor is asked to find
        lava = None
        notes.append(f"{error.message}: {error.where}")
    if lava is None and not notes:
        notes.append(
            "no Python 3.10 with lava-nc: `verify --with lava` is skipped (make lava, or set NEURODEPLOY_LAVA_PYTHON)"
        )
    try:
        kernels = native.describe()
    except UsageError as error:
        kernels = None
        notes.append(f"{error.where}={error.message}; {error.fix}")
    if data and not Path(data).is_dir():
        notes.append(f"NEURODEPLOY_DATA is {data}, which is no folder")
    return {
        "neurodeploy": version("neurodeploy"),
        "commit": neurodeploy_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "cpu_features": _cpu_features(),
        "kernels": kernels,
        "lava_python": str(lava) if lava else None,
        "data_root": data,
        "packages": {name: version(name) for name in ("neurodeploy", *PACKAGES, *PEERS)},
        "notes": notes,
    }


def _cpu_features() -> str:
    """The vector extensions that matter to the kernels; empty where the system does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    flags = next((line.split(":", 1)[1].split() for line in text.splitlines() if line.startswith("flags")), [])
    return " ".join(flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if flag in flags)
