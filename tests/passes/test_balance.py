"""Relays on a pipelined chip, against a simulation in which every synapse takes a step."""

from itertools import pairwise

import numpy as np
import pytest
from graphs import random_input, skip_chain
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import LIF, NEURONS, SYNAPSES, Conv2d, Flatten, Input, Integrator, Linear, Node, Output
from neurodeploy.passes.balance import balance, levels, paths
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.passes.skip_synapses import identity
from neurodeploy.targets.base import load_target


def pipelined(graph: Graph) -> Graph:
    """What the chip does: whatever leaves a synapse arrives one physical step later, and a recurrent edge has no other
    delay than that."""
    late = {
        (a, b) for a, b in graph.edges if isinstance(graph.nodes[a], SYNAPSES) and isinstance(graph.nodes[b], NEURONS)
    }
    return Graph(graph.nodes, graph.edges, recurrent=frozenset(late))


def runs_alike(graph: Graph, seed: int, timesteps: int = 6) -> bool:
    """Whether the chip's spikes are those of the synchronous graph, each population ``level`` steps later."""
    level = levels(graph)
    x = random_input(graph, seed, timesteps=timesteps)
    deepest = max(level.values())
    fed = np.concatenate([x, np.zeros((x.shape[0], deepest, *x.shape[2:]), x.dtype)], axis=1)
    meant, chip = interpret(graph, x), interpret(pipelined(graph), fed)
    assert sum(spikes.sum() for spikes in meant.spikes.values()) > 0
    return all(
        np.array_equal(chip.spikes[name][:, level[name] : level[name] + timesteps], spikes)
        for name, spikes in meant.spikes.items()
    )


def random_residual(seed: int) -> Graph:
    """Five populations; each is fed by the one before it and by random earlier ones, some over recurrent edges, and
    perhaps by itself. No biases: they would run before the first spike arrives, which is what a chip is reset for."""
    rng = np.random.default_rng(seed)
    shape = (2, 3, 3)
    nodes: dict[str, Node] = {"input": Input(shape, "binary")}
    edges: list[tuple[str, str]] = []
    late: set[tuple[str, str]] = set()
    names = ["input"]
    for number in range(5):
        name = f"lif{number}"
        sources = {names[-1], *(s for s in names if rng.random() < 0.3), *([name] if rng.random() < 0.3 else [])}
        nodes[name] = LIF(shape, np.asarray(0.25), np.asarray(0.5))
        for source in sorted(sources):
            synapse = f"{source}-{number}"
            weight = rng.integers(-4, 9, size=(2, 2, 3, 3)) / 8
            nodes[synapse] = Conv2d(weight, np.zeros(2), padding=(1, 1))
            edges += [(source, synapse), (synapse, name)]
            if source == name or rng.random() < 0.2:
                late.add((source, synapse))
        names.append(name)
    nodes |= {"flatten": Flatten(), "fc": Linear(np.ones((3, 18)), np.zeros(3)), "readout": Integrator((3,))}
    nodes["output"] = Output()
    edges += pairwise(("lif4", "flatten", "fc", "readout", "output"))
    return Graph(nodes, tuple(edges), timesteps=6, recurrent=frozenset(late))


def test_an_unbalanced_skip_runs_wrongly_and_a_relay_repairs_it():
    """Case 2, and the proof that the check can fail."""
    graph = skip_chain()
    graph = graph.with_nodes(
        {
            n: Conv2d(node.weight, np.zeros(2), padding=node.padding)
            for n in graph.names(Conv2d)
            if (node := graph.nodes[n])
        }
    )
    assert not runs_alike(graph, 0)
    done = balance(graph)
    assert runs_alike(done, 0)
    assert done.sources("skip") == ("lif1-relay-1",)
    assert done.sources("lif1-relay-1") == ("lif1-relay-1-synapse",)
    relay = done.nodes["lif1-relay-1"]
    assert isinstance(relay, LIF)
    assert (float(relay.decay), float(relay.threshold), relay.compare) == (0.0, 0.5, "ge")
    assert done.nodes["lif1-relay-1-synapse"] == identity((2, 4, 4))
    assert levels(done) == {**levels(graph), "skip": 3, "lif1-relay-1": 2, "lif1-relay-1-synapse": 2}
    assert balance(done) == done, "case 1"


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_balanced_random_graphs_mean_the_same_and_run_the_same(seed):
    graph = random_residual(seed)
    done = balance(graph)
    x = random_input(graph, seed, timesteps=6)
    before, after = interpret(graph, x), interpret(done, x)
    for name, spikes in before.spikes.items():
        np.testing.assert_array_equal(after.spikes[name], spikes)
    np.testing.assert_array_equal(after.output, before.output)
    level = levels(done)
    assert all(level[p.target] - level[p.source] + p.late == 1 for p in paths(done))
    assert runs_alike(done, seed)


def test_skips_of_one_source_share_their_relays():
    """lif1 is read one, two and three synapses early: two relays for all of them, not one and two."""
    names = ["input", *(f"{kind}{n}" for n in range(1, 5) for kind in ("fc", "lif"))]
    eye = Linear(np.eye(2), np.zeros(2))
    nodes: dict[str, Node] = {n: LIF((2,), 0.25, 0.5) if n.startswith("lif") else eye for n in names}
    nodes["input"] = Input((2,), "binary")
    nodes |= {"skip3": eye, "skip4": eye, "output": Output()}
    edges = [
        *pairwise(names),
        ("lif1", "skip3"),
        ("skip3", "lif3"),
        ("lif1", "skip4"),
        ("skip4", "lif4"),
        ("lif4", "output"),
    ]
    done = balance(Graph(nodes, tuple(edges)))
    assert [n for n in done.names(LIF) if "relay" in n] == ["lif1-relay-1", "lif1-relay-2"]
    assert (done.sources("skip3"), done.sources("skip4")) == (("lif1-relay-1",), ("lif1-relay-2",))
    assert runs_alike(done, 1)


def test_a_flatten_on_the_way_is_copied_for_the_relay():
    nodes: dict[str, Node] = {"input": Input((2, 2, 2), "binary"), "flatten": Flatten()}
    nodes |= {
        "fc1": Linear(np.eye(8), np.zeros(8)),
        "lif1": LIF((8,), 0.25, 0.5),
        "fc2": Linear(np.eye(8), np.zeros(8)),
    }
    nodes |= {"skip": Linear(np.eye(8), np.zeros(8)), "lif2": LIF((8,), 0.25, 0.5), "output": Output()}
    edges = [*pairwise(("input", "flatten", "fc1", "lif1", "fc2", "lif2", "output"))]
    edges += [("flatten", "skip"), ("skip", "lif2")]
    done = balance(Graph(nodes, tuple(edges)))
    assert done.sources("skip") == ("flatten-relay-1",)
    assert done.sources("flatten-relay-1") == ("input-relay-1",)
    assert runs_alike(done, 1)


def loop(*synapses: str) -> Graph:
    """``input → fc → lif``, and ``synapses`` with populations between them from lif back to lif, the first one late."""
    nodes: dict[str, Node] = {
        "input": Input((2,), "binary"),
        "fc": Linear(np.eye(2), np.zeros(2)),
        "lif": LIF((2,), 0.25, 0.5),
    }
    edges = [("input", "fc"), ("fc", "lif")]
    last = "lif"
    for number, name in enumerate(synapses):
        nodes[name] = Linear(np.array([[0.0, 0.25], [-0.5, 0.0]]), np.zeros(2))
        edges.append((last, name))
        last = name if number == len(synapses) - 1 else f"mid{number}"
        if last != name:
            nodes[last] = LIF((2,), 0.25, 0.5)
            edges.append((name, last))
    edges += [(last, "lif"), ("lif", "output")]
    return Graph({**nodes, "output": Output()}, tuple(edges), recurrent=frozenset({("lif", synapses[0])}))


def test_a_recurrent_edge_takes_exactly_its_step():
    """Case 3: nothing is added."""
    graph = loop("again")
    assert balance(graph) == graph
    assert runs_alike(graph, 2)


def test_a_loop_of_two_synapses_and_one_step_cannot_run():
    """Case 4."""
    with pytest.raises(UnsupportedError, match="more synapses than steps of delay") as refusal:
        balance(loop("there", "back"))
    assert refusal.value.code == "ND221"


def test_too_many_relays_are_refused():
    """Case 5: a chain of 64 populations behind the source, and a skip past all of them."""
    eye = Linear(np.eye(1), np.zeros(1))
    names = ["input", *(f"{kind}{n}" for n in range(65) for kind in ("fc", "lif"))]
    nodes: dict[str, Node] = {n: LIF((1,), 0.25, 0.5) if n.startswith("lif") else eye for n in names}
    nodes |= {"input": Input((1,), "binary"), "skip": eye, "output": Output()}
    edges = [*pairwise([*names, "output"]), ("lif0", "skip")]
    assert len(balance(Graph(nodes, (*edges, ("skip", "lif63")))).names(LIF)) == 65 + 62
    with pytest.raises(UnsupportedError) as refusal:
        balance(Graph(nodes, (*edges, ("skip", "lif64"))))
    assert (refusal.value.code, refusal.value.where) == ("ND221", "lif64")
    assert (refusal.value.findings[0].measured, refusal.value.findings[0].limit) == (63, 62)


def test_the_integers_of_a_relay_repeat_every_spike():
    """Quantized like every population: in the integer machine too, a relay's spikes are its source's."""
    done = compile_graph(skip_chain(), load_target("loihi2").spec)
    found = interpret(done.graph, random_input(done.graph, 0, samples=8), "loihi")
    assert 0 < found.spikes["lif1"].mean() < 1
    np.testing.assert_array_equal(found.spikes["lif1-relay-1"], found.spikes["lif1"])
