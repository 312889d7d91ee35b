"""Synapse nodes: weighted sums of the events that arrive, and the operations that this takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from neurodeploy.ir.nodes import Conv1d, Conv2d, Linear, Synapse, as_conv2d
from neurodeploy.sim import kernels
from neurodeploy.sim.counts import fan_out, packed_columns, taps, touched
from neurodeploy.sim.tile import Tile, added

if TYPE_CHECKING:
    from neurodeploy.sim.plan import Plan

Step = Callable[[Tile, list[np.ndarray]], np.ndarray]


def prepare_synapse(plan: Plan, name: str, node: Synapse) -> Step:
    """What to do with what arrives at synapse ``name``; all that does not depend on data is computed here.

    A Conv1d on ``(C, L)`` is a Conv2d on ``(C, 1, L)``.
    """
    dtype, kind = plan.dtype, plan.incoming(name)
    spikes = kind.name == "binary"
    before, after = plan.graph.input_shape(name), plan.graph.shapes[name]
    every, nonzero = (table.reshape(-1) for table in fan_out(node, before, after))
    total = np.int64(every.sum())
    out_shape = plan.shape(name)
    if isinstance(node, Conv1d):
        node, before, after = as_conv2d(node), (before[0], 1, before[1]), (after[0], 1, after[1])
    entering = (*before[1:], before[0])
    leaving = (*after[1:], after[0])
    add_up = _sums(node, before, after, _weights(node, plan.arithmetic), spikes)
    connected = touched(node, np.ones((1, *entering), bool), after)  # all but outputs that see padding only
    bias = None if plan.arithmetic == "loihi" else node.bias.astype(dtype)

    def step(tile: Tile, arriving: list[np.ndarray]) -> np.ndarray:
        x = added(arriving, dtype)
        steps = x.shape[0]
        flat = np.ascontiguousarray(x.reshape(-1, *entering).astype(np.uint8 if spikes else dtype, copy=False))
        out = np.empty((flat.shape[0], *leaving), dtype)
        add_up(flat, out)
        if kind.name == "real":
            tile.count(name, "mac", total * tile.samples)
            if steps == 1 and name in plan.steady:
                tile.counters[name].add("mac_once", total * tile.samples, slice(0, 1))
        else:
            events = (x != 0).sum(axis=1, dtype=np.int64).reshape(steps, -1)
            tile.count(name, "sop" if spikes else "sop_graded", events @ every)
            if spikes:
                tile.count(name, "sop_nonzero", events @ nonzero)
        if name in plan.watched:
            reached = connected if kind.name == "real" else touched(node, flat, after)
            full = np.broadcast_to(reached, (flat.shape[0], *leaving))
            tile.put(tile.masks, name, full.reshape(steps, tile.samples, *out_shape))
        if bias is not None:
            out += bias
        elif isinstance(node, Conv2d):
            out = (out + (1 << 23)) % (1 << 24) - (1 << 23)  # a convolution of Lava wraps at 24 bits
        return out.reshape(steps, tile.samples, *out_shape)

    return step


def _sums(
    node: Conv2d | Linear, before: tuple[int, ...], after: tuple[int, ...], weight: np.ndarray, spikes: bool
) -> Callable[[np.ndarray, np.ndarray], None]:
    """``(input, out)`` -> nothing; ``out`` gets the weighted sums. The kernel is chosen by the geometry."""
    if isinstance(node, Linear):
        dense = kernels.linear_spikes if spikes else kernels.linear_values

        def dense_sums(flat: np.ndarray, out: np.ndarray) -> None:
            dense(flat, weight, out)

        return dense_sums
    rows = taps(node, before, after, 0)
    if node.groups == 1 and node.dilation[1] == 1:
        order, runs = packed_columns(node, before, after)
        packed = np.ascontiguousarray(weight[:, :, order]).reshape(*weight.shape[:2], -1)
        fast = kernels.conv_spikes_packed if spikes else kernels.conv_values_packed

        def packed_sums(flat: np.ndarray, out: np.ndarray) -> None:
            fast(flat, packed, rows, runs, out.reshape(*out.shape[:2], -1))

        return packed_sums
    kernel = kernels.conv_spikes if spikes else kernels.conv_values
    cols, group_in = taps(node, before, after, 1), node.weight.shape[1]

    def sums(flat: np.ndarray, out: np.ndarray) -> None:
        kernel(flat, weight, rows, cols, group_in, out)

    return sums


def _weights(node: Conv2d | Linear, arithmetic: str) -> np.ndarray:
    """Weights as the kernels read them: ``(C, kH, kW, O/groups)`` or ``(I, O)``, contiguous."""
    if arithmetic == "loihi":
        largest = np.max(np.abs(node.weight), initial=0)
        weight = node.weight.astype(np.int16 if largest < 2**15 else np.int32 if largest < 2**31 else np.int64)
    else:
        weight = node.weight.astype(np.float32 if arithmetic == "float32" else np.float64)
    if isinstance(node, Linear):
        return np.ascontiguousarray(weight.T)
    grouped = weight.reshape(node.groups, -1, *weight.shape[1:])  # (G, O/G, C/G, kH, kW)
    rows = grouped.transpose(0, 2, 3, 4, 1)
    return np.ascontiguousarray(rows.reshape(-1, *rows.shape[2:]))
