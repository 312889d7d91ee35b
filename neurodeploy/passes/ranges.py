"""Ranges of the integer machine, proven from an integer population and never from data.

For one population let ``low … high`` bound ``Σ w·s`` over all binary inputs of one step, summed over its synapses, and
``b`` the largest ``|bias|`` (weight units; a state is 64 of them). With ``G(d) = Σ_{k<T} d^k`` (``1/(1 − d)`` below 1,
so that it holds for ever; T for ``d = 1``) the machine keeps its ranges if::

    |w| ≤ 254,  b ≤ 4095,  max(−low, high) ≤ accumulator
    current    max(−low, high)·G(current_decay) < 2¹⁷          no wrap; G = 1 without a current
    membrane   (−low·G(current_decay) + b)·G(decay) < 2¹⁷      downwards: a neuron that never fires
               vThMant + high·G(current_decay) + b  < 2¹⁷      upwards: above the threshold it is reset
    readout    (max(−low, high) + b)·G(decay) < 2¹⁷ − 1        both ways: it neither fires nor saturates

Truncation toward zero only makes a magnitude smaller, so the bounds hold with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.machine import BIAS_LIMIT, STATE_UNITS, accumulator_bounds, neuron_bias
from neurodeploy.ir.nodes import LIF, NEURONS, SYNAPSES, CubaLIF, Integrator, Synapse

#: w = 2q with q in [-127, 127]: exact in Lava's Dense and Conv at 8 bits, whatever the sign mix.
WEIGHT_LIMIT = 254


@dataclass(frozen=True)
class Limits:
    """What the integer machine of a chip allows per step: ``|Σ w·s|`` in weight units."""

    accumulator: int = 2**17 - 1


def growth(decay: float, timesteps: int) -> float:
    """``G(decay)``: how often a constant input is counted in a state."""
    return 1.0 / (1.0 - decay) if decay < 1.0 else float(timesteps)


def excess(
    synapses: Mapping[str, Synapse], node: LIF | Integrator, mantissa: int, limits: Limits, timesteps: int
) -> float:
    """Largest ratio of a range to its limit: at most 1 when the population keeps all of them.

    Weights are left out: what is beyond 254 is clipped or split into parallel synapses.
    """
    pairs = [accumulator_bounds(s) for s in synapses.values()]
    low, high = sum(p[0] for p in pairs), sum(p[1] for p in pairs)
    bias = int(np.max(np.abs(np.sum([s.bias.astype(np.int64) for s in synapses.values()], axis=0))))
    most = max(-low, high)
    memory = growth(float(node.current_decay), timesteps) if isinstance(node, CubaLIF) else 1.0
    leak = growth(float(node.decay), timesteps)
    if isinstance(node, Integrator):
        states = [(most + bias) * leak / (STATE_UNITS - 1)]
    else:
        deepest, highest = (-low * memory + bias) * leak, mantissa + high * memory + bias
        states = [deepest / STATE_UNITS, highest / STATE_UNITS]
    return max(bias / BIAS_LIMIT, most / limits.accumulator, most * memory / STATE_UNITS, *states)


def accumulator_table(graph: Graph) -> list[dict[str, object]]:
    """Per neuron population of an integer graph: the proven bounds, for ``compile.json``."""
    rows: list[dict[str, object]] = []
    for name in graph.names(NEURONS):
        low = high = 0
        for source in graph.sources(name):
            node = graph.nodes[source]
            assert isinstance(node, SYNAPSES)
            a, b = accumulator_bounds(node)
            low, high = low + a, high + b
        node_bias = neuron_bias(graph, name)
        node = graph.nodes[name]
        rows.append(
            {
                "node": name,
                "scale": graph.scales.get(name),
                "threshold": int(node.threshold) if isinstance(node, LIF) else None,
                "accumulator_low": low,
                "accumulator_high": high,
                "bias_low": int(node_bias.min()),
                "bias_high": int(node_bias.max()),
            }
        )
    return rows
