"""MNIST and Fashion-MNIST: the four idx files, packed (``.gz``) or not, in ``<root>/<MNIST|FashionMNIST>/raw/``.

idx: two zero bytes, a type byte (8: uint8), the number of dimensions, each dimension as a big-endian uint32, the bytes.
The folder may be read-only: unlike torchvision's, this reader unpacks in memory.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from neurodeploy.data.class_folders import damaged, missing
from neurodeploy.data.dataset import Dataset, Scale, from_arrays
from neurodeploy.data.fetch import fetch

FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
#: Mean and population standard deviation of pixel/255 over the training images, to four decimals.
SCALES = {"mnist": Scale((0.1307,), (0.3081,)), "fashion-mnist": Scale((0.2860,), (0.3530,))}
CLASSES = 10
_UINT8 = 8


def read(name: str, root: Path, split: str, *, download: bool) -> Dataset:
    """A split in file order; ``download`` fetches what is missing into ``root`` with torchvision.

    Raises:
        UsageError: ND106 for a file that is missing or damaged.
    """
    folder = root / FOLDERS[name] / "raw"
    prefix = "train" if split == "train" else "t10k"
    files = [folder / f"{prefix}-images-idx3-ubyte", folder / f"{prefix}-labels-idx1-ubyte"]
    if any(_present(path) is None for path in files):
        if not download:
            layout = f"{FOLDERS[name]}/raw/{files[0].name}[.gz] and the three files beside it"
            raise missing(name, [path for path in files if _present(path) is None], layout, download=True)
        fetch(FOLDERS[name], root, split)
    images_NHW, labels = (read_idx(_present(path) or path) for path in files)
    if images_NHW.ndim != 3 or labels.ndim != 1 or len(images_NHW) != len(labels):
        raise damaged(folder, f"images {images_NHW.shape} and labels {labels.shape} do not belong together")
    if images_NHW.shape[1:] != (28, 28):
        raise damaged(_present(files[0]) or files[0], f"holds images of {images_NHW.shape[1:]}, not (28, 28)")
    if len(labels) and labels.max() >= CLASSES:
        raise damaged(_present(files[1]) or files[1], f"a label is {labels.max()}; there are {CLASSES} classes")
    return from_arrays(name, split, images_NHW[:, None], labels.astype(np.int64), CLASSES, scale=SCALES[name])


def _present(path: Path) -> Path | None:
    return next((file for file in (path, path.with_name(f"{path.name}.gz")) if file.is_file()), None)


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of an idx file.

    Raises:
        UsageError: ND106 for a file that is none, or is cut short.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, f"cannot be read: {error}") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UINT8:
        raise damaged(path, "is no idx file of bytes")
    dimensions, start = content[3], 4 + 4 * content[3]
    if len(content) < start:
        raise damaged(path, "ends inside its header")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, 4))
    expected = start + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise damaged(path, f"has {len(content):,} bytes, its header says {expected:,}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
