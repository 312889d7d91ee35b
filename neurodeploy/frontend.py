"""PyTorch modules built from snnTorch or SpikingJelly layers -> Graph.

The module is traced, not run: its ``forward`` computes one timestep (snnTorch, SpikingJelly's step_mode "s") or all of
them (step_mode "m"); its state is left alone, the graph's begins at zero. Layers of PyTorch and SpikingJelly that are
read: Conv1d, Conv2d, Linear, AvgPool2d, MaxPool2d, BatchNorm and Dropout in eval mode, Flatten, ReLU, Identity;
additions of branches; the neurons of :mod:`neurodeploy.frontend_neurons`. Anything else is refused by name (ND257).
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurodeploy.diagnostics import UnsupportedError, UsageError
from neurodeploy.frontend_neurons import CODE, NotRead, is_neuron, population
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import (
    AvgPool2d,
    Conv1d,
    Conv2d,
    Flatten,
    Input,
    Linear,
    MaxPool2d,
    Node,
    Norm,
    Output,
    ReLU,
    Shape,
    ShapeError,
)

Sources = tuple[str, ...]


def from_torch(module: Any, sample: Any, timesteps: int | None = None) -> Graph:
    """The graph of a PyTorch module of snnTorch or SpikingJelly layers.

    Args:
        module: An ``nn.Module`` in eval mode whose forward takes one tensor.
        sample: An input of it, ``(B, *shape)`` of one step, or ``(T, B, *shape)`` in step_mode "m"; its shape counts.
        timesteps: T the network is meant for.

    Raises:
        UnsupportedError: A module, a setting or an operation that is not read (ND257), named.
    """
    from torch import fx, nn

    many = any(getattr(m, "step_mode", "s") == "m" for m in module.modules())
    if many and any(getattr(m, "step_mode", "m") == "s" for m in module.modules()):
        raise _refused("", "some modules have step_mode s, others m", "functional.set_step_mode(net, 'm')")
    shape = tuple(int(n) for n in sample.shape[2 if many else 1 :])
    if not shape:
        raise UsageError("ND105", f"the sample has shape {tuple(sample.shape)}", where="sample", fix="add a batch axis")

    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: Any, module_qualified_name: str) -> bool:
            library = type(m).__module__.partition(".")[0]
            return library in ("torch", "snntorch", "spikingjelly") and type(m).__name__ != "Sequential"

    if Tracer().is_leaf_module(module, ""):  # a single layer
        module = nn.Sequential(module)
    try:
        traced = Tracer().trace(module)
    except UnsupportedError:
        raise
    except Exception as error:  # tracing runs the user's own forward
        fix = "give a module whose forward computes one timestep of one tensor, without loops over its values"
        raise _refused("forward", f"it cannot be traced: {type(error).__name__}: {error}", fix) from error
    return _Builder(dict(module.named_modules()), shape, many).build(traced, timesteps, type(module).__name__)


def _refused(where: str, message: str, fix: str) -> UnsupportedError:
    return UnsupportedError(CODE, f"`{where}` {message}" if where else message, where=where, fix=fix)


@dataclass
class _Builder:
    """The graph as far as it is read; ``values``: fx node -> the graph nodes whose sum it is."""

    modules: dict[str, Any]
    shape: Shape
    many: bool
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    recurrent: set[Edge] = field(default_factory=set)
    shapes: dict[str, Shape] = field(default_factory=dict)
    values: dict[Any, Sources] = field(default_factory=dict)

    def build(self, traced: Any, timesteps: int | None, origin: str) -> Graph:
        for step in traced.nodes:
            where = str(step.target) if step.op == "call_module" else step.name
            try:
                self._step(step)
            except NotRead as error:
                kind = f" ({type(self.modules[where]).__name__})" if where in self.modules else ""
                raise UnsupportedError(CODE, f"`{where}`{kind}: {error.message}", where=where, fix=error.fix) from error
            except ShapeError as error:
                raise UsageError(
                    "ND105", f"`{where}` {error}", where=where, fix="correct the sample's shape"
                ) from error
        return Graph(self.nodes, tuple(self.edges), timesteps, origin=origin, recurrent=frozenset(self.recurrent))

    def _add(self, name: str, node: Node, sources: Sources) -> None:
        name = name or "module"
        if name in self.nodes:
            raise NotRead("the module is used twice", "one module per place: neurons keep a state")
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        before = self.shapes[sources[0]] if sources else self.shape
        if any(self.shapes[source] != before for source in sources):
            raise NotRead("branches of different shapes are added", "broadcasting is not read: give them one shape")
        self.shapes[name] = node.output_shape(before) if sources else self.shape

    def _step(self, step: Any) -> None:
        if step.op == "placeholder":
            if self.nodes:
                raise NotRead(
                    "the forward takes several inputs", "one tensor; neurons keep their own state (init_hidden=True)"
                )
            self._add("input", Input(self.shape), ())
            self.values[step] = ("input",)
        elif step.op == "call_module":
            self._module(step)
        elif step.op in ("call_function", "call_method"):
            self._operation(step)
        elif step.op == "output":
            result = step.args[0]
            if isinstance(result, (tuple, list)):
                # A recurrence of the module's own would return its states; the neurons of the libraries keep theirs.
                raise NotRead("the forward returns several tensors", "return one: the spikes, or a readout's membrane")
            self._add("output", Output(), self._sources(result))
        else:
            raise NotRead(f"{step.op} {step.target} is not read", "use layers only: no parameters of the network's own")

    def _sources(self, value: Any) -> Sources:
        if value not in self.values:
            raise NotRead(f"`{value}` is no layer's output that is read", "use layers and additions only")
        sources = self.values[value]
        if len(set(sources)) != len(sources):
            raise NotRead("a value is added to itself", "double the weights before it")
        return sources

    # -- modules

    def _module(self, step: Any) -> None:
        module, name = self.modules[step.target], str(step.target)
        if len(step.args) != 1 or step.kwargs:
            raise NotRead(
                "it is given more than its input (a state)", "init_hidden=True: the neuron keeps its own state"
            )
        if module._forward_hooks or module._forward_pre_hooks:
            raise NotRead("it has forward hooks, which may change what it computes", "remove them")
        sources = self._sources(step.args[0])
        before = self.shapes[sources[0]]
        if is_neuron(module):
            self._neurons(step, module, name, sources)
            return
        kind = _layer_kind(module)
        if module.training and kind.startswith(("Dropout", "BatchNorm")):
            raise NotRead("it is in training mode", "call eval() on the network first")
        if kind == "Identity" or kind.startswith("Dropout"):
            self.values[step] = sources
            return
        if getattr(module, "inplace", False):
            self._alone(step)
        node = self._layer(module, before)
        self._add(name, node, sources)
        self.values[step] = (name or "module",)

    def _neurons(self, step: Any, module: Any, name: str, sources: Sources) -> None:
        """Spikes are element 0 of what snnTorch returns, the membrane the last; alone they are one tensor."""
        elements = [user for user in step.users if user.target is operator.getitem]
        plural = bool(getattr(module, "output", False)) or not getattr(module, "init_hidden", True)
        last = 2 if type(module).__name__ == "Synaptic" else 1
        if plural and any(user.op != "output" for user in step.users if user not in elements):
            raise NotRead("it returns spikes and states, which the next layer cannot take", "init_hidden=True")
        if not plural and elements:
            raise NotRead("an element of its spikes is taken", "use all of them")
        used = {user.args[1] for user in elements if user.users}
        membrane = bool(used) and used <= {last, -1}
        if used and not membrane and used != {0}:
            raise NotRead("spikes and states are both used, or the current", "use the spikes or the membrane")
        name = name or "module"
        found = population(module, self.shapes[sources[0]], membrane=membrane)
        self._add(name, found.node, sources)
        for ending, loop in found.loops.items():
            back = f"{name}.{ending}"
            self._add(back, loop, (name,))
            self.edges.append((back, name))
            # The spikes arrive one step late, so a bias of the synapse counts from the first step, as in snnTorch.
            self.recurrent.add((name, back))
        self.values[step] = (name,)
        for user in step.users:
            if user.target is operator.getitem:
                self.values[user] = (name,)

    def _layer(self, module: Any, before: Shape) -> Node:
        kind = _layer_kind(module)

        def array(tensor: Any) -> np.ndarray:
            return np.array(tensor.detach().cpu().numpy())

        def bias(size: int) -> np.ndarray:
            return array(module.bias) if module.bias is not None else np.zeros(size, np.float32)

        if kind in ("Conv1d", "Conv2d"):
            if module.padding_mode != "zeros":
                raise NotRead(f'padding_mode "{module.padding_mode}"', 'padding_mode="zeros"')
            weight = array(module.weight)
            padding = _padding(module.padding, module.dilation, weight.shape[2:])
            shift, stride, dilation = bias(weight.shape[0]), module.stride, module.dilation
            if kind == "Conv2d":
                return Conv2d(weight, shift, _pair(stride), _pair(padding), _pair(dilation), module.groups)
            return Conv1d(weight, shift, int(stride[0]), padding[0], int(dilation[0]), module.groups)
        if kind == "Linear":
            return Linear(array(module.weight), bias(module.weight.shape[0]))
        if kind in ("BatchNorm1d", "BatchNorm2d"):
            if not module.track_running_stats or module.running_mean is None:
                raise NotRead("it has no running statistics", "track_running_stats=True")
            channels = module.num_features
            weight = array(module.weight) if module.affine else np.ones(channels, np.float32)
            shift = bias(channels)
            return Norm(array(module.running_mean), array(module.running_var), weight, shift, eps=module.eps)
        if kind in ("AvgPool2d", "MaxPool2d"):
            return _pool(module)
        if kind == "Flatten":
            plain = not type(module).__module__.startswith("spikingjelly")
            first = 2 if self.many and plain else 1
            if module.start_dim != first or module.end_dim not in (-1, len(before) + first - 1):
                raise NotRead(
                    f"it flattens axes {module.start_dim}…{module.end_dim}", "flatten everything but the batch"
                )
            return Flatten()
        if kind == "ReLU":
            return ReLU()
        fix = "readable: Conv1d, Conv2d, Linear, BatchNorm, AvgPool2d, MaxPool2d, Flatten, ReLU, Dropout and neurons"
        raise NotRead("this kind of module is not read", fix)

    # -- operations between modules

    def _operation(self, step: Any) -> None:
        name = step.target if isinstance(step.target, str) else step.target.__name__
        if name == "getitem" and step in self.values:
            return
        if name in ("iadd", "add_", "relu_") or step.kwargs.get("inplace"):
            self._alone(step)
        if name in ("add", "iadd", "add_") and len(step.args) == 2 and not step.kwargs:
            left, right = (self._sources(argument) for argument in step.args)
            self.values[step] = left + right
        elif not self.many and _flattens(name, step):
            self._add(step.name, Flatten(), self._sources(step.args[0]))
            self.values[step] = (step.name,)
        elif name in ("relu", "relu_"):
            self._add(step.name, ReLU(), self._sources(step.args[0]))
            self.values[step] = (step.name,)
        elif name == "size" or (name in ("getattr", "getitem") and not self._carries(step)):
            return  # the batch size, for a view
        else:
            raise NotRead(f"the operation `{name}` is not read", "use layers, additions and flatten(1)")

    def _alone(self, step: Any) -> None:
        """What is changed in place must be read by nothing else, also not under another name."""
        value = step.args[0]
        while True:
            if len(value.users) > 1:
                raise NotRead("it changes in place what other layers read too", "inplace=False, or a = a + b")
            passed = value.args[0] if value.op == "call_module" and value.args else None
            if passed is None or self.values.get(passed) != self.values.get(value):
                return
            value = passed

    def _carries(self, step: Any) -> bool:
        return step.args[0] in self.values and not (len(step.args) > 1 and step.args[1] == "shape")


def _layer_kind(module: Any) -> str:
    """The name of a layer of PyTorch or SpikingJelly itself; empty for subclasses (quantized, parametrized ones)."""
    kind, path = type(module), type(module).__module__
    return kind.__name__ if path.startswith(("torch.nn.modules.", "spikingjelly.activation_based.layer.")) else ""


def _flattens(name: str, step: Any) -> bool:
    """``flatten(x, 1)``, or ``x.view(B, -1)``."""
    if name == "flatten":
        return (*step.args[1:], *step.kwargs.values()) in ((1,), (1, -1))
    return name in ("view", "reshape") and len(step.args) == 3 and step.args[2] == -1


def _padding(padding: Any, dilation: Any, kernel: tuple[int, ...]) -> tuple[int, ...]:
    if padding == "valid":
        return (0,) * len(kernel)
    if padding == "same":
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        if any(r % 2 for r in reach):
            raise NotRead('padding "same" of an even kernel is uneven', "an odd kernel, or padding in numbers")
        return tuple(r // 2 for r in reach)
    return tuple(int(p) for p in padding)


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _pool(module: Any) -> Node:
    if module.ceil_mode:
        raise NotRead("ceil_mode is set", "ceil_mode=False")
    sides = _pair(module.kernel_size), _pair(module.stride or module.kernel_size), _pair(module.padding)
    if type(module).__name__ == "MaxPool2d":
        if _pair(module.dilation) != (1, 1) or module.return_indices:
            raise NotRead("dilation or return_indices is set", "dilation=1, return_indices=False")
        return MaxPool2d(*sides)
    if module.divisor_override is not None or (any(sides[2]) and not module.count_include_pad):
        raise NotRead(
            "divisor_override is set, or count_include_pad is not", "divisor_override=None, count_include_pad=True"
        )
    return AvgPool2d(*sides)
