"""Arrays whose memory is used again: a fresh array of some 100 KB costs more page faults than the sums in it."""

from __future__ import annotations

import weakref
from collections import defaultdict
from math import prod
from typing import Any

import numpy as np

#: Below this many bytes NumPy's own allocation is as good.
SMALL = 1 << 14


class Memory:
    """Gives arrays, and takes their memory back as soon as nobody holds the array or a view of it.

    Meant for one thread: every :class:`~neurodeploy.sim.tile.Tile` in flight has one of its own.
    """

    def __init__(self) -> None:
        self._free: dict[int, list[Any]] = defaultdict(list)
        self._given: dict[int, weakref.ref[np.ndarray]] = {}

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Like :func:`numpy.empty`; begins at a multiple of 64 bytes."""
        size = prod(shape) * np.dtype(dtype).itemsize
        if size < SMALL:
            return np.empty(shape, dtype)
        free = self._free[size]
        if free:
            raw = free.pop()
        else:
            block = np.empty(size + 64, np.uint8)
            start = -block.ctypes.data % 64
            # A buffer, not an array: views of `array` then keep `array` alive, and it alone keeps the block.
            raw = block.data[start : start + size]
        array = np.frombuffer(raw, dtype)
        key = id(array)

        def back(_: weakref.ref[np.ndarray]) -> None:
            del self._given[key]
            free.append(raw)

        self._given[key] = weakref.ref(array, back)
        return array.reshape(shape)
