"""What the events of a synapse trigger and reach, by the compiled kernels: ``counts.c`` and ``reached.c``."""

from __future__ import annotations

import ctypes

import numpy as np

from neurodeploy.ir.nodes import Conv2d
from neurodeploy.sim.native import address
from neurodeploy.sim.native.arrays import LARGEST_VECTOR, function, place, scratch


class _FanOut(ctypes.Structure):
    """``struct fan_out`` of counts.c."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("pixels", "channels", "most")),
        *((name, ctypes.c_void_p) for name in ("kinds", "every", "nonzero")),
    ]


class _Window(ctypes.Structure):
    """``struct window`` of reached.c."""

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
        every: Accumulates of an event at each input position, ``(…, C)`` channels last, the same for all channels.
        nonzero: Those with a nonzero weight.
    """

    def __init__(self, every: np.ndarray, nonzero: np.ndarray) -> None:
        self._run = function("nd_count_events", "ppiipp", "i")
        channels = every.shape[-1]
        tables = np.concatenate([every.reshape(-1, channels)[:, :1], nonzero.reshape(-1, channels)], axis=1)
        different, kinds = np.unique(tables, axis=0, return_inverse=True)
        kept = [kinds.reshape(-1), different[:, 0], different[:, 1:]]
        kept[2] = np.append(kept[2].reshape(-1), np.zeros(LARGEST_VECTOR))
        self._kept = [np.ascontiguousarray(array, np.int32) for array in kept]  # what the struct points to
        self._op = _FanOut(kinds.size, channels, _most_runs(every), *map(address, self._kept))
        self._pointer = ctypes.addressof(self._op)

    @staticmethod
    def fits(every: np.ndarray) -> bool:
        """Whether the kernel can: it multiplies bytes by fan-outs in 32 bits."""
        return _most_runs(every) >= 1

    def count(self, s: np.ndarray, steps: int, sop: int | None, sop_nonzero: int | None) -> int:
        """Accumulates that spikes ``s`` (N images, N = steps x samples) trigger.

        They are added to the int64 numbers, one a step, at two addresses, where those are given.
        """
        return int(self._run(self._pointer, place(s), s.shape[0], s.shape[0] // steps, sop, sop_nonzero))


class Reached:
    """Outputs of a Conv2d with one group that an event reaches, whatever its weight.

    Args:
        node: Its geometry.
        before: Input shape ``(C, H, W)``; after: output shape.
    """

    def __init__(self, node: Conv2d, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        self._run = function("nd_reached", "ppipp")
        self._op = _Window(
            *(before[1], before[2], before[0], after[1], after[2], *node.weight.shape[2:]),
            *(*node.stride, *node.padding, *node.dilation),
        )
        self._pointer = ctypes.addressof(self._op)
        self._leaving = (after[1], after[2], 1)
        self._pixels = before[1] * before[2]

    def run(self, s: np.ndarray) -> np.ndarray:
        """``(N, OH, OW, 1)`` uint8 of spikes ``s`` ``(N, H, W, C)``: the same for all channels."""
        out = np.empty((s.shape[0], *self._leaving), np.uint8)
        self._run(self._pointer, place(s), s.shape[0], scratch(self._pixels), place(out))
        return out


def _most_runs(every: np.ndarray) -> int:
    """Runs of up to 255 pixels, up to 4 of them in one lane, whose accumulates 32 bits hold."""
    return (2**31 - 1) // (4 * 255 * max(int(every.max(initial=0)), 1))
