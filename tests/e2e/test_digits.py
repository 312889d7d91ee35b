"""Real data, the shipped recipes, three seeds: what the README says must come out again."""

import json
import statistics

import numpy as np
import pytest

from neurodeploy.data import load
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import Norm
from neurodeploy.lowering import lower
from neurodeploy.passes.fold_norm import fold_norm
from neurodeploy.sim.run import simulate
from neurodeploy.targets.export import export
from neurodeploy.training.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def digits():
    return load("digits", "test")


def evaluations(folder):
    return [json.loads((folder / f"seed-{seed}" / "evaluation.json").read_text()) for seed in SEEDS]


def test_both_recipes_learn_and_rmp_lowers_the_quantization_error(digits_runs):
    vanilla, rmp = evaluations(digits_runs["vanilla"]), evaluations(digits_runs["rmp"])

    def mean(runs, key):
        return statistics.fmean(run[key] for run in runs)

    assert mean(vanilla, "accuracy") >= 0.97
    assert mean(rmp, "accuracy") >= 0.97
    assert abs(mean(rmp, "accuracy") - mean(vanilla, "accuracy")) <= 0.01
    assert mean(rmp, "quantization_error") <= 0.7 * mean(vanilla, "quantization_error")


def test_the_integer_machine_is_within_a_point_of_float(digits_runs, digits):
    for method in ("vanilla", "rmp"):
        for seed in SEEDS:
            done = export(digits_runs[method] / f"seed-{seed}", "loihi2")
            assert abs(done.result["accuracy_target"] - done.result["accuracy_float"]) <= 0.01
            assert done.result["accuracy_target"] == simulate(done.folder, digits.x, digits.y).accuracy


def test_torch_and_the_lowered_graph_agree_in_float64(digits_runs, digits):
    """The net's own forward in float64 against the interpreter on the unfolded graph: the same spikes and logits."""
    import torch

    from neurodeploy.nn.lif import record_lifs

    checkpoint = load_checkpoint(digits_runs["rmp"] / "seed-0")
    graph = lower(checkpoint)
    model = checkpoint.model.double().eval()
    x = torch.from_numpy(digits.x).double()
    with torch.no_grad(), record_lifs(model) as records:
        logits = model(x.unsqueeze(0)).numpy().swapaxes(0, 1)
    meaning = interpret(graph, np.repeat(digits.x[:, None].astype(np.float64), 4, axis=1))
    for name, record in records.items():
        spikes = record.o_T.numpy().swapaxes(0, 1)
        assert int(np.count_nonzero(spikes != meaning.spikes[name])) == 0, name
    np.testing.assert_allclose(logits, meaning.output, atol=1e-10)  # the order of float64 sums differs


@pytest.mark.parametrize("method", ["vanilla", "rmp"])
def test_folded_is_unfolded_on_the_whole_test_set(digits_runs, digits, method):
    graph = lower(load_checkpoint(digits_runs[method] / "seed-0"))
    folded = fold_norm(graph)
    assert len(graph.names(Norm)) == 3
    assert not folded.names(Norm)
    x = np.repeat(digits.x[:, None].astype(np.float64), 4, axis=1)
    before, after = interpret(graph, x), interpret(folded, x)
    differing = {name: int(np.count_nonzero(before.spikes[name] != after.spikes[name])) for name in before.spikes}
    assert differing == dict.fromkeys(before.spikes, 0)


@pytest.mark.parametrize("target", ["nir", "loihi2"])
def test_the_engine_is_the_interpreter_bit_for_bit_on_the_whole_test_set(digits_artifacts, digits, target):
    from neurodeploy.targets.artifact import Artifact

    artifact = Artifact(digits_artifacts[target])
    x = np.repeat(digits.x[:, None], 4, axis=1)
    if artifact.encoder is not None:
        x = interpret(artifact.encoder, x, "float32").output
    meaning = interpret(artifact.network, x, artifact.network.arithmetic)
    trace = simulate(artifact.folder, digits.x, digits.y, keep_spikes=True, keep_membrane=True, threads=2)
    for name, spikes in meaning.spikes.items():
        np.testing.assert_array_equal(trace.spikes[name], spikes)
    for name, state in meaning.membrane.items():
        np.testing.assert_array_equal(trace.membrane[name], state)
    np.testing.assert_array_equal(trace.output, meaning.output)
