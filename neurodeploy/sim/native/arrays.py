"""Array arguments of the compiled kernels, without the microsecond that NumPy takes to tell an address in Python."""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from typing import Any

import numpy as np

from neurodeploy.sim.native import aligned, library

#: No register holds more bytes; ``VECTOR`` of common.h is 64 at most.
LARGEST_VECTOR = 64
#: NumPy's C interface promises that the pointer to the data comes first in an array object, behind Python's own header.
HEADER = object.__basicsize__
_local = threading.local()  # every thread has scratch memory of its own, one for all layers


def place(array: np.ndarray | None) -> int | None:
    """Where the data pointer of an array lies, for an argument ``void *const *`` of a kernel; None is a null pointer.

    The array must be contiguous, and somebody must hold it until the kernel is done.
    """
    return None if array is None else id(array) + HEADER


def scratch(size: int) -> int:
    """Address of this thread's scratch memory, at least ``size`` bytes, aligned; the next call may give the same."""
    if getattr(_local, "size", 0) < size:
        _local.memory = aligned((size,), np.uint8)
        _local.size, _local.address = size, _local.memory.ctypes.data
    return int(_local.address)


@cache
def kernels() -> ctypes.CDLL | None:
    """The library, where :func:`place` finds data pointers: not in a Python whose objects look different."""
    probe = np.zeros(1)
    there = ctypes.c_void_p.from_address(id(probe) + HEADER).value
    return library() if there == probe.ctypes.data else None


_TYPES = {"p": ctypes.c_void_p, "i": ctypes.c_int64}


@cache
def function(name: str, arguments: str, result: str | None = None) -> Any:
    """A function of the library: its arguments, ``p`` a pointer and ``i`` an integer, and its result."""
    found = getattr(kernels(), name)
    found.argtypes = [_TYPES[argument] for argument in arguments]
    found.restype = None if result is None else _TYPES[result]
    return found


def periodic(arrays: list[np.ndarray]) -> tuple[int, list[np.ndarray]]:
    """Parameters as the kernels read them: the period in which all of them repeat, and one period and a register each.

    Args:
        arrays: Full arrays of one shape, channels last.

    Returns:
        1 where every neuron has the same numbers, the number of channels where every pixel has, else the number of
        neurons; and 1-D arrays, so long that a register can be read from any place of the period.
    """
    size, channels = arrays[0].size, arrays[0].shape[-1]
    period = next(p for p in (1, channels, size) if all(_repeats(array, p) for array in arrays))
    places = np.arange(period + LARGEST_VECTOR) % period
    return period, [np.ascontiguousarray(array.reshape(-1)[places]) for array in arrays]


def _repeats(array: np.ndarray, period: int) -> bool:
    rows = np.ascontiguousarray(array).reshape(-1, period).view(np.uint8)  # bits: 0 is not −0
    return bool((rows == rows[0]).all())
