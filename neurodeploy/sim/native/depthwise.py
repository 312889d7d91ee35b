"""Synapse nodes in which every channel has its own kernel, by the compiled kernels: ``depthwise.c``."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from neurodeploy.ir.nodes import Conv2d
from neurodeploy.sim.native import address
from neurodeploy.sim.native.arrays import function, place

if TYPE_CHECKING:
    from neurodeploy.sim.tile import Tile


class _Depthwise(ctypes.Structure):
    """``struct depthwise`` of depthwise.c."""

    _fields_ = [
        *(
            (name, ctypes.c_int64)
            for name in (
                *("height", "width", "channels", "out_height", "out_width", "kernel_rows", "kernel_columns"),
                *("stride_y", "stride_x", "padding_y", "padding_x", "dilation_y", "dilation_x", "wrap"),
            )
        ),
        *((name, ctypes.c_void_p) for name in ("weights", "bias")),
    ]


class DepthwiseSums:
    """``out = Σ w·s`` of a Conv2d with as many groups as input and output channels.

    Args:
        node: Its geometry.
        before: Input shape ``(C, H, W)``; after: output shape.
        weight: Integers or float32, as the node has them.
        bias: ``(C,)`` float32, added last, or None.
        wrap: Sums wrap at 24 bits.
    """

    def __init__(
        self,
        node: Conv2d,
        before: tuple[int, ...],
        after: tuple[int, ...],
        weight: np.ndarray,
        bias: np.ndarray | None,
        wrap: bool,
    ) -> None:
        floats = weight.dtype == np.float32
        points = node.weight.shape[2:] == (1, 1) and node.stride == (1, 1) and node.padding == (0, 0)
        self._run = function(f"nd_{'points' if points else 'depthwise'}_{'floats' if floats else 'ints'}", "paia")
        self._dtype = np.float32 if floats else np.int32
        self._leaving = (*after[1:], after[0])
        taps = np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0).astype(self._dtype))
        self._kept = taps, bias  # what the struct points to
        self._op = _Depthwise(
            *(before[1], before[2], before[0], after[1], after[2], *node.weight.shape[2:]),
            *(*node.stride, *node.padding, *node.dilation, wrap, address(taps), address(bias)),
        )
        self._pointer = ctypes.addressof(self._op)

    def run(self, tile: Tile, s: np.ndarray) -> np.ndarray:
        """Sums ``(N, OH, OW, C)`` of spikes ``s`` ``(N, H, W, C)`` uint8, contiguous."""
        out = tile.empty((s.shape[0], *self._leaving), self._dtype)
        self._run(self._pointer, place(s), s.shape[0], place(out))
        return out
