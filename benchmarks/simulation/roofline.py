"""The most that this machine adds: 16-bit numbers per second from a buffer that a cache holds, one thread.

An event-driven kernel adds one weight for each synaptic operation, so with its weights in the first-level cache it can
be no faster than vector additions with an operand from there.
"""

from __future__ import annotations

import ctypes

import numpy as np

from neurodeploy.sim import native

#: Half of the smallest first-level data cache of current x86 and ARM cores.
L1_BYTES = 16 * 1024
ADDITIONS = 2e8


def l1_roofline() -> float | None:
    """16-bit additions per second; None where the compiled kernels are not there."""
    library = native.library()
    if library is None:
        return None
    buffer = native.aligned((L1_BYTES // 2,), np.int16)
    sink = ctypes.c_int16()
    measure = library.nd_roofline
    measure.restype = ctypes.c_double
    measure.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
    return float(measure(buffer.ctypes.data, L1_BYTES, int(ADDITIONS / (L1_BYTES // 2)), ctypes.addressof(sink)))
