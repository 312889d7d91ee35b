"""The weighted sums of synapse nodes, each by the fastest kernel that can: compiled, dense or Numba; the same bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from neurodeploy.ir.nodes import Conv2d, Linear
from neurodeploy.sim.counts import packed_columns, taps
from neurodeploy.sim.dense_choice import DenseChoice
from neurodeploy.sim.native.arrays import kernels
from neurodeploy.sim.replay import only_kernels
from neurodeploy.sim.squares import squares
from neurodeploy.sim.tile import Tile

#: Bytes of a row of weights in conv.py at most: 4 registers.
LARGEST_ROW = 256
#: ``(tile, input)`` -> sums: ``(N, *entering)`` to ``(N, *leaving)``, both contiguous.
Run = Callable[[Tile, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Geometry:
    """A synapse node and what it meets.

    Attributes:
        node: A Conv2d or a Linear.
        before: Input shape, channels first.
        after: Output shape, channels first.
        dtype: Of sums.
        machine: Sums of the integer machine: without bias, and those of a convolution wrap at 24 bits, as Lava's do.
    """

    node: Conv2d | Linear
    before: tuple[int, ...]
    after: tuple[int, ...]
    dtype: Any
    machine: bool

    @property
    def entering(self) -> tuple[int, ...]:
        """Input shape, channels last."""
        return (*self.before[1:], self.before[0])

    @property
    def leaving(self) -> tuple[int, ...]:
        """Output shape, channels last."""
        return (*self.after[1:], self.after[0])

    @cached_property
    def largest(self) -> float:
        """The largest |weight|."""
        return max(float(self.node.weight.max(initial=0.0)), -float(self.node.weight.min(initial=0.0)))

    @cached_property
    def wraps(self) -> bool:
        """Whether sums can wrap at 24 bits."""
        weight = self.node.weight
        if not self.machine or not isinstance(self.node, Conv2d) or self.largest * prod(weight.shape[1:]) < 2**23:
            return False
        return bool(np.abs(weight).reshape(weight.shape[0], -1).sum(axis=1).max() >= 2**23)

    @property
    def bias(self) -> np.ndarray | None:
        """Added to float sums."""
        return None if self.machine else self.node.bias.astype(self.dtype)


def spike_sums(geometry: Geometry) -> Run:
    """Sums of spikes, uint8 0 or 1."""
    if kernels() is not None and geometry.dtype in (np.int32, np.float32) and _fits(geometry):
        return _compiled(geometry)
    return _numba(geometry, spikes=True)


def value_sums(geometry: Geometry) -> Run:
    """Sums of graded events or real values, of the sums' own type."""
    if geometry.dtype == np.float32 and not geometry.machine:
        from neurodeploy.sim.real_values import prepare_values

        sums = prepare_values(geometry.node, geometry.before, geometry.after, geometry.bias)
        if sums is not None:
            leaving = geometry.leaving

            def run(tile: Tile, v: np.ndarray) -> np.ndarray:
                out = tile.empty((v.shape[0], *leaving), np.float32)
                sums.run(v, out)
                return out

            return only_kernels(run)
    return _numba(geometry, spikes=False)


def dense_sums(geometry: Geometry) -> tuple[DenseChoice, Run] | None:
    """Dense sums of spikes and when they win, where there are any."""
    from neurodeploy.sim.dense import prepare
    from neurodeploy.sim.native.events import square_sums

    if geometry.dtype != np.int32 or kernels() is None:
        return None
    node, before, pool = geometry.node, geometry.before, 1
    if isinstance(node, Conv2d) and node.groups == 1:
        pool, node, before = squares(node, before)
    sums = prepare(node, before, geometry.after, node.weight, most=pool * pool, wrap=geometry.wraps)
    if sums is None:
        return None
    leaving, (_, *entering) = geometry.leaving, (0, *before[1:], before[0])
    together = square_sums(geometry.before, pool) if pool > 1 else None

    def run(tile: Tile, s: np.ndarray) -> np.ndarray:
        out = tile.empty((s.shape[0], *leaving), np.int32)
        if together is not None:
            pooled = tile.empty((s.shape[0], *entering), np.uint8)
            together(s, pooled)
            s = pooled
        sums.run(s, out)
        return out

    return DenseChoice(sums, int(np.prod(geometry.before)), geometry.after), run


def _fits(geometry: Geometry) -> bool:
    """Whether the compiled kernels hold it: integers of 16 bits, a row of weights for every input of an image row."""
    inputs = prod(geometry.entering[1:] if len(geometry.entering) > 1 else geometry.entering)
    return (not geometry.machine or geometry.largest < 2**15) and inputs * LARGEST_ROW < 2**32


def _compiled(geometry: Geometry) -> Run:
    from neurodeploy.sim.native.conv import SpikeSums
    from neurodeploy.sim.native.depthwise import DepthwiseSums

    node = geometry.node
    weight = node.weight.astype(np.int16 if geometry.machine else np.float32)
    given = weight, geometry.bias, geometry.wraps
    if isinstance(node, Conv2d) and node.groups == geometry.before[0] == geometry.after[0]:
        depthwise = DepthwiseSums(node, geometry.before, geometry.after, *given)
        return only_kernels(lambda tile, s: depthwise.run(tile, s))
    sums = SpikeSums(node, geometry.before, geometry.after, *given)
    return only_kernels(lambda tile, s: sums.run(tile, s))


def _numba(geometry: Geometry, *, spikes: bool) -> Run:
    """The kernel is chosen by the geometry."""
    from neurodeploy.sim import kernels as numba

    node, dtype, leaving, bias = geometry.node, geometry.dtype, geometry.leaving, geometry.bias
    weight = _weights(node, geometry.machine, dtype)
    add_up: Callable[[np.ndarray, np.ndarray], None]
    if isinstance(node, Linear):
        dense = numba.linear_spikes if spikes else numba.linear_values

        def add_up(flat: np.ndarray, out: np.ndarray) -> None:
            dense(flat, weight, out)

    elif node.groups == 1 and node.dilation[1] == 1:
        rows = taps(node, geometry.before, geometry.after, 0)
        order, runs = packed_columns(node, geometry.before, geometry.after)
        packed = np.ascontiguousarray(weight[:, :, order]).reshape(*weight.shape[:2], -1)
        fast = numba.conv_spikes_packed if spikes else numba.conv_values_packed

        def add_up(flat: np.ndarray, out: np.ndarray) -> None:
            fast(flat, packed, rows, runs, out.reshape(*out.shape[:2], -1))

    else:
        rows, cols = (taps(node, geometry.before, geometry.after, axis) for axis in (0, 1))
        group_in, kernel = node.weight.shape[1], numba.conv_spikes if spikes else numba.conv_values

        def add_up(flat: np.ndarray, out: np.ndarray) -> None:
            kernel(flat, weight, rows, cols, group_in, out)

    def run(tile: Tile, flat: np.ndarray) -> np.ndarray:
        out = tile.empty((flat.shape[0], *leaving), dtype)
        add_up(flat, out)
        if bias is not None:
            out += bias
        elif geometry.wraps:
            out = (out + (1 << 23)) % (1 << 24) - (1 << 23)
        return out

    return run


def _weights(node: Conv2d | Linear, machine: bool, dtype: Any) -> np.ndarray:
    """Weights as the Numba kernels read them: ``(C, kH, kW, O/groups)`` or ``(I, O)``, contiguous."""
    if machine:
        largest = np.max(np.abs(node.weight), initial=0)
        weight = node.weight.astype(np.int16 if largest < 2**15 else np.int32 if largest < 2**31 else np.int64)
    else:
        weight = node.weight.astype(dtype)
    if isinstance(node, Linear):
        return np.ascontiguousarray(weight.T)
    grouped = weight.reshape(node.groups, -1, *weight.shape[1:])  # (G, O/G, C/G, kH, kW)
    rows = grouped.transpose(0, 2, 3, 4, 1)
    return np.ascontiguousarray(rows.reshape(-1, *rows.shape[2:]))
