"""Unit gain: the same spikes with gain 1 and no offset."""

from dataclasses import replace
from itertools import pairwise

import nir
import numpy as np
import pytest
from graphs import dyadic, random_graph, random_input
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nir_io import ReadOptions, from_nir
from neurodeploy.ir.nodes import LIF, CubaLIF, Input, Integrator, Linear, Output
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.passes.unit_gain import unit_gain
from neurodeploy.targets.base import load_target


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_same_spikes_exactly_for_powers_of_two(seed):
    """Cases 1 and 2: random_lif draws gains of 1/2 and 1, offsets, resets of every kind; dyadic numbers throughout."""
    graph = random_graph(seed)
    plain = unit_gain(graph)
    for name in plain.names(LIF):
        assert np.all(plain.nodes[name].gain == 1.0)
        assert np.all(plain.nodes[name].offset == 0.0)
    x = random_input(graph, seed)
    before, after = interpret(graph, x), interpret(plain, x)
    for name in before.spikes:
        np.testing.assert_array_equal(after.spikes[name], before.spikes[name])
    np.testing.assert_array_equal(after.output, before.output)


def test_a_network_of_another_framework_reaches_the_chip():
    """Affine-LIF-Affine-LIF as Norse, snnTorch or SpikingJelly write it: r = 1, tau = 2 dt, so a gain of one half."""
    rng = np.random.default_rng(0)

    def lif(size):
        full = {"tau": 2e-4, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0}
        return nir.LIF(**{key: np.full(size, value) for key, value in full.items()})

    nodes = {
        "in": nir.Input({"input": np.array([6])}),
        "a": nir.Affine(rng.normal(size=(8, 6)) * 2, rng.normal(size=8) / 4),
        "l1": lif(8),
        "b": nir.Affine(rng.normal(size=(4, 8)) * 2, rng.normal(size=4) / 4),
        "l2": lif(4),
        "out": nir.Output({"output": np.array([4])}),
    }
    file = nir.NIRGraph(nodes, list(pairwise(nodes)))
    foreign = from_nir(file, ReadOptions(input_kind="binary", timesteps=4))
    done = compile_graph(foreign, load_target("loihi2").spec)
    assert done.graph.arithmetic == "loihi"
    x = random_input(foreign, 0, samples=64)
    real, chip = interpret(foreign, x), interpret(done.graph, x, "loihi")
    for name in ("l1", "l2"):
        assert 0.05 < real.spikes[name].mean() < 0.95
        assert (
            np.mean(real.spikes[name] != chip.spikes[name]) < 0.02
        )  # 8-bit weights: a few potentials at the threshold


def test_a_negative_gain_is_left_for_the_target_to_refuse():
    graph = random_graph(0)
    name = graph.names(LIF)[0]
    node = graph.nodes[name]
    odd = graph.with_nodes({name: LIF(node.shape, node.decay, node.threshold, gain=np.asarray(-1.0))})
    assert unit_gain(odd).nodes[name] == odd.nodes[name]


def current_net(**numbers: object) -> Graph:
    """A synapse into neurons with a current, a leaky readout with a gain behind them; dyadic numbers."""
    rng = np.random.default_rng(0)
    settings = {"decay": 0.5, "current_decay": 0.5, "threshold": 1.0, "gain": 0.5, "current_gain": 0.25, **numbers}
    nodes = {
        "input": Input((4,), "binary"),
        "fc": Linear(dyadic(rng, (5, 4), bits=1, span=16), np.zeros(5)),
        "lif": CubaLIF((5,), **settings),
        "out": Linear(dyadic(rng, (3, 5)), dyadic(rng, 3)),
        "readout": Integrator((3,), decay=0.5, gain=np.array([0.5, 2.0, -1.0]), offset=0.25),
        "output": Output(),
    }
    return Graph(nodes, tuple(pairwise(nodes)), timesteps=6)


@pytest.mark.parametrize(
    ("numbers", "offset"),
    [({}, 0.0), ({"offset": 0.125}, 1.0), ({"offset": 0.125, "current_decay": 0.0}, 0.0), ({"v_reset": -0.5}, 0.0)],
)
def test_a_current_and_a_readout_keep_their_spikes_and_outputs(numbers, offset):
    """Cases 2, 3, 4: g = gain·current_gain = 1/8. An offset moves into the bias only where the current forgets."""
    graph = current_net(**numbers)
    plain = unit_gain(graph)
    node, readout = plain.nodes["lif"], plain.nodes["readout"]
    assert (float(node.gain), float(node.current_gain), float(node.threshold)) == (1.0, 1.0, 8.0)
    assert float(node.offset) == offset
    assert (float(readout.gain), float(readout.offset)) == (1.0, 0.0)
    x = random_input(graph, 0, samples=32, timesteps=6)
    before, after = interpret(graph, x), interpret(plain, x)
    assert 0.02 < before.spikes["lif"].mean() < 0.98
    np.testing.assert_array_equal(after.spikes["lif"], before.spikes["lif"])
    np.testing.assert_array_equal(after.membrane["lif"] / 8, before.membrane["lif"])
    np.testing.assert_array_equal(after.output, before.output)


def test_an_offset_that_no_synapse_can_take_is_left_alone():
    """Case 5: the synapse feeds two populations, or its bias would arrive a step late."""
    graph = current_net(offset=0.125, current_decay=0.0)
    late = replace(graph, recurrent=frozenset({("fc", "lif")}))
    assert unit_gain(late).nodes["lif"] == graph.nodes["lif"]
