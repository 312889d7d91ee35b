"""ONNX: what ONNX Runtime computes from the two forms, against the interpreter; exactly, where the sums are exact."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from graphs import dyadic, paper_chain, random_graph, random_input, skip_chain
from onnx.reference import ReferenceEvaluator
from onnx_graphs import any_graph, integer_graph

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv2d,
    CubaLIF,
    Delay,
    Input,
    Integrator,
    Linear,
    MaxPool2d,
    Output,
    Scale,
    SumPool2d,
)
from neurodeploy.targets import onnx_model
from neurodeploy.targets.onnx_integers import neuron_bounds, sum_bounds
from neurodeploy.targets.onnx_model import one_step, onnx_findings, unrolled, write
from neurodeploy.verification.onnx_runtime import OnnxModel


def run(model, x):
    """With ONNX Runtime's optimizations and without them: both must give the same here."""
    found = OnnxModel(model.SerializeToString()).run(x)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    plain = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for key, array in zip(found, plain.run(list(found), {"input": x.astype(np.float32)}), strict=True):
        assert np.array_equal(found[key], array), key
    return found


def entered(graph: Graph, seed: int, samples: int = 3) -> np.ndarray:
    node = graph.nodes[graph.input]
    assert isinstance(node, Input)
    rng = np.random.default_rng(seed)
    shape = (samples, graph.timesteps or 4, *node.shape)
    return (rng.random(shape) < 0.4).astype(np.uint8) if node.values == "binary" else dyadic(rng, shape, 2, 4)


def assert_same(graph: Graph, x: np.ndarray, *, states: bool = True) -> None:
    """Both forms equal the interpreter in every spike, every state and every output."""
    arithmetic = graph.arithmetic
    want = interpret(graph, x, arithmetic).arrays()
    together, step = unrolled(graph, x.shape[1]), one_step(graph)
    for model in (together, step):
        onnx.checker.check_model(model, full_check=True)
        assert {op.domain for op in model.graph.node} == {""}
    found, stepped = run(together, x), OnnxModel(step.SerializeToString()).run_in_steps(x)
    assert set(found) == {key for key in want if key.startswith("spikes/")} | {"output"}
    for key, array in found.items():
        assert array.dtype == np.float32
        assert np.array_equal(array, want[key]), f"unrolled: {key}"
    for key, array in want.items():
        if key in stepped:
            assert np.array_equal(stepped[key], array), f"step: {key}"
    assert {key for key in want if states and key.startswith(("membrane/", "current/"))} <= set(stepped)


# -- float32: exact where every sum is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_every_node_kind_equals_the_interpreter_on_dyadic_graphs(seed):
    graph = any_graph(seed)
    assert_same(graph, entered(graph, seed))


def test_the_random_graphs_have_every_node_kind_and_spike():
    kinds, rates = set(), []
    for seed in range(40):
        graph = any_graph(seed)
        kinds |= {node.kind for node in graph.nodes.values()}
        rates += [np.mean(array > 0) for array in interpret(graph, entered(graph, seed)).spikes.values()]
    every = "input output conv1d conv2d linear norm sumpool2d avgpool2d maxpool2d flatten scale delay threshold relu"
    assert kinds == {*every.split(), "lif", "cubalif", "integrator"}
    assert 0.1 < np.mean(rates) < 0.9


@pytest.mark.parametrize("timesteps", [1, 8])
@pytest.mark.parametrize("samples", [1, 7])
def test_timesteps_and_batch_are_free(timesteps, samples):
    graph = replace(random_graph(5, norms=True), timesteps=timesteps)
    assert_same(graph, random_input(graph, 5, samples, timesteps))


def test_a_residual_block_and_a_late_edge_across_it():
    assert_same(skip_chain(), random_input(skip_chain(), 0, samples=5))
    late = replace(skip_chain(), recurrent=frozenset({("lif1", "skip"), ("lif2", "conv3")}))
    assert_same(late, random_input(late, 1, samples=5))


def test_a_late_edge_whose_source_stands_behind_its_target_without_a_cycle():
    # Named first, `late` comes first in graph order: nothing but the recurrent edge leads to it.
    nodes = {
        "late": Scale((2,), np.asarray(2.0)),
        "input": Input((2,)),
        "lif": LIF((2,), np.asarray(0.5), np.asarray(0.5)),
        "join": Integrator((2,)),
        "output": Output(),
    }
    edges = [("input", "lif"), ("lif", "late"), ("lif", "join"), ("late", "join"), ("join", "output")]
    graph = Graph(nodes, tuple(edges), 4, recurrent=frozenset({("lif", "late")}))
    x = np.array([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 1.0]]])
    assert_same(graph, x)
    # join sums lif now and twice lif of the step before: 1, 1 + 0 + 2, 3 + 0, 3 + 1 for the first input.
    assert run(unrolled(graph), x)["output"][0, :, 0].tolist() == [1.0, 3.0, 3.0, 4.0]


def test_a_neuron_by_hand():
    """decay 1/4, threshold 1/2: 0.5 fires at the threshold; 0.4375 stays, leaks to 0.109375 and fires with 0.390625."""
    nodes = {"input": Input((1,)), "lif": LIF((1,), np.asarray(0.25), np.asarray(0.5)), "output": Output()}
    graph = Graph(nodes, (("input", "lif"), ("lif", "output")), 4)
    x = np.array([0.5, 0.4375, 0.390625, 0.25]).reshape(1, 4, 1)
    assert run(unrolled(graph), x)["output"].ravel().tolist() == [1.0, 0.0, 1.0, 0.0]
    states = OnnxModel(one_step(graph).SerializeToString()).run_in_steps(x)["membrane/lif"]
    assert states.ravel().tolist() == [0.0, 0.4375, 0.0, 0.25]


def test_a_delay_per_element_longer_than_the_run():
    nodes = {"input": Input((3,)), "delay": Delay((3,), np.array([0, 2, 9])), "output": Output()}
    graph = Graph(nodes, (("input", "delay"), ("delay", "output")), 3)
    x = np.arange(1.0, 10.0).reshape(1, 3, 3)
    assert run(unrolled(graph), x)["output"][0].tolist() == [[1, 0, 0], [4, 0, 0], [7, 2, 0]]
    step = one_step(graph)
    assert [d.dim_value for d in step.graph.input[1].type.tensor_type.shape.dim[1:]] == [9, 3]
    assert_same(graph, x)


@pytest.mark.parametrize("kind", [SumPool2d, AvgPool2d, MaxPool2d])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 2), (4, 1)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 0)])
def test_pools(kind, kernel, padding):
    """Multiples of kH·kW: the division of an average over six is then exact too."""
    pool = kind(kernel, (2, 1), padding)
    graph = Graph(
        {"input": Input((3, 5, 6)), "pool": pool, "output": Output()}, (("input", "pool"), ("pool", "output")), 2
    )
    rng = np.random.default_rng(0)
    assert_same(graph, kernel[0] * kernel[1] * rng.integers(-9, 10, size=(2, 2, 3, 5, 6)).astype(np.float64))


def test_a_float_network_differs_only_by_the_order_of_its_sums():
    graph = paper_chain(3)
    x = np.random.default_rng(3).normal(size=(40, 4, 1, 8, 8)).astype(np.float32)
    want, found = interpret(graph, x, "float32").arrays(), run(unrolled(graph), x)
    for key in ("spikes/lif1", "spikes/lif2"):
        assert np.count_nonzero(want[key] != found[key]) == 0
    # A logit sums 64 products up to |w| ~ 1 over 4 steps: 256 roundings of at most 2^-24 · |sum|, |sum| < 16.
    assert np.abs(want["output"] - found["output"]).max() < 256 * 2.0**-24 * 16


# -- the integer machine -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_integer_graphs_equal_the_machine_bit_for_bit(seed, wide):
    graph = integer_graph(seed, wide=wide, timesteps=6)
    assert_same(graph, entered(graph, seed, samples=4))


def test_the_wide_graphs_wrap_and_saturate_and_the_others_stay_in_float32():
    """What the test above covers really happens: conv sums and currents that wrap, membranes that clip."""
    wrapped = clipped = sums = 0
    for seed in range(12):
        graph = integer_graph(seed, wide=True, timesteps=6)
        meaning = interpret(graph, entered(graph, seed, samples=4), "loihi")
        clipped += sum(int(np.count_nonzero(np.abs(v) == 2**23 - 1)) for v in meaning.potential.values())
        found = {name: neuron_bounds(graph, name, sum_bounds(graph)) for name in ("lif1", "lif2", "cell")}
        wrapped += sum(bound.before >= 2**23 for bound in found.values())
        assert all(bound.wide for bound in found.values())
        small = integer_graph(seed, timesteps=6)
        sums += sum(neuron_bounds(small, name, sum_bounds(small)).wide for name in ("lif1", "lif2", "cell"))
    assert wrapped > 12
    assert clipped > 100
    assert sums == 0


def one_neuron(weights: list[float], neuron: LIF | Integrator, timesteps: int = 1) -> Graph:
    size = len(weights)
    nodes = {
        "input": Input((size,), "binary"),
        "fc": Linear(np.array([weights]), np.zeros(1)),
        "neuron": neuron,
        "output": Output(),
    }
    edges = (("input", "fc"), ("fc", "neuron"), ("neuron", "output"))
    return Graph(nodes, edges, timesteps, arithmetic="loihi")


@pytest.mark.parametrize("decay", [1, 7, 1024, 3072, 4095])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_leak_truncates_toward_zero(decay, sign):
    """v = 64·w, then v·decay >> 12 on the magnitude: checked against Python's integers, up to |v| near 2^23."""
    weights = [1.0, 2.0, 40.0, 64.0, 1000.0, 65536.0]
    graph = one_neuron([sign * w for w in weights], Integrator((1,), np.asarray(decay / 4096)), timesteps=5)
    x = np.zeros((6, 5, 6), np.uint8)
    x[np.arange(6), 0, np.arange(6)] = 1
    expected = []
    for weight in weights:
        v = 64 * int(weight)
        expected.append([sign * v, *(sign * (v := v * decay >> 12) for _ in range(4))])
    assert run(unrolled(graph), x)["output"][..., 0].astype(int).tolist() == expected
    assert_same(graph, x)


@pytest.mark.parametrize("most", [2**23 - 1, 2**23, 2**23 + 1, 2**24 - 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_convolution_wraps_at_24_bits(most, sign):
    weight = np.full((1, 2, 1, 1), sign * float(most // 2))
    weight[0, 0] += sign * (most % 2)
    nodes = {
        "input": Input((2, 1, 1), "binary"),
        "conv": Conv2d(weight, np.zeros(1)),
        "lif": LIF((1, 1, 1), np.asarray(0.25), np.asarray(5.0), compare="gt"),
        "output": Output(),
    }
    graph = Graph(nodes, (("input", "conv"), ("conv", "lif"), ("lif", "output")), 2, arithmetic="loihi")
    assert_same(graph, np.array([[1, 1], [1, 0], [0, 1]]).repeat(2, axis=0).reshape(3, 2, 2, 1, 1))


def test_a_quantized_network_of_the_papers_needs_no_float64():
    model = unrolled(integer_graph(0))
    casts = [op for op in model.graph.node if op.op_type == "Cast" and op.attribute[0].i == onnx.TensorProto.DOUBLE]
    assert not casts
    assert any(
        op.op_type == "Cast" and op.attribute[0].i == 11 for op in unrolled(integer_graph(0, wide=True)).graph.node
    )


@pytest.mark.parametrize("seed", range(6))
def test_onnx_own_reference_computes_the_same(seed):
    """A second runtime: nothing rests on how ONNX Runtime reads the standard."""
    for graph in (any_graph(seed), integer_graph(seed, timesteps=2), integer_graph(seed, wide=True, timesteps=2)):
        x = entered(graph, seed, samples=2)
        want, model = interpret(graph, x, graph.arithmetic).arrays(), unrolled(graph)
        found = ReferenceEvaluator(model).run(None, {"input": x.astype(np.float32)})
        for value, array in zip(model.graph.output, found, strict=True):
            assert np.array_equal(array, want[value.name]), value.name


# -- the files ---------------------------------------------------------------------------------------------------------


def test_both_files_are_readable_and_name_what_the_graph_names(tmp_path):
    graph = paper_chain(0)
    write(graph, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["network.onnx", "network_step.onnx"]
    model = onnx.load(tmp_path / "network.onnx")
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    names = [op.name for op in model.graph.node]
    assert {"conv1", "lif1/t0/spikes", "lif1/t3/spikes", "lif1", "pool2", "flatten", "fc"} <= set(names)
    assert len(set(names)) == len(names)
    doc = next(op.doc_string for op in model.graph.node if op.name == "lif1/t0/spikes")
    assert doc == "u = 0.25·u + 1·x + 0; o = 1 where u ≥ 0.5; u = 0 where o = 1"
    notes = json.loads(next(p.value for p in model.metadata_props if p.key == "neurodeploy"))
    assert notes == {
        "version": 1,
        "form": "unrolled",
        "arithmetic": "float32",
        "timesteps": 4,
        "dt": 1e-4,
        "scales": {},
    }
    shapes = {
        v.name: [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info
    }
    assert shapes["conv1"] == ["4*batch", 4, 8, 8]
    assert shapes["lif1/t0/spikes"] == ["batch", 4, 8, 8]
    step = onnx.load(tmp_path / "network_step.onnx")
    assert [v.name for v in step.graph.input] == ["input", "state/lif1", "state/lif2", "state/readout"]
    spikes, states = ["spikes/lif1", "spikes/lif2"], ["state_out/lif1", "state_out/lif2", "state_out/readout"]
    assert [v.name for v in step.graph.output] == ["output", *spikes, *states]


def test_weights_are_stored_once_however_many_steps():
    one, eight = (len(unrolled(paper_chain(0), steps).graph.initializer) for steps in (1, 8))
    assert one <= eight <= one + 3  # the decays, which the first step does not use
    assert sum(op.op_type == "Conv" for op in unrolled(paper_chain(0), 8).graph.node) == 2


def test_the_same_graph_gives_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(any_graph(3), tmp_path / folder)
    for name in ("network.onnx", "network_step.onnx"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_node_named_as_the_border_of_the_file_keeps_the_border(tmp_path):
    graph = skip_chain()
    names = {"lif1": "output/time_first", "conv2": "input/steps", "skip": "zero", "lif2": "lif1/t0"}
    nodes = {names.get(name, name): node for name, node in graph.nodes.items()}
    edges = tuple((names.get(a, a), names.get(b, b)) for a, b in graph.edges)
    graph = Graph(nodes, edges, 4)
    assert_same(graph, random_input(graph, 0))


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_no_number_of_timesteps_is_refused():
    graph = replace(paper_chain(0), timesteps=None)
    with pytest.raises(UnsupportedError, match="ND245"):
        unrolled(graph)
    assert unrolled(graph, 3)
    assert one_step(graph)


def test_all_findings_at_once():
    graph = replace(one_neuron([2.0**23, 2.0**23], Integrator((1,))), timesteps=None)
    with pytest.raises(UnsupportedError) as caught:
        unrolled(graph)
    assert {f.code for f in caught.value.findings} == {"ND245", "ND246"}


def test_sums_that_float32_cannot_count_are_refused():
    graph = one_neuron([2.0**23, 2.0**23], Integrator((1,)))
    assert [(f.code, f.node, f.measured) for f in onnx_findings(graph)] == [("ND246", "fc", 2**24)]
    assert not list(onnx_findings(one_neuron([2.0**23, 2.0**23 - 1], Integrator((1,)))))
    integer_input = replace(graph.nodes["input"], values="integer")
    found = list(
        onnx_findings(one_neuron([1.0], Integrator((1,))).with_nodes({"input": replace(integer_input, shape=(1,))}))
    )
    assert [(f.code, f.measured) for f in found] == [("ND246", "unbounded input")]


def test_a_current_that_can_wrap_twice_is_refused():
    def cuba(weight: float) -> Graph:
        neuron = CubaLIF((1,), np.asarray(0.5), np.asarray(9.0), compare="gt", current_decay=np.asarray(0.5))
        return one_neuron([weight], neuron, timesteps=3)

    # 64·w + 2^22 against 3·2^22: the current before it wraps, at its largest.
    limit = (3 * 2**23 - 2**22) // 64
    assert not list(onnx_findings(cuba(float(limit))))
    assert [f.code for f in onnx_findings(cuba(float(limit + 1)))] == ["ND246"]
    assert_same(cuba(float(limit)), np.ones((1, 6, 1), np.uint8))


def test_weights_beyond_a_protocol_buffer_are_refused(monkeypatch):
    monkeypatch.setattr(onnx_model, "LARGEST_FILE", 1000)
    assert [f.code for f in onnx_findings(paper_chain(0))] == ["ND247"]
