"""Tiles of one form run the same kernels on the same memory: the calls of one are written down and made again.

For a small network on one sample Python takes as long between the kernels as they do themselves. Where every step of
a graph does nothing but call kernels (:func:`only_kernels`), a tile runs once in memory of its own while its calls are
listened to; the next tiles of that form copy their input into that memory and make the same calls in one go. Counts
that do not depend on the data are kept from the tile that was listened to.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from neurodeploy.sim.memory import Memory
from neurodeploy.sim.native.arrays import Function, function, scratch_memory

#: ``MOST_ARGUMENTS`` of replay.c.
_MOST_ARGUMENTS = 16
#: Tiles of a form that run step by step before one is written down: layers measure which of their kernels is faster.
FIRST = 4
#: Tiles that make the same calls before they are written down anew: spikes may have become more.
AGAIN = 256

_F = TypeVar("_F", bound=Callable[..., Any])


def only_kernels(step: _F, does: bool = True) -> _F:
    """Say of a step that it calls kernels, adds constants to counts, and else looks at nothing but shapes."""
    step.only_kernels = does  # type: ignore[attr-defined]
    return step


def calls_only_kernels(step: Callable[..., Any]) -> bool:
    """Whether :func:`only_kernels` was said of it."""
    return bool(getattr(step, "only_kernels", False))


class Recording:
    """The calls of a tile.

    Attributes:
        memory: Of the tile: held as long as the calls may be made.
        counts: Where the kernels count, ``(nodes, keys, T)`` int64.
        constants: Counts that do not depend on the data.
        given: What entered; ``put_out``: what left. Views of the tile's memory.
        uses: Times that the calls were made again.
        sound: All that the calls touch lies in that memory; else they must not be made again.
    """

    def __init__(self, no_counts: np.ndarray) -> None:
        self.memory = Memory(small=0)
        self.counts, self.constants = no_counts, np.zeros_like(no_counts)
        self.given = self.put_out = no_counts
        self.uses = 0
        self.sound = True
        self._calls: list[list[int]] = []
        self._cells: list[np.ndarray] = []
        self._scratch: set[int] = set()
        self._held: list[np.ndarray | None] = []

    def listen(self, called: Function, arguments: tuple[Any, ...]) -> None:
        """Write down a call; what Python's arrays tell of their data is looked up now."""
        values = [0 if argument is None else int(argument) for argument in arguments]
        for place, kind in enumerate(called.arguments):
            if kind == "a" and values[place]:
                data = int(ctypes.c_void_p.from_address(values[place]).value or 0)
                self.sound = self.sound and self.memory.holds(data)
                cell = np.array([data], np.int64)
                self._cells.append(cell)
                values[place] = cell.ctypes.data
        values += [0] * (_MOST_ARGUMENTS - len(values))
        self._calls.append([called.address, int(called.judges), *values])
        memory = scratch_memory()
        if not any(memory is held for held in self._held):
            self._held.append(memory)

    def ends(self, given: np.ndarray, put_out: np.ndarray) -> None:
        """Say what entered and what left: both must lie in the memory too, not in a copy that no kernel made."""
        self.given, self.put_out = given, put_out
        self.sound = self.sound and all(self.memory.holds(array.ctypes.data) for array in (given, put_out))

    def finish(self) -> None:
        """No more calls come."""
        self._table = np.array(self._calls, np.int64)
        self._run = function("nd_replay", "pi", "i")
        self._where = self._table.ctypes.data, len(self._table)

    def again(self, entering: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """What leaves, which the next call overwrites, and the counts; None where a kernel found something wrong.

        Args:
            entering: What enters, in the shape of ``given``.
        """
        np.copyto(self.given, entering, casting="unsafe")
        self.counts[:] = 0
        self.uses += 1
        if self._run(*self._where):
            return None
        return self.put_out, self.counts + self.constants
