"""The neurons of snnTorch 1.0 and SpikingJelly 2.0 as nodes, read from their own equations.

Their NIR exporters would not do: they write every reset as one to zero and scalar parameters not at all (snnTorch), or
refuse a soft reset and grouped convolutions (SpikingJelly).

snnTorch ``Leaky`` (``_neurons/leaky.py``), spikes above the threshold; β is clamped to 0…1::

    mem[t] = β·mem[t−1] + x[t] − θ·s[t−1]        reset_mechanism "subtract", reset_delay True (the default)
    mem[t] = β·mem[t−1]·(1 − s[t−1]) + x[t]      "zero", with or without reset_delay: the same spikes

The first takes off θ; our reset, which comes before the decay, takes off β·θ. A synapse of weight −(1 − β)·θ from each
neuron to itself, one step late, takes off the rest. ``Synaptic`` and ``RLeaky`` with reset_delay and "zero" lose the
input of the step after a spike (the whole new membrane is cleared); they are refused, as is "subtract" without
reset_delay, which subtracts twice in a row where the membrane stays above the threshold.

SpikingJelly (``neuron/*.py``), spikes at the threshold; v starts at v_reset, so everything is shifted by it::

    IF    v += x       LIF, decay_input: v += (x − v)/τ       LIF: v += −v/τ + x       PLIF: 1/τ = sigmoid(w)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurodeploy.ir.nodes import LIF, Conv2d, CubaLIF, Integrator, Linear, Node, Shape

CODE = "ND257"


class NotRead(Exception):
    """A module or a setting that is not read; the caller adds its name."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message, self.fix = message, fix


@dataclass(frozen=True)
class Population:
    """A population: its node, and synapses from itself to itself, one step late."""

    node: Node
    loops: dict[str, Node] = field(default_factory=dict)


def is_neuron(module: Any) -> bool:
    """Whether the module is a neuron of snnTorch or SpikingJelly (of any kind, readable or not)."""
    import_path = type(module).__module__
    return import_path.startswith(("snntorch._neurons", "spikingjelly.activation_based.neuron"))


def population(module: Any, shape: Shape, *, membrane: bool) -> Population:
    """The population of a neuron module.

    Args:
        module: The module; not run, not changed.
        shape: Of its input, without batch.
        membrane: Its membrane is what is used, not its spikes.
    """
    kind = type(module).__name__
    library = type(module).__module__.partition(".")[0]
    reader = _READERS.get((library, kind))
    if reader is None:
        known = ", ".join(name for lib, name in _READERS if lib == library)
        raise NotRead(f"{library} {kind} is not read", f"readable: {known}")
    found = reader(module, shape, membrane)
    if membrane and isinstance(found.node, LIF):
        raise NotRead("the membrane of a spiking neuron is used", 'reset_mechanism "none" makes it a readout')
    return found


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _over(value: Any, shape: Shape, what: str) -> np.ndarray:
    """A parameter over the population, float64; broadcast from the right, as torch does."""
    try:
        return np.broadcast_to(_array(value).astype(np.float64), shape)
    except ValueError as error:
        raise NotRead(
            f"{what} of shape {_array(value).shape} does not fit {shape}", "one value, or the shape"
        ) from error


def _check_heaviside(function: Any, at_zero: float) -> None:
    """The forward of a surrogate must be the step function: tried on both sides of 0 and at it."""
    import torch

    x = torch.cat([torch.linspace(-3, 3, 601), torch.tensor([0.0, 1e-30, -1e-30])])
    with torch.no_grad():
        y = function(x)
    step = (x >= 0) if at_zero else (x > 0)
    if not torch.equal(y, step.to(y.dtype)):
        raise NotRead("the surrogate's forward is no step function", "use a surrogate whose forward is 0 or 1")


# ---------------------------------------------------------------------------------------------------------------------
# snnTorch


def _snntorch(module: Any, shape: Shape, membrane: bool) -> Population:
    kind = type(module).__name__
    for name, off in (("inhibition", False), ("state_quant", False)):
        if getattr(module, name) is not off:
            raise NotRead(f"{name} is set", f"{name}={off}")
    if np.any(_array(module.graded_spikes_factor) != 1.0):
        raise NotRead("graded_spikes_factor is not 1", "graded_spikes_factor=1.0")
    beta = np.clip(_over(module.beta, shape, "beta"), 0.0, 1.0)
    threshold = _over(module.threshold, shape, "threshold")
    reset = module.reset_mechanism
    if reset == "none":
        if not membrane or kind != "Leaky":
            raise NotRead('reset_mechanism "none" in a spiking layer', '"zero" or "subtract"; or use the membrane')
        return Population(Integrator(shape, beta))
    _check_heaviside(module.spike_grad, at_zero=0.0)
    if np.any(threshold <= 0):
        raise NotRead(f"the threshold is {threshold.min():g}", "a threshold above 0")
    if reset == "subtract" and not module.reset_delay:
        fix = 'reset_mechanism="zero", or reset_delay=True'
        raise NotRead("reset by subtraction without reset_delay subtracts twice from membranes above 2θ", fix)
    if reset == "zero" and module.reset_delay and kind != "Leaky":
        raise NotRead("a delayed reset to zero also clears the input of the step after a spike", "reset_delay=False")
    loops: dict[str, Node] = {}
    if kind == "RLeaky":
        loops["recurrent"] = _recurrent(module.recurrent, shape)
    rest = -(1.0 - beta) * threshold
    if reset == "subtract" and np.any(rest):
        if kind == "Synaptic":
            fix = 'reset_mechanism="zero" with reset_delay=False'
            raise NotRead("reset by subtraction behind a synaptic current, with beta below 1", fix)
        loops["reset"] = _diagonal(rest, shape)
    common: dict[str, Any] = {"compare": "gt", "reset": "subtract" if reset == "subtract" else "to"}
    if kind == "Synaptic":
        alpha = np.clip(_over(module.alpha, shape, "alpha"), 0.0, 1.0)
        return Population(CubaLIF(shape, beta, threshold, current_decay=alpha, **common))
    return Population(LIF(shape, beta, threshold, **common), loops)


def _recurrent(module: Any, shape: Shape) -> Node:
    """The synapse of an RLeaky from itself to itself; its bias counts from the first step."""
    import torch

    if hasattr(module, "V"):  # one weight per neuron
        return _diagonal(_over(module.V, shape, "V"), shape)
    weight = _array(module.weight)
    bias = np.zeros(weight.shape[0], weight.dtype) if module.bias is None else _array(module.bias)
    if isinstance(module, torch.nn.Linear):
        if len(shape) != 1:
            raise NotRead(f"a linear recurrence on {shape}", "flatten before it")
        return Linear(weight, bias)
    return Conv2d(weight, bias, padding=tuple(module.padding))


def _diagonal(values: np.ndarray, shape: Shape) -> Node:
    """A synapse from each neuron to itself."""
    numbers = np.broadcast_to(values, shape).astype(np.float32)
    if len(shape) == 1:
        return Linear(np.diag(numbers), np.zeros(shape, np.float32))
    per_channel = numbers.reshape(shape[0], -1)
    if len(shape) != 3 or np.any(per_channel != per_channel[:, :1]):
        raise NotRead(f"weights per neuron on {shape}", "one value per channel, or vectors")
    return Conv2d(per_channel[:, :1, None, None].copy(), np.zeros(shape[0], np.float32), groups=shape[0])


# ---------------------------------------------------------------------------------------------------------------------
# SpikingJelly


def _spikingjelly(module: Any, shape: Shape, membrane: bool) -> Population:
    kind = type(module).__name__
    _check_heaviside(module.surrogate_function, at_zero=1.0)
    hard = module.v_reset is not None
    start = float(module.v_reset) if hard else 0.0
    threshold = _over(module.v_threshold, shape, "v_threshold") - start
    if kind == "IFNode":
        decay, gain = 1.0, 1.0
    else:
        leak = 1.0 / float(module.tau) if kind == "LIFNode" else float(module.w.detach().sigmoid())
        decay, gain = 1.0 - leak, leak if module.decay_input else 1.0
    node = LIF(
        shape,
        np.asarray(decay),
        threshold,
        gain=np.asarray(gain),
        compare="ge",
        reset="to" if hard else "subtract",
    )
    return Population(node)


_READERS = {
    ("snntorch", "Leaky"): _snntorch,
    ("snntorch", "Synaptic"): _snntorch,
    ("snntorch", "RLeaky"): _snntorch,
    ("spikingjelly", "IFNode"): _spikingjelly,
    ("spikingjelly", "LIFNode"): _spikingjelly,
    ("spikingjelly", "ParametricLIFNode"): _spikingjelly,
}
