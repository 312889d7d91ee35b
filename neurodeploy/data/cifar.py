"""CIFAR-10 and CIFAR-100, the original pickles, read by torchvision after it has checked their md5 sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.data.class_folders import damaged, missing
from neurodeploy.data.dataset import Dataset, Scale, from_arrays
from neurodeploy.data.fetch import fetch

#: Mean and standard deviation as in the papers' code. Its CIFAR-10 deviations are means over images of each image's
#: deviation; over all pixels they are 0.247, 0.243, 0.262. The papers' are kept.
SCALES = {
    "cifar10": Scale((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": Scale((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}
CLASSES = {"cifar10": 10, "cifar100": 100}


def read(name: str, root: Path, split: str, *, download: bool) -> Dataset:
    """A split in file order, labels as in the files (fine labels of CIFAR-100).

    Raises:
        UsageError: ND106 for files that are missing or not the published bytes.
    """
    from torchvision import datasets

    torchvision_name = name.upper()
    kind = getattr(datasets, torchvision_name)
    if download:
        raw = fetch(torchvision_name, root, split)
    else:
        try:
            raw = kind(root, train=split == "train")
        except (OSError, RuntimeError) as error:
            raise _why(name, kind, root) from error
    pixels_NCHW = np.ascontiguousarray(np.asarray(raw.data).transpose(0, 3, 1, 2))
    y = np.asarray(raw.targets, np.int64)
    return from_arrays(name, split, pixels_NCHW, y, CLASSES[name], scale=SCALES[name])


def _why(name: str, kind: Any, root: Path) -> Exception:
    """Which file is missing or differs; torchvision says only that one does."""
    from torchvision.datasets.utils import check_integrity

    folder = root / kind.base_folder
    published = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
    absent = [folder / file for file, _ in published if not (folder / file).is_file()]
    if absent:
        files = ", ".join(file for file, _ in published)
        return missing(name, absent[:1], f"{kind.base_folder}/ with {files}", download=True)
    differs = [folder / file for file, md5 in published if not check_integrity(str(folder / file), md5)]
    return damaged(differs[0] if differs else folder, "does not have the published md5 sum: cut short, or changed")
