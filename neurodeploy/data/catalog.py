"""What each dataset is, known without reading it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

from neurodeploy.config.recipe_sections import Data
from neurodeploy.data import digits
from neurodeploy.diagnostics import UsageError, nearest


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before it is read.

    Attributes:
        name: Its name in recipes.
        shape: ``(C, H, W)`` of one step, as the network sees it; stacked frames lie along C.
        classes: Number of classes.
        samples: Samples of each split; empty where only reading tells.
        note: Where it comes from, how it is split and scaled.
        temporal: Samples have frames: ``(T, C, H, W)``.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    samples: dict[str, int]
    note: str
    temporal: bool = False


@dataclass(frozen=True)
class _Entry:
    info: DatasetInfo
    #: Where its files may lie below the data root: one of these is there.
    places: tuple[str, ...] = ()


def _entries(*rows: tuple[DatasetInfo, tuple[str, ...]]) -> dict[str, _Entry]:
    return {info.name: _Entry(info, places) for info, places in rows}


_SIXTY = {"train": 60_000, "test": 10_000}
_FIFTY = {"train": 50_000, "test": 10_000}
_STANDARD = "normalized with mean and standard deviation of the training pixels"
_PAPERS = "normalized with the mean and std of the papers' code"
_CATALOG = _entries(
    (DatasetInfo("cifar10", (3, 32, 32), 10, _FIFTY, f"CIFAR-10 (Krizhevsky 2009); {_PAPERS}"),
     ("cifar-10-batches-py",)),
    (DatasetInfo("cifar10-dvs", (2, 48, 48), 10, {"train": 9_000, "test": 1_000},
                 "CIFAR10-DVS (Li et al. 2017), 128x128 events; of each class the first 9/10 in name order are train",
                 temporal=True),
     ("CIFAR10DVS",)),
    (DatasetInfo("cifar10-jpeg", (3, 32, 32), 10, _FIFTY,
                 "CIFAR-10 (JPEG q75): a lossy copy, not comparable with published CIFAR-10; scaled as cifar10"),
     ("CIFAR10_jpeg",)),
    (DatasetInfo("cifar100", (3, 32, 32), 100, _FIFTY, f"CIFAR-100 (Krizhevsky 2009); {_PAPERS}"),
     ("cifar-100-python",)),
    (DatasetInfo("digits", digits.SHAPE, digits.CLASSES, digits.SAMPLES, digits.NOTE), ()),
    (DatasetInfo("fashion-mnist", (1, 28, 28), 10, _SIXTY, f"Fashion-MNIST (Xiao et al. 2017); {_STANDARD}"),
     ("FashionMNIST/raw",)),
    (DatasetInfo("image-folder", (3, 0, 0), 0, {},
                 "your own images, a folder per class; data.folder, data.size, data.classes; ImageNet's mean and std"),
     ()),
    (DatasetInfo("imagenet", (3, 224, 224), 1000, {"train": 1_281_167, "test": 50_000},
                 "ImageNet ILSVRC 2012, test is its val; short side 256, central 224; ImageNet's mean and std"),
     ("imagenet",)),
    (DatasetInfo("mnist", (1, 28, 28), 10, _SIXTY, f"MNIST (LeCun et al. 1998); {_STANDARD}"), ("MNIST/raw",)),
    (DatasetInfo("nmnist", (2, 34, 34), 10, _SIXTY, "N-MNIST (Orchard et al. 2015), events of 34x34 pixels",
                 temporal=True),
     ("NMNIST", "NMNIST_small/NMNIST_small.tar.gz")),
)  # fmt: skip

#: Height and width of the events of a sensor, before ``data.size``.
SENSOR = {"nmnist": 34, "cifar10-dvs": 128}


def names() -> list[str]:
    """The datasets that can be loaded."""
    return sorted(_CATALOG)


def catalog_info(name: str) -> DatasetInfo:
    """What is known of a dataset from its name alone; ``image-folder`` has no size and no number of classes yet."""
    if name not in _CATALOG:
        raise UsageError("ND101", f"no such dataset: {name}", where="data.name", fix=nearest(name, names()))
    return _CATALOG[name].info


def section(data: str | Data) -> Data:
    """The ``[data]`` table; a name stands for the table with every default."""
    if isinstance(data, Data):
        return data
    return Data.model_validate({"name": catalog_info(data).name})


def describe(data: str | Data, timesteps: int | None = None) -> DatasetInfo:
    """Shape, classes and origin of a dataset, without reading it.

    Args:
        data: The ``[data]`` table of a recipe, or a name.
        timesteps: T of the recipe: the frames of stacked events, where ``data.frames`` does not say.

    Raises:
        UsageError: ND101 for an unknown name, ND102 where the table leaves open what is needed.
    """
    data = section(data)
    info = catalog_info(data.name)
    if data.name == "image-folder":
        missing = [key for key in ("folder", "size", "classes") if not getattr(data, key)]
        if missing:
            raise UsageError(
                "ND102",
                f"image-folder needs {', '.join(f'data.{key}' for key in missing)}",
                where="data",
                fix="write them in the recipe's [data]",
            )
        return replace(info, shape=(3, data.size, data.size), classes=data.classes)
    if data.name in SENSOR:
        channels, side, _ = info.shape
        side = data.size or side
        if data.stack:
            channels *= frames_of(data, timesteps)
        how = f"frames of equal event {data.slice}, {'clamped to 0/1' if data.binary else 'as counts'}"
        note = f"{info.note}; {how}, {side}x{side}{', stacked' if data.stack else ''}"
        return replace(info, shape=(channels, side, side), temporal=not data.stack, note=note)
    return info


def frames_of(data: Data, timesteps: int | None) -> int:
    """Frames that a recording is cut into.

    Raises:
        UsageError: ND102 where neither ``data.frames`` nor T says.
    """
    frames = data.frames or timesteps
    if not frames:
        raise UsageError(
            "ND102",
            f"{data.name} holds events: into how many frames are they cut?",
            where="data.frames",
            fix="set data.frames, or give the number of timesteps",
        )
    return frames


def is_found(name: str, root: str | Path | None) -> bool | None:
    """Whether files of a dataset lie below the data root, without opening one; None where that cannot be said."""
    if name == "digits":
        return importlib.util.find_spec("sklearn") is not None
    places = _CATALOG[name].places
    if root is None or not places:
        return None
    return any((Path(root) / place).exists() for place in places)
