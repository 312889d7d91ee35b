"""The compiled kernels: which library runs here, and how it is called.

``setup.py`` compiles the C files of this folder once for each instruction set. The best that the CPU can run is loaded
on first use; without any the engine runs the Numba kernels of :mod:`neurodeploy.sim.kernels`, slower, with the same
numbers. ``NEURODEPLOY_KERNELS`` names another choice: ``avx512``, ``avx2``, ``generic``, or ``numba`` for no library.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.diagnostics import UsageError

CHOICES = ("avx512", "avx2", "generic", "numba")
_FOLDER = Path(__file__).parent


@cache
def library() -> ctypes.CDLL | None:
    """The loaded library, or None where the Numba kernels run.

    Raises:
        UsageError: ``NEURODEPLOY_KERNELS`` names what is not there, or what the CPU cannot run (ND100).
    """
    wanted = os.environ.get("NEURODEPLOY_KERNELS") or None
    if wanted == "numba":
        return None
    if wanted is not None and wanted not in CHOICES:
        raise _refused(wanted, "no such kernels", f"one of {', '.join(CHOICES)}, or unset it")
    for name in CHOICES[:-1] if wanted is None else (wanted,):
        found = _load(name)
        if found is not None:
            return found
    if wanted is not None:
        raise _refused(
            wanted,
            "these kernels were not built, or this CPU cannot run them",
            "unset it, or install with a C compiler",
        )
    return None


def kernels_name() -> str:
    """Which library runs: one of :data:`CHOICES`."""
    found = library()
    return "numba" if found is None else Path(found._name).stem.removeprefix("kernels_")


def describe() -> str:
    """One line for people: which kernels run, and why."""
    found = library()
    if found is not None:
        return f"compiled kernels ({kernels_name()})"
    if os.environ.get("NEURODEPLOY_KERNELS") == "numba":
        return "Numba kernels (NEURODEPLOY_KERNELS=numba)"
    if any(map(_stale, _FOLDER.glob("kernels_*.so"))):
        return "Numba kernels: the compiled ones are older than their sources (install again, with a C compiler)"
    return "Numba kernels: the compiled ones, several times faster, were not built (install with a C compiler)"


def _load(name: str) -> ctypes.CDLL | None:
    path = _FOLDER / f"kernels_{name}.so"
    if not path.exists() or _stale(path):
        return None
    try:
        found = ctypes.CDLL(str(path))
        return found if found.nd_runs_here() else None
    except (OSError, AttributeError):  # built for another platform, not whole, or not ours
        return None


def _stale(path: Path) -> bool:
    """Whether a library is older than its sources, where they lie beside it: it may not know the structs of today."""
    built = path.stat().st_mtime + 10  # seconds: who copies a tree copies both
    return any(source.stat().st_mtime > built for kind in ("*.c", "*.h") for source in _FOLDER.glob(kind))


def _refused(wanted: str, why: str, fix: str) -> UsageError:
    return UsageError("ND100", f"{wanted}: {why}", where="NEURODEPLOY_KERNELS", fix=fix)


def address(array: np.ndarray | None) -> int | None:
    """Where the first number of a contiguous array lies, for a pointer argument; None is a null pointer."""
    return None if array is None else array.ctypes.data


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros that begin at a multiple of 64 bytes: a vector that crosses a cache line halves the speed."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return np.frombuffer(raw.data[start : start + size], dtype).reshape(shape)
