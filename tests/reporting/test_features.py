"""Output features, from exported files, and their principal components."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from graphs import paper_chain

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nir_io import write_nir
from neurodeploy.ir.nodes import Linear, ReLU
from neurodeploy.reporting.features import from_json, output_features, principal, up_to_last_weights
from neurodeploy.sim import simulate
from neurodeploy.targets.export import export

X = np.random.default_rng(0).normal(size=(5, 1, 8, 8)).astype(np.float32)


def exported(graph: Graph, folder: Path) -> Path:
    write_nir(graph, folder / "model.nir")
    np.savez(folder / "x.npz", x=X)
    return export(folder / "model.nir", "loihi2", folder / "artifact", inputs=folder / "x.npz").folder


def test_on_the_chip_they_are_the_last_spikes(tmp_path: Path) -> None:
    artifact = exported(paper_chain(), tmp_path)
    found = output_features(artifact, X)
    assert found is not None
    spikes = list(simulate(artifact, X, keep_spikes=True).spikes.values())[-1]
    np.testing.assert_array_equal(found, spikes.mean(axis=1, dtype=np.float64).reshape(5, -1))
    assert found.any()


def test_behind_repact_they_are_what_the_classifier_reads(tmp_path: Path) -> None:
    """The readout adds up ``W f + b`` over steps, so its last state is ``T (W mean(f) + b)``."""
    graph = paper_chain().with_nodes({"lif2": ReLU()})
    artifact = exported(graph, tmp_path)
    found = output_features(artifact, X)
    assert found is not None
    assert found.shape == (5, 64), "pooled"
    assert found.min() >= 0
    fc = graph.nodes["fc"]
    assert isinstance(fc, Linear)
    logits = simulate(artifact, X).host_output
    assert logits is not None
    np.testing.assert_allclose(4 * (found @ fc.weight.T + fc.bias), logits[:, -1], rtol=1e-4, atol=1e-4)


def test_without_last_weights_of_its_own_there_are_none() -> None:
    chain = paper_chain()
    kept = up_to_last_weights(chain)
    assert kept is not None
    assert [name for name in kept.nodes if name not in ("input", "output")] == list(chain.nodes)[1:-3]
    again = up_to_last_weights(kept)  # up to lif1
    assert again is not None
    assert up_to_last_weights(again) is None, "conv1 reads the input itself"


def test_components_by_hand() -> None:
    """Two classes at ±(3, 4), moved: one direction of length 5, all variance between the classes."""
    labels = [0, 0, 1, 1]
    found = principal(np.array([[3.0, 4.0], [3, 4], [-3, -4], [-3, -4]]) + 7, labels)
    assert found.x == (5, 5, -5, -5), "the largest weight, 4/5, is positive"
    assert max(map(abs, found.y)) < 1e-9
    assert found.explained == pytest.approx((1, 0))
    assert found.between_classes == pytest.approx(1)
    assert principal(np.array([[3.0, 4.0], [-3, -4], [3, 4], [-3, -4]]), labels).between_classes == 0


def test_explained_is_the_share_of_the_eigenvalues() -> None:
    features = np.random.default_rng(3).normal(size=(40, 6)) * [5, 3, 1, 1, 1, 1]
    values = np.linalg.eigvalsh(np.cov(features.T))[::-1]
    found = principal(features, np.zeros(40))
    assert found.explained == pytest.approx(tuple(values[:2] / values.sum()))
    assert np.var(found.x, ddof=1) == pytest.approx(values[0], rel=0.01)


def test_silent_features_and_a_single_one_are_no_error() -> None:
    silent = principal(np.zeros((4, 3)), [0, 1, 2, 3])
    assert (silent.explained, silent.between_classes, set(silent.x)) == ((0, 0), 0, {0})
    assert principal(np.array([[1.0], [2.0]]), [0, 1]).y == (0, 0)


def test_kept_and_read_again() -> None:
    found = principal(np.random.default_rng(0).normal(size=(9, 4)), np.arange(9))
    assert from_json(asdict(found)) == found
    for damaged in (None, [], {**asdict(found), "x": [1]}, {**asdict(found), "explained": 3}):
        assert from_json(damaged) is None
