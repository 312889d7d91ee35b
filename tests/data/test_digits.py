"""The digits: the split and the scale are those that the docstring states, and the bits those on record."""

from __future__ import annotations

import numpy as np
import pytest

from neurodeploy.data import describe, digits, load, names
from neurodeploy.diagnostics import UsageError


def test_split_is_whole_disjoint_and_stratified() -> None:
    from sklearn.datasets import load_digits

    _, labels = load_digits(return_X_y=True)
    train, test = load("digits", "train"), load("digits", "test")
    assert (train.x.shape, test.x.shape) == ((1437, 1, 8, 8), (360, 1, 8, 8))
    assert train.x.dtype == np.float32
    assert train.y.dtype == np.int64
    together = np.bincount(train.y) + np.bincount(test.y)
    assert (together == np.bincount(labels)).all()
    assert np.abs(np.bincount(test.y) - together / 5).max() <= 1
    info = describe("digits")
    assert (info.shape, info.samples) == (train.x.shape[1:], {"train": len(train), "test": len(test)})


def test_scale_constants_are_those_of_the_training_pixels() -> None:
    pixels = load("digits", "train").x.astype(np.float64) * digits.STD + digits.MEAN
    # Ten decimals are written down; float32 samples carry seven digits each, their mean over 92k more.
    assert abs(pixels.mean() - digits.MEAN) < 1e-8
    assert abs(pixels.std() - digits.STD) < 1e-8


def test_digest_is_stable_and_differs_by_split() -> None:
    assert load("digits", "test").sha256 == load("digits", "test").sha256 != load("digits", "train").sha256


def test_bits_are_those_of_the_runs_on_record() -> None:
    """Digests written in manifests of earlier runs; x is what was trained on then: float64 arithmetic, then float32."""
    from sklearn.datasets import load_digits

    train, test = load("digits", "train"), load("digits", "test")
    assert train.sha256 == "a1aaa453d5e4fe382ff68e0a89a85b4681637074fff6334e813927b86215a172"
    assert test.sha256 == "ea09ed20fe4962f68332aa74bc53ffa2cb81a27ec3322e58763cffc68ab9680e"
    images, labels = load_digits(return_X_y=True)
    places = np.sort(np.argsort(labels, kind="stable")[::5])
    x = ((images[places] / 16.0 - digits.MEAN) / digits.STD).astype(np.float32)
    assert test.x.tobytes() == x.tobytes()
    assert test.batch(np.array([5, 2])).tobytes() == np.stack([test.x[5], test.x[2]]).tobytes()


def test_refusals() -> None:
    assert "digits" in names()
    with pytest.raises(UsageError) as unknown:
        load("digit", "train")
    assert unknown.value.code == "ND101"
    assert "digits" in unknown.value.fix
    with pytest.raises(UsageError, match="split"):
        load("digits", "val")


def test_missing_data_folder(tmp_path) -> None:
    with pytest.raises(UsageError) as caught:
        load("digits", "train", root=tmp_path / "nowhere")
    assert caught.value.code == "ND106"
    assert len(load("digits", "test", root=tmp_path)) == 360
