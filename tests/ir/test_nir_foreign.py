"""Foreign NIR: what other exporters leave out or write askew, read as they meant it or refused by name."""

import itertools

import h5py
import nir
import numpy as np
import pytest

from neurodeploy.diagnostics import UnsupportedError, UsageError
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nir_io import ReadOptions, doubtful_time, from_nir, read_nir
from neurodeploy.ir.nodes import LIF, Conv2d, CubaLIF, Integrator, Linear


def write_tree(path, nodes, edges=None):
    """A ``.nir`` file as bare HDF5: what no nir release would check."""
    names = list(nodes)
    edges = edges if edges is not None else list(itertools.pairwise(names))
    with h5py.File(path, "w") as file:
        file["version"] = "0.2"
        _fill(file.create_group("node"), {"type": "NIRGraph", "nodes": nodes, "edges": edges})
    return path


def _fill(group, tree):
    for key, value in tree.items():
        if isinstance(value, dict):
            _fill(group.create_group(key), value)
        elif key == "edges":
            group.create_dataset(key, data=np.array(value, dtype=object).reshape(-1, 2), dtype=h5py.string_dtype())
        elif value is not None:
            group[key] = value


def lif(**changes):
    numbers = {"tau": 4e-4, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.5, **changes}
    return {"type": "LIF", **numbers}


def entry(*shape):
    return {"type": "Input", "shape": np.array(shape)}


def output(*shape):
    return {"type": "Output", "shape": np.array(shape)}


def conv(out=4, inputs=2, kernel=(3, 3), **changes):
    rest = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, **changes}
    return {"type": "Conv2d", "weight": np.ones((out, inputs, *kernel), np.float32), "bias": np.zeros(out), **rest}


# ---------------------------------------------------------------------------------------------------------------------
# shapes


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (0.25, np.asarray(0.25)),
        (np.array([0.25]), np.asarray(0.25)),
        (np.arange(1, 5) / 8, (np.arange(1, 5) / 8).reshape(4, 1, 1)),  # (C,): one per channel
        ((np.arange(1, 5) / 8).reshape(4, 1, 1), (np.arange(1, 5) / 8).reshape(4, 1, 1)),
        (np.arange(1, 25).reshape(1, 4, 2, 3) / 8, np.arange(1, 25).reshape(4, 2, 3) / 8),  # a batch axis in front
    ],
)
def test_a_parameter_takes_the_shape_that_enters_its_node(given, kept, tmp_path):
    """Scalars (Norse, snnTorch), ``(1,)``, one per channel: the file alone does not say the shape of the layer."""
    nodes = {"in": entry(2, 4, 5), "conv": conv(), "lif": lif(v_threshold=given), "out": output(4, 2, 3)}
    node = read_nir(write_tree(tmp_path / "x.nir", nodes)).nodes["lif"]
    assert node.shape == (4, 2, 3)
    np.testing.assert_array_equal(node.threshold, kept)
    assert node.threshold.shape == np.shape(kept)


def test_one_number_per_channel_or_per_column_is_not_guessed(tmp_path):
    nodes = {"in": entry(2, 4, 6), "conv": conv(), "lif": lif(v_threshold=np.arange(1.0, 5.0)), "out": output(4, 2, 4)}
    with pytest.raises(UsageError) as refusal:
        read_nir(write_tree(tmp_path / "x.nir", nodes))
    assert refusal.value.code == "ND105"
    assert "one per channel or one per column" in refusal.value.message
    assert "(4, 1, 1)" in refusal.value.fix


def test_every_parameter_that_does_not_fit_is_named_at_once(tmp_path):
    nodes = {
        "in": entry(3),
        "a": {"type": "Linear", "weight": np.eye(3)},
        "lif": lif(tau=np.full(4, 4e-4)),
        "b": {"type": "Linear", "weight": np.eye(3)},
        "lif2": lif(tau=-1.0),
        "out": output(3),
    }
    edges = [("in", "a"), ("a", "lif"), ("in", "b"), ("b", "lif2"), ("lif", "out"), ("lif2", "out")]
    with pytest.raises(UsageError) as refusal:
        read_nir(write_tree(tmp_path / "x.nir", nodes, edges))
    assert [(f.code, f.node) for f in refusal.value.findings] == [("ND105", "lif"), ("ND114", "lif2")]
    assert "tau of this LIF has shape (4,), got (3,)" in refusal.value.message


def test_grouped_and_non_square_kernels_without_input_shape(tmp_path):
    """nir 1.0.8 cannot read this file, and computes another output shape where it can."""
    nodes = {"in": entry(4, 6, 7), "conv": conv(6, 2, (3, 5), groups=2, padding=(1, 0)), "out": output(6, 6, 3)}
    path = write_tree(tmp_path / "x.nir", nodes)
    with pytest.raises((TypeError, ValueError)):
        nir.read(path)
    graph = read_nir(path)
    assert graph.shapes["conv"] == (6, 6, 3)
    node = graph.nodes["conv"]
    assert isinstance(node, Conv2d)
    assert (node.groups, node.padding) == (2, (1, 0))


def test_linear_without_bias_and_half_precision(tmp_path):
    nodes = {"in": entry(3), "a": {"type": "Linear", "weight": np.eye(3, dtype=np.float16)}, "out": output(3)}
    node = read_nir(write_tree(tmp_path / "x.nir", nodes)).nodes["a"]
    assert isinstance(node, Linear)
    assert (node.weight.dtype, node.bias.dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal(node.bias, 0)


def test_padding_in_words_and_one_dimension(tmp_path):
    conv1d = {"type": "Conv1d", "weight": np.ones((3, 2, 5)), "bias": np.zeros(3), "stride": 1, "dilation": 2}
    for word, length in (("same", 9), ("valid", 1)):
        nodes = {"in": entry(2, 9), "conv": {**conv1d, "padding": word, "groups": 1}, "out": output(3, length)}
        assert read_nir(write_tree(tmp_path / "x.nir", nodes)).shapes["conv"] == (3, length)


# ---------------------------------------------------------------------------------------------------------------------
# Input and Output


def test_a_file_without_input_and_output_takes_the_shape_of_its_first_layer(tmp_path):
    affine = {"type": "Affine", "weight": np.ones((2, 3)), "bias": np.zeros(2)}
    graph = read_nir(write_tree(tmp_path / "x.nir", {"a": affine, "lif": lif()}))
    assert graph.shapes == {"input": (3,), "a": (2,), "lif": (2,), "output": (2,)}
    nodes = {"c": conv(input_shape=(5, 6)), "lif": lif()}
    assert read_nir(write_tree(tmp_path / "y.nir", nodes)).shapes["output"] == (4, 3, 4)


def test_an_input_whose_shape_nothing_says_is_refused(tmp_path):
    with pytest.raises(UsageError) as refusal:
        read_nir(write_tree(tmp_path / "x.nir", {"c": conv(), "lif": lif()}))
    assert refusal.value.code == "ND105"
    assert "give the Input its shape" in refusal.value.fix


def test_two_first_layers_without_an_input_are_refused_by_name(tmp_path):
    affine = {"type": "Affine", "weight": np.ones((2, 3)), "bias": np.zeros(2)}
    with pytest.raises(UnsupportedError) as refusal:
        read_nir(write_tree(tmp_path / "x.nir", {"a": affine, "b": affine, "l": lif()}, [("a", "l"), ("b", "l")]))
    assert (refusal.value.code, refusal.value.where) == ("ND212", "a, b")


def test_a_batch_axis_of_one_in_the_input_goes(tmp_path):
    """Norse and snnTorch write the shape of the sample they traced, ``(1, 3)``; the layer behind proves it a batch."""
    affine = {"type": "Affine", "weight": np.ones((2, 3)), "bias": np.zeros(2)}
    nodes = {"in": entry(1, 3), "a": affine, "o": output(1, 2)}
    assert read_nir(write_tree(tmp_path / "x.nir", nodes)).shapes["in"] == (3,)
    nodes = {"in": entry(1, 2, 5, 6), "c": conv(), "o": output(1, 4, 3, 4)}
    assert read_nir(write_tree(tmp_path / "y.nir", nodes)).shapes["in"] == (2, 5, 6)
    with pytest.raises(UsageError) as refusal:
        read_nir(write_tree(tmp_path / "z.nir", {"in": entry(8, 3), "a": affine, "o": output(8, 2)}))
    assert refusal.value.code == "ND105"


# ---------------------------------------------------------------------------------------------------------------------
# nested graphs


def test_graphs_in_graphs_are_written_out_flat(tmp_path):
    """Two levels, a residual path around the inner one, and an inner graph whose ports are left out."""
    affine = {"type": "Affine", "weight": np.eye(2), "bias": np.zeros(2)}
    deep = {"type": "NIRGraph", "nodes": {"fc": affine, "lif": lif()}, "edges": [("fc", "lif")]}
    inner = {
        "type": "NIRGraph",
        "nodes": {"input": entry(2), "deep": deep, "output": output(2)},
        "edges": [("input", "deep"), ("deep", "output"), ("input", "output")],
    }
    nodes = {"in": entry(2), "block": inner, "head": affine, "out": output(2)}
    graph = read_nir(write_tree(tmp_path / "x.nir", nodes))
    assert set(graph.nodes) == {"in", "block_deep_fc", "block_deep_lif", "head", "out"}
    assert set(graph.edges) == {
        ("in", "block_deep_fc"),
        ("block_deep_fc", "block_deep_lif"),
        ("block_deep_lif", "head"),
        ("in", "head"),  # the path straight through the inner graph
        ("head", "out"),
    }


def test_a_joined_name_that_is_taken_is_not_lost(tmp_path):
    affine = {"type": "Affine", "weight": np.eye(2), "bias": np.zeros(2)}
    inner = {"type": "NIRGraph", "nodes": {"fc": affine}, "edges": []}
    nodes = {"in": entry(2), "a": inner, "a_fc": affine, "out": output(2)}
    assert set(read_nir(write_tree(tmp_path / "x.nir", nodes)).nodes) == {"in", "a_fc", "a_fc_", "out"}


def test_a_subgraph_with_two_inputs_is_refused_by_name(tmp_path):
    affine = {"type": "Affine", "weight": np.eye(2), "bias": np.zeros(2)}
    nodes, edges = {"i": entry(2), "j": entry(2), "fc": affine}, [("i", "fc"), ("j", "fc")]
    inner = {"type": "NIRGraph", "nodes": nodes, "edges": edges}
    with pytest.raises(UnsupportedError) as refusal:
        read_nir(write_tree(tmp_path / "x.nir", {"in": entry(2), "sub": inner, "out": output(2)}))
    assert (refusal.value.code, refusal.value.where) == ("ND212", "sub")


# ---------------------------------------------------------------------------------------------------------------------
# neurons


def one(node, x, **options):
    """The membrane, or what leaves, of a single node on the input ``x``."""
    tree = {"in": entry(1), "n": node, "out": output(1)}
    nodes = {"in": nir.Input({"input": np.array([1])}), "n": node, "out": nir.Output({"output": np.array([1])})}
    graph = from_nir(nir.NIRGraph(nodes, list(zip(tree, [*tree][1:], strict=False))), ReadOptions(**options))
    run = interpret(graph, np.asarray(x, float).reshape(1, -1, 1))
    return graph, run


def test_integrators_follow_their_equations():
    """I: dv = dt·r·x. LI: tau dv = v_leak − v + r·x. Three steps of x = 1, 0, 1 by hand, dt = 1e-4."""
    _, run = one(nir.I(np.array([5e3])), [1, 0, 1])
    np.testing.assert_allclose(run.output.reshape(-1), [0.5, 0.5, 1.0])
    leaky = nir.LI(tau=np.array([2e-4]), r=np.array([2.0]), v_leak=np.array([1.0]))
    _, run = one(leaky, [1, 0, 1])
    # v/2 + 1/2·(1 + 2x)
    np.testing.assert_allclose(run.output.reshape(-1), [1.5, 1.25, 2.125])


def test_a_current_based_integrator_becomes_two():
    cell = nir.CubaLI(np.array([2e-4]), np.array([2e-4]), np.array([2.0]), np.array([0.0]), np.array([4.0]))
    graph, run = one(cell, [1, 0, 0])
    assert [(n, type(graph.nodes[n])) for n in graph.names(Integrator)] == [("n_syn", Integrator), ("n", Integrator)]
    # i = i/2 + 2x: 2, 1, .5; v = v/2 + i: 2, 2, 1.5
    np.testing.assert_allclose(run.output.reshape(-1), [2.0, 2.0, 1.5])


def test_a_current_based_neuron_sees_the_updated_current():
    """i = i/2 + 2x: 2, 1, .5, .25; v = v/2 + i fires above 1.75 at once and is reset to 0, the current stays."""
    number = {"tau_syn": 2e-4, "tau_mem": 2e-4, "r": 2.0, "v_leak": 0.0, "v_threshold": 1.75, "w_in": 4.0}
    graph, run = one(nir.CubaLIF(**{key: np.array([value]) for key, value in number.items()}), [1, 0, 0, 0])
    assert isinstance(graph.nodes["n"], CubaLIF)
    np.testing.assert_array_equal(run.spikes["n"].reshape(-1), [1, 0, 0, 0])
    np.testing.assert_allclose(run.current["n"].reshape(-1), [2, 1, 0.5, 0.25])
    np.testing.assert_allclose(run.membrane["n"].reshape(-1), [0, 1, 1, 0.75])


def euler_and_exact(steps):
    """The membrane of a leaky neuron driven by 1 for one time constant, in ``steps`` steps, both ways."""
    tau = 1e-3
    node = nir.LI(tau=np.array([tau]), r=np.array([3.0]), v_leak=np.array([-1.0]))
    return [one(node, np.ones(steps), dt=tau / steps, discretize=rule)[1].output[0, -1, 0] for rule in ("euler", "exp")]


def test_exp_is_the_exact_solution_and_euler_approaches_it_to_first_order():
    """v(tau) = (v_leak + r·x)·(1 − 1/e) = 2·(1 − 1/e): exp meets it at any dt, Euler's error halves with dt."""
    exact = 2 * (1 - np.exp(-1))
    errors = []
    for steps in (1, 10, 20, 40):
        euler, held = euler_and_exact(steps)
        assert held == pytest.approx(exact, rel=1e-12)
        errors.append(abs(euler - exact))
    # the next order is one eighth of the first at 20 steps: 2.05 and 2.02 are expected
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.1)
    assert errors[2] / errors[3] == pytest.approx(2, abs=0.05)


def test_exp_takes_a_time_constant_below_dt():
    node = nir.LIF(*(np.array([v]) for v in (5e-5, 1.0, 0.0, 0.5)))
    graph, _ = one(node, [1], discretize="exp")
    assert float(graph.nodes["n"].decay) == np.exp(-2.0)
    with pytest.raises(UsageError, match="forward Euler diverges"):
        one(node, [1])


def sinabs_steps(x, tau, threshold):
    """sinabs 3.1 ``LIF`` with norm_input: v = a·v + (1 − a)·x; ⌊v/threshold⌋ spikes, each takes one threshold."""
    a, v, out = np.exp(-1 / tau), 0.0, []
    for value in x:
        v = a * v + (1 - a) * value
        spikes = np.floor(v / threshold) if v > 0 else 0.0
        v -= spikes * threshold
        out.append(spikes)
    return np.array(out)


def test_a_sinabs_file_with_its_options():
    """tau in steps, several spikes a step: hand-built as its exporter writes it (r = 1, v_leak = 0, no v_reset)."""
    x = np.random.default_rng(0).normal(2.0, 3.0, size=200)
    node = nir.LIF(tau=np.array([10.0]), r=np.array([1.0]), v_leak=np.array([0.0]), v_threshold=np.array([0.125]))
    graph, run = one(node, x, dt=1, discretize="exp", spikes="multi")
    expected = sinabs_steps(x, 10.0, 0.125)
    assert expected.max() > 2  # several spikes a step do occur
    np.testing.assert_array_equal(run.spikes["n"].reshape(-1), expected)
    cell = graph.nodes["n"]
    assert isinstance(cell, LIF)
    assert (cell.spikes, cell.compare, cell.reset) == ("multi", "ge", "subtract")


def test_an_iaf_of_sinabs():
    """IF with r = 1 at dt = 1: v += x, ⌊v/threshold⌋ spikes; inputs are positive, so sinabs' lower bound is idle."""
    x = np.random.default_rng(1).integers(0, 5, size=100) / 4
    _, run = one(nir.IF(np.array([1.0]), np.array([0.5])), x, dt=1, spikes="multi")
    v, expected = 0.0, []
    for value in x:
        v += value
        expected.append(np.floor(v / 0.5))
        v -= expected[-1] * 0.5
    np.testing.assert_array_equal(run.spikes["n"].reshape(-1), expected)


def test_a_rockpool_file_by_its_equations():
    """LIFTorch's exporter: r = tau·exp(−dt/tau)/dt, no w_in. Read as NIR says; Rockpool itself weighs otherwise."""
    dt, tau_mem, tau_syn = 1e-3, 2e-2, 5e-3
    r = tau_mem * np.exp(-dt / tau_mem) / dt
    numbers = {"tau_syn": tau_syn, "tau_mem": tau_mem, "r": r, "v_leak": 0.0, "v_threshold": 1.0}
    cell = nir.CubaLIF(**{key: np.array([value]) for key, value in numbers.items()})
    _, run = one(cell, np.ones(50), dt=dt, discretize="exp", spikes="multi")
    a, b = np.exp(-dt / tau_mem), np.exp(-dt / tau_syn)
    i = v = 0.0
    expected = []
    for _ in range(50):
        i = b * i + (1 - b)
        v = a * v + (1 - a) * r * i
        expected.append(max(np.floor(v), 0))
        v -= expected[-1]
    assert sum(expected) > 10
    np.testing.assert_array_equal(run.spikes["n"].reshape(-1), expected)


def test_several_spikes_a_step_need_a_threshold_above_zero():
    node = nir.LIF(*(np.array([v]) for v in (4e-4, 1.0, 0.0, 0.0)))
    with pytest.raises(UsageError) as refusal:
        one(node, [1], spikes="multi")
    assert refusal.value.code == "ND104"
    assert "threshold of 0" in refusal.value.message


def test_the_comparison_holds_for_threshold_nodes_too():
    node = nir.Threshold(np.array([0.5]))
    assert one(node, [0.5])[1].output.item() == 0
    assert one(node, [0.5], compare="ge")[1].output.item() == 1


# ---------------------------------------------------------------------------------------------------------------------
# time that cannot be meant


def test_norses_tau_is_named_and_its_dt_squared_reads_it_right():
    """norse#411: a neuron of tau = 2.5e-3 s stepped at 1e-3 s is written as 2.5e-6."""
    node = nir.LIF(*(np.array([v]) for v in (2.5e-6, 1.0, 0.0, 0.5)))
    with pytest.raises(UsageError) as refusal:
        one(node, [1])
    assert refusal.value.code == "ND114"
    assert "Norse's exporter multiplies every tau by its dt" in refusal.value.fix
    graph, _ = one(node, [1], dt=1e-6)
    assert float(graph.nodes["n"].decay) == pytest.approx(1 - 1e-3 / 2.5e-3, rel=1e-12)


def test_a_tau_in_steps_is_doubted_at_the_default_dt_only():
    node = nir.LIF(*(np.array([v]) for v in (10.0, 1.0, 0.0, 0.5)))
    graph, _ = one(node, [1])
    assert "pass --dt 1" in doubtful_time(graph, ReadOptions())
    assert doubtful_time(graph, ReadOptions(dt=1e-4)) == ""
    usual, _ = one(nir.LIF(*(np.array([v]) for v in (2e-2, 1.0, 0.0, 0.5))), [1])
    assert doubtful_time(usual, ReadOptions()) == ""
