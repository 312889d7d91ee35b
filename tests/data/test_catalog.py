"""What is known without reading, and what is said when there is nothing to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from neurodeploy.cli import run
from neurodeploy.config.recipe_sections import Data, DatasetName
from neurodeploy.data import describe, load, names
from neurodeploy.diagnostics import UsageError

FOLDER = {"folder": "mine", "size": 16, "classes": 3}


def test_every_name_of_the_recipe_can_be_described() -> None:
    assert set(names()) == set(get_args(DatasetName))
    for name in names():
        info = describe(Data(name=name, **(FOLDER if name == "image-folder" else {})))
        assert info.name == name
        assert min(info.shape) > 0
        assert info.classes > 0
        assert info.note


@pytest.mark.parametrize(
    ("keys", "shape", "temporal"),
    [
        ({"name": "nmnist"}, (2, 34, 34), True),
        ({"name": "cifar10-dvs"}, (2, 48, 48), True),
        ({"name": "cifar10-dvs", "size": 128}, (2, 128, 128), True),
        ({"name": "cifar10-dvs", "stack": True, "frames": 10}, (20, 48, 48), False),
        ({"name": "nmnist", "stack": True}, (8, 34, 34), False),  # T = 4 below
        ({"name": "image-folder", **FOLDER}, (3, 16, 16), False),
    ],
)
def test_shape_of_one_step(keys, shape, temporal) -> None:
    info = describe(Data(**keys), timesteps=4)
    assert (info.shape, info.temporal) == (shape, temporal)


@pytest.mark.parametrize("name", [name for name in names() if name not in ("digits", "image-folder")])
def test_missing_data_name_the_place_and_the_way_out(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as rootless:
        load(name, "train", timesteps=4)
    assert rootless.value.code == "ND106"
    assert "NEURODEPLOY_DATA" in rootless.value.fix
    with pytest.raises(UsageError) as empty:
        load(name, "train", timesteps=4, root=tmp_path)
    assert empty.value.code == "ND106"
    assert str(tmp_path) in empty.value.where
    assert "--data-root" in empty.value.fix
    assert ("--download" in empty.value.fix) == (name in ("mnist", "fashion-mnist", "cifar10", "cifar100"))
    assert list(tmp_path.iterdir()) == []  # nothing is fetched or written


def test_what_is_left_open() -> None:
    with pytest.raises(UsageError, match=r"data\.folder, data\.size, data\.classes"):
        describe("image-folder")
    with pytest.raises(UsageError, match="how many frames"):
        load("nmnist", "test", root=".")
    with pytest.raises(UsageError) as unknown:
        describe("fashion-mnits")
    assert unknown.value.code == "ND101"
    assert "fashion-mnist" in unknown.value.fix


def test_list_says_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    assert run(["list", "datasets", "--data-root", str(tmp_path), "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["result"]["items"]}
    assert list(rows) == names()
    found = {name: row["found"] for name, row in rows.items()}
    assert (found["fashion-mnist"], found["mnist"], found["digits"], found["image-folder"]) == (True, False, True, None)
    assert (rows["nmnist"]["train"], rows["image-folder"]["classes"]) == (60_000, None)
    monkeypatch.delenv("NEURODEPLOY_DATA", raising=False)
    assert run(["list", "datasets"]) == 0
    assert "CIFAR-10 (JPEG q75)" in capsys.readouterr().out


def test_a_part_of_a_dataset_says_so(tmp_path: Path) -> None:
    """Two of 60,000 samples, as idx files written by hand: results carry the note."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").write_bytes(
        b"\0\0\x08\x03" + b"\0\0\0\x02" + b"\0\0\0\x1c" * 2 + bytes(i % 256 for i in range(1568))
    )
    (raw / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x02\x07\x03")
    dataset = load("mnist", "train", root=tmp_path)
    assert dataset.y.tolist() == [7, 3]
    assert dataset.note.endswith("2 of 60,000 samples")
