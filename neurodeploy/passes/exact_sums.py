"""What a graph needs of float32: on which grid every value lies, how large it can grow, how many bits that takes.

A float32 holds every multiple of ``2^-g`` up to ``2^(24 − g)`` in magnitude, so a sum of such numbers is exact in any
order as long as no partial sum can leave that range. This module finds, from the graph alone, the grid and the range
of everything that is computed (:func:`walk`), as a list of :class:`Need`; all at 24 bits or fewer is a proof.

*Synapse.* Input on ``2^-a`` in ``[low, high]``, weights on ``2^-w``, bias on ``2^-b``: products, partial sums and the
result lie on ``2^-max(a + w, b)``, and any partial sum, in any order, with the zeros of the padding, lies between the
sum of all negative and the sum of all positive terms. (A convolution by a transform, Winograd's or Fourier's, is not a
sum in another order; nothing is claimed of it.)

*LIF*, decay ``d = m/2^k``, reset to a value, T steps from 0, current ``x`` on ``2^-g``. Two forms are in use:

* ``u ← d·u + x`` (the papers, the interpreter, snnTorch): at step t everything lies on ``2^-(g + k(t−1))``;
* ``v ← v + (1−d)·(x − v)``, ``v = (1−d)·u`` (NIR, Norse, SpikingJelly): ``x − v`` lies on ``2^-(g + k(t−1))``, its
  product with ``1 − d`` and ``v`` on ``2^-(g + kt)``. For τ = 0.25 and T = 4 that is ``2^-(g + 8)``, so
  ``|0.75·(x − v)| < 2^(16−g)`` must be proven.

Ranges come from ``u[t] ∈ [d·low(u) + low(x), d·high(u) + high(x)]``; what did not fire lies below the threshold.
The threshold must lie halfway between two points of the finest grid of u, ``2^-(g + k(T−1))``: no membrane can sit on
it, so ``>`` and ``≥`` agree. A reader gets it through at most four roundings (to float32, one step down for ``≥``,
division by ``1 − d``), together less than a relative ``2^-22``; with ``θ·2^(g + k(T−1) + 1) < 2^22`` that is less than
half a step, and no reader can decide otherwise.

*IF* is ``d = 1``: k = 0, and the range grows by one input each step. *Integrators* are the first form, without reset.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import (
    LIF,
    SYNAPSES,
    AvgPool2d,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Integrator,
    Linear,
    MaxPool2d,
    Node,
    Output,
    ReLU,
    Scale,
    Shape,
    SumPool2d,
    Synapse,
    Threshold,
)

#: Bits of float32's significand: every integer up to 2^24 is a float32.
SIGNIFICAND = 24
#: The threshold keeps two bits for the roundings on its way into a reader.
THRESHOLD_BITS = 22
#: ``what`` of the need that a threshold has.
THRESHOLD = "the threshold"
#: A decay or scale with more fraction bits than this leaves nothing for the weights.
FACTOR_BITS = 8


@dataclass(frozen=True)
class Values:
    """What leaves a node: multiples of ``2^-bits``, channel c in ``[low[c], high[c]]``, which holds 0."""

    bits: int
    low: np.ndarray
    high: np.ndarray

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return float(max(np.max(self.high, initial=0.0), -np.min(self.low, initial=0.0)))

    def __add__(self, other: Values) -> Values:
        return Values(max(self.bits, other.bits), self.low + other.low, self.high + other.high)


@dataclass(frozen=True)
class Need:
    """``what`` of ``node`` takes ``bits`` bits of a significand; it has ``limit``."""

    node: str
    what: str
    bits: int
    limit: int = SIGNIFICAND


def fraction_bits(array: np.ndarray) -> int:
    """The smallest ``b ≥ 0`` for which every entry is a multiple of ``2^-b``."""
    mantissa, exponent = np.frexp(np.asarray(array, np.float64).reshape(-1))
    whole = (mantissa * 2.0**53).astype(np.int64)  # exact: a float64 has 53 bits
    exponent = exponent[whole != 0]
    whole = whole[whole != 0]
    if whole.size == 0:
        return 0
    lowest = np.log2((whole & -whole).astype(np.float64)).astype(np.int64)  # powers of two: exact
    return max(0, int((53 - exponent - lowest).max()))


def significand_bits(largest: float, bits: int) -> int:
    """Bits for all multiples of ``2^-bits`` up to ``largest``.

    A margin of 2^-40 pays for the float64 rounding of the range itself.
    """
    return max(0, math.frexp(largest * (1 + 2.0**-40))[1] + bits) if largest > 0 else 0


def spikes(channels: int) -> Values:
    """What a spiking node puts out."""
    return Values(0, np.zeros(channels), np.ones(channels))


def obstacle(graph: Graph, name: str) -> str:
    """Why no grid can be proven for this node, whatever its weights; empty if one may be."""
    node = graph.nodes[name]
    for source in graph.sources(name):
        if (source, name) in graph.recurrent and not is_spiking(graph.nodes[source]):
            return f"the recurrent edge from `{source}` carries real values, whose range has no bound"
    if isinstance(node, LIF):
        if isinstance(node, CubaLIF):
            return "the current of a CubaLIF gains fraction bits on its own"
        if node.spikes == "multi" or node.reset == "subtract":
            return "a reset that subtracts leaves the threshold's own bits in the membrane"
    if isinstance(node, (LIF, Integrator)):
        if np.any(node.decay < 0.0) or np.any(node.decay > 1.0):
            return "the decay must lie between 0 and 1"
        if fraction_bits(node.decay) > FACTOR_BITS:
            return f"the decay {float(np.max(node.decay)):g} is no short binary fraction: every step rounds"
        if np.any(node.gain != 1.0) or np.any(node.offset != 0.0):
            return "the gain must be 1 and the offset 0, and could not be made so"
    if isinstance(node, AvgPool2d) and math.log2(node.kernel[0] * node.kernel[1]) % 1:
        return f"an average over {node.kernel[0]}x{node.kernel[1]} is no binary fraction"
    if isinstance(node, Scale) and fraction_bits(node.scale) > FACTOR_BITS:
        return f"the scale {float(np.max(node.scale)):g} is no short binary fraction"
    return "" if isinstance(node, (Input, Output, *SYNAPSES, *_PUT_OUT)) else f"nothing is proven for {node.kind}"


def is_spiking(node: Node) -> bool:
    """Whether only 0 and 1 leave this node, and what leaves it says nothing of the size of what enters."""
    return isinstance(node, Threshold) or (isinstance(node, LIF) and node.spikes == "single")


def walk(
    graph: Graph, entry: Values, names: Iterable[str] | None = None, known: Mapping[str, Values] | None = None
) -> tuple[dict[str, Values], list[Need]]:
    """Values and needs of the nodes ``names`` (default: all), in graph order.

    Args:
        graph: Without an :func:`obstacle`, with known timesteps.
        entry: What enters the Input.
        names: Nodes to look at; one whose sources are not known (nor spiking) is left out.
        known: Values of other nodes.
    """
    found: dict[str, Values] = dict(known or {})
    needs: list[Need] = []
    wanted = set(graph.nodes if names is None else names)
    for name, node in graph.nodes.items():
        if name not in wanted:
            continue
        if isinstance(node, Input):
            found[name] = entry
            needs.append(Need(name, "the input", significand_bits(entry.largest, entry.bits)))
            continue
        total = _entering(graph, name, found)
        if total is None:
            continue
        needs.append(Need(name, "the sum of what enters", significand_bits(total.largest, total.bits)))
        if isinstance(node, SYNAPSES):
            found[name] = _synapse(node, total)
            weights = fraction_bits(node.weight)
            needs.append(Need(name, "a weight", significand_bits(float(np.max(np.abs(node.weight))), weights)))
            needs.append(Need(name, "a partial sum", significand_bits(found[name].largest, found[name].bits)))
        elif isinstance(node, Output):
            found[name] = total
        else:
            assert graph.timesteps is not None
            found[name], more = _PUT_OUT[type(node)](node, total, graph.input_shape(name), graph.timesteps)
            needs.extend(Need(name, what, bits, limit) for what, bits, limit in more)
    return found, needs


def _entering(graph: Graph, name: str, found: Mapping[str, Values]) -> Values | None:
    """The sum over the incoming edges; None where one is not known."""
    total: Values | None = None
    for source in graph.sources(name):
        if source in found:
            value = found[source]
        elif is_spiking(graph.nodes[source]):
            value = spikes(graph.shapes[source][0])
        else:
            return None
        total = value if total is None else total + value
    return total


def _synapse(node: Synapse, entering: Values) -> Values:
    groups = 1 if isinstance(node, Linear) else node.groups
    out = node.weight.shape[0]
    weight = node.weight.astype(np.float64).reshape(groups, out // groups, node.weight.shape[1], -1)
    positive, negative = np.maximum(weight, 0.0).sum(axis=-1), np.minimum(weight, 0.0).sum(axis=-1)
    low, high = (side.reshape(groups, 1, -1) for side in (entering.low, entering.high))
    bias = node.bias.astype(np.float64)
    return Values(
        max(entering.bits + fraction_bits(node.weight), fraction_bits(node.bias)),
        (positive * low + negative * high).sum(axis=-1).reshape(out) + np.minimum(bias, 0.0),
        (positive * high + negative * low).sum(axis=-1).reshape(out) + np.maximum(bias, 0.0),
    )


_More = list[tuple[str, int, int]]  # what, bits, limit


def _lif(node: LIF, x: Values, shape: Shape, timesteps: int) -> tuple[Values, _More]:
    decay, v_reset = _most(node.decay, shape), fraction_bits(node.v_reset)
    leak = 1.0 - _least(node.decay, shape)
    threshold = _most(node.threshold, shape)
    resets = _least(node.v_reset, shape), _most(node.v_reset, shape)
    k, g = fraction_bits(node.decay), max(x.bits, v_reset)
    low, high = np.zeros_like(x.low), np.zeros_like(x.high)
    membrane = 0
    for t in range(1, timesteps + 1):
        # The second form before the first: it needs the membrane of the step before.
        apart = leak * np.maximum(x.high - leak * low, leak * high - x.low)
        membrane = max(membrane, significand_bits(_largest(apart), g + k * t) if np.any(leak > 0.0) else 0)
        low, high = decay * low + x.low, decay * high + x.high
        membrane = max(membrane, significand_bits(max(_largest(low), _largest(high)), g + k * (t - 1)))
        membrane = max(membrane, significand_bits(_largest(leak * np.maximum(-low, high)), g + k * t))
        low = np.minimum(low, np.minimum(resets[0], 0.0))
        high = np.maximum(np.minimum(high, threshold), np.maximum(resets[1], 0.0))
    size = float(np.max(np.abs(node.threshold)))
    finest = g + k * (timesteps - 1)
    more = [
        (f"the membrane over {timesteps} steps", membrane, SIGNIFICAND),
        (THRESHOLD, significand_bits(size, finest + 1), THRESHOLD_BITS),
    ]
    return spikes(shape[0]), more


def finest_bits(node: LIF | Integrator, current_bits: int, timesteps: int) -> int:
    """The membrane lies on ``2^-finest_bits`` for all ``timesteps`` steps (first form)."""
    base = max(current_bits, fraction_bits(node.v_reset)) if isinstance(node, LIF) else current_bits
    return base + fraction_bits(node.decay) * (timesteps - 1)


def _integrator(node: Integrator, x: Values, shape: Shape, timesteps: int) -> tuple[Values, _More]:
    decay = _most(node.decay, shape)
    low, high = np.zeros_like(x.low), np.zeros_like(x.high)
    for _ in range(timesteps):
        low, high = decay * low + x.low, decay * high + x.high
    out = Values(finest_bits(node, x.bits, timesteps), low, high)
    return out, [(f"the sum over {timesteps} steps", significand_bits(out.largest, out.bits), SIGNIFICAND)]


def _pool(node: SumPool2d, x: Values, shape: Shape, timesteps: int) -> tuple[Values, _More]:
    if isinstance(node, MaxPool2d):
        return x, []
    area = node.kernel[0] * node.kernel[1]
    total = Values(x.bits, x.low * area, x.high * area)
    more = [("the sum over a window", significand_bits(total.largest, total.bits), SIGNIFICAND)]
    return (Values(x.bits + int(math.log2(area)), x.low, x.high) if isinstance(node, AvgPool2d) else total), more


def _scale(node: Scale, x: Values, shape: Shape, timesteps: int) -> tuple[Values, _More]:
    ends = [
        side * factor for side in (x.low, x.high) for factor in (_least(node.scale, shape), _most(node.scale, shape))
    ]
    out = Values(x.bits + fraction_bits(node.scale), np.minimum.reduce(ends), np.maximum.reduce(ends))
    return out, [("a scaled value", significand_bits(out.largest, out.bits), SIGNIFICAND)]


def _flatten(node: Flatten, x: Values, shape: Shape, timesteps: int) -> tuple[Values, _More]:
    each = math.prod(shape[1:])
    return Values(x.bits, np.repeat(x.low, each), np.repeat(x.high, each)), []


_PUT_OUT: dict[type, Callable[..., tuple[Values, _More]]] = {
    LIF: _lif,
    Integrator: _integrator,
    SumPool2d: _pool,
    AvgPool2d: _pool,
    MaxPool2d: _pool,
    Scale: _scale,
    Flatten: _flatten,
    Threshold: lambda node, x, shape, timesteps: (spikes(shape[0]), []),
    Delay: lambda node, x, shape, timesteps: (x, []),
    ReLU: lambda node, x, shape, timesteps: (Values(x.bits, np.zeros_like(x.low), x.high), []),
}


def _most(array: np.ndarray, shape: Shape) -> np.ndarray:
    """The largest value of each channel."""
    return np.broadcast_to(array, shape).reshape(shape[0], -1).max(axis=1)


def _least(array: np.ndarray, shape: Shape) -> np.ndarray:
    return np.broadcast_to(array, shape).reshape(shape[0], -1).min(axis=1)


def _largest(array: np.ndarray) -> float:
    return float(np.max(np.abs(array), initial=0.0))
