"""Weighted sums of spikes by the compiled kernels: what ``conv.c`` needs to know of a synapse node."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neurodeploy.ir.nodes import Conv2d, Linear
from neurodeploy.sim.native import address, aligned, kernels_name
from neurodeploy.sim.native.arrays import function, place, scratch
from neurodeploy.sim.squares import squares

if TYPE_CHECKING:
    from neurodeploy.sim.tile import Tile

#: Bytes of a register of the library that runs; ``common.h`` says the same.
VECTORS = {"avx512": 64, "avx2": 32, "generic": 16}
#: Registers of sums of a block, of integers and of floats.
_VECTORS, _FLOAT_VECTORS = 2, 4
#: Beyond this many bytes of weights those of a block are read once for many images, and as bytes where they fit.
_LARGE = 2**19
#: Images whose events are listed before a block of large weights is read.
_MANY = 64
#: Weights of an output that are added up at a time, the largest first, to find out how many 16 bits hold.
_SOME = 512
#: Bytes of their lists of 16 bit events at most.
_LISTS = 2**25
#: Bytes of sums that wait beside the weights of a kernel row in a cache of 32 or 48 KiB.
_WAITING = 2**14
#: Kinds of weights in conv.c.
_SHORTS, _BYTES, _FLOATS = range(3)


class _Conv(ctypes.Structure):
    """``struct conv`` of conv.c."""

    _fields_ = [
        *(
            (name, ctypes.c_int64)
            for name in (
                *("height", "width", "channels", "group_channels", "pool"),
                *("out_height", "out_width", "outputs", "group_outputs", "groups"),
                *("kernel_rows", "kernel_columns", "stride_y", "stride_x", "padding_y", "padding_x"),
                *("dilation_y", "dilation_x", "together", "blocks", "vectors", "kind", "row", "short_events"),
                *("most", "at_once", "by_rows", "strip", "shift", "wrap"),
            )
        ),
        *((name, ctypes.c_void_p) for name in ("weights", "bias")),
    ]


def most_events(weight: np.ndarray, limit: int = 2**15 - 1) -> int:
    """Largest number of events whose weights cannot leave ``±limit``, whichever they are; 0 where all of them may come.

    Every weight is met at most once by an output's sum. So after n events no sum is larger than the n largest positive
    weights of an output together, or smaller than its n largest negative ones.

    Args:
        weight: ``(O, …)`` integers, none beyond the limit.
        limit: Largest sum that is held.
    """
    rows = np.sort(weight.reshape(weight.shape[0], -1), axis=1)
    size = fewest = rows.shape[1]
    for largest in (rows[:, ::-1], -rows):
        before = np.zeros(len(rows), np.int64)
        for first in range(0, fewest, _SOME):
            some = np.maximum(largest[:, first : first + _SOME], 0)
            sums = before + some.sum(axis=1, dtype=np.int64)
            beyond = sums > limit
            if beyond.any():
                each = before[beyond, None] + np.cumsum(some[beyond], axis=1, dtype=np.int64)
                fewest = min(fewest, first + int((each > limit).any(axis=0).argmax()))
                break
            before = sums
    return 0 if fewest == size else fewest


@dataclass(frozen=True)
class Layout:
    """How the outputs of a group lie in registers."""

    together: int
    blocks: int
    vectors: int


def layout(node: Conv2d | Linear, out_width: int, lanes: int, most: int) -> Layout:
    """Registers for the outputs of a group.

    Few outputs: neighbors along x share registers, so that an event is looked at once for all of them. Many: blocks,
    so that the weights of a block stay in the cache near the core. At most ``most`` registers.
    """
    outputs = node.weight.shape[0] // (node.groups if isinstance(node, Conv2d) else 1)
    together = 1
    if isinstance(node, Conv2d) and node.groups == 1 and node.dilation[1] == 1:
        together = max(1, min(out_width, 4, most * lanes // outputs))
    width = together * outputs
    vectors = min(-(-width // lanes), most)
    return Layout(together, -(-width // (vectors * lanes)), vectors)


class SpikeSums:
    """``out = Σ w·s`` of a Conv2d or a Linear for spikes, with the operations that it takes.

    Args:
        node: Its geometry.
        before: Input shape, channels first; after: output shape.
        weight: Integers below 2^15, or float32: the node's own.
        bias: ``(O,)`` float32, added last, or None.
        wrap: Sums wrap at 24 bits.
    """

    def __init__(
        self,
        node: Conv2d | Linear,
        before: tuple[int, ...],
        after: tuple[int, ...],
        weight: np.ndarray,
        bias: np.ndarray | None,
        wrap: bool,
    ) -> None:
        floats = weight.dtype == np.float32
        self._run = function("nd_conv", "paiap")
        self._dtype = np.float32 if floats else np.int32
        size = weight.dtype.itemsize if floats else 2
        vector = VECTORS[kernels_name()]
        lanes = vector // size
        channels, height, width = before if len(before) == 3 else (before[0], 1, 1)
        outputs, out_height, out_width = after if len(after) == 3 else (after[0], 1, 1)
        self._leaving = (out_height, out_width, outputs)
        geometry = node if isinstance(node, Conv2d) else Conv2d(weight.reshape(*weight.shape, 1, 1), np.zeros(outputs))
        lay = layout(node, out_width, lanes, _FLOAT_VECTORS if floats else _VECTORS)
        shift = 0 if floats else _common_shift(weight)
        most = 0 if floats else most_events(weight >> shift)
        pool = 1
        if not floats and isinstance(node, Conv2d):
            pool, geometry, (_, height, width) = squares(node, before)
            weight = weight[:, :, ::pool, ::pool]
        kind, kept = self._kind(weight if floats else weight >> shift)
        rows, kernel_columns = _rows(geometry, kept, lay, lanes)
        row = rows.itemsize * lay.vectors * lanes
        self._kept: list[np.ndarray] = [rows]  # what the struct points to
        groups, inputs = geometry.groups, height * width * channels * pool**2
        at_once = 1 if rows.nbytes <= _LARGE else max(1, min(_MANY, _LISTS // (2 * inputs)))
        self._op = _Conv(
            height=height,
            width=width,
            channels=channels,
            group_channels=channels // groups,
            pool=pool,
            out_height=out_height,
            out_width=out_width,
            outputs=outputs,
            group_outputs=outputs // groups,
            groups=groups,
            kernel_rows=geometry.weight.shape[2],
            kernel_columns=kernel_columns,
            stride_y=geometry.stride[0],
            stride_x=geometry.stride[1] * lay.together,
            padding_y=geometry.padding[0],
            padding_x=geometry.padding[1],
            dilation_y=geometry.dilation[0],
            dilation_x=geometry.dilation[1],
            together=lay.together,
            blocks=lay.blocks,
            vectors=lay.vectors,
            kind=kind,
            row=row,
            short_events=width * channels // groups * row // 8 <= 2**16,
            most=most,
            at_once=at_once,
            by_rows=most == 0 and geometry.dilation[1] == 1,
            strip=max(1, _WAITING // (-(-out_width // lay.together) * lay.vectors * vector)),
            shift=shift,
            wrap=wrap,
            weights=address(rows),
            bias=self._keep(None if bias is None else _lanes(bias, lay, lanes, groups)),
        )
        self._pointer = ctypes.addressof(self._op)
        self._scratch = function("nd_conv_scratch", "p", "i")(self._pointer)

    @staticmethod
    def _kind(weight: np.ndarray) -> tuple[int, np.ndarray]:
        """How weights are stored: 8 bit ones where reading fewer bytes is worth the conversion."""
        if weight.dtype == np.float32:
            return _FLOATS, weight
        if 2 * weight.size > _LARGE and np.abs(weight).max(initial=0) <= 127:
            return _BYTES, weight.astype(np.int8)
        return _SHORTS, weight.astype(np.int16)

    def _keep(self, array: np.ndarray | None) -> int | None:
        if array is None:
            return None
        array = np.ascontiguousarray(array)
        self._kept.append(array)
        return address(array)

    def run(self, tile: Tile, s: np.ndarray) -> np.ndarray:
        """Sums ``(N, OH, OW, O)`` of spikes ``s`` ``(N, …)`` uint8, contiguous."""
        out = tile.empty((s.shape[0], *self._leaving), self._dtype)
        self._run(self._pointer, place(s), s.shape[0], place(out), scratch(self._scratch))
        return out


def _common_shift(weight: np.ndarray) -> int:
    """How often all weights can be halved, 8 times at most, so that 16 bit sums stay inside of 24."""
    together = int(np.bitwise_or.reduce(weight, axis=None))
    return min((together & -together).bit_length() - 1, 8) if together else 0


def _rows(node: Conv2d, weight: np.ndarray, lay: Layout, lanes: int) -> tuple[np.ndarray, int]:
    """Weights as conv.c reads them, ``(G, blocks, kH, kW', C/G, lanes of a block)``, and kW'."""
    groups, (kernel_rows, columns) = node.groups, node.weight.shape[2:]
    outputs, channels = weight.shape[0] // groups, node.weight.shape[1]
    by_group = weight.reshape(groups, outputs, channels, kernel_rows, columns).transpose(0, 3, 4, 2, 1)
    wide = columns + (lay.together - 1) * node.stride[1]
    size = lay.blocks * lay.vectors * lanes
    full = np.zeros((groups, kernel_rows, wide, channels, size), weight.dtype)
    for j in range(lay.together):
        first = j * node.stride[1]
        here = full[:, :, first : first + columns, :, j * outputs : (j + 1) * outputs]
        for o in range(0, outputs, 64):  # all at once, this transposition misses the cache at every number
            here[..., o : o + 64] = by_group[..., o : o + 64]
    split = full.reshape(groups, kernel_rows, wide, channels, lay.blocks, lay.vectors * lanes)
    rows = aligned((groups, lay.blocks, kernel_rows, wide, channels, lay.vectors * lanes), full.dtype)
    rows[:] = split.transpose(0, 4, 1, 2, 3, 5)
    return rows, wide


def _lanes(bias: np.ndarray, lay: Layout, lanes: int, groups: int) -> np.ndarray:
    """A number per output in the lanes of its block: ``(G, blocks · lanes)``."""
    per_group = bias.reshape(groups, -1)
    full = aligned((groups, lay.blocks * lay.vectors * lanes), bias.dtype)
    width = lay.together * per_group.shape[1]
    full[:, :width] = np.tile(per_group, (1, lay.together))
    return full
