"""Nodes without weights and without neurons: Flatten, pools, Scale, Delay, Threshold, ReLU, Output.

Where events through such a node decide whether a neuron is idle, the node passes on where they are
(:mod:`neurodeploy.sim.arrivals`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from neurodeploy.ir.nodes import AvgPool2d, Delay, Flatten, MaxPool2d, Node, ReLU, Scale, SumPool2d, Threshold
from neurodeploy.sim.arrivals import passed_on
from neurodeploy.sim.layout import last_array, to_first
from neurodeploy.sim.native import arrays
from neurodeploy.sim.native import passing as native
from neurodeploy.sim.replay import calls_only_kernels, only_kernels
from neurodeploy.sim.tile import Tile, added

if TYPE_CHECKING:
    from neurodeploy.sim.plan import Plan

Step = Callable[[Tile, list[np.ndarray]], np.ndarray]


def prepare_passing(plan: Plan, name: str, node: Node) -> Step:
    """What to do with what arrives at ``name``."""
    run = _value(plan, name, node)
    if name not in plan.watched:
        alone = len(plan.graph.sources(name)) == 1
        return only_kernels(
            lambda tile, arriving: run(tile, added(arriving, plan.dtype)), alone and calls_only_kernels(run)
        )
    move = _events(plan, name, node)

    def step(tile: Tile, arriving: list[np.ndarray]) -> np.ndarray:
        tile.put(tile.masks, name, move(tile, passed_on(plan, tile, name)))
        return run(tile, added(arriving, plan.dtype))

    return step


#: What a node makes of the sum of what arrives.
Move = Callable[[Tile, np.ndarray], np.ndarray]


def _value(plan: Plan, name: str, node: Node) -> Move:
    dtype = plan.dtype
    if isinstance(node, SumPool2d):
        return _pool(plan, name, node)
    if isinstance(node, Flatten):
        return only_kernels(_flat, arrays.kernels() is not None and np.dtype(dtype).itemsize == 4)
    if isinstance(node, Delay):
        return _delay(name, "value", node)
    if isinstance(node, ReLU):

        def rectify(tile: Tile, x: np.ndarray) -> np.ndarray:
            return np.maximum(x.astype(dtype, copy=False), dtype(0), out=tile.empty(x.shape, dtype))

        return rectify
    if isinstance(node, Scale):
        scale = last_array(node.scale, node.shape).astype(dtype)

        def multiply(tile: Tile, x: np.ndarray) -> np.ndarray:
            return np.multiply(scale, x.astype(dtype, copy=False), out=tile.empty(x.shape, dtype))

        return multiply
    if isinstance(node, Threshold):
        threshold = last_array(node.threshold, node.shape).astype(dtype)
        compare = np.greater_equal if node.compare == "ge" else np.greater

        def fire(tile: Tile, x: np.ndarray) -> np.ndarray:
            spikes = tile.empty(x.shape, np.uint8)
            compare(x.astype(dtype, copy=False), threshold, out=spikes.view(bool))
            return spikes

        return fire
    return only_kernels(lambda tile, x: x)


def _events(plan: Plan, name: str, node: Node) -> Move:
    """Where the events that enter ``node`` leave it: bool to bool, with all channels, or one for all of them."""
    if isinstance(node, SumPool2d):
        window = MaxPool2d(node.kernel, node.stride, node.padding)
        return lambda tile, mask: _windows(window, mask.view(np.uint8), np.uint8).view(bool)
    if isinstance(node, (Flatten, Delay)):
        entering = plan.shape(plan.graph.sources(name)[0])
        move = _flat if isinstance(node, Flatten) else _delay(name, "events", node)
        return lambda tile, mask: move(tile, np.broadcast_to(mask, (*mask.shape[:2], *entering)))
    return lambda tile, mask: mask


def _flat(tile: Tile, x: np.ndarray) -> np.ndarray:
    if x.shape[-1] == x[0, 0].size:
        return x.reshape(*x.shape[:2], -1)
    flat = tile.empty((*x.shape[:2], x[0, 0].size), x.dtype)
    if arrays.kernels() is not None and x.itemsize in (1, 4):
        native.channels_first(np.ascontiguousarray(x), flat)
        return flat
    rows = flat.reshape(*x.shape[:2], x.shape[-1], *x.shape[2:-1])  # channels first
    rows[:] = to_first(x)
    return flat


def _delay(name: str, key: str, node: Delay) -> Move:
    """``out[t] = x[t − steps]`` per element, 0 before the first step."""
    steps = last_array(node.steps, node.shape)
    different = np.unique(steps)

    def delay(tile: Tile, x: np.ndarray) -> np.ndarray:
        if different[-1] == 0:
            return x
        longest = min(int(different[-1]), tile.timesteps)  # what is later than the last step never leaves
        x = tile.every_step(x)
        past = tile.memory(name, key, (longest, *x.shape[1:]), x.dtype)
        known = np.concatenate([past, x])
        out = np.zeros_like(x)
        for back in different[different <= longest]:
            np.copyto(out, known[longest - back : longest - back + len(x)], where=steps == back)
        past[:] = known[len(x) :]
        return out

    return delay


def _pool(plan: Plan, name: str, node: SumPool2d) -> Move:
    after, leaving = plan.shape(name), np.dtype(plan.value_type(name))
    found = arrays.kernels()
    before = plan.shape(plan.graph.sources(name)[0])
    compiled = native.Pool(found, node, before, after) if found is not None else None

    def pool(tile: Tile, x: np.ndarray) -> np.ndarray:
        kind = None if compiled is None else compiled.kind(x.dtype, leaving)
        if compiled is None or kind is None:
            return _windows(node, x, plan.dtype)
        out = tile.empty((*x.shape[:2], *after), leaving)
        compiled.run(kind, np.ascontiguousarray(x), out)
        return out

    entering = np.dtype(plan.value_type(plan.graph.sources(name)[0]))
    return only_kernels(pool, compiled is not None and compiled.kind(entering, leaving) is not None)


def _windows(node: SumPool2d, x: np.ndarray, dtype: Any) -> np.ndarray:
    """Windows of ``(T, B, H, W, C)``, rows then columns: sum, mean (AvgPool2d) or largest (MaxPool2d)."""
    (kh, kw), (sh, sw), (ph, pw) = node.kernel, node.stride, node.padding
    around = ((0, 0), (0, 0), (ph, ph), (pw, pw), (0, 0))
    oh, ow = (x.shape[2] + 2 * ph - kh) // sh + 1, (x.shape[3] + 2 * pw - kw) // sw + 1
    windows = [
        (..., slice(ky, ky + sh * (oh - 1) + 1, sh), slice(kx, kx + sw * (ow - 1) + 1, sw), slice(None))
        for ky in range(kh)
        for kx in range(kw)
    ]
    if isinstance(node, MaxPool2d):
        # Spikes stay bytes: every window holds a pixel, and no pixel is below 0.
        lowest = 0 if x.dtype == np.uint8 else -np.inf
        x = np.pad(x, around, constant_values=lowest)
        total = np.full((*x.shape[:2], oh, ow, x.shape[4]), lowest, x.dtype)
        for window in windows:
            np.maximum(total, x[window], out=total)
        return total
    x = np.pad(x, around)
    total = np.zeros((*x.shape[:2], oh, ow, x.shape[4]), dtype)
    for window in windows:
        total += x[window]
    return total / dtype(kh * kw) if isinstance(node, AvgPool2d) else total
