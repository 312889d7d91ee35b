"""Neuron nodes: what arrives, the update over time, what they send, and which of their updates were active."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from neurodeploy.ir.interpret import spikes_as_bytes
from neurodeploy.ir.nodes import LIF, Integrator
from neurodeploy.sim.arrivals import activity
from neurodeploy.sim.messages import Sent
from neurodeploy.sim.native.neurons import SOURCES
from neurodeploy.sim.neuron_updates import float_update, integer_update
from neurodeploy.sim.replay import calls_only_kernels, only_kernels
from neurodeploy.sim.tile import Tile

if TYPE_CHECKING:
    from neurodeploy.sim.plan import Plan

Step = Callable[[Tile, list[np.ndarray]], np.ndarray]


def prepare_neuron(plan: Plan, name: str, node: LIF | Integrator) -> Step:
    """What to do with what arrives at neuron node ``name``."""
    sent = Sent(plan, name)
    update = (integer_update if plan.arithmetic == "loihi" else float_update)(plan, name, node, sent)
    count_active = activity(plan, name)
    fires = isinstance(node, LIF)

    def step(tile: Tile, arriving: list[np.ndarray]) -> np.ndarray:
        value, membrane, current, counted = update(tile, arriving)
        if tile.counting:
            count_active(tile)
            if fires:
                sent.count(tile, value, counted)
        if fires and tile.keep_spikes:
            tile.put(tile.spikes, name, spikes_as_bytes(name, value))
        if tile.keep_membrane:
            assert membrane is not None
            tile.put(tile.membrane, name, membrane)
            if current is not None:
                tile.put(tile.current, name, current)
        return value

    few = len(plan.graph.sources(name)) <= SOURCES
    return only_kernels(
        step, few and calls_only_kernels(update) and calls_only_kernels(count_active) and not sent.partly
    )
