"""Counts on random graphs of every node kind, recurrent ones included, against a count edge by edge.

The counter below knows connections one by one and steps through time; it takes the values of every node from the
interpreter, and shares no code with the engine's counts.
"""

from collections import defaultdict
from dataclasses import replace

import numpy as np
from every_kind import any_input, every_kind, every_kind_of_machine
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.kinds import incoming_kind, value_kinds
from neurodeploy.ir.nodes import (
    LIF,
    NEURONS,
    SYNAPSES,
    Conv1d,
    Delay,
    Flatten,
    Linear,
    Output,
    ReLU,
    Scale,
    SumPool2d,
    as_conv2d,
)
from neurodeploy.sim.engine import Engine

PASSING = (Flatten, SumPool2d, Scale, Delay, ReLU, Output)


def connections(node, before, after):
    """Every connection of a synapse node: ``(input, output, weight)`` with flat indices."""
    if isinstance(node, Conv1d):
        return connections(as_conv2d(node), (before[0], 1, before[1]), (after[0], 1, after[1]))
    if isinstance(node, Linear):
        return [(i, o, node.weight[o, i]) for o, i in np.ndindex(node.weight.shape)]
    found = []
    inside, outside = node.weight.shape[1], node.weight.shape[0] // node.groups
    for (o, oy, ox), (i, ky, kx) in ((a, b) for a in np.ndindex(after) for b in np.ndindex(node.weight.shape[1:])):
        y = oy * node.stride[0] - node.padding[0] + ky * node.dilation[0]
        x = ox * node.stride[1] - node.padding[1] + kx * node.dilation[1]
        if 0 <= y < before[1] and 0 <= x < before[2]:
            place = (o // outside) * inside + i, y, x
            found.append(
                (
                    np.ravel_multi_index(place, before),
                    np.ravel_multi_index((o, oy, ox), after),
                    node.weight[o, i, ky, kx],
                )
            )
    return found


class Counting:
    """``counts[node][key]`` is a list over the steps; ``placed`` cores per population."""

    def __init__(self, graph, x, arithmetic, cores):
        self.graph, self.machine, self.cores = graph, arithmetic == "loihi", cores
        self.kinds = value_kinds(graph)
        self.samples, self.timesteps = x.shape[:2]
        self.values = {name: self.value(name, x, arithmetic) for name in graph.nodes if self.kinds[name].name != "real"}
        self.events = {name: [] for name in graph.nodes}  # of nodes that put out real values: (B, *shape) a step
        self.counts = defaultdict(lambda: defaultdict(list))
        self.connections = {
            name: connections(graph.nodes[name], graph.input_shape(name), graph.shapes[name])
            for name in graph.names(SYNAPSES)
        }
        for t in range(self.timesteps):
            for name, node in graph.nodes.items():
                if isinstance(node, SYNAPSES):
                    self.synapse(name, t)
                elif isinstance(node, NEURONS):
                    self.neuron(name, t)
                elif isinstance(node, PASSING):
                    self.passing(name, node, t)

    def value(self, name, x, arithmetic):
        """What ``name`` puts out: the interpreter's output when the Output reads nothing else."""
        if name == self.graph.input:
            return x
        if name == self.graph.output:
            return interpret(self.graph, x, arithmetic).output
        edges = [e for e in self.graph.edges if e[1] != self.graph.output]
        late = self.graph.recurrent & set(edges)
        tapped = replace(self.graph, edges=(*edges, (name, self.graph.output)), recurrent=late)
        return interpret(tapped, x, arithmetic).output

    def edges(self, name, t):
        """``(source, step at which it left)`` of what arrives at step ``t``."""
        for source in self.graph.sources(name):
            left = t - ((source, name) in self.graph.recurrent)
            if left >= 0:
                yield source, left

    def arriving(self, name, t):
        """Where an event arrives: ``(B, *shape)``."""
        reached = np.zeros((self.samples, *self.graph.input_shape(name)), bool)
        for source, left in self.edges(name, t):
            if source in self.values:
                reached |= self.values[source][:, left] != 0
            elif isinstance(self.graph.nodes[source], (*SYNAPSES, *PASSING)):
                reached |= self.events[source][left]
            else:
                reached[:] = True
        return reached

    def biases(self, name, t):
        """Biases of the synapses that deliver at step ``t``, each shaped to add to ``(B, *shape)``."""
        every = [(s, t) for s in self.graph.sources(name)] if self.machine else self.edges(name, t)
        found = [self.graph.nodes[source] for source, _ in every if isinstance(self.graph.nodes[source], SYNAPSES)]
        return [node.bias.reshape(-1, *(1,) * (len(self.graph.input_shape(name)) - 1)) for node in found]

    def synapse(self, name, t):
        counts, links = self.counts[name], self.connections[name]
        kind = incoming_kind(self.graph, name, self.kinds).name
        fan_out, useful = defaultdict(int), defaultdict(int)
        for i, _, weight in links:
            fan_out[i] += 1
            useful[i] += weight != 0
        if kind == "real":
            there = np.ones((self.samples, *self.graph.input_shape(name)), bool)
            counts["mac"].append(self.samples * len(links))
        else:
            total = sum(self.values[source][:, left].astype(float) for source, left in self.edges(name, t))
            there = np.broadcast_to(total != 0, (self.samples, *self.graph.input_shape(name)))
            events = np.argwhere(there.reshape(self.samples, -1))
            counts["sop" if kind == "binary" else "sop_graded"].append(sum(fan_out[i] for _, i in events))
            if kind == "binary":
                counts["sop_nonzero"].append(sum(useful[i] for _, i in events))
        there = there.reshape(self.samples, -1)
        reached = np.zeros((self.samples, int(np.prod(self.graph.shapes[name]))), bool)
        for i, o, _ in links:
            reached[:, o] |= there[:, i]
        self.events[name].append(reached.reshape(self.samples, *self.graph.shapes[name]))

    def passing(self, name, node, t):
        entered = self.arriving(name, t)
        for bias in self.biases(name, t):
            entered = entered | (bias != 0)
        self.events[name].append(entered)
        if isinstance(node, Flatten):
            self.events[name][t] = entered.reshape(self.samples, -1)
        elif isinstance(node, Delay):
            # the history is kept as it entered; what leaves is looked up in it
            self.entered = getattr(self, "entered", {})
            history = self.entered.setdefault(name, [])
            history.append(entered)
            left = np.zeros_like(entered)
            for place in np.ndindex(entered.shape):
                back = t - np.broadcast_to(node.steps, node.shape)[place[1:]]
                left[place] = back >= 0 and history[back][place]
            self.events[name][t] = left
        elif isinstance(node, SumPool2d):
            left = np.zeros((self.samples, *self.graph.shapes[name]), bool)
            for b, c, oy, ox in np.ndindex(left.shape):
                for ky, kx in np.ndindex(node.kernel):
                    y, x = oy * node.stride[0] - node.padding[0] + ky, ox * node.stride[1] - node.padding[1] + kx
                    inside = 0 <= y < entered.shape[2] and 0 <= x < entered.shape[3]
                    left[b, c, oy, ox] |= inside and entered[b, c, y, x]
            self.events[name][t] = left

    def neuron(self, name, t):
        node, counts = self.graph.nodes[name], self.counts[name]
        bias = sum(self.biases(name, t), np.zeros(node.shape))
        active = self.arriving(name, t) | (bias != 0) | (np.broadcast_to(node.offset, node.shape) != 0)
        counts["neuron_updates_active"].append(active.sum())
        counts["neuron_updates_idle"].append(active.size - active.sum())
        if isinstance(node, LIF):
            counts["spikes_out"].append(self.values[name][:, t].sum())
            counts["messages"].append(self.messages(name, self.values[name][:, t].reshape(self.samples, -1) != 0))

    def messages(self, name, events):
        """Every event goes once to every core of every population behind it; None where a node is on no core, and where
        a spike goes round in delays for ever."""
        reached = self.reached(name)
        if reached is None:
            return None
        return sum(int(events[:, sorted(places)].sum()) * self.cores[n] for n, places in reached.items())

    def reached(self, name, seen=()):
        """Population -> the source neurons with a connection into it, whatever the number of parallel synapses."""
        found = {}
        for target in self.graph.targets(name):
            node = self.graph.nodes[target]
            behind = {}
            if isinstance(node, (Flatten, Delay)):
                behind = None if target in seen else self.reached(target, (*seen, target))
            elif isinstance(node, SYNAPSES):
                neurons = [n for n in self.graph.targets(target) if isinstance(self.graph.nodes[n], NEURONS)]
                behind = {n: {i for i, _, _ in self.connections[target]} for n in neurons} or None
            elif not isinstance(node, Output):
                behind = None
            if behind is None:
                return None
            for n, places in behind.items():
                found[n] = found.get(n, set()) | places
        return found


def assert_counts(graph, x, arithmetic):
    cores = {name: 1 + index for index, name in enumerate(graph.names(NEURONS))}
    counted = Counting(graph, x, arithmetic, cores).counts
    for layer in Engine(graph, arithmetic, cores).run(x, x.shape[1], keep_spikes=False, tile=2).layers:
        for key, steps in layer.per_step.items():
            if key in ("hops", "mac_once"):
                continue
            expected = counted[layer.name].get(key, [0] * x.shape[1])
            assert (None if steps is None else steps.tolist()) == (None if None in expected else expected), (
                layer.name,
                key,
            )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), arithmetic=st.sampled_from(["float32", "float64"]))
def test_equals_a_count_edge_by_edge_in_floats(seed, arithmetic):
    graph = every_kind(seed, size=7)
    assert_counts(graph, any_input(graph, seed, samples=3, timesteps=4), arithmetic)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_equals_a_count_edge_by_edge_on_the_integer_machine(seed):
    graph = every_kind_of_machine(seed, populations=3)
    assert_counts(graph, any_input(graph, seed, samples=3, timesteps=4), "loihi")
