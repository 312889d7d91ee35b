"""Hops of messages: by hand, message by message on random graphs, and unknown where nobody can know."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from graphs import paper_chain, random_graph, random_input
from hypothesis import given, settings
from hypothesis import strategies as st
from priced import HELD, price, profile, row

from neurodeploy.config.profile import load_profile, profile_names
from neurodeploy.energy import Mesh, count_hops, estimate, mesh_of, with_hops
from neurodeploy.energy.mesh import layout
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, NEURONS, SYNAPSES, Flatten, Input, Linear, Output
from neurodeploy.passes.fold_pool import fold_pool
from neurodeploy.sim.engine import Engine


def two_layers() -> Graph:
    """4 neurons on two cores, then 2 neurons on three: two tiles of one core each beside the first row."""
    one = np.asarray(1.0)
    nodes = {
        "input": Input((4,), "binary"),
        "fc1": Linear(np.eye(4), np.zeros(4)),
        "a": LIF((4,), one, one),
        "fc2": Linear(np.ones((3, 4)), np.zeros(3)),
        "b": LIF((3,), one, one),
        "output": Output(),
    }
    return Graph(nodes, tuple(pairwise(nodes)), timesteps=2)


def test_by_hand() -> None:
    """3 columns, row by row: a on (0,0) (1,0), b on (2,0) (0,1) (1,1). A spike of neuron 0 goes 2+0, 0+1, 1+1."""
    spikes = np.zeros((1, 2, 4), np.uint8)
    spikes[0, 0, 0] = 1  # the core at (0,0)
    spikes[0, 1, 3] = 1  # the core at (1,0): 1+0, 1+1, 0+1
    found = count_hops(two_layers(), {"a": 2, "b": 3}, {"a": spikes}, Mesh(3, 2))
    assert found is not None
    assert [hops.tolist() for hops in found["a"]] == [[3, 2], [2, 2]]


def test_cores_of_one_tile_are_no_hop_apart() -> None:
    spikes = np.ones((3, 2, 4), np.uint8)
    for mesh, hops in ((Mesh(1, 1, 8), 0), (Mesh(2, 1, 4), 3 * 2 * 4)):
        found = count_hops(two_layers(), {"a": 2, "b": 3}, {"a": spikes}, mesh)
        assert found is not None
        assert (int(found["a"][0].sum()), int(found["a"][1].sum())) == (hops, 0), "b's last core is on the next tile"


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), columns=st.integers(1, 4), per_tile=st.integers(1, 3))
def test_equals_a_count_message_by_message(seed: int, columns: int, per_tile: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(seed, real=False, pools=False)
    x = random_input(graph, seed, samples=2, timesteps=3)
    cores = {}
    for name in graph.names(NEURONS):
        channels = graph.shapes[name][0]
        cores[name] = -(-channels // int(rng.integers(1, channels + 1)))
    run = Engine(graph, cores=cores).run(x, 3, keep_spikes=True)
    mesh = Mesh(columns, 30, per_tile)
    found = count_hops(graph, cores, run.spikes, mesh)
    assert found is not None
    first = dict(zip(cores, np.cumsum([0, *cores.values()])[:-1].tolist(), strict=True))

    def place(core: int) -> tuple[int, int]:
        return (core // per_tile) % columns, (core // per_tile) // columns

    for layer in run.layers:
        if not isinstance(graph.nodes[layer.name], LIF):
            continue
        name = layer.name
        readers = {}
        for synapse in graph.names(SYNAPSES):
            sources = graph.sources(synapse)
            behind = graph.sources(sources[0]) if isinstance(graph.nodes[sources[0]], Flatten) else sources
            if behind == (name,):
                readers.setdefault(graph.targets(synapse)[0], []).append(synapse)
        expected, messages = np.zeros((2, 3), np.int64), np.zeros(3, np.int64)
        size = -(-graph.shapes[name][0] // cores[name])
        for sample, t, *neuron in np.argwhere(run.spikes[name]):
            del sample
            for target, synapses in readers.items():
                if not any(reads(graph, synapse, neuron) for synapse in synapses):
                    continue
                x0, y0 = place(first[name] + neuron[0] // size)
                for core in range(first[target], first[target] + cores[target]):
                    x1, y1 = place(core)
                    expected[:, t] += abs(x0 - x1), abs(y0 - y1)
                    messages[t] += 1
        assert np.array_equal(np.stack(found[name]), expected), name
        assert np.array_equal(messages, layer.per_step["messages"]), "the messages that the engine counts"


def reads(graph: Graph, synapse: str, neuron: list[int]) -> bool:
    """Whether the neuron has a connection: a 1 there, weights of 1, makes something come out."""
    from neurodeploy.ir.interpret import _sums

    node = graph.nodes[synapse]
    if isinstance(node, Linear):
        return True
    ones = type(node)(np.ones_like(node.weight), np.zeros_like(node.bias), *list(vars(node).values())[2:])
    x = np.zeros((1, *graph.input_shape(synapse)))
    x[(0, *neuron)] = 1
    return bool(_sums(ones, x, np.float64).any())


def test_unknown_stays_unknown() -> None:
    graph, spikes = two_layers(), {"a": np.ones((1, 1, 4), np.uint8)}
    assert count_hops(graph, {}, spikes, Mesh(3, 2)) is None, "no placement"
    assert count_hops(graph, {"a": 2, "b": 3}, spikes, Mesh(2, 2)) is None, "more cores than the chip has"
    assert count_hops(graph, {"a": 9, "b": 3}, spikes, Mesh(9, 9)) is None, "cut into more pieces than channels"
    assert count_hops(graph, {"a": 2, "b": 3}, {}, Mesh(3, 2)) == {}, "no spikes kept"
    pooled = paper_chain(real=False)
    cores = {"lif1": 1, "lif2": 1, "readout": 1}
    kept = Engine(pooled).run(random_input(pooled, 0), 4, keep_spikes=True).spikes
    assert set(count_hops(pooled, cores, kept, Mesh(3, 1)) or {}) == {"lif1"}, "a pool lies on no core"
    assert set(count_hops(fold_pool(pooled), cores, kept, Mesh(3, 1)) or {}) == {"lif1", "lif2"}


def test_layout_is_row_by_row_in_graph_order() -> None:
    assert layout(two_layers(), {"a": 2, "b": 3}, Mesh(3, 2)) == {"a": range(0, 2), "b": range(2, 5)}
    assert [Mesh(2, 2, 2).tile(core) for core in range(8)] == [(0, 0)] * 2 + [(1, 0)] * 2 + [(0, 1)] * 2 + [(1, 1)] * 2


@pytest.mark.parametrize("name", profile_names())
def test_a_mesh_holds_the_chips_cores(name: str) -> None:
    chip = load_profile(name)
    mesh = mesh_of(chip)
    if mesh is not None and chip.limits.cores is not None and chip.limits.cores.known:
        assert mesh.cores >= float(chip.limits.cores.value or 0)


def test_each_direction_has_its_price() -> None:
    """5 hops east-west at 3 pJ, 2 north-south at 4 pJ; both without a direction at the mean."""
    chip = profile(f'scope = "per_term"\nmsg_local = {price(0)}\nhop_x = {price(3)}\nhop_y = {price(4)}\n{HELD}')
    directed = (np.array([4, 1]), np.array([0, 2]))
    layer = row("lif", messages=4, hops=None)
    e = estimate([layer], chip, samples=1, timesteps=2, hops={"lif": directed})
    assert e.dynamic.pj == pytest.approx(5 * 3 + 2 * 4)
    assert [(term.key, term.count) for term in e.terms] == [("msg_local", 4), ("hop", 7)]
    assert {"hop_x", "hop_y"} < {tag.key for tag in e.prices}
    assert e.unpriced_keys().keys() == {"static"}
    mean = estimate([row("lif", messages=4, hops=7)], chip, samples=1, timesteps=2)
    assert mean.dynamic.pj == pytest.approx(7 * 3.5)


def test_a_layer_whose_hops_are_not_there_is_unpriced() -> None:
    layers = [row("a", messages=4), row("readout")]
    e = estimate(layers, "loihi", samples=1, timesteps=1, chips=1, hops={})
    assert {(u.layer, u.key) for u in e.unpriced} == {("a", "hop")}


def test_hops_fill_the_layers() -> None:
    graph = two_layers()
    x = np.ones((2, 2, 4), np.uint8)
    run = Engine(graph, cores={"a": 2, "b": 3}).run(x, 2, keep_spikes=True)
    hops = count_hops(graph, {"a": 2, "b": 3}, run.spikes, Mesh(3, 2))
    assert hops is not None
    filled = {layer.name: layer for layer in with_hops(run.layers, hops)}
    # every one of 2 x 2 x 2 spikes of a core: 3 + 2 from (0,0), 2 + 2 from (1,0)
    assert filled["a"].total("hops") == 8 * (3 + 2) + 8 * (2 + 2)
