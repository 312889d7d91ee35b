"""The CIFAR pickles, through torchvision; and the lossy JPEG copy."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from neurodeploy.config.recipe_sections import Data
from neurodeploy.data import load
from neurodeploy.data.jpeg_cifar import CLASS_NAMES
from neurodeploy.diagnostics import UsageError

RNG = np.random.default_rng(0)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def write_pickles(root: Path, name: str, monkeypatch) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Files of the published form with five images each; torchvision is told their md5 sums."""
    from torchvision import datasets

    kind = getattr(datasets, name.upper())
    folder = root / kind.base_folder
    folder.mkdir()
    label_key = "labels" if name == "cifar10" else "fine_labels"
    content, sums = {}, {}
    for file, _ in [*kind.train_list, *kind.test_list]:
        pixels, labels = RNG.integers(0, 256, (5, 3072), np.uint8), RNG.integers(0, 10, 5).tolist()
        raw = pickle.dumps({"data": pixels, label_key: labels})
        (folder / file).write_bytes(raw)
        content[file], sums[file] = (pixels, labels), md5(raw)
    raw = pickle.dumps({kind.meta["key"]: [str(i) for i in range(10)]})
    (folder / kind.meta["filename"]).write_bytes(raw)
    monkeypatch.setattr(kind, "train_list", [[file, sums[file]] for file, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [[file, sums[file]] for file, _ in kind.test_list])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(raw)})
    return content


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_pickles(name: str, tmp_path: Path, monkeypatch) -> None:
    content = write_pickles(tmp_path, name, monkeypatch)
    train, test = (load(name, split, root=tmp_path) for split in ("train", "test"))
    files = [file for file in content if "test" not in file]
    assert (len(train), len(test), train.classes) == (5 * len(files), 5, 10 if name == "cifar10" else 100)
    assert train.y.tolist() == [label for file in files for label in content[file][1]]
    # A row of the file is 1024 red, 1024 green, 1024 blue; scaled by hand for one pixel of each channel.
    mean, std = {
        "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    }[name]
    row = content[files[0]][0][2].astype(float)
    for channel in range(3):
        expected = (row[1024 * channel + 32 * 7 + 9] / 255 - mean[channel]) / std[channel]
        assert train.x[2, channel, 7, 9] == pytest.approx(expected, rel=1e-6)


def test_a_changed_pickle_is_named_and_not_unpickled(tmp_path: Path, monkeypatch) -> None:
    write_pickles(tmp_path, "cifar10", monkeypatch)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UsageError, match="md5") as caught:
        load("cifar10", "test", root=tmp_path)
    assert (caught.value.code, caught.value.where) == ("ND106", str(path))
    path.unlink()
    with pytest.raises(UsageError, match="not there") as caught:
        load("cifar10", "test", root=tmp_path)
    assert caught.value.where == str(path)
    assert "--download" in caught.value.fix


def jpeg(pixels: np.ndarray, **options) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=75, **options)
    return stream.getvalue()


@pytest.fixture
def images() -> dict[str, bytes]:
    """``class/number.jpg`` for two images of each class, in an order that is not the sorted one."""
    drawn = [f"{name}/000{i}.jpg" for name in reversed(CLASS_NAMES) for i in (1, 0)]
    return {name: jpeg(RNG.integers(0, 256, (32, 32, 3), np.uint8)) for name in drawn}


def write_folder(root: Path, images: dict[str, bytes], split: str = "test") -> Path:
    folder = root / "CIFAR10_jpeg" / split
    for name, content in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_tar(root: Path, images: dict[str, bytes], split: str = "test") -> Path:
    path = root / "CIFAR10_jpeg" / f"{split}.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in images.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_archive_folder_and_torchvision_agree(images, tmp_path: Path) -> None:
    from torchvision import datasets, transforms

    folder = write_folder(tmp_path / "folder", images)
    write_tar(tmp_path / "tar", images)
    unpacked, packed = (load("cifar10-jpeg", "test", root=tmp_path / kind) for kind in ("folder", "tar"))
    normalize = transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    oracle = datasets.ImageFolder(folder, transforms.Compose([transforms.ToTensor(), normalize]))
    assert tuple(oracle.classes) == CLASS_NAMES
    assert packed.y.tolist() == unpacked.y.tolist() == oracle.targets
    assert packed.x.tobytes() == unpacked.x.tobytes() == np.stack([x.numpy() for x, _ in oracle]).tobytes()
    assert packed.sha256 == unpacked.sha256
    assert "JPEG q75" in packed.note
    assert sorted(path.name for path in (tmp_path / "tar" / "CIFAR10_jpeg").iterdir()) == ["test.tar.gz"]


def test_names_that_climb_out_write_nothing(images, tmp_path: Path) -> None:
    """The members' names decide a label, never a place: nothing is unpacked."""
    evil = {f"../../../{name}" if index == 0 else name: x for index, (name, x) in enumerate(images.items())}
    write_tar(tmp_path / "root", evil)
    assert len(load("cifar10-jpeg", "test", root=tmp_path / "root")) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


@pytest.mark.parametrize("write", [write_folder, write_tar])
def test_damaged_images(write, images, tmp_path: Path) -> None:
    cut = {**images, "cat/0001.jpg": images["cat/0001.jpg"][:-200]}
    write(tmp_path / "cut", cut)
    with pytest.raises(UsageError, match="no whole JPEG") as caught:
        load("cifar10-jpeg", "test", root=tmp_path / "cut")
    assert caught.value.where.endswith("cat/0001.jpg")
    write(tmp_path / "small", {**images, "dog/0000.jpg": jpeg(np.zeros((8, 8, 3), np.uint8))})
    with pytest.raises(UsageError, match="8x8, not 32x32"):
        load("cifar10-jpeg", "test", root=tmp_path / "small")
    write(tmp_path / "nine", {name: x for name, x in images.items() if "ship" not in name})
    with pytest.raises(UsageError, match="9 class folders with samples, 10 expected"):
        load("cifar10-jpeg", "test", root=tmp_path / "nine")
    write(tmp_path / "other", {name.replace("ship", "boat"): x for name, x in images.items()})
    with pytest.raises(UsageError, match="not CIFAR-10's: boat"):
        load("cifar10-jpeg", "test", root=tmp_path / "other")


def test_a_cut_archive_is_named(images, tmp_path: Path) -> None:
    path = write_tar(tmp_path, images)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(UsageError) as caught:
        load(Data(name="cifar10-jpeg"), "test", root=tmp_path)
    assert caught.value.code == "ND106"
    assert caught.value.where.startswith(str(path))
