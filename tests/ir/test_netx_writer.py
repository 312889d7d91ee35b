"""``network.net``: what is written is read to the same network, by us and by netx, or it is not written."""

import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from graphs import paper_chain, random_input, skip_chain
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.netx_io import graph_of_layers, load_net, read_net
from neurodeploy.ir.nodes import LIF, Conv2d, CubaLIF, Delay, Flatten, Input, Integrator, Linear, Output
from neurodeploy.targets.netx import NAME, netx_layers, write

GOLDEN = Path(__file__).parents[1] / "golden"
RECORD = GOLDEN / "record_netx.py"


def even(rng: np.random.Generator, *shape: int) -> np.ndarray:
    weight = 2.0 * rng.integers(-60, 61, size=shape)
    weight.flat[0] = 8  # never without a positive weight
    return weight.astype(np.float32)


def biases(rng: np.random.Generator, size: int) -> np.ndarray:
    return (rng.integers(-30, 40, size=size) * rng.integers(0, 2)).astype(np.float32)


def integer_chain(seed: int) -> Graph:
    """Input, one or two convolutions of random geometry, flatten, one to three dense layers, maybe a readout; LIF and
    CUBA neurons with any decays, sometimes delays or a recurrent synapse."""
    rng = np.random.default_rng(seed)
    nodes: dict = {"in": Input((2, int(rng.integers(4, 8)), int(rng.integers(4, 8))), "binary")}
    edges, recurrent = [], set()
    shape = nodes["in"].shape

    def add(name: str, node: object) -> None:
        edges.append((list(nodes)[-1] if "recurrent" not in list(nodes)[-1] else list(nodes)[-2], name))
        nodes[name] = node

    def neuron(shape: tuple[int, ...]) -> LIF:
        decay, threshold = rng.integers(0, 4097) / 4096, np.asarray(float(rng.integers(1, 200)))
        if rng.random() < 0.5:
            return LIF(shape, np.asarray(decay), threshold, compare="gt")
        current = np.asarray(rng.integers(1, 4097) / 4096)
        return CubaLIF(shape, np.asarray(decay), threshold, compare="gt", current_decay=current)

    for depth in range(int(rng.integers(0, 3))):
        groups = int(rng.choice([1, 2]))
        out = 2 * int(rng.integers(1, 4))
        kernel = [int(n) for n in rng.integers(1, 4, size=2)]
        stride, padding, dilation = (tuple(int(n) for n in rng.integers(a, 3, size=2)) for a in (1, 0, 1))
        node = Conv2d(even(rng, out, shape[0] // groups, *kernel), biases(rng, out), stride, padding, dilation, groups)
        try:
            shape = node.output_shape(shape)
        except ValueError:
            continue
        add(f"conv{depth}", node)
        add(f"spikes{depth}", neuron(shape))
    add("flatten", Flatten())
    size = int(np.prod(shape))
    layers = int(rng.integers(1, 4))
    for depth in range(layers):
        delayed = rng.random() < 0.3
        if delayed:
            add(f"delay{depth}", Delay((size,), rng.integers(0, 4, size=size)))
        out = int(rng.integers(1, 8))
        add(f"fc{depth}", Linear(even(rng, out, size), biases(rng, out)))
        size = out
        if depth == layers - 1 and rng.random() < 0.5:
            add("readout", Integrator((size,), np.asarray(rng.choice([1.0, 0.5]))))
            continue
        add(f"out{depth}", neuron((size,)))
        if rng.random() < 0.3 and not delayed:  # netx loses the exponent of the two together
            loop = f"recurrent{depth}"
            nodes[loop] = Linear(even(rng, size, size), np.zeros(size, np.float32))
            edges.extend([(f"out{depth}", loop), (loop, f"out{depth}")])
            recurrent.add((loop, f"out{depth}"))
    add("output", Output())
    return Graph(nodes, tuple(edges), timesteps=5, arithmetic="loihi", recurrent=frozenset(recurrent))


def same_results(graph: Graph, again: Graph, x: np.ndarray) -> None:
    """Output, spikes, membranes and currents, population by population in graph order."""
    a, b = interpret(graph, x, "loihi"), interpret(again, x, "loihi")
    assert np.array_equal(a.output, b.output)
    for what in ("spikes", "membrane", "current"):
        ours, theirs = getattr(a, what), getattr(b, what)
        assert len(ours) == len(theirs)
        assert all(np.array_equal(p, q) for p, q in zip(ours.values(), theirs.values(), strict=True))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_what_is_written_is_read_to_the_same_network(seed):
    graph = integer_chain(seed)
    layers, notes = netx_layers(graph)
    assert notes == []
    again, findings = graph_of_layers(layers, timesteps=5)
    assert [f for f in findings if f.severity == "error"] == []
    same_results(graph, again, random_input(graph, seed, samples=2, timesteps=6))


def test_the_file_holds_the_layers_and_the_same_bytes_each_time(tmp_path):
    graph = integer_chain(3)
    for folder in ("a", "b"):
        assert write(graph, tmp_path / folder) == []
    first, second = (tmp_path / folder / NAME for folder in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    same_results(graph, read_net(first), random_input(graph, 0))


def test_a_foreign_file_written_again_is_the_same_network(tmp_path):
    for name in ("netx-conv", "netx-recurrent"):
        graph = read_net(GOLDEN / f"{name}.net")
        graph = replace(graph, timesteps=6)
        assert write(graph, tmp_path / name) == []
        again = read_net(tmp_path / name / NAME)
        assert [n for n in graph.nodes.values() if isinstance(n, LIF)] == [
            n for n in again.nodes.values() if isinstance(n, LIF)
        ]
        same_results(graph, again, random_input(graph, 1, samples=2, timesteps=6))


def changed(graph: Graph, name: str, **fields: object) -> Graph:
    return graph.with_nodes({name: replace(graph.nodes[name], **fields)})


def chain(**replaced: object) -> Graph:
    """input – conv – lif – flatten – fc – out – output, with some nodes exchanged."""
    nodes = {
        "input": Input((2, 4, 4), "binary"),
        "conv": Conv2d(np.full((2, 2, 3, 3), 2, np.float32), np.zeros(2, np.float32), padding=(1, 1)),
        "lif": LIF((2, 4, 4), np.asarray(0.25), np.asarray(9.0), compare="gt"),
        "flatten": Flatten(),
        "fc": Linear(np.full((3, 32), 2, np.float32), np.zeros(3, np.float32)),
        "out": LIF((3,), np.asarray(0.25), np.asarray(9.0), compare="gt"),
        "output": Output(),
    }
    nodes.update(replaced)
    names = list(nodes)
    return Graph(nodes, tuple(pairwise(names)), timesteps=4, arithmetic="loihi")


def with_groups(groups: int) -> Graph:
    nodes = {
        "input": Input((groups, 2, 2), "binary"),
        "conv": Conv2d(np.full((groups, 1, 1, 1), 2, np.float32), np.zeros(groups, np.float32), groups=groups),
        "lif": LIF((groups, 2, 2), np.asarray(0.25), np.asarray(9.0), compare="gt"),
        "output": Output(),
    }
    return Graph(nodes, tuple(pairwise(nodes)), arithmetic="loihi")


def branched() -> Graph:
    graph = chain()
    nodes = {**graph.nodes, "skip": Linear(np.full((3, 32), 2, np.float32), np.zeros(3, np.float32))}
    return replace(graph, nodes=nodes, edges=(*graph.edges, ("flatten", "skip"), ("skip", "out")))


NOT_SAID = {
    "a float graph": (lambda: paper_chain(), "", "not an integer network"),
    "a branch": (lambda: branched(), "flatten", "one chain"),
    "128 groups": (lambda: with_groups(128), "layer-1", "zeros"),
    "only inhibition": (lambda: chain(fc=Linear(np.full((3, 32), -256.0), np.zeros(3))), "layer-3", "changes 96"),
    "an integer input": (lambda: chain(input=Input((2, 4, 4), "integer")), "input", "binary spikes"),
    "a flatten at the end": (lambda: flattened_end(), "flatten", "dense layer only"),
}  # fmt: skip


def flattened_end() -> Graph:
    nodes = {k: v for k, v in chain().nodes.items() if k in ("input", "conv", "lif", "flatten", "output")}
    return Graph(nodes, tuple(pairwise(nodes)), arithmetic="loihi")


@pytest.mark.parametrize("case", NOT_SAID)
def test_what_netx_cannot_say_is_not_written(case, tmp_path):
    make, node, words = NOT_SAID[case]
    notes = write(make(), tmp_path)
    assert notes
    assert all((n.code, n.severity) == ("ND256", "note") for n in notes)
    assert notes[0].node == node
    assert words in notes[0].rule
    assert list(tmp_path.iterdir()) == []


def test_127_groups_are_written(tmp_path):
    assert write(with_groups(127), tmp_path) == []


def test_a_residual_network_is_noted_and_left_out(tmp_path):
    from neurodeploy.passes.quantize import quantize
    from neurodeploy.passes.unit_gain import unit_gain

    graph, _ = quantize(unit_gain(skip_chain()))
    assert [n.node for n in write(graph, tmp_path)]
    assert not (tmp_path / NAME).exists()


@pytest.fixture(scope="module")
def netx_python(lava_python) -> Path:
    """A Python with lava-nc and lava-dl's netx (torch is not needed)."""
    code = "import importlib.util as u, lava.lib.dl; assert u.find_spec('lava.lib.dl') and list(lava.lib.dl.__path__)"
    if subprocess.run([lava_python, "-c", code], capture_output=True, check=False).returncode:
        pytest.skip("lava-dl is not beside lava-nc: pip install --no-deps lava-dl==0.6.0")
    return lava_python


@pytest.mark.lava
@pytest.mark.parametrize("seed", [4, 11, 23])
def test_netx_computes_the_same_from_our_file(seed, tmp_path, netx_python):
    """Spikes, u and v of every layer in lava-dl's netx itself, two samples with biases and odd decays."""
    graph = integer_chain(seed)
    x = random_input(graph, seed, samples=2, timesteps=7)
    assert write(graph, tmp_path) == []
    np.savez(tmp_path / "x.npz", x=x)
    command = [netx_python, RECORD, tmp_path / NAME, tmp_path / "x.npz", tmp_path / "out.npz", "--alone"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    again, _ = load_net(tmp_path / NAME)
    ours = interpret(again, x, "loihi").arrays()
    with np.load(tmp_path / "out.npz") as recorded:
        keys = [k for k in recorded.files if k in ours]
        assert {k.partition("/")[2] for k in keys} == {n for n in again.nodes if n in again.names((LIF, Integrator))}
        assert {k: int(np.sum(recorded[k] != ours[k])) for k in keys} == dict.fromkeys(keys, 0)
