"""Pools and counts by the compiled kernels of ``passing.c``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from neurodeploy.ir.nodes import AvgPool2d, MaxPool2d, SumPool2d
from neurodeploy.sim.native.arrays import HEADER, Function, function, place

_P, _N = ctypes.c_void_p, ctypes.c_int64
#: Places of events that ``nd_active`` unites.
ARRIVING = 3


class _Pool(ctypes.Structure):
    """``struct pool`` of passing.c."""

    _fields_ = [
        *((name, _N) for name in ("height", "width", "channels", "out_height", "out_width")),
        *((name, _N * 2) for name in ("kernel", "stride", "padding")),
        ("divisor", ctypes.c_float),
    ]


class _Activity(ctypes.Structure):
    """``struct activity`` of passing.c."""

    _fields_ = [("pixels", _N), ("channels", _N), ("driven", _P * 2), ("of_pixel", _N * 2)]


class Pool:
    """``out`` = sum, mean or largest of windows, by ``nd_pool``.

    Args:
        found: The library.
        node: Windows.
        before: Shape of the input, ``(H, W, C)``; after: of the output.
    """

    def __init__(self, found: ctypes.CDLL, node: SumPool2d, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        self._function = Function(found, "nd_pool", "piiaa")
        divisor = node.kernel[0] * node.kernel[1] if isinstance(node, AvgPool2d) else 1
        pairs = [(_N * 2)(*pair) for pair in (node.kernel, node.stride, node.padding)]
        self._held = _Pool(*before, *after[:2], *pairs, divisor)
        self._struct = ctypes.addressof(self._held)
        self._largest = isinstance(node, MaxPool2d)

    def kind(self, entering: np.dtype, leaving: np.dtype) -> int | None:
        """Which of the loops of ``nd_pool`` takes these types; None where none does."""
        kinds = {("u1", "i4"): 1, ("i4", "i4"): 2, ("u1", "f4"): 3, ("f4", "f4"): 4}
        if self._largest:
            kinds = {("u1", "u1"): 0}
        return kinds.get((entering.str[1:], leaving.str[1:]))

    def run(self, kind: int, x: np.ndarray, out: np.ndarray) -> None:
        """``x`` ``(n, B, *before)`` into ``out`` ``(n, B, *after)``, both contiguous."""
        self._function(self._struct, kind, x.shape[0] * x.shape[1], place(x), place(out))


def count_masked(found: ctypes.CDLL, x: np.ndarray, mask: np.ndarray, factor: int, counts: int) -> None:
    """``counts[t] += factor · Σ x[t]`` where ``mask`` is 1.

    ``x`` is ``(n, B, *shape)`` and ``mask`` ``(N,)``, bytes 0 or 1; ``counts`` the address of n int64.
    """
    run = Function(found, "nd_count_masked", "iiiiaap")
    run(x.shape[0], x.shape[1], mask.size, factor, place(x), place(mask), counts)


def channels_first(x: np.ndarray, out: np.ndarray) -> None:
    """``x`` ``(n, B, …, C)`` into ``out`` ``(n, B, C · …)``, both contiguous, of 1 or 4 bytes a number."""
    images, channels = x.shape[0] * x.shape[1], x.shape[-1]
    pixels = x.size // (images * channels)
    function("nd_channels_first", "aiiiia")(place(x), images, pixels, channels, x.itemsize, place(out))


class Activity:
    """Counts active and idle neurons by ``nd_active``.

    Args:
        found: The library.
        driven: ``(2, *shape)`` bool, channels last: active without an event, at the first step and later.
    """

    def __init__(self, found: ctypes.CDLL, driven: np.ndarray) -> None:
        self._function = Function(found, "nd_active", "piiii" + "a" * ARRIVING + "pp")
        self._neurons = driven.shape[1:]
        self._pixels = (*self._neurons[:-1], 1)
        self._driven = np.ascontiguousarray(driven, np.uint8).reshape(2, -1)
        of_pixel = self._driven.reshape(2, -1, driven.shape[-1]).sum(axis=2, dtype=np.int64)
        numbers = [int(row[0]) if (row == row[0]).all() else -1 for row in of_pixel]
        rows = [row.ctypes.data for row in self._driven]
        self._held = _Activity(of_pixel.shape[1], driven.shape[-1], (_P * 2)(*rows), (_N * 2)(*numbers))
        self._struct = ctypes.addressof(self._held)

    def count(self, first: int, steps: int, samples: int, events: Sequence[np.ndarray], active: int, idle: int) -> None:
        """Add the neurons of all samples in each of ``steps`` steps from ``first`` on.

        Args:
            first: Step.
            steps: Number of steps.
            samples: B.
            events: At most :data:`ARRIVING` arrays of bytes 0 or 1: ``(steps or 1, B or 1, *shape)``, or with one
                number instead of the channels.
            active: Address of int64 counts of the steps.
            idle: The same.
        """
        layout, held = 0, []
        where: list[int | None] = [None] * ARRIVING
        for k, mask in enumerate(events):
            shape = mask.shape
            per_pixel = shape[2:] == self._pixels
            if not per_pixel and shape[2:] != self._neurons:
                mask = np.broadcast_to(mask, (*shape[:2], *self._neurons))
            if not mask.flags.c_contiguous:
                mask = np.ascontiguousarray(mask)
            held.append(mask)
            where[k] = id(mask) + HEADER
            layout |= (per_pixel | (shape[0] != steps) << 1 | (shape[1] != samples) << 2) << 4 * k
        self._function(self._struct, first, steps, samples, layout, *where, active, idle)
