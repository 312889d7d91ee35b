"""The engine against the interpreter: bit for bit, in every arithmetic, on random graphs."""

import numpy as np
import pytest
from graphs import paper_chain, random_graph, random_input
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import LIF, Input, Integrator, Linear, Output
from neurodeploy.passes.fold_pool import fold_pool
from neurodeploy.passes.quantize import quantize
from neurodeploy.sim.engine import Engine, Result


def assert_same(graph, x, arithmetic):
    meaning = interpret(graph, x, arithmetic)
    result = Engine(graph, arithmetic).run(x, x.shape[1], keep_membrane=True, tile=2)
    assert list(result.spikes) == list(meaning.spikes)
    for name, spikes in meaning.spikes.items():
        np.testing.assert_array_equal(result.spikes[name], spikes, err_msg=name)
    for name, state in meaning.membrane.items():
        np.testing.assert_array_equal(result.membrane[name], state, err_msg=name)
    np.testing.assert_array_equal(result.output, meaning.output)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), arithmetic=st.sampled_from(["float32", "float64"]), real=st.booleans())
def test_equals_the_interpreter_bit_for_bit_in_floats(seed, arithmetic, real):
    graph = random_graph(seed, real=real)
    rng = np.random.default_rng(seed)
    x = random_input(graph, seed)
    # Not only dyadic numbers: the canonical order of sums must hold where rounding happens.
    x = x * rng.normal(size=x.shape) if real else x
    assert_same(graph, x, arithmetic)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_equals_the_interpreter_bit_for_bit_on_the_integer_machine(seed):
    graph, _ = quantize(fold_pool(paper_chain(seed, real=False)))
    assert_same(graph, random_input(graph, seed, samples=4, timesteps=6), "loihi")


def results(**how) -> Result:
    graph = paper_chain(1)
    x = np.random.default_rng(0).normal(size=(11, 1, 1, 8, 8))
    return Engine(graph, "float32").run(x, 4, **how)


@pytest.mark.parametrize(
    "how", [{"tile": 1}, {"tile": 4}, {"tile": 64}, {"tile": 3, "threads": 2}, {"tile": 1, "threads": 5}]
)
def test_results_do_not_depend_on_tiles_or_threads(how):
    plain, other = results(), results(**how)
    np.testing.assert_array_equal(plain.output, other.output)
    for name in plain.spikes:
        np.testing.assert_array_equal(plain.spikes[name], other.spikes[name])
    assert [layer.to_json() for layer in plain.layers] == [layer.to_json() for layer in other.layers]


def test_a_static_input_is_the_same_input_at_every_step():
    graph = paper_chain(2)
    x = np.random.default_rng(3).normal(size=(4, 1, 1, 8, 8))
    static = Engine(graph).run(x, 4)
    repeated = Engine(graph).run(np.repeat(x, 4, axis=1), 4)
    np.testing.assert_array_equal(static.output, repeated.output)
    for name in static.spikes:
        np.testing.assert_array_equal(static.spikes[name], repeated.spikes[name])
    counts = {layer.name: layer for layer in static.layers}
    again = {layer.name: layer for layer in repeated.layers}
    assert counts["conv1"].total("mac") == again["conv1"].total("mac") == 4 * counts["conv1"].total("mac_once")
    assert again["conv1"].total("mac_once") == 0
    assert counts["conv2"].to_json() == again["conv2"].to_json()


def test_progress_counts_every_sample():
    seen = []
    results(tile=4, progress=seen.append)
    assert sum(seen) == 11
    assert max(seen) <= 4


def test_unfolded_norms_and_float_graphs_on_the_integer_machine_are_refused():
    with pytest.raises(UnsupportedError) as refusal:
        Engine(random_graph(0, norms=True))
    assert refusal.value.code == "ND220"
    with pytest.raises(UnsupportedError) as refusal:
        Engine(paper_chain(0), "loihi")
    assert refusal.value.code == "ND213"
    assert len(refusal.value.findings) > 3  # all findings, not the first


def wired(nodes, *edges, timesteps=4):
    return Graph({"input": Input((4,), "binary"), **nodes, "output": Output()}, edges, timesteps=timesteps)


def test_an_output_that_adds_spikes_and_currents_is_not_cut_to_bytes():
    rng = np.random.default_rng(0)
    nodes = {"a": Linear(rng.normal(size=(3, 4)), rng.normal(size=3)), "lif": LIF((3,), 0.25, 0.5)}
    nodes["b"] = Linear(rng.normal(size=(3, 3)), rng.normal(size=3))
    graph = wired(nodes, ("input", "a"), ("a", "lif"), ("lif", "b"), ("lif", "output"), ("b", "output"))
    assert_same(graph, random_input(graph, 0), "float64")
    only_spikes = wired({"a": nodes["a"], "lif": nodes["lif"]}, ("input", "a"), ("a", "lif"), ("lif", "output"))
    assert Engine(only_spikes).run(random_input(only_spikes, 0), 4).output.dtype == np.uint8


def test_one_synapse_may_feed_several_populations():
    nodes = {"a": Linear(np.eye(4), np.zeros(4)), "l": LIF((4,), 0.25, 0.5), "m": LIF((4,), 0.5, 0.75)}
    graph = wired(nodes, ("input", "a"), ("a", "l"), ("a", "m"), ("l", "output"), ("m", "output"))
    x = random_input(graph, 0)
    assert_same(graph, x, "float32")
    active = {layer.name: layer.total("neuron_updates_active") for layer in Engine(graph).run(x, 4).layers}
    assert active["l"] == active["m"] == 4 * int(x.any(axis=2).sum())  # a dense layer reaches all of them


def test_a_neuron_fed_by_spikes_is_active_where_they_arrive():
    graph = wired({"lif": LIF((4,), 0.25, 0.5)}, ("input", "lif"), ("lif", "output"))
    x = random_input(graph, 1)
    (layer,) = [layer for layer in Engine(graph).run(x, 4).layers if layer.name == "lif"]
    assert layer.total("neuron_updates_active") == int(x.sum())
    assert layer.total("neuron_updates_idle") == x.size - int(x.sum())


def test_a_readout_that_leaves_its_range_is_refused_with_the_steps_that_are_proven():
    nodes = {"fc": Linear(np.full((2, 4), 254.0), np.full(2, 4000.0)), "readout": Integrator((2,))}
    graph = wired(nodes, ("input", "fc"), ("fc", "readout"), ("readout", "output"))
    x = np.ones((1, 40, 4), np.uint8)
    most = 131071 // (4 * 254 + 4000)
    assert Engine(graph, "loihi").run(x[:, :most], most).output.max() == most * (4 * 254 + 4000) * 64
    with pytest.raises(UnsupportedError, match="left its 24-bit range") as refusal:
        Engine(graph, "loihi").run(x, 40)
    assert refusal.value.code == "ND223"
    assert f"at most {most} timesteps" in refusal.value.fix
