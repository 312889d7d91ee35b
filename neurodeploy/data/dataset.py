"""What a dataset is, and the table of those that can be loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurodeploy.data import digits
from neurodeploy.diagnostics import UsageError, nearest, not_built
from neurodeploy.files import sha256_arrays

#: Names that the recipe format knows and this version does not load yet.
PLANNED = ("mnist", "fashion-mnist", "cifar10", "cifar100", "imagenet", "nmnist", "cifar10-dvs", "dvs-gesture")

SPLITS = ("train", "test")


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before it is read.

    Attributes:
        name: Its name in recipes.
        shape: Shape of one static sample, ``(C, H, W)``.
        classes: Number of classes.
        samples: Samples of each split.
        note: Where it comes from, how it is split and scaled.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    samples: dict[str, int]
    note: str


@dataclass(frozen=True)
class Dataset:
    """One split, in memory.

    Attributes:
        x: Samples, float32 ``(N, C, H, W)``.
        y: Labels, int64 ``(N,)``.
        classes: Number of classes.
        name: Name of the dataset.
        split: ``train`` or ``test``.
        sha256: Digest of ``x`` and ``y``.
        note: Where it comes from, how it is split and scaled.
    """

    x: np.ndarray
    y: np.ndarray
    classes: int
    name: str
    split: str
    sha256: str
    note: str

    def __len__(self) -> int:
        return len(self.y)


_INFO = {"digits": DatasetInfo("digits", digits.SHAPE, digits.CLASSES, digits.SAMPLES, digits.NOTE)}
_READ: dict[str, Callable[[str], tuple[np.ndarray, np.ndarray]]] = {"digits": digits.read}


def names() -> list[str]:
    """The datasets that can be loaded."""
    return sorted(_INFO)


def describe(name: str) -> DatasetInfo:
    """Shape, classes and origin of a dataset, without reading it."""
    if name in PLANNED:
        raise not_built(f"dataset {name}", fix=f"use one of: {', '.join(names())}", where="data.name")
    if name not in _INFO:
        raise UsageError("ND101", f"no such dataset: {name}", where="data.name", fix=nearest(name, [*_INFO, *PLANNED]))
    return _INFO[name]


def load(name: str, split: str, *, root: str | Path | None = None, download: bool = False) -> Dataset:
    """Read one split.

    Args:
        name: One of :func:`names`.
        split: ``train`` or ``test``.
        root: Folder of downloaded datasets (``--data-root``); digits come with scikit-learn and need none.
        download: Allow a download; digits need none.

    Raises:
        UsageError: ND101 for an unknown name or split, ND106 for missing data.
    """
    info = describe(name)
    if split not in SPLITS:
        raise UsageError("ND101", f"no such split: {split}", where=name, fix=nearest(split, SPLITS))
    if root is not None and not Path(root).is_dir():
        raise UsageError(
            "ND106", "the data folder does not exist", where=str(root), fix="correct --data-root or NEURODEPLOY_DATA"
        )
    x, y = _READ[name](split)
    return Dataset(x, y, info.classes, name, split, sha256_arrays(x, y), info.note)
