"""Torch modules -> Graph: the only file that knows both worlds.

The net's own ``forward`` is traced with ``torch.fx``, the layers of :mod:`neurodeploy.nn` as leaves, so the wiring is
written once: a residual ``a + b`` becomes two edges into the node that reads it. Names are module paths with ``_`` for
``.`` (a dot is not allowed in the names that NIR readers give their modules).
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import fx

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir import nodes as ir
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.nn import layers
from neurodeploy.nn.lif import LIF, Integrator
from neurodeploy.nn.tdbn import TdBatchNorm

if TYPE_CHECKING:
    from neurodeploy.training.checkpoint import Checkpoint


Values = Literal["binary", "integer", "real"]


def lower(checkpoint: Checkpoint) -> Graph:
    """The float graph of a trained network, norms unfolded, in the precision of its parameters."""
    from neurodeploy.data import describe

    recipe = checkpoint.recipe
    info = describe(recipe.data, recipe.timesteps)
    values: Values = "real"
    if info.temporal:  # frames of events are spikes already: no encoder
        values = "binary" if recipe.data.binary else "integer"
    graph = lower_module(checkpoint.model, info.shape, recipe.timesteps, values)
    return Graph(graph.nodes, graph.edges, graph.timesteps, origin=f"{checkpoint.folder.name}")


def lower_module(model: torch.nn.Module, shape: tuple[int, ...], timesteps: int, values: Values = "real") -> Graph:
    """The graph of a module built from :mod:`neurodeploy.nn`.

    Args:
        model: A module whose ``forward`` takes ``(T, B, *shape)`` and uses only our layers and ``+``.
        shape: Shape of one sample.
        timesteps: T.
        values: What a sample holds.

    Raises:
        UnsupportedError: A module or operation without a counterpart in the graph (ND219); named.
    """
    traced = _Tracer().trace(model)
    modules = dict(model.named_modules())
    nodes: dict[str, ir.Node] = {}
    edges: list[Edge] = []
    carries: dict[fx.Node, tuple[str, ...]] = {}  # a traced value is the sum of these nodes' outputs
    shapes: dict[str, ir.Shape] = {}
    calls: Counter[object] = Counter()

    def add(name: str, node: ir.Node, sources: tuple[str, ...]) -> tuple[str, ...]:
        nodes[name] = node
        edges.extend((source, name) for source in sources)
        shapes[name] = shape if isinstance(node, ir.Input) else node.output_shape(shapes[sources[0]])
        return (name,)

    for value in traced.nodes:
        if value.op == "placeholder":
            carries[value] = add("input", ir.Input(tuple(shape), values), ())
        elif value.op == "output":
            add("output", ir.Output(), carries[value.args[0]])
        elif value.op == "call_function" and value.target in (operator.add, torch.add):
            carries[value] = carries[value.args[0]] + carries[value.args[1]]
        elif value.op == "call_module":
            module, sources = modules[value.target], carries[value.args[0]]
            if isinstance(module, (layers.Repeat, torch.nn.Identity)):
                carries[value] = sources  # every step sees the same value, or nothing changes: no node
                continue
            calls[value.target] += 1
            # A module that is called again stands for another place in the graph, with the same parameters: our
            # neurons start every forward from zero, so a shared LIF is two populations.
            again = f"_{calls[value.target]}" if calls[value.target] > 1 else ""
            name = str(value.target).replace(".", "_") + again
            carries[value] = add(name, _lowered(module, name, shapes[sources[0]]), sources)
        else:
            operation = getattr(value.target, "__name__", value.target)
            raise UnsupportedError(
                "ND219",
                f"`{operation}` in the network's forward has no counterpart in the graph",
                where=value.name,
                fix="use the layers of neurodeploy.nn and + for residual adds",
            )
    return Graph(nodes, tuple(edges), timesteps)


class _Tracer(fx.Tracer):
    """Every module with a lowering is a leaf; containers are traced through."""

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (layers.Repeat, *_LOWER)) or super().is_leaf_module(m, module_qualified_name)


def _lowered(module: torch.nn.Module, name: str, shape: ir.Shape) -> ir.Node:
    for kind, make in _LOWER.items():
        if isinstance(module, kind):
            return make(module, shape)
    raise UnsupportedError(
        "ND219",
        f"no lowering for {type(module).__name__}",
        where=name,
        fix="use the layers of neurodeploy.nn: " + ", ".join(sorted(kind.__name__ for kind in _LOWER)),
    )


def _array(tensor: torch.Tensor | None, size: int) -> np.ndarray:
    return np.zeros(size, np.float32) if tensor is None else tensor.detach().cpu().numpy().copy()


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _conv(module: Any, shape: ir.Shape) -> ir.Node:
    weight = _array(module.weight, 0)
    return ir.Conv2d(
        weight,
        _array(module.bias, weight.shape[0]).astype(weight.dtype),
        _pair(module.stride),
        _pair(module.padding),
        _pair(module.dilation),
        module.groups,
    )


def _linear(module: Any, shape: ir.Shape) -> ir.Node:
    weight = _array(module.weight, 0)
    return ir.Linear(weight, _array(module.bias, weight.shape[0]).astype(weight.dtype))


def _norm(module: Any, shape: ir.Shape) -> ir.Node:
    size = module.num_features
    return ir.Norm(
        _array(module.running_mean, size),
        _array(module.running_var, size),
        _array(module.weight, size),
        _array(module.bias, size),
        module.eps,
        module.alpha * module.v_threshold,
    )


_LOWER: dict[type, Callable[[Any, ir.Shape], ir.Node]] = {
    layers.Conv2d: _conv,
    layers.Linear: _linear,
    TdBatchNorm: _norm,
    layers.AvgPool2d: lambda m, shape: ir.AvgPool2d(_pair(m.kernel_size), _pair(m.stride), _pair(m.padding)),
    layers.MaxPool2d: lambda m, shape: ir.MaxPool2d(_pair(m.kernel_size), _pair(m.stride), _pair(m.padding)),
    layers.ReLU: lambda m, shape: ir.ReLU(),
    layers.Flatten: lambda m, shape: ir.Flatten(),
    LIF: lambda m, shape: ir.LIF(shape, np.asarray(m.tau), np.asarray(m.v_threshold)),
    Integrator: lambda m, shape: ir.Integrator(shape),
}
