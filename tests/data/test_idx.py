"""idx files: the same arrays as torchvision's reader, and damage named with its file."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from neurodeploy.data import load
from neurodeploy.data.idx import read_idx
from neurodeploy.diagnostics import UsageError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (7, 28, 28), np.uint8)
LABELS = RNG.integers(0, 10, 7).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(root: Path, *, packed: bool, prefix: str = "t10k") -> Path:
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for kind, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS)):
        path = raw / f"{prefix}-{kind}-ubyte"
        content = idx(array)
        path.with_name(path.name + ".gz" * packed).write_bytes(gzip.compress(content) if packed else content)
    return raw


@pytest.mark.parametrize("packed", [False, True])
def test_same_as_torchvision(packed: bool, tmp_path: Path) -> None:
    from torchvision import datasets, transforms

    write(tmp_path, packed=packed)
    for prefix in ("train", "t10k"):  # torchvision wants all four files
        write(tmp_path / "oracle", packed=False, prefix=prefix)
    oracle = datasets.FashionMNIST(
        tmp_path / "oracle",
        train=False,
        transform=transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.2860,), (0.3530,))]),
    )
    ours = load("fashion-mnist", "test", root=tmp_path)
    assert ours.y.tolist() == oracle.targets.tolist()
    # The same float32 operations in the same order: equal to the last bit.
    assert ours.x.tobytes() == np.stack([image.numpy() for image, _ in oracle]).tobytes()
    assert ours.x.shape == (7, 1, 28, 28)


def test_a_read_only_folder_is_enough(tmp_path: Path) -> None:
    raw = write(tmp_path, packed=True)
    before = sorted(raw.iterdir())
    load("fashion-mnist", "test", root=tmp_path, download=True)  # nothing is missing: nothing is fetched
    assert sorted(raw.iterdir()) == before


def test_damage_names_the_file(tmp_path: Path) -> None:
    raw = write(tmp_path, packed=False)
    images, labels = raw / "t10k-images-idx3-ubyte", raw / "t10k-labels-idx1-ubyte"
    whole = images.read_bytes()

    def refused(match: str, where: Path) -> None:
        with pytest.raises(UsageError, match=match) as caught:
            load("fashion-mnist", "test", root=tmp_path)
        assert caught.value.code == "ND106"
        assert str(where) in caught.value.where

    images.write_bytes(whole[:-1])
    refused(f"has {len(whole) - 1:,} bytes, its header says {len(whole):,}", images)
    images.write_bytes(b"<html>not found</html>")
    refused("is no idx file", images)
    images.write_bytes(whole[:6])
    refused("header", images)
    images.write_bytes(whole)
    labels.write_bytes(idx(LABELS[:-1]))
    refused("do not belong together", raw)
    labels.write_bytes(idx(np.full(7, 10, np.uint8)))
    refused("a label is 10", labels)
    labels.unlink()
    refused("not there", labels)
    packed = labels.with_name(labels.name + ".gz")
    packed.write_bytes(gzip.compress(idx(LABELS))[:-4])
    refused("cannot be read", packed)


def test_hand_written_file(tmp_path: Path) -> None:
    path = tmp_path / "hand"
    path.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 10, 11, 12, 20, 21, 22]))
    assert read_idx(path).tolist() == [[10, 11, 12], [20, 21, 22]]


def test_a_failed_download_is_an_error_of_the_data(tmp_path: Path, monkeypatch) -> None:
    """No test reaches the network: torchvision's own download is replaced."""
    from urllib.error import URLError

    from torchvision import datasets

    def refuse(self) -> None:
        raise URLError("no network")

    monkeypatch.setattr(datasets.MNIST, "download", refuse)
    with pytest.raises(UsageError, match="no network") as caught:
        load("mnist", "train", root=tmp_path, download=True)
    assert caught.value.code == "ND106"
