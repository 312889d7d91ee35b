"""All T steps in one ONNX graph: ``input`` ``(B, T, *shape)`` -> ``output`` and ``spikes/<node>``, the same axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, NEURONS, Delay, Shape
from neurodeploy.targets.onnx_form import BATCH, Border, Form
from neurodeploy.targets.onnx_operators import State, added, delayed


class Unrolled(Form):
    """Values are held for all steps together, ``(T·B, *shape)`` with time outermost, or as one ``(B, *shape)`` per
    step; each is made from the other when it is first asked for."""

    def __init__(self, graph: Graph, timesteps: int) -> None:
        self.spikes = graph.names(LIF)
        super().__init__(graph, [f"spikes/{name}" for name in self.spikes])
        self.timesteps = timesteps
        self.all_steps = f"{timesteps}*{BATCH}"
        self._together: dict[str, str] = {}
        self._steps: dict[str, list[str]] = {}

    def model(self) -> Any:
        """The whole model."""
        graph = self.graph
        shape = graph.shapes[graph.input]
        self._together[graph.input] = self._fold("input", f"{graph.input}/steps", shape)
        for unit in _units(graph):
            name = unit[0]
            if len(unit) > 1 or name in graph.sources(name) or isinstance(graph.nodes[name], (*NEURONS, Delay)):
                self._run_in_steps(unit)
            elif name != graph.input:
                x = self._arriving(name)
                self._together[name] = self.stateless(name, x, name, self.all_steps)
        self._unfold(graph.output, "output")
        for name in self.spikes:
            self._unfold(name, f"spikes/{name}")
        names = [("output", graph.output), *((f"spikes/{name}", name) for name in self.spikes)]
        outputs: list[Border] = [(border, (BATCH, self.timesteps, *graph.shapes[name])) for border, name in names]
        return self.finish("unrolled", [("input", (BATCH, self.timesteps, *shape))], outputs)

    def _fold(self, value: str, label: str, shape: Shape) -> str:
        """``(B, T, *shape)`` to ``(T·B, *shape)``."""
        turned = self.w.op("Transpose", [value], f"{label}/time_first", perm=_swapped(shape))
        wanted = self.w.constant(f"{label}.shape", np.array((-1, *shape)), np.int64)
        return self.w.op("Reshape", [turned, wanted], label, (self.all_steps, *shape))

    def _unfold(self, name: str, border: str) -> None:
        """``(T·B, *shape)`` to the graph output ``(B, T, *shape)``."""
        shape = self.graph.shapes[name]
        wanted = self.w.constant(f"{name}.unfolded", np.array((self.timesteps, -1, *shape)), np.int64)
        folded = self.w.op("Reshape", [self._all(name), wanted], f"{border}/time_first")
        self.w.border("Transpose", [folded], border, perm=_swapped(shape))

    def _all(self, name: str) -> str:
        """The value of ``name``, all steps together."""
        if name not in self._together:
            site = self.site(name, name, self.all_steps)
            self._together[name] = site.result("Concat", self._steps[name], axis=0)
        return self._together[name]

    def _each(self, name: str) -> list[str]:
        """The value of ``name``, one for each step."""
        if name not in self._steps:
            self._steps[name] = self._split(self._together[name], name, self.graph.shapes[name])
        return self._steps[name]

    def _split(self, value: str, label: str, shape: Shape) -> list[str]:
        names = [f"{label}/t{t}" for t in range(self.timesteps)]
        return [value] if self.timesteps == 1 else self.w.split(value, names, (BATCH, *shape))

    def _arriving(self, name: str) -> str:
        """What arrives at ``name`` over all steps; a recurrent edge brings the step before, zero at the first."""
        graph = self.graph
        values = []
        for source in graph.sources(name):
            value = self._all(source)
            if (source, name) in graph.recurrent:
                shape = graph.shapes[source]
                steps = [self.zeros(shape), *self._each(source)[:-1]]
                value = self.w.op("Concat", steps, f"{source}/late", (self.all_steps, *shape), axis=0)
            values.append(value)
        return added(self.site(name, name, self.all_steps), values)

    def _heard(self, name: str) -> list[str]:
        """What arrives at ``name``, one value for each step."""
        graph, sources = self.graph, self.graph.sources(name)
        if len(sources) == 1 and (sources[0], name) not in graph.recurrent:
            return self._each(sources[0])
        return self._split(self._arriving(name), f"{name}/arriving", graph.input_shape(name))

    def _run_in_steps(self, unit: Sequence[str]) -> None:
        """A neuron, a Delay or a cycle, one step after the other."""
        graph = self.graph
        cycle = len(unit) > 1 or unit[0] in graph.sources(unit[0])
        heard = {name: [] if cycle else self._heard(name) for name in unit}
        states: dict[str, State] = {name: {} for name in unit}
        # A cycle reads what it has made so far: the lists grow while it runs.
        self._steps.update({name: [] for name in unit})
        for t in range(self.timesteps):
            for name in unit:
                label, node = f"{name}/t{t}", graph.nodes[name]
                if cycle:
                    heard[name].append(self._arriving_at(name, t, label))
                if isinstance(node, Delay):
                    out = self._delayed(name, node, heard[name][: t + 1], label)
                elif isinstance(node, NEURONS):
                    out = self.neuron(name, heard[name][t], states[name], label)
                else:
                    out = self.stateless(name, heard[name][t], label)
                self._steps[name].append(out)

    def _delayed(self, name: str, node: Delay, heard: Sequence[str], label: str) -> str:
        def past(steps: int) -> str | None:
            return heard[-1 - steps] if steps < len(heard) else None

        return delayed(self.site(name, label), node, past, lambda: self.zeros(node.shape))

    def _arriving_at(self, name: str, t: int, label: str) -> str:
        """What arrives at step ``t``, on a cycle."""
        graph = self.graph
        values = []
        for source in graph.sources(name):
            at = t - ((source, name) in graph.recurrent)
            if at >= 0:
                values.append(self._each(source)[at])
        return added(self.site(name, label), values) if values else self.zeros(graph.input_shape(name))


def _swapped(shape: Shape) -> list[int]:
    """The permutation that exchanges batch and time."""
    return [1, 0, *range(2, len(shape) + 2)]


def _units(graph: Graph) -> list[tuple[str, ...]]:
    """Nodes, and cycles as a whole, each behind everything that it reads (recurrent edges included)."""
    cycle = {name: members for members in graph.cycles for name in members}
    waiting = list(dict.fromkeys(tuple(n for n in graph.nodes if n in cycle.get(name, {name})) for name in graph.nodes))
    placed: set[str] = set()
    order: list[tuple[str, ...]] = []
    while waiting:
        unit = next(u for u in waiting if all(s in placed or s in u for name in u for s in graph.sources(name)))
        waiting.remove(unit)
        placed.update(unit)
        order.append(unit)
    return order
