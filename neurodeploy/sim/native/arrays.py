"""Array arguments of the compiled kernels, without the microsecond that NumPy takes to tell an address in Python."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from neurodeploy.sim.native import aligned, library

#: No register holds more bytes; ``VECTOR`` of common.h is 64 at most.
LARGEST_VECTOR = 64
#: NumPy's C interface promises that the pointer to the data comes first in an array object, behind Python's own header.
HEADER = object.__basicsize__


def place(array: np.ndarray | None) -> int | None:
    """Where the data pointer of an array lies, for an argument ``void *const *`` of a kernel; None is a null pointer.

    The array must be contiguous, and somebody must hold it until the kernel is done.
    """
    return None if array is None else id(array) + HEADER


def scratch(size: int) -> int:
    """Address of this thread's scratch memory, at least ``size`` bytes, aligned; the next call may give the same."""
    if _local.size < size:
        memory = aligned((size,), np.uint8)
        _local.memory, _local.size, _local.address = memory, size, memory.ctypes.data
    return _local.address


@cache
def kernels() -> ctypes.CDLL | None:
    """The library, where :func:`place` finds data pointers: not in a Python whose objects look different."""
    probe = np.zeros(1)
    there = ctypes.c_void_p.from_address(id(probe) + HEADER).value
    return library() if there == probe.ctypes.data else None


#: Types of arguments and results: ``p`` address, ``a`` :func:`place` of an array, ``i`` int64, ``n`` the C int.
_TYPES = {"p": ctypes.c_void_p, "a": ctypes.c_void_p, "i": ctypes.c_int64, "n": ctypes.c_int}


class Function:
    """A function of a library.

    Attributes:
        arguments: Their types.
        address: Of its code.
        judges: It gives not 0 where something is wrong.
    """

    def __init__(self, found: ctypes.CDLL, name: str, arguments: str, result: str | None = None) -> None:
        self._call = getattr(found, name)
        self._call.argtypes = [_TYPES[argument] for argument in arguments]
        self._call.restype = None if result is None else _TYPES[result]
        self.arguments, self.judges = arguments, result == "n"
        self.address = int(ctypes.cast(self._call, ctypes.c_void_p).value or 0)

    def __call__(self, *arguments: Any) -> Any:
        if _local.listener is not None:
            _local.listener(self, arguments)
        return self._call(*arguments)

    def unheard(self, *arguments: Any) -> Any:
        """A call that no listener is told of: it prepares something, once."""
        return self._call(*arguments)


class _Local(threading.local):
    """Of every thread its own: scratch memory, and who wants to know of calls."""

    listener: Callable[[Function, tuple[Any, ...]], None] | None = None
    memory: np.ndarray | None = None
    size = 0
    address = 0


_local = _Local()


@contextmanager
def listening(listener: Callable[[Function, tuple[Any, ...]], None]) -> Iterator[None]:
    """Tell of every call of a kernel in this thread, before it is made."""
    _local.listener = listener
    try:
        yield
    finally:
        _local.listener = None


def scratch_memory() -> np.ndarray | None:
    """The array behind :func:`scratch`: who calls a kernel with its address again later must hold it."""
    return _local.memory


@cache
def function(name: str, arguments: str, result: str | None = None) -> Function:
    """A function of the library that runs, by the types of its arguments and its result."""
    found = kernels()
    assert found is not None
    return Function(found, name, arguments, result)


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
