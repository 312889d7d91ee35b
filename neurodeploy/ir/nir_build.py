"""Node after node in the direction of the edges: the fields of a NIR file become nodes of the graph.

A parameter ``()``, ``(1,)`` or ``(C,)`` takes the shape that enters its node, so shapes are inferred on the way, by us:
NIR's own inference (nir 1.0.8) is wrong for grouped and non-square kernels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from neurodeploy.diagnostics import Finding, NeurodeployError, UsageError
from neurodeploy.ir import nir_layers as layers
from neurodeploy.ir import nir_neurons as neurons
from neurodeploy.ir.graph import Edge
from neurodeploy.ir.nir_cycles import late_edges
from neurodeploy.ir.nir_fields import Fields
from neurodeploy.ir.nir_neurons import Clock
from neurodeploy.ir.nodes import Delay, Node, Shape, ShapeError

#: More values than this in one layer's output is a broken file.
MOST_VALUES = 2**31

_LAYERS: dict[str, Callable[[Fields, Shape], Node]] = {
    "Input": layers.entry,
    "Output": layers.output,
    "Affine": layers.linear,
    "Linear": layers.linear,
    "Conv1d": layers.conv,
    "Conv2d": layers.conv,
    "SumPool2d": layers.pool,
    "AvgPool2d": layers.pool,
    "MaxPool2d": layers.pool,
    "Flatten": layers.flatten,
    "Scale": layers.scale,
    "ReLU": layers.relu,
}
TIMED: dict[str, Callable[[Fields, Shape, Clock], Node]] = {
    "LIF": neurons.leaky,
    "IF": neurons.integrate_and_fire,
    "CubaLIF": neurons.current_based,
    "I": neurons.integrator,
    "LI": neurons.integrator,
    "Threshold": neurons.threshold,
    "Delay": neurons.delay,
}
READABLE = tuple(sorted({*_LAYERS, *TIMED, "CubaLI"}))
#: The field whose shape is the node's own, by NIR.
_OWN_SHAPE = {"Scale": "scale", "Delay": "delay", "Threshold": "threshold", "I": "r", "LI": "tau", "CubaLI": "tau_mem"}
_OWN_SHAPE |= dict.fromkeys(("LIF", "IF", "CubaLIF"), "v_threshold")


@dataclass
class Built:
    """The graph while it is built: ``graph`` and ``shapes`` (of outputs) fill as the shapes become known."""

    nodes: Mapping[str, Fields]
    edges: list[Edge]
    clock: Clock

    def __post_init__(self) -> None:
        self.graph: dict[str, Node] = {}
        self.shapes: dict[str, Shape] = {}
        self.late: frozenset[Edge] = frozenset()
        self.errors: list[NeurodeployError] = []
        #: CubaLI -> the node of its current.
        self.currents = {name: _unused(f"{name}_syn", self.nodes) for name in self.nodes if self._is_cuba_li(name)}
        self.targets: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in self.edges:
            self.targets[source].append(target)

    def run(self) -> Built:
        waiting: deque[tuple[str, Shape]] = deque()
        first = next(name for name, node in self.nodes.items() if node.kind == "Input")
        try:
            waiting.append((first, self._entering(first)))
        except NeurodeployError as error:
            self.errors.append(error)
        tried: set[str] = set()
        while waiting:
            name, shape = waiting.popleft()
            if name in tried:
                continue
            tried.add(name)
            try:
                self._build(self.nodes[name], shape)
            except NeurodeployError as error:
                self.errors.append(error)
                continue
            waiting.extend((target, self.shapes[name]) for target in self.targets[name])
        if self.errors:
            raise _all(self.errors)
        # What no path from the Input reaches is refused by the graph, by name.
        for name in self.nodes:
            if name not in tried:
                raise UsageError("ND105", "no edge leads to this node", where=name, fix="connect or remove it")
        order = [part for name in self.nodes for part in (self.currents.get(name), name) if part is not None]
        self.graph = {name: self.graph[name] for name in order}
        self._recur()
        return self

    def _is_cuba_li(self, name: str) -> bool:
        return self.nodes[name].kind == "CubaLI"

    def _entering(self, first: str) -> Shape:
        """The Input's shape: as it says, unless the layers behind it prove that it counts a batch axis or says none."""
        said = self.nodes[first].shape("shape")
        wanted = {shape for target in self.targets[first] if (shape := _takes(self.nodes[target], said))}
        if said is None and len(wanted) != 1:
            raise UsageError(
                "ND105",
                f"`{first}` does not say its shape, and the layers behind it do not either",
                where=first,
                fix="give the Input its shape, without batch and time",
            )
        if said is None or (len(wanted) == 1 and said != next(iter(wanted)) and said[0] == 1):
            (one,) = wanted
            if said is None or said[1:] == one:
                return one
        return said

    def _build(self, node: Fields, shape: Shape) -> None:
        if node.kind == "CubaLI":
            current, membrane = neurons.current_based_integrator(node, shape, self.clock)
            self.graph[self.currents[node.name]], self.graph[node.name] = current, membrane
            self.shapes[node.name] = shape
            return
        try:
            if node.kind in TIMED:
                built = TIMED[node.kind](node, shape, self.clock)
            else:
                built = _LAYERS[node.kind](node, shape)
            after = built.output_shape(shape)
        except ShapeError as error:
            fix = "the layer before it must put out that shape"
            message = f"`{node.name}` ({node.kind}) {error}"
            raise UsageError("ND105", message, where=node.name, fix=fix) from error
        if np.prod(after, dtype=np.float64) > MOST_VALUES:
            raise node.refuse(f"it puts out {after}: more than {MOST_VALUES} values")
        self.graph[node.name], self.shapes[node.name] = built, after

    def _recur(self) -> None:
        """Late edges; a Delay that is the delay of a cycle keeps one step less."""
        kinds = {name: node.kind for name, node in self.nodes.items()}
        delays = {name: node for name, node in self.graph.items() if isinstance(node, Delay)}
        self.late = late_edges(kinds, self.edges, [n for n, node in delays.items() if np.all(node.steps >= 1)])
        for name, node in delays.items():
            if any(target == name for _, target in self.late):
                self.graph[name] = replace(node, steps=node.steps - 1)
        for name, current in self.currents.items():
            self.edges = [(a, current if b == name else b) for a, b in self.edges] + [(current, name)]
            self.late = frozenset((a, current if b == name else b) for a, b in self.late)


def _unused(name: str, taken: Mapping[str, object]) -> str:
    while name in taken:
        name += "_"
    return name


def _takes(node: Fields, said: Shape | None) -> Shape | None:
    """The shape that a first layer takes, where the layer knows it."""
    if node.kind in ("Affine", "Linear"):
        return node.array("weight").shape[-1:]
    if node.kind in ("Conv1d", "Conv2d"):
        axes, weight = (1 if node.kind == "Conv1d" else 2), node.array("weight")
        size = node.shape("input_shape")
        if size is None and said is not None and len(said) == axes + 2:
            size = said[2:]  # one axis too many: a batch
        if size is None or weight.ndim != axes + 2:
            return None
        return (weight.shape[1] * node.whole("groups", 1, 1, 1)[0], *size)
    own: Shape = np.shape(node.array(_OWN_SHAPE[node.kind])) if node.kind in _OWN_SHAPE else ()
    while said is None and own[:1] == (1,):
        own = own[1:]
    return own or (node.shape("input_type") if node.kind == "Flatten" and said is None else None)


def _all(errors: list[NeurodeployError]) -> NeurodeployError:
    """The first error, carrying all of them as findings."""
    first = errors[0]
    found = [Finding(e.code, "error", e.where, e.message, fix=e.fix) for e in errors]
    return type(first)(
        first.code, first.message, where=first.where, fix=first.fix, findings=found if len(found) > 1 else ()
    )
