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
        self._given: set[weakref.ref[np.ndarray]] = set()

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
            raw = memoryview(block)[
                start : start + size
            ]  # views of an array made from it keep that array, not the block
        array = np.frombuffer(raw, dtype)

        def back(gone: weakref.ref[np.ndarray]) -> None:
            self._given.discard(gone)
            free.append(raw)

        self._given.add(weakref.ref(array, back))
        return array.reshape(shape)
