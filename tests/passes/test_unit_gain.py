"""Unit gain: the same spikes with gain 1 and no offset."""

from itertools import pairwise

import nir
import numpy as np
from graphs import random_graph, random_input
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nir_io import ReadOptions, from_nir
from neurodeploy.ir.nodes import LIF
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
