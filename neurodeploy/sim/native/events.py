"""What the events of a synapse trigger and reach, by the compiled kernels: ``counts.c`` and ``pixels.c``."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from neurodeploy.ir.nodes import Conv2d
from neurodeploy.sim.native import address
from neurodeploy.sim.native.arrays import LARGEST_VECTOR, function, place, scratch

if TYPE_CHECKING:
    from neurodeploy.sim.tile import Tile


class _FanOut(ctypes.Structure):
    """``struct fan_out`` of counts.c."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "size", "groups")),
        *((name, ctypes.c_void_p) for name in ("count", "every", "nonzero")),
    ]


class _Window(ctypes.Structure):
    """``struct window`` of pixels.c."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("height", "width", "channels", "out_height", "out_width", "kernel_rows", "kernel_columns"),
            *("stride_y", "stride_x", "padding_y", "padding_x", "dilation_y", "dilation_x"),
        )
    ]


class Accumulates:
    """Counts the accumulates that spikes trigger.

    Args:
        every: Accumulates of an event at each input position, channels last.
        nonzero: Those with a nonzero weight.
    """

    def __init__(self, every: np.ndarray, nonzero: np.ndarray) -> None:
        self._run = function("nd_count_events", "paiipp", "i")
        rows = every.shape[0] if every.ndim > 1 else 1
        tables = np.stack([every.reshape(rows, -1), nonzero.reshape(rows, -1)])
        new = np.flatnonzero([y == 0 or bool((tables[:, y] != tables[:, y - 1]).any()) for y in range(rows)])
        more = np.zeros(LARGEST_VECTOR, np.int32)
        self._kept = (  # what the struct points to
            np.diff(np.append(new, rows)).astype(np.int64),
            *(np.append(table[new].astype(np.int32), more) for table in tables),
        )
        self._op = _FanOut(rows, tables.shape[2], len(new), *map(address, self._kept))
        self._pointer = ctypes.addressof(self._op)

    @staticmethod
    def fits(every: np.ndarray) -> bool:
        """Whether the kernel can: a lane of 32 bits holds 4096 / 4 bytes times their fan-outs."""
        return int(every.max(initial=0)) <= (2**31 - 1) // (255 * 1024)

    def count(self, s: np.ndarray, steps: int, sop: int | None, sop_nonzero: int | None) -> int:
        """Accumulates that spikes ``s`` (N images, N = steps x samples) trigger.

        They are added to the int64 numbers, one a step, at two addresses, where those are given.
        """
        # Without counts only this tile wants to know: nothing to do again.
        run = self._run if sop is not None else self._run.unheard
        return int(run(self._pointer, place(s), s.shape[0], s.shape[0] // steps, sop, sop_nonzero))


class Reached:
    """Outputs of a Conv2d with one group that an event reaches, whatever its weight.

    Args:
        node: Its geometry.
        before: Input shape ``(C, H, W)``; after: output shape.
    """

    def __init__(self, node: Conv2d, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        self._run = function("nd_reached", "paipa")
        self._op = _Window(
            *(before[1], before[2], before[0], after[1], after[2], *node.weight.shape[2:]),
            *(*node.stride, *node.padding, *node.dilation),
        )
        self._pointer = ctypes.addressof(self._op)
        self._leaving = (after[1], after[2], 1)
        self._pixels = before[1] * before[2]

    def run(self, tile: Tile, s: np.ndarray) -> np.ndarray:
        """``(N, OH, OW, 1)`` uint8 of spikes ``s`` ``(N, H, W, C)``: the same for all channels."""
        out = tile.empty((s.shape[0], *self._leaving), np.uint8)
        self._run(self._pointer, place(s), s.shape[0], scratch(self._pixels), place(out))
        return out


def square_sums(before: tuple[int, ...], pool: int) -> Callable[[np.ndarray, np.ndarray], None]:
    """``(s, out)``: spikes of ``(N, H, W, C)`` added up in squares of ``pool`` by ``pool`` pixels."""
    run = function("nd_square_sums", "aiiiia")
    channels, height, width = before

    def sums(s: np.ndarray, out: np.ndarray) -> None:
        run(place(s), s.shape[0] * height // pool, width // pool, channels, pool, place(out))

    return sums
