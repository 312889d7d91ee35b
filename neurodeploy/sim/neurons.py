"""Neuron nodes: LIF, CubaLIF and Integrator over time, what they send, and which of their updates were active."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.interpret import spikes_as_bytes
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
from neurodeploy.sim import neuron_kernels as kernels
from neurodeploy.sim.arrivals import activity
from neurodeploy.sim.layout import last_array, last_shape
from neurodeploy.sim.messages import destinations, reaching
from neurodeploy.sim.tile import Tile, added

if TYPE_CHECKING:
    from neurodeploy.sim.plan import Plan

Step = Callable[[Tile, list[np.ndarray]], np.ndarray]


class Updated(NamedTuple):
    """What a population gives, ``(n, B, N)`` each: its value, and its state where it is kept (else size 0)."""

    value: np.ndarray
    membrane: np.ndarray
    current: np.ndarray | None = None


Update = Callable[[Tile, np.ndarray], Updated]


def prepare_neuron(plan: Plan, name: str, node: LIF | Integrator) -> Step:
    """What to do with what arrives at neuron node ``name``."""
    update = _integer_neuron(plan, name, node) if plan.arithmetic == "loihi" else _float_neuron(plan, name, node)
    count_active = activity(plan, name)
    spread = [(reaching(plan, synapse), cores) for synapse, cores in destinations(plan, name) or []]
    size = int(np.prod(node.shape))

    def step(tile: Tile, arriving: list[np.ndarray]) -> np.ndarray:
        full = tile.every_step(added(arriving, plan.dtype).astype(plan.dtype, copy=False))
        found = update(tile, full.reshape(*full.shape[:2], -1))
        active = count_active(tile)
        tile.count(name, "neuron_updates_active", active)
        tile.count(name, "neuron_updates_idle", size * tile.samples - active)
        if isinstance(node, LIF):
            fired = found.value
            tile.count(name, "spikes_out", fired.reshape(tile.length, -1).sum(axis=1, dtype=np.int64))
            if spread:
                messages = fired.sum(axis=1, dtype=np.int64) if node.spikes == "single" else (fired != 0).sum(axis=1)
                for reached, cores in spread:
                    tile.count(name, "messages", messages @ reached * cores)
            if tile.keep_spikes:
                tile.put(tile.spikes, name, spikes_as_bytes(name, fired).reshape(full.shape))
        if tile.keep_membrane:
            tile.put(tile.membrane, name, found.membrane.reshape(full.shape))
            if found.current is not None:
                tile.put(tile.current, name, found.current.reshape(full.shape))
        return found.value.reshape(full.shape)

    return step


def _state(tile: Tile, name: str, key: str, size: int, dtype: Any) -> np.ndarray:
    """A state for the kernels: a row for each sample where it must be carried, else one row for all."""
    return tile.memory(name, key, (1 if tile.whole else tile.samples, size), dtype)


def _float_neuron(plan: Plan, name: str, node: LIF | Integrator) -> Update:
    dtype = plan.dtype
    nothing = np.zeros((0, 0, 0), dtype)

    def numbers(*keys: str) -> list[np.ndarray]:
        return [last_array(getattr(node, key), node.shape).astype(dtype).reshape(-1) for key in keys]

    linear = numbers("decay", "gain", "offset")

    def integrate(tile: Tile, x: np.ndarray) -> Updated:
        out = np.empty_like(x)
        kernels.integrate_float(x, *linear, _state(tile, name, "u", x.shape[2], dtype), out)
        return Updated(out, out)

    if isinstance(node, Integrator):
        return integrate
    firing = numbers("threshold", "v_reset")

    def fire(tile: Tile, x: np.ndarray) -> Updated:
        membrane = np.empty_like(x) if tile.keep_membrane else nothing
        u = _state(tile, name, "u", x.shape[2], dtype)
        if node.spikes == "multi":
            number = np.empty_like(x)
            kernels.lif_multi(x, *linear, firing[0], u, number, membrane)
            return Updated(number, membrane)
        spikes = np.empty(x.shape, np.uint8)
        kernels.lif_float(x, *linear, *firing, node.compare == "ge", node.reset == "subtract", u, spikes, membrane)
        return Updated(spikes, membrane)

    if not isinstance(node, CubaLIF):
        return fire
    synaptic = numbers("current_decay", "current_gain")
    no_offset = np.zeros_like(synaptic[0])

    def filter_and_fire(tile: Tile, x: np.ndarray) -> Updated:
        current = np.empty_like(x)
        kernels.integrate_float(x, *synaptic, no_offset, _state(tile, name, "i", x.shape[2], dtype), current)
        return fire(tile, current)._replace(current=current)

    return filter_and_fire


def _integer_neuron(plan: Plan, name: str, node: LIF | Integrator) -> Update:
    """The same on the integer machine; an integrator's value is its state."""
    bias = neuron_bias(plan.graph, name)
    # A copy: a read-only view would be another type to the compiler, compiled again.
    per_neuron = np.array(np.broadcast_to(bias, last_shape(node.shape)), order="C").reshape(-1)
    factor, threshold = DECAY_UNITY - voltage_decay(node), threshold_mantissa(node) << SHIFT
    current_factor = DECAY_UNITY - current_decay(node)
    reads_state = isinstance(node, Integrator)

    def update(tile: Tile, a: np.ndarray) -> Updated:
        spikes = np.empty(a.shape, np.uint8)
        membrane = np.empty(a.shape if tile.keep_membrane or reads_state else (0, 0, 0), np.int32)
        v = _state(tile, name, "v", a.shape[2], np.int32)
        current = None
        if isinstance(node, CubaLIF):
            current = np.empty(a.shape if tile.keep_membrane else (0, 0, 0), np.int64)
            i = _state(tile, name, "i", a.shape[2], np.int64)
            kernels.cuba_integer(a, current_factor, per_neuron, factor, threshold, i, v, spikes, membrane, current)
        else:
            kernels.neuron_integer(a, per_neuron, factor, threshold, v, spikes, membrane)
        if reads_state and (spikes.any() or np.abs(membrane).max() >= STATE_LIMIT):
            raise _out_of_range(plan, name, bias, tile.timesteps)
        return Updated(membrane if reads_state else spikes, membrane, current)

    return update


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
