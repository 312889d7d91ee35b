"""One step in an ONNX graph, every state an input and an output."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, NEURONS, CubaLIF, Delay, Node
from neurodeploy.targets.onnx_form import BATCH, Border, Form
from neurodeploy.targets.onnx_integers import narrow, widen
from neurodeploy.targets.onnx_operators import CURRENT, MEMBRANE, added, delayed


class OneStep(Form):
    """Every state is an input and an output."""

    def __init__(self, graph: Graph) -> None:
        self.late = sorted({source for source, _ in graph.recurrent})
        self.shapes = {border: graph.shapes[name] for border, name in self._borders(graph)}
        for name in graph.names(Delay):
            if steps := _longest(graph.nodes[name]):
                self.shapes[name] = (steps, *graph.shapes[name])
        self.spikes = graph.names(LIF)
        names = [f"{kind}/{border}" for border in self.shapes for kind in ("state", "state_out")]
        super().__init__(graph, [*names, *(f"spikes/{name}" for name in self.spikes)])

    def _borders(self, graph: Graph) -> list[tuple[str, str]]:
        """State -> the node whose shape it has."""
        return [
            *((name, name) for name in graph.names(NEURONS)),
            *((f"{name}/{CURRENT}", name) for name in graph.names(CubaLIF)),
            *((f"{name}/output", name) for name in self.late),
        ]

    def model(self) -> Any:
        """The whole model."""
        graph = self.graph
        values = {graph.input: "input"}
        for name, node in graph.nodes.items():
            if name == graph.input:
                continue
            late = {source for source in graph.sources(name) if (source, name) in graph.recurrent}
            arriving = [f"state/{s}/output" if s in late else values[s] for s in graph.sources(name)]
            x = added(self.site(name, name), arriving)
            if isinstance(node, NEURONS):
                values[name] = self._neuron(name, x)
            elif isinstance(node, Delay):
                values[name] = self._delay(name, node, x)
            else:
                values[name] = self.stateless(name, x, name)
        for name in self.late:
            self.w.rename(values[name], f"state_out/{name}/output")
        self.w.rename(values[graph.output], "output")
        for name in self.spikes:
            self.w.rename(values[name], f"spikes/{name}")
        states: list[Border] = [(f"state/{state}", (BATCH, *shape)) for state, shape in self.shapes.items()]
        after: list[Border] = [(f"state_out/{state}", (BATCH, *shape)) for state, shape in self.shapes.items()]
        spikes: list[Border] = [(f"spikes/{name}", (BATCH, *graph.shapes[name])) for name in self.spikes]
        given: Border = ("input", (BATCH, *graph.shapes[graph.input]))
        output: Border = ("output", (BATCH, *graph.shapes[graph.output]))
        return self.finish("one step", [given, *states], [output, *spikes, *after])

    def _neuron(self, name: str, x: str) -> str:
        wide = self.integers and self.bounds[name].wide
        site = self.site(name, name)
        borders = {MEMBRANE: name, **({CURRENT: f"{name}/{CURRENT}"} if f"{name}/{CURRENT}" in self.shapes else {})}
        state = {key: widen(site, f"state/{border}", f"{key}_before", wide) for key, border in borders.items()}
        out = self.neuron(name, x, state, name)
        for key, border in borders.items():
            self.w.rename(narrow(site, state[key], f"{key}_after", wide), f"state_out/{border}")
        return out

    def _delay(self, name: str, node: Delay, x: str) -> str:
        """The queue holds what arrived 1, 2, … steps ago."""
        site, longest = self.site(name, name), _longest(node)
        if not longest:
            return x
        queue = f"state/{name}"

        def past(steps: int) -> str:
            if not steps:
                return x
            back = self.w.constant(f"number.{steps - 1}.index", steps - 1, np.int64)
            return site.op("Gather", [queue, back], f"before_{steps}", axis=1)

        def index(number: int) -> str:
            return self.w.constant(f"number.{number}.list", np.array([number]), np.int64)

        kept = [site.op("Unsqueeze", [x, index(1)], "latest")]
        if longest > 1:
            kept.append(site.op("Slice", [queue, index(0), index(longest - 1), index(1)], "kept"))
        self.w.border("Concat", kept, f"state_out/{name}", axis=1)
        return delayed(site, node, past, lambda: self.zeros(node.shape))


def _longest(node: Node) -> int:
    return int(node.steps.max()) if isinstance(node, Delay) else 0
