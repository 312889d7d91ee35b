"""C compiled by the system's compiler and called through ctypes; the kernel is ``gather.c``.

The library is compiled when none is in the folder ``KERNEL_LANGUAGES_CACHE`` yet, and otherwise loaded.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

import numpy as np


def load() -> ctypes.CDLL:
    """The library, compiled first if need be."""
    library = Path(os.environ["KERNEL_LANGUAGES_CACHE"]) / "gather.so"
    if not library.exists():
        flags = ["-O3", "-funroll-loops", f"-march={os.environ.get('KERNEL_LANGUAGES_CPU', 'native')}"]
        source = Path(__file__).with_name("gather.c")
        command = ["cc", *flags, "-Wno-psabi", "-fPIC", "-shared", str(source), "-o", str(library)]
        subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


LIBRARY = load()


def add_events(starts: np.ndarray, events: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    """``out[n, oy, ox]`` = the sum of the weight rows of all events in its window."""
    steps, height, width, _ = out.shape
    blocks, _, depth, _ = weight.shape
    arrays = (ctypes.c_void_p(array.ctypes.data) for array in (starts, events, weight, out))
    LIBRARY.add_events(*arrays, *map(ctypes.c_int64, (steps, height, width, blocks, depth)))
