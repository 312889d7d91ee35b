"""ONNX on real data: a trained network over the whole digits test set, in float32, exact float32 and integers."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from neurodeploy.cli import run
from neurodeploy.config.target import TargetSpec
from neurodeploy.data import load
from neurodeploy.diagnostics import VerificationError
from neurodeploy.ir.nodes import LIF
from neurodeploy.lowering import lower
from neurodeploy.passes.exact_input import snap_input
from neurodeploy.passes.pipeline import Context, compile_graph
from neurodeploy.passes.place import CoreLimits
from neurodeploy.sim.engine import Engine
from neurodeploy.sim.run import predict
from neurodeploy.targets.artifact import Artifact
from neurodeploy.targets.base import load_target
from neurodeploy.targets.export import export
from neurodeploy.targets.onnx_model import one_step, unrolled, write
from neurodeploy.training.checkpoint import load_checkpoint
from neurodeploy.verification import onnx_runtime
from neurodeploy.verification.compare import compare
from neurodeploy.verification.onnx_runtime import OnnxModel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits():
    return load("digits", "test")


@pytest.fixture(scope="module")
def artifact(digits_runs, tmp_path_factory) -> Artifact:
    done = export(digits_runs["rmp"] / "seed-0", "onnx", tmp_path_factory.mktemp("onnx") / "artifact")
    assert done.artifact is not None
    return done.artifact


def over_time(x: np.ndarray, timesteps: int) -> np.ndarray:
    return np.repeat(x[:, None], timesteps, axis=1)


def differences(graph, arithmetic, found, x):
    """Spikes and outputs that differ from the engine's, and predictions that do."""
    result = Engine(graph, arithmetic).run(x, x.shape[1])
    spikes = sum(int(np.count_nonzero(found[f"spikes/{name}"] != array)) for name, array in result.spikes.items())
    outputs = int(np.count_nonzero(found["output"] != result.output))
    classes = int(np.count_nonzero(predict(graph, found["output"]) != predict(graph, result.output)))
    return spikes, outputs, classes


def test_the_artifact_predicts_the_same_over_the_whole_test_set(artifact, digits):
    graph = artifact.network
    assert artifact.encoder is None
    assert {"network.onnx", "network_step.onnx"} <= set(artifact.manifest["files"])
    x = over_time(digits.x, graph.timesteps)
    found = OnnxModel(artifact.folder / "network.onnx").run(x)
    spikes, _, classes = differences(graph, "float32", found, x)
    assert classes == 0
    assert spikes <= 1e-6 * sum(array.size for key, array in found.items() if key.startswith("spikes/"))
    accuracy = float(np.mean(predict(graph, found["output"]) == digits.y))
    assert accuracy == artifact.compile["accuracy_target"]


def test_an_exact_network_gives_the_same_bits_over_the_whole_test_set(digits_runs, digits):
    target = load_target("onnx")
    graph = lower(load_checkpoint(digits_runs["rmp"] / "seed-0"))
    x = over_time(digits.x, graph.timesteps)
    context = Context(target.spec, CoreLimits("onnx"), exact=True, calibration=x[:, :1])
    exact = compile_graph(graph, target.spec, context=context).graph
    x, _ = snap_input(exact, x)
    found = OnnxModel(unrolled(exact).SerializeToString()).run(x)
    assert differences(exact, "float32", found, x) == (0, 0, 0)
    stepped = OnnxModel(one_step(exact).SerializeToString()).run_in_steps(x[:100])
    result = Engine(exact, "float32").run(x[:100], x.shape[1], keep_membrane=True)
    for name, array in result.membrane.items():
        assert np.array_equal(stepped[f"membrane/{name}"], array), name


def test_the_integer_network_gives_the_same_bits_over_the_whole_test_set(digits_artifacts, digits):
    artifact = Artifact(digits_artifacts["loihi2"])
    graph = artifact.network
    x = over_time(digits.x, graph.timesteps)
    spikes = Engine(artifact.encoder).run(x, graph.timesteps).output.astype(np.uint8)
    found = OnnxModel(unrolled(graph).SerializeToString()).run(spikes)
    assert differences(graph, "loihi", found, spikes) == (0, 0, 0)
    assert np.abs(found["output"]).max() > 2**12  # large integers, not something that float32 rounds anyway


@pytest.mark.parametrize("target", ["nir", "onnx", "loihi2"])
def test_verify_with_onnxruntime(target, artifact, digits_artifacts, capsys):
    """With and without a ``network.onnx`` in the artifact; integers are compared down to the membranes."""
    folder = artifact.folder if target == "onnx" else digits_artifacts[target]
    assert run(["verify", str(folder), "--with", "onnxruntime", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["result"]["onnxruntime"]
    assert found["samples"] == 32
    assert found["spikes_compared"] > 10_000
    assert (found["spike_differences"], found["prediction_differences"], found["skipped"]) == (0, 0, False)
    assert found["state_differences"] == (0 if target == "loihi2" else None)
    if target == "loihi2":
        assert found["output_max_difference"] == 0


def test_verify_counts_what_differs(artifact, tmp_path):
    """A model that is not the network of the golden vectors is found out, in spikes and in the outputs."""
    other = shutil.copytree(artifact.folder, tmp_path / "other")
    graph = artifact.network
    first = graph.names(LIF)[0]
    node = graph.nodes[first]
    assert isinstance(node, LIF)
    write(graph.with_nodes({first: replace(node, threshold=node.threshold * 1.25)}), other)
    found = compare(graph, artifact.golden, onnx_runtime.replay(Artifact(other), 8), exact=False)
    assert found.samples == 8
    assert found.spike_differences > 0
    assert found.output_max_difference > 0
    assert not found.equal


def test_a_file_that_onnx_runtime_cannot_read_is_a_verdict(artifact, tmp_path):
    other = shutil.copytree(artifact.folder, tmp_path / "other")
    (other / "network.onnx").write_bytes(b"not a model")
    with pytest.raises(VerificationError, match="ND403"):
        onnx_runtime.replay(Artifact(other), 2)


def test_without_onnxruntime_verify_says_how_to_install_it(digits_artifacts, capsys, monkeypatch):
    monkeypatch.setattr(onnx_runtime.importlib.util, "find_spec", lambda name: None)
    oracles = ["--with", "onnxruntime", "--with", "interpreter"]
    assert run(["verify", str(digits_artifacts["nir"]), *oracles, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["result"]["onnxruntime"]
    assert found["skipped"]
    assert found["why"] == "onnxruntime is not installed: pip install onnxruntime"


def test_the_target_holds_every_node_kind_but_norms():
    spec = load_target("onnx").spec
    assert isinstance(spec, TargetSpec)
    assert spec.emitters == ("onnx",)
    assert "norm" not in spec.nodes
    assert len(spec.nodes) == 16
