"""The update of LIF, CubaLIF and Integrator over time, and which kernel does it.

The compiled kernels (:mod:`neurodeploy.sim.native.neurons`) run float32, and the integer machine where 32 bits hold its
sums. The Numba kernels of :mod:`neurodeploy.sim.neuron_kernels` run everything, slower, with the same numbers; Numba is
imported only where one of them is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.machine import (
    DECAY_UNITY,
    SHIFT,
    STATE_LIMIT,
    STATE_UNITS,
    accumulator_bounds,
    current_decay,
    neuron_bias,
    threshold_mantissa,
    voltage_decay,
)
from neurodeploy.ir.nodes import LIF, SYNAPSES, CubaLIF, Integrator
from neurodeploy.sim.layout import last_array, last_shape
from neurodeploy.sim.native import arrays, neurons
from neurodeploy.sim.replay import only_kernels
from neurodeploy.sim.tile import Tile, added

if TYPE_CHECKING:
    from neurodeploy.sim.messages import Sent
    from neurodeploy.sim.plan import Plan


#: What a population gives, ``(n, B, *shape)`` each: its value, which is spikes, or the state of a readout; the state
#: after reset and the current of a CubaLIF, where they are kept; and whether the kernel has counted spikes and messages
#: at the places of :class:`~neurodeploy.sim.messages.Sent`.
Updated = tuple[np.ndarray, np.ndarray | None, np.ndarray | None, bool]
Update = Callable[[Tile, list[np.ndarray]], Updated]


def float_update(plan: Plan, name: str, node: LIF | Integrator, sent: Sent) -> Update:
    """The update in float32 or float64."""
    shape, dtype = plan.shape(name), plan.dtype

    def numbers(*keys: str) -> list[np.ndarray]:
        return [last_array(getattr(node, key), node.shape).astype(dtype) for key in keys]

    found = arrays.kernels()
    if found is None or dtype is not np.float32 or (isinstance(node, LIF) and node.spikes == "multi"):
        return _float_numba(plan, name, node, numbers)
    integrator = None
    if isinstance(node, CubaLIF):
        decay, gain = numbers("current_decay", "current_gain")
        integrator = neurons.float_integrator(found, [decay, gain, np.full_like(decay, -0.0)])  # x + −0 is x
    elif isinstance(node, Integrator):
        integrator = neurons.float_integrator(found, numbers("decay", "gain", "offset"))

    def integrate(tile: Tile, arriving: list[np.ndarray]) -> Updated:
        assert integrator is not None
        full = (tile.last - tile.first, tile.samples, *shape)
        out = tile.empty(full, dtype)
        state = None if tile.whole else tile.memory(name, "i", full[1:], dtype)
        integrator.run(_few(arriving, dtype), full[0], (state, out))
        return out, out, None, False

    if not isinstance(node, LIF):
        return only_kernels(integrate)
    parameters = numbers("decay", "gain", "offset", "threshold", "v_reset")
    at_threshold, subtracts = node.compare == "ge", node.reset == "subtract"
    lif = neurons.float_lif(found, parameters, at_threshold=at_threshold, subtracts=subtracts, cores=sent.cores)

    def fire(tile: Tile, arriving: list[np.ndarray]) -> Updated:
        full = (tile.last - tile.first, tile.samples, *shape)
        spikes = tile.empty(full, np.uint8)
        membrane = tile.empty(full, dtype) if tile.keep_membrane else None
        state = None if tile.whole else tile.memory(name, "u", full[1:], dtype)
        lif.run(_few(arriving, dtype), full[0], (state, spikes, membrane), sent.places(tile))
        return spikes, membrane, None, True

    if integrator is None:
        return only_kernels(fire)

    def filter_and_fire(tile: Tile, arriving: list[np.ndarray]) -> Updated:
        current = integrate(tile, arriving)[0]
        spikes, membrane, _, counted = fire(tile, [current])
        return spikes, membrane, current, counted

    return only_kernels(filter_and_fire)


def _few(arriving: list[np.ndarray], dtype: Any) -> list[np.ndarray]:
    """The same sum, of no more arrays than a compiled kernel adds, in the same order."""
    more = len(arriving) - neurons.SOURCES
    return arriving if more <= 0 else [added(arriving[: more + 1], dtype), *arriving[more + 1 :]]


def integer_update(plan: Plan, name: str, node: LIF | Integrator, sent: Sent) -> Update:
    """The update on the integer machine; an integrator's value is its state."""
    bias = neuron_bias(plan.graph, name)
    full = np.array(np.broadcast_to(bias, last_shape(node.shape)), order="C")
    factor, threshold = DECAY_UNITY - voltage_decay(node), threshold_mantissa(node) << SHIFT
    reads = isinstance(node, Integrator)
    found = arrays.kernels()
    largest = int(np.abs(bias).max(initial=0))
    wraps = _may_wrap(plan, name)
    if found is None or plan.dtype is not np.int32 or largest > neurons.LARGEST_BIAS:
        return _integer_numba(plan, name, node, full)
    if isinstance(node, CubaLIF):
        if wraps:
            return _integer_numba(plan, name, node, full)
        current_factor = DECAY_UNITY - current_decay(node)
        cuba = neurons.integer_cuba(found, full, current_factor, factor, threshold, sent.cores)
        return _integer_cuba(plan, name, cuba, sent)
    shape = plan.shape(name)
    kernel = neurons.integer_neuron(found, full, factor, threshold, wraps=wraps, reads=reads, cores=sent.cores)

    def update(tile: Tile, arriving: list[np.ndarray]) -> Updated:
        whole = (tile.last - tile.first, tile.samples, *shape)
        spikes = None if reads else tile.empty(whole, np.uint8)
        membrane = tile.empty(whole, np.int32) if reads or tile.keep_membrane else None
        state = None if tile.whole else tile.memory(name, "v", whole[1:], np.int32)
        places = (None, None) if reads else sent.places(tile)
        wrong = kernel.run(_few(arriving, np.int32), whole[0], (state, spikes, membrane), places)
        if reads and wrong:
            raise _out_of_range(plan, name, bias, tile.timesteps)
        value = membrane if spikes is None else spikes
        assert value is not None
        return value, membrane, None, True

    return only_kernels(update)


def _integer_cuba(plan: Plan, name: str, kernel: neurons.Kernel, sent: Sent) -> Update:
    shape = plan.shape(name)

    def update(tile: Tile, arriving: list[np.ndarray]) -> Updated:
        whole = (tile.last - tile.first, tile.samples, *shape)
        spikes = tile.empty(whole, np.uint8)
        states = [None if tile.whole else tile.memory(name, key, whole[1:], np.int32) for key in ("i", "v")]
        kept = [tile.empty(whole, np.int32) if tile.keep_membrane else None for _ in range(2)]
        kernel.run(_few(arriving, np.int32), whole[0], (*states, spikes, *kept), sent.places(tile))
        current = None if kept[1] is None else kept[1].astype(np.int64)
        return spikes, kept[0], current, True

    return update


def _may_wrap(plan: Plan, name: str) -> bool:
    """Whether a sum into ``name`` can reach the limit at which u wraps, over all inputs."""
    largest = 0
    for source in plan.graph.sources(name):
        node, most = plan.graph.nodes[source], plan.incoming(source).most
        if not isinstance(node, SYNAPSES) or most is None:
            return True
        largest += max(map(abs, accumulator_bounds(node))) * most
    return largest > STATE_UNITS


def _float_numba(plan: Plan, name: str, node: LIF | Integrator, numbers: Callable[..., list[np.ndarray]]) -> Update:
    from neurodeploy.sim import neuron_kernels as kernels

    dtype = plan.dtype
    nothing = np.zeros((0, 0, 0), dtype)
    linear = [array.reshape(-1) for array in numbers("decay", "gain", "offset")]

    def integrate(tile: Tile, arriving: list[np.ndarray]) -> Updated:
        x = _rows(tile, arriving, dtype)
        out = tile.empty(x.shape, dtype)
        kernels.integrate_float(x, *linear, _state(tile, name, "u", x.shape[2], dtype), out)
        return _shaped(plan, name, out, out)

    if not isinstance(node, LIF):
        return integrate
    threshold, v_reset = (array.reshape(-1) for array in numbers("threshold", "v_reset"))
    synaptic: list[np.ndarray] = []
    if isinstance(node, CubaLIF):
        decay, gain = (array.reshape(-1) for array in numbers("current_decay", "current_gain"))
        synaptic = [decay, gain, np.full_like(decay, -0.0)]  # x + −0 is x

    def fire(tile: Tile, arriving: list[np.ndarray]) -> Updated:
        x = _rows(tile, arriving, dtype)
        current = None
        if synaptic:
            current = tile.empty(x.shape, dtype)
            kernels.integrate_float(x, *synaptic, _state(tile, name, "i", x.shape[2], dtype), current)
            x = current
        membrane = tile.empty(x.shape, dtype) if tile.keep_membrane else nothing
        u = _state(tile, name, "u", x.shape[2], dtype)
        spikes = tile.empty(x.shape, dtype if node.spikes == "multi" else np.uint8)
        if node.spikes == "multi":
            kernels.lif_multi(x, *linear, threshold, u, spikes, membrane)
        else:
            at_threshold, subtracts = node.compare == "ge", node.reset == "subtract"
            kernels.lif_float(x, *linear, threshold, v_reset, at_threshold, subtracts, u, spikes, membrane)
        return _shaped(plan, name, spikes, membrane, current)

    return fire


def _integer_numba(plan: Plan, name: str, node: LIF | Integrator, full: np.ndarray) -> Update:
    from neurodeploy.sim import neuron_kernels as kernels

    per_neuron = full.reshape(-1)
    factor, threshold = DECAY_UNITY - voltage_decay(node), threshold_mantissa(node) << SHIFT
    current_factor = DECAY_UNITY - current_decay(node)
    reads = isinstance(node, Integrator)

    def update(tile: Tile, arriving: list[np.ndarray]) -> Updated:
        a = _rows(tile, arriving, plan.dtype)
        spikes = tile.empty(a.shape, np.uint8)
        membrane = tile.empty(a.shape if tile.keep_membrane or reads else (0, 0, 0), np.int32)
        v = _state(tile, name, "v", a.shape[2], np.int32)
        current = None
        if isinstance(node, CubaLIF):
            current = tile.empty(a.shape if tile.keep_membrane else (0, 0, 0), np.int64)
            i = _state(tile, name, "i", a.shape[2], np.int64)
            kernels.cuba_integer(a, current_factor, per_neuron, factor, threshold, i, v, spikes, membrane, current)
        else:
            kernels.neuron_integer(a, per_neuron, factor, threshold, v, spikes, membrane)
        if reads and (spikes.any() or np.abs(membrane).max() >= STATE_LIMIT):
            raise _out_of_range(plan, name, neuron_bias(plan.graph, name), tile.timesteps)
        return _shaped(plan, name, membrane if reads else spikes, membrane, current)

    return update


def _rows(tile: Tile, arriving: list[np.ndarray], dtype: Any) -> np.ndarray:
    """The sum of what arrives as ``(n, B, N)``."""
    full = tile.every_step(added(arriving, dtype).astype(dtype, copy=False))
    return full.reshape(*full.shape[:2], -1)


def _shaped(
    plan: Plan, name: str, value: np.ndarray, membrane: np.ndarray, current: np.ndarray | None = None
) -> Updated:
    full = (*value.shape[:2], *plan.shape(name))
    kept = [None if a is None or not a.size else a.reshape(full) for a in (membrane, current)]
    return value.reshape(full), kept[0], kept[1], False


def _state(tile: Tile, name: str, key: str, size: int, dtype: Any) -> np.ndarray:
    """A state for the Numba kernels: a row for each sample where it must be carried, else one row for all."""
    return tile.memory(name, key, (1 if tile.whole else tile.samples, size), dtype)


def _out_of_range(plan: Plan, name: str, bias: np.ndarray, timesteps: int) -> UnsupportedError:
    """ND223, with the number of timesteps for which the readout's range is proven."""
    graph, highest, lowest = plan.graph, int(bias.max()), int(bias.min())
    proven = True
    for source in graph.sources(name):
        node, most = graph.nodes[source], plan.incoming(source).most
        proven = proven and most is not None
        if isinstance(node, SYNAPSES) and most is not None:
            low, high = accumulator_bounds(node)
            lowest, highest = lowest + most * low, highest + most * high
    shorter = f"run at most {max(1, STATE_UNITS // max(highest, -lowest, 1))} timesteps, for which the range is proven"
    return UnsupportedError(
        "ND223",
        f"the readout left its 24-bit range within {timesteps} timesteps: its sum is no longer a sum",
        where=name,
        fix=f"{shorter if proven else 'run fewer timesteps'}, or export for this many: "
        f"neurodeploy export MODEL --target loihi2 --timesteps {timesteps}",
    )
