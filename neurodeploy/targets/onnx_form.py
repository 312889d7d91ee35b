"""What the unrolled form and the step form of ``network.onnx`` share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import NEURONS, Linear, Shape
from neurodeploy.targets.onnx_integers import integer_neuron, neuron_bounds, sum_bounds, wrapped_synapse
from neurodeploy.targets.onnx_operators import State, neuron, stateless
from neurodeploy.targets.onnx_writer import Dim, OnnxWriter, Site

BATCH = "batch"
#: An input or output of the ONNX graph, and its shape.
Border = tuple[str, tuple[Dim, ...]]


class Form:
    """What both forms share: the writer, and one layer or one step of a node in the graph's arithmetic."""

    def __init__(self, graph: Graph, reserved: Sequence[str]) -> None:
        self.graph = graph
        self.w = OnnxWriter(["input", "output", *reserved])
        self.integers = graph.arithmetic == "loihi"
        self.sums = sum_bounds(graph) if self.integers else {}
        self.bounds = {n: neuron_bounds(graph, n, self.sums) for n in graph.names(NEURONS)} if self.integers else {}
        self._zeros: dict[Shape, str] = {}
        self._batch = ""

    def site(self, name: str, label: str, first: Dim = BATCH) -> Site:
        """Where ``name`` puts out ``(first, *shape)``."""
        return Site(self.w, name, label, (first, *self.graph.shapes[name]))

    def stateless(self, name: str, x: str, label: str, first: Dim = BATCH) -> str:
        """A node without state."""
        site, node = self.site(name, label, first), self.graph.nodes[name]
        out = stateless(site, node, x, bias=not self.integers)
        if name in self.sums and not isinstance(node, Linear):
            out = wrapped_synapse(site, out, self.sums[name] or 0)
        return out

    def neuron(self, name: str, x: str, state: State, label: str) -> str:
        """One step of a neuron; writes the new ``state``."""
        site, node = self.site(name, label), self.graph.nodes[name]
        if self.integers:
            return integer_neuron(site, self.graph, self.bounds[name], x, state)
        assert isinstance(node, NEURONS)
        return neuron(site, node, x, state)

    def zeros(self, shape: Shape) -> str:
        """Zeros ``(B, *shape)``."""
        if shape not in self._zeros:
            self._batch = self._batch or self.w.op("Shape", ["input"], "zeros/batch", start=0, end=1)
            label = "x".join(map(str, shape))
            rest = self.w.constant(f"zeros.{label}.shape", np.array(shape), np.int64)
            whole = self.w.op("Concat", [self._batch, rest], f"zeros/{label}/shape", axis=0)
            zero = self.w.constant("zero", 0.0)
            self._zeros[shape] = self.w.op("Expand", [zero, whole], f"zeros/{label}", (BATCH, *shape))
        return self._zeros[shape]

    def finish(self, form: str, inputs: Sequence[Border], outputs: Sequence[Border]) -> Any:
        """The model."""
        graph = self.graph
        notes = {"form": form, "arithmetic": graph.arithmetic, "timesteps": graph.timesteps, "dt": graph.dt}
        properties = {"neurodeploy": json.dumps({"version": 1, **notes, "scales": dict(graph.scales)})}
        doc = f"{graph.origin or 'a spiking network'}, {form}, {graph.arithmetic} arithmetic"
        return self.w.model("network", inputs, outputs, doc, properties)
