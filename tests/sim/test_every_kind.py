"""The engine on every node kind, late edges and cycles: against the interpreter, and hand-worked."""

from itertools import pairwise

import numpy as np
import pytest
from every_kind import any_input, every_kind, every_kind_of_machine
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir import nodes as every_node
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import (
    LIF,
    Conv1d,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Integrator,
    Linear,
    MaxPool2d,
    Node,
    Norm,
    Output,
    Scale,
    Threshold,
)
from neurodeploy.sim.engine import Engine
from neurodeploy.sim.run import simulate
from neurodeploy.targets.artifact import Runnable


def arrays(result):
    return {
        "output": result.output,
        **{f"spikes/{name}": array for name, array in result.spikes.items()},
        **{f"membrane/{name}": array for name, array in result.membrane.items()},
        **{f"current/{name}": array for name, array in result.current.items()},
    }


def assert_same(graph, x, arithmetic):
    """Every spike, state, current and output, in graph order."""
    engine = Engine(graph, arithmetic)
    try:
        meaning = interpret(graph, x, arithmetic)
    except UnsupportedError:  # more than 255 spikes at once, which a trace cannot keep
        with pytest.raises(UnsupportedError) as caught:
            engine.run(x, x.shape[1])
        assert caught.value.code == "ND223"
        return
    result = engine.run(x, x.shape[1], keep_membrane=True, tile=2)
    expected, found = meaning.arrays(), arrays(result)
    assert list(found) == list(expected)
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array, err_msg=key)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), arithmetic=st.sampled_from(["float32", "float64"]))
def test_equals_the_interpreter_bit_for_bit_in_floats(seed, arithmetic):
    graph = every_kind(seed)
    assert_same(graph, any_input(graph, seed), arithmetic)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_equals_the_interpreter_bit_for_bit_on_the_integer_machine(seed):
    graph = every_kind_of_machine(seed)
    assert_same(graph, any_input(graph, seed, timesteps=6), "loihi")


def test_the_random_graphs_hold_every_kind_and_every_kind_of_edge():
    graphs = [every_kind(seed) for seed in range(60)]
    kinds = {type(node) for graph in graphs for node in graph.nodes.values()}
    public = [kind for name, kind in vars(every_node).items() if isinstance(kind, type) and not name.startswith("_")]
    assert kinds == {kind for kind in public if issubclass(kind, Node)} - {Node, Norm}
    assert sum(len(graph.cycles) > 0 for graph in graphs) > 10
    assert sum(len(graph.recurrent) > 0 and not graph.cycles for graph in graphs) > 10
    # an edge may lead to a node that the graph's order puts first
    orders = [(list(graph.nodes), edge) for graph in graphs for edge in graph.recurrent if not graph.cycles]
    assert any(order.index(source) > order.index(target) for order, (source, target) in orders)


def chain(*nodes, shape=(1,), values="real", late=(), timesteps=4):
    """Nodes one after the other, named n0, n1, …; ``late`` holds further edges, one step late."""
    names = {"input": Input(shape, values), **{f"n{i}": node for i, node in enumerate(nodes)}, "output": Output()}
    return Graph(names, (*pairwise(names), *late), timesteps, recurrent=frozenset(late))


def run(graph, x, **how):
    """Output of one sample, and counts per node and step."""
    result = Engine(graph, **how).run(np.asarray(x)[None], len(x))
    return result.output[0].tolist(), {layer.name: layer.per_step for layer in result.layers}


ONE = {"decay": 1.0, "threshold": 1.0}


def test_a_neuron_that_excites_itself_keeps_firing_from_the_step_after():
    """IF, threshold 1, fed by its own spike: 1 arrives one step late, so one spike goes on for ever."""
    graph = chain(LIF((1,), **ONE), late=[("n0", "n0")])
    assert run(graph, [[0.5], [0.5], [0.0], [0.0], [0.0]])[0] == [[0], [1], [1], [1], [1]]


def test_a_late_edge_outside_of_a_cycle_is_a_shift_by_one_step():
    """y[t] = 2 x[t] + 3 x[t − 1], nothing before the first step; the bias of `late` comes late too."""
    nodes = {
        "input": Input((1,)),
        "now": Linear(np.array([[2.0]]), np.zeros(1)),
        "late": Linear(np.array([[3.0]]), np.array([10.0])),
        "output": Output(),
    }
    edges = (("input", "now"), ("input", "late"), ("now", "output"), ("late", "output"))
    graph = Graph(nodes, edges, recurrent=frozenset([("late", "output")]))
    assert run(graph, [[1.0], [2.0], [0.0]])[0] == [[2.0], [4.0 + 13.0], [16.0]]
    other_edge = Graph(nodes, edges, recurrent=frozenset([("input", "late")]))  # then the bias is there from t = 0
    assert run(other_edge, [[1.0], [2.0], [0.0]])[0] == [[12.0], [4.0 + 13.0], [16.0]]


def test_a_recurrent_layer_reads_the_spikes_of_the_step_before():
    """Two IFs; the first spikes at t = 0; the recurrent weights hand the spike on to the other one and back."""
    nodes = {
        "input": Input((2,), "binary"),
        "back": Linear(np.array([[0.0, 1.0], [1.0, 0.0]]), np.zeros(2)),
        "lif": LIF((2,), **ONE),
        "output": Output(),
    }
    edges = (("input", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output"))
    graph = Graph(nodes, edges, recurrent=frozenset([("lif", "back")]))
    x = np.array([[1, 0], [0, 0], [0, 0], [0, 0]], np.uint8)
    output, counts = run(graph, x)
    assert output == [[1, 0], [0, 1], [1, 0], [0, 1]]
    # A dense layer of 2: every spike reaches both, one step after it was fired; the last one reaches nothing any more.
    assert counts["back"]["sop"].tolist() == [0, 2, 2, 2]
    assert counts["back"]["sop_nonzero"].tolist() == [0, 1, 1, 1]
    assert counts["lif"]["neuron_updates_active"].tolist() == [1, 2, 2, 2]
    assert counts["lif"]["neuron_updates_idle"].tolist() == [1, 0, 0, 0]
    late_sums = Graph(nodes, edges, recurrent=frozenset([("back", "lif")]))  # the other edge of the cycle delivers late
    assert run(late_sums, x)[0] == output


def test_a_delay_holds_every_element_back_by_its_own_steps():
    graph = chain(Delay((3,), np.array([0, 1, 9])), shape=(3,))
    assert run(graph, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[0] == [[1.0, 0.0, 0.0], [4.0, 2.0, 0.0]]
    in_cycle = chain(Scale((1,), 0.5), Delay((1,), 2), late=[("n1", "n0")])  # y[t] = (x[t − 2] + y[t − 3]) / 2
    assert [row[0] for row in run(in_cycle, [[8.0]] + [[0.0]] * 8)[0]] == [0, 0, 4, 0, 0, 2, 0, 0, 1]


def test_a_current_flows_on_and_its_updates_are_idle():
    """i halves each step: 1, 0.5, 0.25; u = i summed. No event after the first step: idle, though the state moves."""
    graph = chain(CubaLIF((1,), **{**ONE, "threshold": 9.0}, current_decay=0.5), values="binary")
    result = Engine(graph).run(np.array([[[1], [0], [0]]], np.uint8), 3, keep_membrane=True)
    assert result.current["n0"].ravel().tolist() == [1.0, 0.5, 0.25]
    assert result.membrane["n0"].ravel().tolist() == [1.0, 1.5, 1.75]
    (layer,) = [layer for layer in result.layers if layer.name == "n0"]
    assert layer.per_step["neuron_updates_active"].tolist() == [1, 0, 0]
    assert layer.per_step["neuron_updates_idle"].tolist() == [0, 1, 1]


def test_the_integer_current_truncates_and_wraps_once():
    """Weight 3: i = 192, then 192·1365 >> 12 = 63, 20, 6; Lava wraps once, so 2^18 stays above the range."""
    neuron = CubaLIF((1,), 0.0, 131071.0, compare="gt", current_decay=1365 / 4096)
    graph = chain(Linear(np.array([[3.0]]), np.zeros(1)), neuron, values="binary")
    result = Engine(graph, "loihi").run(np.array([[[1], [0], [0], [0]]], np.uint8), 4, keep_membrane=True)
    assert result.current["n1"].ravel().tolist() == [192, 63, 20, 6]
    wide = chain(Linear(np.array([[2.0**19]]), np.zeros(1)), neuron, values="binary")
    x = np.ones((1, 1, 1), np.uint8)
    wrapped = Engine(wide, "loihi").run(x, 1, keep_membrane=True)
    assert wrapped.current["n1"].item() == 2**25 - 2**24
    assert wrapped.membrane["n1"].item() == 0  # clipped to 2^23 − 1, which is above vThMant << 6: it fired


def test_sums_that_leave_32_bits_are_added_in_64():
    graph = chain(
        Linear(np.full((1, 3), 2.0**30), np.zeros(1)), LIF((1,), 0.0, 9.0, compare="gt"), shape=(3,), values="binary"
    )
    assert_same(graph, np.ones((1, 2, 3), np.uint8), "loihi")
    assert Engine(graph, "loihi").plan.dtype == np.int64
    several = chain(
        Linear(np.full((1, 3), 2.0), np.zeros(1)), LIF((1,), 0.0, 9.0, compare="gt"), shape=(3,), values="binary"
    )
    assert Engine(several, "loihi").plan.dtype == np.int32


def test_several_spikes_at_once_are_graded_events():
    """⌊2.6⌋ = 2 spikes, 0.6 left; 0.6 + 0.5 = 1.1: 1 spike. One event a step, with its number."""
    nodes = {
        "input": Input((1,)),
        "lif": LIF((1,), **ONE, reset="subtract", spikes="multi"),
        "fc": Linear(np.array([[0.25], [0.0]]), np.zeros(2)),
        "behind": LIF((2,), **ONE),
        "output": Output(),
    }
    graph = Graph(nodes, tuple(pairwise(nodes)))
    _, counts = run(graph, [[2.6], [0.5], [0.0]], arithmetic="float64", cores={"lif": 1, "behind": 3})
    assert counts["lif"]["spikes_out"].tolist() == [2, 1, 0]
    assert counts["lif"]["messages"].tolist() == [3, 3, 0]
    assert counts["fc"]["sop_graded"].tolist() == [2, 2, 0]
    assert counts["fc"]["sop"].tolist() == counts["fc"]["mac"].tolist() == [0, 0, 0]
    assert counts["behind"]["neuron_updates_active"].tolist() == [2, 2, 0]


def test_more_than_255_spikes_at_once_do_not_fit_a_trace():
    graph = chain(LIF((1,), **ONE, reset="subtract", spikes="multi"))
    engine = Engine(graph)
    assert engine.run(np.full((1, 1, 1), 300.0), 1, keep_spikes=False).output.item() == 300.0
    assert engine.run(np.full((1, 1, 1), 255.0), 1).spikes["n0"].item() == 255
    with pytest.raises(UnsupportedError, match="300 spikes in one timestep") as refusal:
        engine.run(np.full((1, 1, 1), 300.0), 1)
    assert (refusal.value.code, refusal.value.where) == ("ND223", "n0")


def test_a_conv1d_counts_its_borders():
    """Length 5, kernel 3, padding 1, two outputs: 2 + 3 + 3 + 3 + 2 taps for ones everywhere, times two."""
    graph = chain(Conv1d(np.ones((2, 1, 3)), np.zeros(2), padding=1), LIF((2, 5), **ONE), shape=(1, 5), values="binary")
    assert run(graph, np.ones((1, 1, 5), np.uint8))[1]["n0"]["sop"].tolist() == [13 * 2]
    corner = np.zeros((1, 1, 5), np.uint8)
    corner[0, 0, 0] = 1
    counts = run(graph, corner)[1]
    assert counts["n0"]["sop"].tolist() == [2 * 2]
    assert counts["n1"]["neuron_updates_active"].tolist() == [2 * 2]


def test_real_values_reach_only_what_they_are_connected_to():
    """Length 3, kernel 1, padding 1: the outer two of five outputs see nothing but padding, at every step."""
    graph = chain(Conv1d(np.ones((1, 1, 1)), np.zeros(1), padding=1), LIF((1, 5), **ONE), shape=(1, 3))
    counts = run(graph, np.ones((2, 1, 3)))[1]
    assert counts["n0"]["mac"].tolist() == [3, 3]
    assert counts["n1"]["neuron_updates_active"].tolist() == [3, 3]
    assert counts["n1"]["neuron_updates_idle"].tolist() == [2, 2]


def test_a_synapse_behind_a_max_pool_sees_spikes():
    """Three spikes in two windows are two events; a neuron is active where its window holds one."""
    pooled = chain(MaxPool2d((2, 2), (2, 2)), LIF((1, 2, 2), **ONE), Flatten(), shape=(1, 4, 4), values="binary")
    x = np.zeros((1, 1, 4, 4), np.uint8)
    x[0, 0, 0, :3] = 1
    assert run(pooled, x)[1]["n1"]["neuron_updates_active"].tolist() == [2]
    dense = chain(
        MaxPool2d((2, 2), (2, 2)), Flatten(), Linear(np.ones((5, 4)), np.zeros(5)), shape=(1, 4, 4), values="binary"
    )
    assert run(dense, x)[1]["n2"]["sop"].tolist() == [2 * 5]


def test_events_pass_from_a_synapse_to_a_neuron_through_delay_and_scale():
    """A spike at t = 0 reaches the neuron at t = 2, and so does the bias of channel 1 from then on."""
    graph = chain(
        Linear(np.ones((2, 1)), np.array([0.0, 1.0])),
        Scale((2,), 0.5),
        Delay((2,), 2),
        LIF((2,), **ONE),
        values="binary",
    )
    counts = run(graph, np.array([[1], [0], [0], [0]], np.uint8))[1]
    assert counts["n3"]["neuron_updates_active"].tolist() == [0, 0, 2, 1]


def test_the_bias_of_a_late_synapse_comes_late_but_not_on_the_integer_machine():
    """No event at all: floats deliver the bias from the second step on, the machine adds it to v at every step."""
    nodes = {
        "input": Input((1,), "binary"),
        "fc": Linear(np.array([[2.0]]), np.array([3.0])),
        "lif": LIF((1,), 0.5, 9.0, compare="gt"),
        "output": Output(),
    }
    graph = Graph(nodes, tuple(pairwise(nodes)), recurrent=frozenset([("fc", "lif")]))
    for arithmetic, active in (("float64", [0, 1, 1]), ("loihi", [1, 1, 1])):
        counts = run(graph, np.zeros((3, 1), np.uint8), arithmetic=arithmetic)[1]
        assert counts["lif"]["neuron_updates_active"].tolist() == active


def test_messages_go_through_delay_and_flatten_and_around_a_cycle():
    """`lif` is read by the dense layer in front of `out` (2 cores) behind Delay and Flatten, and by its own (3)."""
    nodes = {
        "input": Input((1, 2), "binary"),
        "lif": LIF((1, 2), **ONE),
        "back": Conv1d(np.zeros((1, 1, 1)), np.zeros(1)),
        "delay": Delay((1, 2), np.array([[1, 2]])),
        "flatten": Flatten(),
        "fc": Linear(np.ones((1, 2)), np.zeros(1)),
        "out": LIF((1,), **ONE),
        "output": Output(),
    }
    edges = [*pairwise(["input", "lif", "delay", "flatten", "fc", "out", "output"]), ("lif", "back"), ("back", "lif")]
    graph = Graph(nodes, tuple(edges), recurrent=frozenset([("lif", "back")]))
    x = np.array([[[1, 1]], [[0, 1]], [[0, 0]], [[0, 0]]], np.uint8)
    counts = run(graph, x, cores={"lif": 3, "out": 2})[1]
    assert counts["lif"]["spikes_out"].tolist() == [2, 1, 0, 0]
    assert counts["lif"]["messages"].tolist() == [2 * 5, 1 * 5, 0, 0]
    assert counts["fc"]["sop"].tolist() == [0, 1, 1, 1]
    assert counts["back"]["sop"].tolist() == [0, 2, 1, 0]


def test_a_threshold_puts_out_spikes():
    graph = chain(Threshold((2,), 0.5), Linear(np.ones((3, 2)), np.zeros(3)), shape=(2,))
    output, counts = run(graph, [[0.5, 0.6]])
    assert output == [[1.0] * 3]
    assert counts["n1"]["sop"].tolist() == [3]


def recurrent_graphs():
    seeds = (seed for seed in range(1000) if every_kind(seed).cycles)
    return [every_kind(next(seeds)) for _ in range(4)]


@pytest.mark.parametrize("how", [{"tile": 1}, {"tile": 3, "threads": 3}, {"tile": 1, "threads": 2}])
def test_results_do_not_depend_on_tiles_or_threads(how):
    for graph in recurrent_graphs():
        engine, x = Engine(graph), any_input(graph, 1, samples=7)
        one, other = (engine.run(x, 5, keep_membrane=True, **options) for options in ({"tile": 64}, how))
        for key, array in arrays(one).items():
            np.testing.assert_array_equal(arrays(other)[key], array, err_msg=key)
        assert [str(layer.per_step) for layer in one.layers] == [str(layer.per_step) for layer in other.layers]


def test_a_static_input_is_the_same_input_at_every_step_in_cycles_too():
    for graph in recurrent_graphs():
        x = any_input(graph, 2, timesteps=1)
        static, repeated = (Engine(graph).run(x, 5), Engine(graph).run(np.repeat(x, 5, axis=1), 5))
        for key, array in arrays(static).items():
            np.testing.assert_array_equal(arrays(repeated)[key], array, err_msg=key)
        for one, other in zip(static.layers, repeated.layers, strict=True):
            for key in one.per_step.keys() - {"mac_once"}:
                np.testing.assert_array_equal(one.per_step[key], other.per_step[key], err_msg=f"{one.name} {key}")


@pytest.mark.parametrize("timesteps", [1, 3])
def test_a_static_input_is_encoded_once_but_not_inside_of_a_cycle(timesteps):
    """`a` sees the same values at every step; `b` those and what `a` and it put out before; `c` a state that moves."""
    nodes = {
        "input": Input((2,)),
        "a": Linear(np.eye(2), np.ones(2)),
        "b": Linear(np.eye(2), np.ones(2)),
        "state": Integrator((2,)),
        "c": Linear(np.eye(2), np.ones(2)),
        "output": Output(),
    }
    edges = (*pairwise(["input", "a", "b", "output"]), ("b", "b"), *pairwise(["a", "state", "c", "output"]))
    graph = Graph(nodes, edges, recurrent=frozenset([("b", "b")]))
    layers = {layer.name: layer for layer in Engine(graph).run(np.ones((5, 1, 2)), timesteps).layers}
    assert [layers[name].total("mac") for name in "abc"] == [5 * 4 * timesteps] * 3
    assert [layers[name].total("mac_once") for name in "abc"] == [5 * 4, 0, 0]


def test_a_trace_holds_the_currents():
    graph = chain(CubaLIF((2,), **ONE, current_decay=0.5), Integrator((2,)), shape=(2,), timesteps=3)
    trace = simulate(
        Runnable(graph, None, {}, own=True, place="here"), np.ones((4, 3, 2)), keep_spikes=True, keep_membrane=True
    )
    found = trace.arrays()
    assert [key for key in found if not key.startswith("counts/")] == [
        "spikes/n0",
        "output",
        "membrane/n0",
        "membrane/n1",
        "current/n0",
    ]
    np.testing.assert_array_equal(found["current/n0"], interpret(graph, np.ones((4, 3, 2)), "float32").current["n0"])
