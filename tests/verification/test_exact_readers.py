"""``export --exact``: the same bits in every reader on all 1,797 digits, ties on the threshold included."""

import importlib.util

import numpy as np
import pytest
from graphs import skip_chain

from neurodeploy.data import load
from neurodeploy.diagnostics import UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret, named_arrays
from neurodeploy.ir.nir_io import write_nir
from neurodeploy.ir.nodes import LIF, Conv2d, Flatten, Input, Integrator, Linear, Norm, Output
from neurodeploy.passes.exact_input import entering, input_limit, is_exact, snap_input
from neurodeploy.passes.pipeline import Context, compile_graph
from neurodeploy.passes.place import CoreLimits
from neurodeploy.passes.snap import missing_bits
from neurodeploy.sim.engine import Engine
from neurodeploy.sim.run import predict
from neurodeploy.targets.artifact import Artifact
from neurodeploy.targets.base import load_target
from neurodeploy.targets.export import export
from neurodeploy.verification.compare import compare
from neurodeploy.verification.preflight import TITLES, preflight
from neurodeploy.verification.readers import Reader
from neurodeploy.verification.verify import verify

pytestmark = pytest.mark.slow
READERS = sorted(TITLES)


@pytest.fixture(scope="module")
def digits():
    parts = [load("digits", split) for split in ("train", "test")]
    return np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts])


@pytest.fixture(scope="module")
def exact_run(digits_runs):
    """The RMP network on digits, exported with --exact."""
    return export(digits_runs["rmp"] / "seed-0", "nir", digits_runs["rmp"] / "exact", exact=True)


def exact(graph, x):
    spec = load_target("nir").spec
    context = Context(spec, CoreLimits("nir"), exact=True, calibration=x[:64, None])
    return compile_graph(graph, spec, context=context).graph


def residual_net(*, projected):
    """conv-LIF, a block whose skip is its input, and (``projected``) one with stride 2 and a 1x1 convolution; norms."""
    rng = np.random.default_rng(4)
    nodes = {"input": Input((1, 8, 8))}
    edges = []

    def add(name, node, *sources):
        nodes[name] = node
        edges.extend((source, name) for source in sources)
        return name

    def normed(name, source, out, inputs, size=3, stride=1):
        weight = rng.normal(size=(out, inputs, size, size)) / size
        add(name, Conv2d(weight, np.zeros(out), (stride, stride), (size // 2, size // 2)), source)
        mean, spread, scale = rng.normal(size=out) / 4, rng.uniform(0.5, 2.0, out), rng.normal(size=out)
        return add(f"{name}_norm", Norm(mean, spread, scale, np.full(out, 0.1)), name)

    def lif(name, shape, *sources):
        return add(name, LIF(shape, np.asarray(0.25), np.asarray(0.5)), *sources)

    stem = lif("lif0", (4, 8, 8), normed("conv0", "input", 4, 1))
    inner = lif("lif1", (4, 8, 8), normed("conv1", stem, 4, 4))
    last, shape = lif("lif2", (4, 8, 8), normed("conv2", inner, 4, 4), stem), (4, 8, 8)
    if projected:
        inner = lif("lif3", (8, 4, 4), normed("conv3", last, 8, 4, stride=2))
        branches = normed("conv4", inner, 8, 8), normed("skip4", last, 8, 4, 1, 2)
        last, shape = lif("lif4", (8, 4, 4), *branches), (8, 4, 4)
    add("flatten", Flatten(), last)
    add("fc", Linear(rng.normal(size=(10, int(np.prod(shape)))) / 4, rng.normal(size=10)), "flatten")
    add("readout", Integrator((10,)), "fc")
    add("output", Output(), "readout")
    return Graph(nodes, tuple(edges), timesteps=4)


def meaning(graph, images):
    """Golden vectors by the engine in float32; float64 and the interpreter must say the same."""
    x, clipped = snap_input(graph, np.repeat(images[:, None], graph.timesteps, axis=1))
    assert clipped == 0
    kinds = ("float32", "float64")
    single, double = (Engine(graph, kind).run(x, graph.timesteps, keep_membrane=True) for kind in kinds)
    golden = {"input": x, **named_arrays(single.output, single.spikes, single.membrane)}
    for key, array in named_arrays(double.output, double.spikes, double.membrane).items():
        np.testing.assert_array_equal(golden[key], array)
    for key, array in interpret(graph, x[:32], "float32").arrays().items():
        np.testing.assert_array_equal(golden[key][:32], array)
    return golden


def ties(graph, x):
    """Membranes exactly on the threshold that was meant: the first grid point above the one that is written."""
    found = interpret(graph, x)
    count = 0
    for name, potential in found.potential.items():
        scale = graph.scales[name]
        met = potential == np.ceil(graph.nodes[name].threshold * scale) / scale
        assert np.all(found.spikes[name][met] == 1)  # the papers fire at the threshold
        count += int(np.count_nonzero(met))
    return count


def agrees(graph, golden, folder, reader, capsys):
    if importlib.util.find_spec(reader) is None:
        pytest.skip(f"{reader} is not installed (Python >= 3.11: pip install -e '.[peers]')")
    write_nir(graph, folder / "network.nir")
    found = compare(graph, golden, Reader(reader, Artifact(folder)).run(golden["input"]), exact=True)
    with capsys.disabled():
        print(
            f"\n  --exact in {TITLES[reader]}: {found.spike_differences} of {found.spikes_compared:,} spikes differ on "
            f"{found.samples:,} samples, logits by {found.output_max_difference}"
        )
    assert found.samples >= 1000
    assert (found.spike_differences, found.output_max_difference, found.equal) == (0, 0.0, True)


@pytest.fixture(scope="module")
def trained(exact_run, digits):
    graph = exact_run.artifact.network
    return graph, meaning(graph, digits[0])


@pytest.mark.parametrize("reader", READERS)
def test_the_trained_network(trained, reader, tmp_path, capsys):
    graph, golden = trained
    assert preflight(graph, reader) == []
    agrees(graph, golden, tmp_path, reader, capsys)


def test_the_trained_network_is_proven_meets_its_threshold_and_keeps_its_accuracy(
    trained, exact_run, digits_artifacts, digits, capsys
):
    graph, golden = trained
    x, y = digits
    assert is_exact(graph)
    assert missing_bits(graph, entering(graph, input_limit(graph))) == []
    plain = Artifact(digits_artifacts["nir"]).network
    before = np.mean(predict(plain, Engine(plain).run(x[:, None], 4).output) == y)
    after = np.mean(predict(graph, golden["output"]) == y)
    met = ties(graph, golden["input"][:400])
    with capsys.disabled():
        print(f"\n  digits, {len(y):,} samples: accuracy {before:.4f} -> {after:.4f} with --exact")
        print(f"  {met} membranes were exactly on the threshold in 400 of them")
    assert met > 0
    assert abs(after - before) <= 0.002
    assert abs(exact_run.result["accuracy_target"] - exact_run.result["accuracy_float"]) <= 1 / 360 + 1e-9
    notes = [f["rule"] for f in exact_run.result["findings"] if f["code"] == "ND242"]
    assert notes == ["network.nir is read by Norse, snnTorch, SpikingJelly (the same bits)"]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("projected", [False, True])
def test_a_residual_network(digits, projected, reader, tmp_path, capsys):
    graph = exact(residual_net(projected=projected), digits[0])
    unable = preflight(graph, reader)
    if projected and reader == "norse":
        assert [f.node for f in unable] == ["lif4"]  # two branches with weights: depth first, one runs too late
        return
    assert unable == []
    golden = meaning(graph, digits[0])
    rates = {key: array.mean() for key, array in golden.items() if key.startswith("spikes/")}
    assert all(0.02 < rate < 0.9 for rate in rates.values()), rates
    assert ties(graph, golden["input"][:200]) > 0
    agrees(graph, golden, tmp_path, reader, capsys)


def test_without_a_grid_a_tie_is_decided_by_the_order_of_sums():
    """What --exact is for: 0.7 + 0.2 − 0.4 is 0.5; in float32 it is on or below it, as the order has it."""
    one, two, three = (np.float32(value) for value in (0.7, 0.2, -0.4))
    assert ((one + two) + three >= 0.5) != ((one + three) + two >= 0.5)
    one, two, three = (np.rint(value * 64) / 64 for value in (one, two, three))
    assert (one + two) + three == (one + three) + two


def test_verify_runs_every_oracle_and_demands_equal_logits(exact_run):
    found = verify(exact_run.artifact, ("interpreter", "engine", "onnxruntime", *READERS), samples=8)
    for name, row in found.items():
        if not row.skipped:
            assert (row.equal, row.spike_differences, row.output_max_difference) == (True, 0, 0.0), name
    assert found["interpreter"].equal


def test_verify_skips_a_reader_with_the_node_and_the_reason(tmp_path):
    graph = skip_chain()
    x = np.zeros((2, 4, 2, 4, 4), np.uint8)
    np.savez(tmp_path / "golden.npz", input=x, **interpret(graph, x, "float32").arrays())
    write_nir(graph, tmp_path / "network.nir")
    (tmp_path / "manifest.json").write_text('{"files": {}}')
    row = verify(Artifact(tmp_path), ("norse",))["norse"]
    assert row.skipped
    if importlib.util.find_spec("norse") is not None:
        assert row.why.startswith("lif3: Norse runs this node before one of the branches")


def test_exact_is_refused_where_it_means_nothing(digits_runs, tmp_path):
    with pytest.raises(UsageError) as raised:
        export(digits_runs["rmp"] / "seed-0", "loihi2", tmp_path / "out", exact=True)
    assert raised.value.code == "ND243"
    assert not (tmp_path / "out").exists()
