"""``load``: from a name and a split to a dataset, through the reader of its family."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from neurodeploy.config.recipe_sections import Data
from neurodeploy.data import cifar, cifar10_dvs, digits, idx, image_folder, jpeg_cifar, nmnist
from neurodeploy.data.catalog import DatasetInfo, describe, frames_of, section
from neurodeploy.data.dataset import Dataset
from neurodeploy.diagnostics import UsageError, nearest

SPLITS = ("train", "test")

#: Datasets that ``download=True`` can fetch.
_DOWNLOADED = ("mnist", "fashion-mnist", "cifar10", "cifar100")


def load(
    data: str | Data,
    split: str,
    *,
    timesteps: int | None = None,
    root: str | Path | None = None,
    download: bool = False,
) -> Dataset:
    """Read one split.

    Args:
        data: The ``[data]`` table of a recipe, or one of :func:`neurodeploy.data.names`.
        split: ``train`` or ``test``.
        timesteps: T of the recipe: the frames of events, where ``data.frames`` does not say.
        root: Folder of datasets (``--data-root``); digits come with scikit-learn and need none.
        download: Allow a download into ``root``, of MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100.

    Raises:
        UsageError: ND101 for an unknown name or split, ND102 where the table leaves open what is needed, ND106 for
            data that are missing or damaged.
    """
    data = section(data)
    info = describe(data, timesteps)
    if split not in SPLITS:
        raise UsageError("ND101", f"no such split: {split}", where=data.name, fix=nearest(split, SPLITS))
    if root is not None and not Path(root).is_dir() and not (download and data.name in _DOWNLOADED):
        raise UsageError(
            "ND106", "the data folder does not exist", where=str(root), fix="correct --data-root or NEURODEPLOY_DATA"
        )
    dataset = _read(data, info, split, timesteps, None if root is None else Path(root), download)
    return _with_count(replace(dataset, note=_joined(info.note, dataset.note)), info)


def _read(
    data: Data, info: DatasetInfo, split: str, timesteps: int | None, root: Path | None, download: bool
) -> Dataset:
    if data.name == "digits":
        return digits.read(split)
    if data.name == "image-folder":
        return image_folder.read(data.name, _folder(data, root), split, info.classes, data.size, data.size)
    if root is None:
        raise UsageError(
            "ND106",
            f"{data.name} needs a folder of datasets",
            where="--data-root",
            fix="give --data-root, or set NEURODEPLOY_DATA"
            + ("; --download fetches it" if data.name in _DOWNLOADED else ""),
        )
    if data.name in ("mnist", "fashion-mnist"):
        return idx.read(data.name, root, split, download=download)
    if data.name in ("cifar10", "cifar100"):
        return cifar.read(data.name, root, split, download=download)
    if data.name == "cifar10-jpeg":
        return jpeg_cifar.read(root / "CIFAR10_jpeg", split)
    if data.name == "imagenet":
        return image_folder.read(data.name, root / "imagenet", split, info.classes, 224, 256)
    reader = {"nmnist": nmnist.read, "cifar10-dvs": cifar10_dvs.read}[data.name]
    return reader(data, info, split, root, frames_of(data, timesteps))


def _folder(data: Data, root: Path | None) -> Path:
    """``data.folder`` below the data root; an absolute path, or one without a data root, stands for itself."""
    return Path(data.folder) if root is None else root / data.folder


def _joined(*notes: str) -> str:
    return "; ".join(dict.fromkeys(note for note in notes if note))


def _with_count(dataset: Dataset, info: DatasetInfo) -> Dataset:
    """A part of a dataset says so wherever its results are shown."""
    published = info.samples.get(dataset.split)
    if published in (None, len(dataset)):
        return dataset
    return replace(dataset, note=f"{dataset.note}; {len(dataset):,} of {published:,} samples")
