"""The lossy copy of CIFAR-10: JPEG files of 32x32 pixels, in class folders or in ``train.tar.gz`` and ``test.tar.gz``.

The class folders in alphabetical order are CIFAR-10's label order. Scaled like CIFAR-10, whose pixels these nearly are.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from neurodeploy.data.cifar import SCALES
from neurodeploy.data.class_folders import Entry, damaged, in_folder, in_tar, labels_of, missing
from neurodeploy.data.dataset import Dataset, from_arrays
from neurodeploy.diagnostics import UsageError

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
_SUFFIXES = (".jpg", ".jpeg")


def read(folder: Path, split: str) -> Dataset:
    """A split, ordered by class, then by file name.

    Raises:
        UsageError: ND106 for files that are missing or damaged, or for other classes than CIFAR-10's.
    """
    unpacked, archive = folder / split, folder / f"{split}.tar.gz"
    if unpacked.is_dir():
        where, entries = unpacked, in_folder(unpacked, _SUFFIXES)
    elif archive.is_file():
        where, entries = archive, in_tar(archive, _SUFFIXES)
    else:
        layout = f"CIFAR10_jpeg/{split}/<class>/*.jpg or CIFAR10_jpeg/{split}.tar.gz"
        raise missing("cifar10-jpeg", [unpacked, archive], layout)
    y = labels_of(entries, len(CLASS_NAMES), where)
    strange = sorted({entry.group for entry in entries} - set(CLASS_NAMES))
    if strange:
        raise UsageError(
            "ND106",
            f"the class folders are not CIFAR-10's: {', '.join(strange)}",
            where=str(where),
            fix=f"name them {', '.join(CLASS_NAMES)}; other images: image-folder",
        )
    pixels_NHWC = np.empty((len(entries), SIDE, SIDE, 3), np.uint8)
    for index, entry in enumerate(entries):
        pixels_NHWC[index] = _decoded(entry)
    pixels_NCHW = np.ascontiguousarray(pixels_NHWC.transpose(0, 3, 1, 2))
    return from_arrays("cifar10-jpeg", split, pixels_NCHW, y, len(CLASS_NAMES), scale=SCALES["cifar10"])


def _decoded(entry: Entry) -> np.ndarray:
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(entry.read()), formats=("JPEG",))
        if image.size != (SIDE, SIDE):
            raise damaged(entry.where, f"is {image.width}x{image.height}, not {SIDE}x{SIDE} pixels")
        return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise damaged(entry.where, f"is no whole JPEG file: {error}") from error
