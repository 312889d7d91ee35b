"""Artifacts whose host finishes what the chip began: written, read, simulated, counted apart."""

from pathlib import Path

import numpy as np
import pytest
from graphs import paper_chain

from neurodeploy.diagnostics import UsageError
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nir_io import write_nir
from neurodeploy.ir.nodes import ReLU
from neurodeploy.sim import job
from neurodeploy.sim.run import predict, simulate
from neurodeploy.targets.artifact import TAIL, load_runnable
from neurodeploy.targets.check import check
from neurodeploy.targets.export import export

SAMPLES = 7


def repact_chain():
    """conv-LIF-conv-ReLU-pool-fc-readout on a real input: the first layer is the host's, too."""
    return paper_chain().with_nodes({"lif2": ReLU()})


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A .nir file of the whole float network, and samples beside it that it labels itself."""
    folder = tmp_path_factory.mktemp("repact")
    graph = repact_chain()
    write_nir(graph, folder / "model.nir")
    x = np.random.default_rng(0).normal(size=(SAMPLES, 1, 8, 8)).astype(np.float32)
    y = predict(graph, interpret(graph, np.repeat(x[:, None], 4, axis=1)).output)
    np.savez(folder / "x.npz", x=x, y=y)
    return folder / "model.nir"


@pytest.fixture(scope="module")
def artifact(model):
    return export(model, "loihi2", model.parent / "artifact", inputs=model.parent / "x.npz")


def test_what_is_written(artifact):
    assert {"network.nir", "encoder.nir", "tail.nir", "golden.npz"} <= set(artifact.result["files"])
    host = artifact.compile["host"]
    assert [node["name"] for node in host["encoder"]] == ["conv1", "lif1"]
    kinds = [node["kind"] for node in host["tail"]]
    assert kinds == ["delay", "scale", "scale", "relu", "avgpool2d", "flatten", "linear", "integrator"]
    assert artifact.result["accuracy_float"] == 1.0
    assert artifact.result["accuracy_target"] >= 5 / 7
    golden = artifact.artifact.golden
    assert golden["output"].shape == (SAMPLES, 4, 4, 8, 8)
    assert golden["host_output"].shape == (SAMPLES, 4, 10)
    # 8 bits: the logits are near those of the float network.
    meant = interpret(repact_chain(), np.repeat(golden["host_input"].reshape(SAMPLES, 1, 1, 8, 8), 4, axis=1)).output
    assert np.abs(golden["host_output"] - meant).max() < 0.1 * np.abs(meant).max()


def test_simulate_runs_encoder_chip_and_tail(artifact, model):
    x = np.load(model.parent / "x.npz")["x"]
    golden = artifact.artifact.golden
    trace = simulate(artifact.folder, x, keep_spikes=True)
    np.testing.assert_array_equal(trace.output, golden["output"])
    np.testing.assert_array_equal(trace.host_output, golden["host_output"])
    np.testing.assert_array_equal(trace.predictions, golden["host_output"][:, -1].argmax(axis=1))
    assert set(trace.arrays()) >= {"output", "host_output"}
    macs = {row.name: row.total("mac") for row in trace.host_layers}
    assert macs["fc"] == SAMPLES * 4 * 10 * 64, "counted apart, on the host"
    assert macs["conv1"] > 0
    assert {row.name for row in trace.layers} == {"input", "conv2", "accumulator", "output"}
    assert trace.totals()["mac"] == 0
    once = {row.name: row.total("mac_once") for row in trace.host_layers}
    assert once["conv1"] == macs["conv1"] / 4, "a static image, encoded once"
    assert once["fc"] == macs["fc"], "the tail runs at every step all the same"


def test_slabs_change_nothing(artifact, model, monkeypatch):
    x = np.load(model.parent / "x.npz")["x"]
    whole = simulate(artifact.folder, x, keep_spikes=True)
    monkeypatch.setattr(job, "SLAB_SAMPLES", 3)
    cut = simulate(artifact.folder, x, batch=1)
    assert cut.output.shape == (0, *whole.output.shape[1:])
    np.testing.assert_array_equal(cut.host_output, whole.host_output)
    np.testing.assert_array_equal(cut.predictions, whole.predictions)
    assert [row.to_json() for row in cut.layers] == [row.to_json() for row in whole.layers]
    assert [row.to_json() for row in cut.host_layers] == [row.to_json() for row in whole.host_layers]


def test_the_integers_in_float_arithmetic_reach_the_tail_in_the_same_units(artifact, model):
    """A state of the machine counts 1/64 of a weight; in float64 the same sums come in whole weights."""
    x = np.load(model.parent / "x.npz")["x"]
    machine, floating = (simulate(artifact.folder, x, arithmetic=a) for a in ("loihi", "float64"))
    np.testing.assert_allclose(floating.host_output, machine.host_output, rtol=1e-5, atol=1e-6)


def test_spikes_for_the_chip_itself_reach_the_tail_too(artifact):
    golden = artifact.artifact.golden
    trace = simulate(artifact.folder, golden["input"])
    np.testing.assert_array_equal(trace.host_output, golden["host_output"])
    assert "conv1" not in {row.name for row in trace.host_layers}


def test_check_lists_the_hosts_part(model):
    result = check(model, "loihi2")
    assert result["fits"]
    assert [node["name"] for node in result["host"]["tail"]][-3:] == ["flatten", "fc", "readout"]


def test_the_portable_file_ends_in_the_pre_activation(model):
    made = export(model, "nir", model.parent / "portable", inputs=model.parent / "x.npz")
    assert (made.result["accuracy_float"], made.result["accuracy_target"]) == (1.0, 1.0)
    assert made.compile["host"]["tail"][0]["kind"] == "relu"
    assert made.artifact.network.sources("output") == ("conv2",)


def test_a_tail_that_is_gone_is_not_overlooked(model):
    made = export(model, "nir", model.parent / "broken", inputs=model.parent / "x.npz")
    (made.folder / TAIL).unlink()
    with pytest.raises(UsageError, match=r"tail\.nir is missing"):
        load_runnable(made.folder)
