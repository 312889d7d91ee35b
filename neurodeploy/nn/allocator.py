"""Memory that a training step frees is kept for the next one, instead of being handed back to the system each time."""

from __future__ import annotations

import ctypes
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

#: Blocks up to this size come from the heap: the most that glibc allows.
LARGEST = 32 * 2**20


def keep_freed_memory() -> bool:
    """Ask glibc to serve blocks up to 32 MiB from the heap and not to shrink it; whether it agreed.

    By default many tensors are mapped anew and unmapped after use, and the system clears each of their pages at first
    touch. A training step allocates the same sizes over and over. The price is that the process keeps its largest size;
    larger blocks go on being mapped, so that a big network does not fragment the heap. For the whole process, so it is
    the caller's decision, not an import's; elsewhere than on Linux with glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
