"""The real files, where ``NEURODEPLOY_DATA`` says where they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from neurodeploy.data import describe, load
from neurodeploy.data.catalog import is_found
from neurodeploy.data.idx import SCALES
from neurodeploy.data.jpeg_cifar import CLASS_NAMES

ROOT = Path(os.environ.get("NEURODEPLOY_DATA", "/nowhere"))


def need(name: str) -> None:
    if not is_found(name, ROOT):
        pytest.skip(f"{name} is not under NEURODEPLOY_DATA")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_sets(name: str) -> None:
    need(name)
    for split, samples in describe(name).samples.items():
        dataset = load(name, split, root=ROOT)
        assert np.bincount(dataset.y).sum() == samples
        assert dataset.note == describe(name).note
    train = load(name, "train", root=ROOT)
    pixels = train.samples.pixels / 255.0  # type: ignore[attr-defined]
    # The constants are rounded to four decimals.
    assert abs(pixels.mean() - SCALES[name].mean[0]) < 5e-5
    assert abs(pixels.std() - SCALES[name].std[0]) < 5e-5


def test_fashion_mnist_is_balanced() -> None:
    need("fashion-mnist")
    test = load("fashion-mnist", "test", root=ROOT)
    assert np.bincount(test.y).tolist() == [1000] * 10
    assert test.y[:5].tolist() == [9, 2, 1, 1, 6]  # ankle boot, pullover, trouser, trouser, shirt


def test_cifar10_jpeg() -> None:
    """Counts, and the order of classes: label i is CIFAR-10's i-th name."""
    need("cifar10-jpeg")
    test = load("cifar10-jpeg", "test", root=ROOT)
    assert np.bincount(test.y).tolist() == [1000] * 10
    assert list(CLASS_NAMES) == sorted(CLASS_NAMES)
    assert (test.shape, test.batch(np.arange(3)).shape) == ((3, 32, 32), (3, 3, 32, 32))
    # Ships and airplanes are the bluest two classes of CIFAR-10, frogs and deer the least blue: the labels fit.
    blue = test.x[:, 2] - test.x[:, 0]
    by_class = [float(blue[test.y == label].mean()) for label in range(10)]
    order = [CLASS_NAMES[label] for label in np.argsort(by_class)]
    assert set(order[-2:]) == {"airplane", "ship"}
    assert "frog" in order[:4]


@pytest.mark.slow
def test_cifar10_jpeg_train() -> None:
    need("cifar10-jpeg")
    assert np.bincount(load("cifar10-jpeg", "train", root=ROOT).y).tolist() == [5000] * 10


def test_nmnist() -> None:
    need("nmnist")
    train, test = (load("nmnist", split, timesteps=4, root=ROOT) for split in ("train", "test"))
    if (ROOT / "NMNIST").is_dir():
        assert (len(train), len(test)) == (60_000, 10_000)
    else:
        assert (len(train), len(test)) == (1000, 100)
        assert "100 of 10,000 samples" in test.note
    assert set(train.y.tolist()) == set(range(10))
    x = test.batch(np.arange(100))
    assert x.shape == (100, 4, 2, 34, 34)
    assert set(np.unique(x)) == {0.0, 1.0}
    # Equal counts: no frame of a recording is empty, and the digit lies in the middle of the sensor.
    assert (x.sum(axis=(2, 3, 4)) > 50).all()
    profile = x.sum(axis=(0, 1, 2))
    assert profile[8:26, 8:26].sum() > 0.7 * profile.sum()
