"""A synapse as the convolution that a layer-per-core chip runs, and what such a layer needs of a core's memory."""

from __future__ import annotations

from dataclasses import dataclass

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Conv1d, Conv2d, Flatten, Shape, as_conv2d


@dataclass(frozen=True)
class LayerForm:
    """Geometry: ``input`` and ``output`` are ``(C, H, W)``; a linear layer has the kernel of its whole input map."""

    input: Shape
    output: Shape
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def memory(self) -> dict[str, int]:
        """Words per kind of memory, addresses rounded up to powers of two (DYNAP-CNN)::

            kernel = C_in/groups · 2^(⌈log2 kH·kW⌉ + ⌈log2 C_out⌉)
            neuron = C_out · 2^(⌈log2 H_out⌉ + ⌈log2 W_out⌉)
            bias   = C_out

        Source: sinabs 3.1.3, backend/dynapcnn/dynapcnn_layer.py ``memory_summary``.
        """
        out, height, width = self.output
        kernel = self.input[0] // self.groups << _bits(self.kernel[0] * self.kernel[1]) + _bits(out)
        return {"kernel": kernel, "neuron": out << _bits(height) + _bits(width), "bias": out}


def _bits(count: int) -> int:
    """``⌈log2 count⌉``."""
    return (count - 1).bit_length()


def layer_form(graph: Graph, name: str) -> LayerForm:
    """The form of synapse ``name``."""
    node, before, after = graph.nodes[name], graph.input_shape(name), graph.shapes[name]
    if isinstance(node, Conv1d):
        node, before, after = as_conv2d(node), (before[0], 1, before[1]), (after[0], 1, after[1])
    if isinstance(node, Conv2d):
        kernel = (node.weight.shape[2], node.weight.shape[3])
        return LayerForm(before, after, kernel, node.stride, node.padding, node.dilation, node.groups)
    source = graph.sources(name)[0]
    whole = graph.input_shape(source) if isinstance(graph.nodes[source], Flatten) else before
    whole = (*whole, *(1,) * (3 - len(whole)))
    return LayerForm(whole, (after[0], 1, 1), (whole[1], whole[2]))
