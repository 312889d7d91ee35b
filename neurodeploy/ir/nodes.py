"""The node kinds. Each docstring is the node's difference equation; ``x[t]`` is the sum over its incoming edges.

Shapes leave out time and batch: ``(C, H, W)`` images, ``(N,)`` features. Layers are synchronous: what a node computes
from ``x[t]`` leaves it at the same step ``t``. Nodes are frozen; arrays inside them must not be written to. Two nodes
are equal when all fields are, arrays by dtype, shape and value.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np

Shape = tuple[int, ...]
Pair = tuple[int, int]


class ShapeError(ValueError):
    """An input shape that a node cannot take; the graph adds the node's name."""


@dataclass(frozen=True, eq=False)
class Node:
    """A node: parameters only, no state, no name (the graph holds the name)."""

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the output for an input of ``shape``; raises :class:`ShapeError`."""
        return shape

    @property
    def kind(self) -> str:
        """The class name in lower case."""
        return type(self).__name__.lower()

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented if not isinstance(other, Node) else False
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]


def _same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
    return a == b


@dataclass(frozen=True, eq=False)
class Input(Node):
    """``y[t] = `` what the user gives. ``values`` says what that may be: binary, integer or real."""

    shape: Shape
    values: Literal["binary", "integer", "real"] = "real"


@dataclass(frozen=True, eq=False)
class Output(Node):
    """``y[t] = x[t]``, read by the user."""


@dataclass(frozen=True, eq=False)
class Conv1d(Node):
    """``y[t, o] = sum_{i, k} weight[o, i, k] x[t, i, s·out + d·k − p] + bias[o]`` on ``(C, L)``.

    ``weight`` is ``(O, I/groups, K)``, ``bias`` ``(O,)``; zero padding; cross-correlation as in torch.
    """

    weight: np.ndarray
    bias: np.ndarray
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    def output_shape(self, shape: Shape) -> Shape:
        channels = self.weight.shape[1] * self.groups
        if len(shape) != 2 or shape[0] != channels:
            raise ShapeError(f"takes ({channels}, L), got {shape}")
        reach = self.dilation * (self.weight.shape[2] - 1) + 1
        size = (shape[1] + 2 * self.padding - reach) // self.stride + 1
        if size < 1:
            raise ShapeError(f"kernel {self.weight.shape[2]} is larger than the padded input {shape}")
        return (self.weight.shape[0], size)


@dataclass(frozen=True, eq=False)
class Conv2d(Node):
    """``y[t, o] = sum_{i, ky, kx} weight[o, i, ky, kx] x[t, i, s·oy + d·ky − p, s·ox + d·kx − p] + bias[o]``.

    ``weight`` is ``(O, I/groups, kH, kW)``, ``bias`` ``(O,)``; zero padding; cross-correlation as in torch.
    """

    weight: np.ndarray
    bias: np.ndarray
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def output_shape(self, shape: Shape) -> Shape:
        channels = self.weight.shape[1] * self.groups
        if len(shape) != 3 or shape[0] != channels:
            raise ShapeError(f"takes ({channels}, H, W), got {shape}")
        size = tuple(
            (shape[1 + a] + 2 * self.padding[a] - self.dilation[a] * (self.weight.shape[2 + a] - 1) - 1)
            // self.stride[a]
            + 1
            for a in (0, 1)
        )
        if min(size) < 1:
            raise ShapeError(f"kernel {self.weight.shape[2:]} is larger than the padded input {shape}")
        return (self.weight.shape[0], *size)


def as_conv2d(node: Conv1d) -> Conv2d:
    """The same on ``(C, 1, L)``."""
    sides = ((1, node.stride), (0, node.padding), (1, node.dilation))
    return Conv2d(node.weight[:, :, None], node.bias, *sides, node.groups)


@dataclass(frozen=True, eq=False)
class Linear(Node):
    """``y[t] = weight x[t] + bias``; ``weight`` is ``(O, I)``, ``bias`` ``(O,)``."""

    weight: np.ndarray
    bias: np.ndarray

    def output_shape(self, shape: Shape) -> Shape:
        if shape != (self.weight.shape[1],):
            raise ShapeError(f"takes ({self.weight.shape[1]},), got {shape}")
        return (self.weight.shape[0],)


@dataclass(frozen=True, eq=False)
class Norm(Node):
    """``y = gain · weight · (x − mean) / sqrt(variance + eps) + bias`` per channel (tdBN, RMP-Loss Eq. 6-7).

    ``gain`` is ``alpha · V_th``; the statistics are the running ones of training. Every array is ``(C,)``.
    """

    mean: np.ndarray
    variance: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    eps: float = 1e-5
    gain: float = 1.0

    def output_shape(self, shape: Shape) -> Shape:
        if shape[0] != self.mean.shape[0]:
            raise ShapeError(f"takes {self.mean.shape[0]} channels, got {shape}")
        return shape

    def scale(self) -> np.ndarray:
        """``s = gain · weight / sqrt(variance + eps)`` in float64, ``(C,)``."""
        variance = self.variance.astype(np.float64)
        return self.gain * self.weight.astype(np.float64) / np.sqrt(variance + self.eps)


@dataclass(frozen=True, eq=False)
class SumPool2d(Node):
    """``y[c, oy, ox] = sum over the window of x``; zero padding, incomplete windows dropped."""

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise ShapeError(f"takes (C, H, W), got {shape}")
        size = tuple((shape[1 + a] + 2 * self.padding[a] - self.kernel[a]) // self.stride[a] + 1 for a in (0, 1))
        if min(size) < 1:
            raise ShapeError(f"window {self.kernel} is larger than the input {shape}")
        return (shape[0], *size)


@dataclass(frozen=True, eq=False)
class AvgPool2d(SumPool2d):
    """``y = SumPool2d(x) / (kH · kW)``, padding counted."""


@dataclass(frozen=True, eq=False)
class MaxPool2d(SumPool2d):
    """``y[c, oy, ox] = max over the window of x``; padding is never the largest, incomplete windows dropped."""

    def output_shape(self, shape: Shape) -> Shape:
        if any(2 * self.padding[a] > self.kernel[a] for a in (0, 1)):
            raise ShapeError(f"pads {self.padding}, more than half its window {self.kernel}: some windows hold nothing")
        return super().output_shape(shape)


@dataclass(frozen=True, eq=False)
class Flatten(Node):
    """``(C, H, W) → (C·H·W,)`` in that order; ``(C, L)`` likewise."""

    def output_shape(self, shape: Shape) -> Shape:
        return (int(np.prod(shape)),)


def _compact(value: object, shape: Shape) -> np.ndarray:
    """A float64 array in its smallest form that broadcasts to ``shape``: scalar, per channel, or full."""
    full = np.broadcast_to(np.asarray(value, dtype=np.float64), shape)
    first = full.reshape(-1)[0]
    if np.all(full == first):
        return np.asarray(first)
    first_of_each = (slice(None), *(slice(0, 1),) * (len(shape) - 1))
    per_channel = full[first_of_each]
    return np.array(per_channel if np.array_equal(np.broadcast_to(per_channel, shape), full) else full)


@dataclass(frozen=True, eq=False)
class _Elementwise(Node):
    """A node whose input and output have the given shape."""

    shape: Shape

    def output_shape(self, shape: Shape) -> Shape:
        if shape != self.shape:
            raise ShapeError(f"has shape {self.shape}, got {shape}")
        return shape

    def _compact(self, *names: str) -> None:
        for name in names:
            object.__setattr__(self, name, _compact(getattr(self, name), self.shape))


@dataclass(frozen=True, eq=False)
class Scale(_Elementwise):
    """``y[t] = scale · x[t]``, elementwise; ``scale`` broadcasts to ``shape``."""

    scale: np.ndarray

    def __post_init__(self) -> None:
        self._compact("scale")


@dataclass(frozen=True, eq=False)
class Delay(_Elementwise):
    """``y[t] = x[t − steps]``, 0 before the first; ``steps`` are integers ≥ 0, broadcast to ``shape``."""

    steps: np.ndarray

    def __post_init__(self) -> None:
        self._compact("steps")
        steps = self.steps
        if not np.array_equal(steps, np.floor(steps)) or np.any(steps < 0):
            raise ShapeError(f"delays by {float(steps.reshape(-1)[0]):g} steps; delays are whole steps, 0 or more")
        object.__setattr__(self, "steps", steps.astype(np.int64))


@dataclass(frozen=True, eq=False)
class Threshold(_Elementwise):
    """``y[t] = 1 if x[t] > threshold`` (``compare = "ge"``: ``≥``) ``else 0``; no state."""

    threshold: np.ndarray
    compare: Literal["ge", "gt"] = "gt"

    def __post_init__(self) -> None:
        self._compact("threshold")


@dataclass(frozen=True, eq=False)
class ReLU(Node):
    """``y[t] = max(x[t], 0)``: RepAct's last activation (EnOF-SNN Eq. 8). NIR has no such node: host only."""


@dataclass(frozen=True, eq=False)
class LIF(_Elementwise):
    """Leaky integrate-and-fire (both papers, Eq. 1-3), with what foreign files need beside it.

    ``u_pre[t] = decay·u[t−1] + gain·x[t] + offset``;
    ``o[t] = 1 if u_pre[t] ≥ threshold`` (``compare = "ge"``; ``"gt"``: strictly greater) ``else 0``;
    ``u[t] = v_reset`` where it fired (``reset = "to"``; ``"subtract"``: ``u_pre[t] − threshold``), else ``u_pre[t]``.
    With ``spikes = "multi"`` (Sinabs, Rockpool) ``o[t] = max(0, ⌊u_pre[t]/threshold⌋)`` spikes leave at once and the
    reset subtracts ``o[t]·threshold``; then ``compare`` must be ``ge`` and ``reset`` ``subtract``.

    The papers' neuron is decay τ = 0.25, threshold 0.5, gain 1, offset 0, reset to 0, ``ge``. ``decay = 1`` is IF.
    Parameters are float64 and broadcast to ``shape``; they are kept in their smallest form. u[0] = 0.
    """

    decay: np.ndarray
    threshold: np.ndarray
    gain: np.ndarray = field(default_factory=lambda: np.asarray(1.0))
    offset: np.ndarray = field(default_factory=lambda: np.asarray(0.0))
    v_reset: np.ndarray = field(default_factory=lambda: np.asarray(0.0))
    compare: Literal["ge", "gt"] = "ge"
    reset: Literal["to", "subtract"] = "to"
    spikes: Literal["single", "multi"] = "single"

    def __post_init__(self) -> None:
        self._compact("decay", "threshold", "gain", "offset", "v_reset")
        if self.spikes == "multi" and (self.compare, self.reset) != ("ge", "subtract"):
            raise ShapeError("fires several spikes at once, which needs ge and a reset that subtracts")


@dataclass(frozen=True, eq=False)
class CubaLIF(LIF):
    """LIF behind a synaptic current; the membrane sees the updated current, which no spike resets.

    ``i[t] = current_decay·i[t−1] + current_gain·x[t]``;
    ``u_pre[t] = decay·u[t−1] + gain·i[t] + offset``; the rest as :class:`LIF`. i[0] = 0.

    Lava's CUBA neuron is ``current_decay = (4096 − iDecay)/4096`` with both gains 1; NIR's, by forward Euler,
    ``current_decay = 1 − dt/tau_syn`` and ``current_gain = w_in·dt/tau_syn``.
    """

    current_decay: np.ndarray = field(default_factory=lambda: np.asarray(0.0))
    current_gain: np.ndarray = field(default_factory=lambda: np.asarray(1.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        self._compact("current_decay", "current_gain")


@dataclass(frozen=True, eq=False)
class Integrator(_Elementwise):
    """Non-firing neuron (readout: RMP-Loss Eq. 4): ``y[t] = u[t] = decay·u[t−1] + gain·x[t] + offset``.

    ``decay = 1`` accumulates; below 1 it leaks (NIR's LI).
    """

    decay: np.ndarray = field(default_factory=lambda: np.asarray(1.0))
    gain: np.ndarray = field(default_factory=lambda: np.asarray(1.0))
    offset: np.ndarray = field(default_factory=lambda: np.asarray(0.0))

    def __post_init__(self) -> None:
        self._compact("decay", "gain", "offset")


#: Nodes with weights: what a chip runs as synapses.
SYNAPSES = (Conv1d, Conv2d, Linear)
Synapse = Conv1d | Conv2d | Linear
#: Nodes with a state of their own: what a chip runs as neurons.
NEURONS = (LIF, Integrator)
#: Nodes that know the shape of what they put out.
OWN_SHAPE = (Input, _Elementwise)
