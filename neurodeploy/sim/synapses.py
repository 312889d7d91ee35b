"""Synapse nodes: weighted sums of the events that arrive, and the operations that this takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from neurodeploy.ir.nodes import Conv1d, Conv2d, Synapse, as_conv2d
from neurodeploy.sim.counts import fan_out, touched
from neurodeploy.sim.replay import calls_only_kernels, only_kernels
from neurodeploy.sim.synapse_sums import Geometry, dense_sums, spike_sums, value_sums
from neurodeploy.sim.tile import Tile, added

if TYPE_CHECKING:
    from neurodeploy.sim.plan import Plan

Step = Callable[[Tile, list[np.ndarray]], np.ndarray]
#: ``(tile, spikes (N, …), steps)`` -> accumulates of all of them; adds to the tile's counts.
Count = Callable[[Tile, np.ndarray, int], int]


def prepare_synapse(plan: Plan, name: str, node: Synapse) -> Step:
    """What to do with what arrives at synapse ``name``; all that does not depend on data is computed here.

    A Conv1d on ``(C, L)`` is a Conv2d on ``(C, 1, L)``.
    """
    kind = plan.incoming(name)
    before, after = plan.graph.input_shape(name), plan.graph.shapes[name]
    tables = fan_out(node, before, after)
    if isinstance(node, Conv1d):
        node, before, after = as_conv2d(node), (before[0], 1, before[1]), (after[0], 1, after[1])
    geometry = Geometry(node, before, after, plan.dtype, plan.arithmetic == "loihi")
    if kind.name == "binary":
        return _spikes(plan, name, geometry, tables)
    return _values(plan, name, geometry, tables)


def _spikes(plan: Plan, name: str, geometry: Geometry, tables: tuple[np.ndarray, np.ndarray]) -> Step:
    run, count = spike_sums(geometry), _accumulates(plan, name, tables)
    dense = dense_sums(geometry)
    reached = _reached(geometry) if name in plan.watched else None
    out_shape, entering = plan.shape(name), geometry.entering

    def step(tile: Tile, arriving: list[np.ndarray]) -> np.ndarray:
        x = arriving[0]
        steps = x.shape[0]
        s = np.ascontiguousarray(x).reshape(-1, *entering)
        operations = count(tile, s, steps) if tile.counting or dense is not None else 0
        if dense is None:
            out = run(tile, s)
        else:
            choice, dense_run = dense
            wins = (choice.wins if tile.constants is None else choice.settled)(operations, s.shape[0])
            began = time.perf_counter_ns()
            out = dense_run(tile, s) if wins else run(tile, s)
            choice.took(wins, operations, s.shape[0], time.perf_counter_ns() - began)
        if reached is not None:
            mask = reached(tile, s)
            tile.put(tile.masks, name, mask.reshape(steps, tile.samples, *out_shape[:-1], mask.shape[-1]))
        return out.reshape(steps, tile.samples, *out_shape)

    return only_kernels(
        step, calls_only_kernels(run) and calls_only_kernels(count) and (reached is None or calls_only_kernels(reached))
    )


def _values(plan: Plan, name: str, geometry: Geometry, tables: tuple[np.ndarray, np.ndarray]) -> Step:
    """Graded events and real values: a multiplication for each weight."""
    run, real = value_sums(geometry), plan.incoming(name).name == "real"
    every = tables[0].reshape(-1)
    total = np.int64(every.sum())
    dtype, out_shape, entering = plan.dtype, plan.shape(name), geometry.entering
    connected = touched(geometry.node, np.ones((1, *entering), bool), geometry.after)  # all but what sees padding only
    steady = name in plan.steady

    def step(tile: Tile, arriving: list[np.ndarray]) -> np.ndarray:
        x = added(arriving, dtype)
        steps = x.shape[0]
        v = np.ascontiguousarray(x.astype(dtype, copy=False)).reshape(-1, *entering)
        if tile.counting and real:
            tile.count(name, "mac", total * tile.samples)
            if steps == 1 and steady:
                tile.count_once(name, "mac_once", total * tile.samples)
        elif tile.counting:
            events = (x != 0).sum(axis=1, dtype=np.int64).reshape(steps, -1)
            tile.count(name, "sop_graded", events @ every)
        if name in plan.watched:
            reached = connected if real else touched(geometry.node, v, geometry.after)
            full = np.broadcast_to(reached, (v.shape[0], *geometry.leaving))
            tile.put(tile.masks, name, full.reshape(steps, tile.samples, *out_shape))
        return run(tile, v).reshape(steps, tile.samples, *out_shape)

    alone = len(plan.graph.sources(name)) == 1 and name not in plan.watched
    return only_kernels(step, real and alone and calls_only_kernels(run))


def _accumulates(plan: Plan, name: str, tables: tuple[np.ndarray, np.ndarray]) -> Count:
    """Counts ``sop`` and ``sop_nonzero`` of spikes ``(N, …)`` and returns the accumulates of all of them."""
    from neurodeploy.sim.native.arrays import kernels

    every, nonzero = tables
    if kernels() is not None:
        from neurodeploy.sim.native.events import Accumulates

        if Accumulates.fits(every):
            counter = Accumulates(every, nonzero)

            def count(tile: Tile, s: np.ndarray, steps: int) -> int:
                if not tile.counting:
                    return counter.count(s, steps, None, None)
                if steps == tile.length:
                    at = tile.counts_at(name, "sop"), tile.counts_at(name, "sop_nonzero")
                    return counter.count(s, steps, *at)
                tile.repeatable = False
                found = np.zeros((2, steps), np.int64)  # one row for all steps
                operations = counter.count(s, steps, found.ctypes.data, found.ctypes.data + found.strides[0])
                tile.count(name, "sop", found[0])
                tile.count(name, "sop_nonzero", found[1])
                return operations

            return only_kernels(count)
    flat, flat_nonzero = every.reshape(-1), nonzero.reshape(-1)

    def count_slowly(tile: Tile, s: np.ndarray, steps: int) -> int:
        events = (s.reshape(steps, -1, flat.size) != 0).sum(axis=1, dtype=np.int64)
        found = events @ flat
        if tile.counting:
            tile.count(name, "sop", found)
            tile.count(name, "sop_nonzero", events @ flat_nonzero)
        return int(found.sum())

    return count_slowly


def _reached(geometry: Geometry) -> Callable[[Tile, np.ndarray], np.ndarray]:
    """Outputs that spikes ``(N, …)`` reach: ``(N, OH, OW, O)`` or, the same for all channels, ``(N, OH, OW, 1)``."""
    from neurodeploy.sim.native.arrays import kernels

    node = geometry.node
    if kernels() is not None and isinstance(node, Conv2d) and node.groups == 1:
        from neurodeploy.sim.native.events import Reached

        mask = Reached(node, geometry.before, geometry.after)
        return only_kernels(lambda tile, s: mask.run(tile, s))
    if isinstance(node, Conv2d) and node.groups == geometry.before[0] and geometry.before == geometry.after:
        alone = node.weight.shape[2:] == (1, 1) and node.stride == (1, 1)
        if alone:  # a relay, or the identity of a skip: events arrive where they leave
            return only_kernels(lambda tile, s: s)
    return lambda tile, s: np.broadcast_to(touched(node, s, geometry.after), (s.shape[0], *geometry.leaving))
