"""Folders of images, decoded when used: the same pixels as torchvision's transforms give."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from neurodeploy.config.recipe_sections import Data
from neurodeploy.data import dataset as dataset_module
from neurodeploy.data import load
from neurodeploy.diagnostics import UsageError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = ((40, 60), (60, 40), (33, 33), (16, 50))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """``mine/{train,val}/{ant,bee}/`` with two images each, PNG and JPEG, none of them square or gray by chance."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for index, (height, width) in enumerate(SIZES):
            folder = tmp_path / "mine" / split / ("ant", "bee")[index // 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
            image = Image.fromarray(pixels[..., 0] if index == 2 else pixels)
            image.save(folder / f"{index}.{'PNG' if index % 2 else 'JPEG'}")
            (folder / "notes.txt").write_text("no image")
    return tmp_path


def section(**keys) -> Data:
    return Data(**{"name": "image-folder", "folder": "mine", "size": 24, "classes": 2, **keys})


def test_same_as_torchvision(mine: Path) -> None:
    from torchvision import datasets, transforms

    ours = load(section(), "test", root=mine)  # there is no test/: val/ stands in
    oracle = datasets.ImageFolder(
        mine / "mine" / "val",
        transforms.Compose(
            [
                transforms.Resize(24),
                transforms.CenterCrop(24),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        ),
    )
    assert (ours.y.tolist(), ours.shape, len(ours)) == (oracle.targets, (3, 24, 24), 4)
    assert ours.x.tobytes() == np.stack([image.numpy() for image, _ in oracle]).tobytes()
    assert "not their content" in ours.note


def test_imagenet_layout(mine: Path) -> None:
    from torchvision import datasets, transforms

    (mine / "mine").rename(mine / "imagenet")
    with pytest.raises(UsageError, match="2 class folders with samples, 1000 expected"):
        load("imagenet", "test", root=mine)
    for split in ("train", "val"):
        for number in range(998):
            shutil.copytree(mine / "imagenet" / split / "ant", mine / "imagenet" / split / f"n{number:08d}")
    ours = load("imagenet", "test", root=mine)
    standard = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    oracle = datasets.ImageFolder(
        mine / "imagenet" / "val", transforms.Compose([*standard, transforms.Normalize(MEAN, STD)])
    )
    assert ours.y.tolist() == oracle.targets
    picked = np.array([2, 0, 3])
    assert ours.batch(picked).tobytes() == np.stack([oracle[i][0].numpy() for i in picked]).tobytes()


def test_resized_crop_is_of_the_file_and_the_sample_alone(mine: Path) -> None:
    ours = load(section(), "train", root=mine)
    whole = ours.batch(np.arange(4), augment="resized-crop-flip", seed=3, epoch=2)
    assert whole.shape == (4, 3, 24, 24)
    for index in range(4):
        alone = ours.batch(np.array([index]), augment="resized-crop-flip", seed=3, epoch=2)
        assert alone[0].tobytes() == whole[index].tobytes()
    assert (whole != ours.batch(np.arange(4), augment="resized-crop-flip", seed=3, epoch=3)).any()


def test_digest_covers_names_and_sizes(mine: Path) -> None:
    before = load(section(), "train", root=mine).sha256
    assert load(section(folder=str(mine / "mine")), "train").sha256 == before  # a path needs no root
    path = mine / "mine" / "train" / "ant" / "0.JPEG"
    path.write_bytes(path.read_bytes() + b"\0")
    assert load(section(), "train", root=mine).sha256 != before


def test_refusals(mine: Path, monkeypatch) -> None:
    with pytest.raises(UsageError, match="2 class folders with samples, 3 expected"):
        load(section(classes=3), "train", root=mine)
    with pytest.raises(UsageError) as absent:
        load(section(folder="other"), "test", root=mine)
    assert str(mine / "other" / "test") in absent.value.where
    assert "val/<class>/" in absent.value.fix
    (mine / "mine" / "val" / "ant").rename(mine / "mine" / "val" / "cow")
    with pytest.raises(UsageError, match="different classes: ant, cow"):
        load(section(), "test", root=mine)
    train = load(section(), "train", root=mine)
    path = mine / "mine" / "train" / "bee" / "3.PNG"
    path.write_bytes(path.read_bytes()[:500])
    for augment in ("none", "resized-crop-flip"):
        with pytest.raises(UsageError, match="no whole image") as cut:
            train.batch(np.array([3]), augment=augment)
        assert (cut.value.code, cut.value.where) == ("ND106", str(path))
    monkeypatch.setattr(dataset_module, "MAX_X_GIB", 1e-6)
    with pytest.raises(UsageError, match="as one array") as large:
        _ = train.x
    assert large.value.code == "ND100"
    (mine / "mine" / "train" / "dog").mkdir()
    with pytest.raises(UsageError, match="holds no") as empty:
        load(section(classes=3), "train", root=mine)
    assert empty.value.where.endswith("dog")
