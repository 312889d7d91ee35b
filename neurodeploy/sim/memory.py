"""Arrays whose memory is used again: a fresh array of some 100 KB costs more page faults than the sums in it."""

from __future__ import annotations

import weakref
from collections import defaultdict
from math import prod
from typing import Any

import numpy as np


class Memory:
    """Gives arrays, and takes their memory back as soon as nobody holds the array or a view of it.

    Meant for one thread: every :class:`~neurodeploy.sim.tile.Tile` in flight has one of its own.

    Args:
        small: Below this many bytes an array is NumPy's own, whose allocation is as good.
    """

    def __init__(self, small: int = 1 << 14) -> None:
        self._small = small
        self._free: dict[int, list[Any]] = defaultdict(list)
        self._blocks: list[tuple[int, int]] = []
        self._given: dict[int, weakref.ref[np.ndarray]] = {}

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Like :func:`numpy.empty`; begins at a multiple of 64 bytes."""
        size = prod(shape) * np.dtype(dtype).itemsize
        if size < self._small:
            return np.empty(shape, dtype)
        free = self._free[size]
        if free:
            raw = free.pop()
        else:
            block = np.empty(size + 64, np.uint8)
            start = -block.ctypes.data % 64
            # A buffer, not an array: views of `array` then keep `array` alive, and it alone keeps the block.
            raw = block.data[start : start + size]
            self._blocks.append((block.ctypes.data + start, size))
        array = np.frombuffer(raw, dtype)
        key = id(array)

        def back(_: weakref.ref[np.ndarray]) -> None:
            del self._given[key]
            free.append(raw)

        self._given[key] = weakref.ref(array, back)
        return array.reshape(shape)

    def holds(self, address: int) -> bool:
        """Whether an address lies in an array that was given and is not NumPy's own."""
        return any(first <= address < first + size for first, size in self._blocks)
