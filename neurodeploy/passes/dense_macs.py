"""Multiply-accumulates of the ANN of the same topology: one per connection, in one forward."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import SYNAPSES, Conv1d, Linear, Synapse, as_conv2d
from neurodeploy.passes.place import synapse_count


@dataclass(frozen=True)
class DenseMacs:
    """Multiply-accumulates of one forward of the ANN.

    Attributes:
        layers: Synapse node -> connections: taps inside the input, so borders, stride, dilation and groups count as
            they are. Zero weights count: dense hardware multiplies by them.
        additions: Synapse nodes that only repeat or scale what they read (identity skips, relays): an ANN adds there.
        recurrent: Whether edges go back; then no ANN does it in one forward.
    """

    layers: Mapping[str, int]
    additions: tuple[str, ...] = ()
    recurrent: bool = False

    @property
    def total(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(self.layers.values())

    def to_json(self) -> dict[str, Any]:
        """``dense_macs`` of compile.json."""
        return {"layers": dict(self.layers), "additions": list(self.additions), "recurrent": self.recurrent}

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> DenseMacs:
        """What :meth:`to_json` gave."""
        return cls(dict(table["layers"]), tuple(table["additions"]), bool(table["recurrent"]))


def dense_macs(graphs: Graph | Iterable[Graph]) -> DenseMacs:
    """Of one graph, or of the host's encoder, the chip's network and the host's tail together.

    Biases, activations, pools and residual additions are left out, as in the literature: it is the lower side for the
    ANN. Of a compiled network the layers are those that were emitted: a pool that was folded into the next convolution
    counts with that convolution's larger kernel. The graph before compilation is the network as it was trained; an
    export keeps its numbers in compile.json.
    """
    layers: dict[str, int] = {}
    additions: list[str] = []
    recurrent = False
    for graph in (graphs,) if isinstance(graphs, Graph) else tuple(graphs):
        recurrent = recurrent or bool(graph.recurrent)
        for name in graph.names(SYNAPSES):
            node = graph.nodes[name]
            assert isinstance(node, SYNAPSES)
            if _repeats(node):
                additions.append(name)
            else:
                layers[name] = synapse_count(node, graph.input_shape(name), graph.shapes[name])
    return DenseMacs(layers, tuple(additions), recurrent)


def _repeats(node: Synapse) -> bool:
    """Whether output c is input c, at most scaled: a diagonal without bias, kernel 1, stride 1, no padding.

    One neuron behind one (1 → 1) is a layer like any other, unless its weight is 1.
    """
    if np.any(node.bias != 0):
        return False
    outputs, weight = node.weight.shape[0], node.weight
    if not isinstance(node, Linear):
        plane = as_conv2d(node) if isinstance(node, Conv1d) else node
        weight = plane.weight
        if weight.shape[2:] != (1, 1) or plane.stride != (1, 1) or plane.padding != (0, 0):
            return False
        if plane.groups == outputs and weight.shape[1] == 1:  # depthwise
            return outputs > 1 or bool(weight.item() == 1)
        if plane.groups != 1:
            return False
    square = weight.reshape(outputs, -1)
    if square.shape[1] != outputs or np.count_nonzero(square) != outputs or not np.all(np.diagonal(square)):
        return False
    return outputs > 1 or bool(square.item() == 1)
