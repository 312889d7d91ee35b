"""Images in one folder per class, decoded when a batch asks for them: ImageNet, and folders of your own.

Outside augmentation an image is resized so that its short side has a given length, and its center is cut out; ImageNet:
256 and 224. Scaled with ImageNet's mean and standard deviation. Resizing and cropping are torchvision's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neurodeploy.data.class_folders import damaged, in_folder, labels_of, listing_sha256, missing
from neurodeploy.data.dataset import Dataset, Scale
from neurodeploy.diagnostics import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

SCALE = Scale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
NOTE = "decoded when used; the digest covers names and sizes of the files, not their content"


@dataclass(frozen=True)
class ImageFiles:
    """Image files, and the size that they are given.

    Attributes:
        paths: One file per sample.
        side: Height and width of a sample.
        short_side: Length that the short side of an image is resized to before its center is cut out.
    """

    paths: Sequence[str] = field(repr=False)
    side: int
    short_side: int

    def read(self, indices: np.ndarray) -> np.ndarray:
        """The central squares, uint8 ``(B, 3, H, W)``."""
        from torchvision.transforms import functional

        out = np.empty((len(indices), 3, self.side, self.side), np.uint8)
        for place, index in enumerate(indices.tolist()):
            image = functional.resize(self._open(index), self.short_side)
            out[place] = _channels_first(functional.center_crop(image, [self.side, self.side]))
        return out

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        """Height and width of each file, int64 ``(B, 2)``; only headers are read."""
        from PIL import Image

        out = np.empty((len(indices), 2), np.int64)
        for place, index in enumerate(indices.tolist()):
            try:
                with Image.open(self.paths[index]) as image:
                    out[place] = image.height, image.width
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                raise damaged(self.paths[index], f"is no image: {error}") from error
        return out

    def read_boxes(self, indices: np.ndarray, boxes_B4: np.ndarray) -> np.ndarray:
        """A box (top, left, height, width) of each image, resized, uint8 ``(B, 3, H, W)``."""
        from torchvision.transforms import functional

        out = np.empty((len(indices), 3, self.side, self.side), np.uint8)
        for place, (index, box) in enumerate(zip(indices.tolist(), boxes_B4.tolist(), strict=True)):
            image = functional.resized_crop(self._open(index), *box, [self.side, self.side])
            out[place] = _channels_first(image)
        return out

    def _open(self, index: int) -> Image:
        from PIL import Image

        try:
            with Image.open(self.paths[index]) as image:
                return image.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise damaged(self.paths[index], f"is no whole image: {error}") from error


def _channels_first(image: Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1)


def read(name: str, folder: Path, split: str, classes: int, side: int, short_side: int) -> Dataset:
    """A split, ordered by class, then by file name; ``test`` is the folder ``test/`` or else ``val/``.

    Raises:
        UsageError: ND106 for a missing folder, another number of classes, or other classes than ``train/`` has.
    """
    candidates = [folder / place for place in (("train",) if split == "train" else ("test", "val"))]
    chosen = next((place for place in candidates if place.is_dir()), None)
    if chosen is None:
        shown = " or ".join(f"{place.name}/<class>/" for place in candidates)
        raise missing(name, candidates, f"{folder.name}/ with {shown} (images: {', '.join(SUFFIXES)})")
    entries = in_folder(chosen, SUFFIXES)
    y = labels_of(entries, classes, chosen)
    groups = sorted({entry.group for entry in entries})
    _refuse_other_classes(groups, folder / "train", chosen)
    return Dataset(
        name=name,
        split=split,
        classes=classes,
        shape=(3, side, side),
        temporal=False,
        y=y,
        sha256=listing_sha256(entries),
        note=NOTE,
        samples=ImageFiles(tuple(entry.where for entry in entries), side, short_side),
        scale=SCALE,
    )


def _refuse_other_classes(groups: list[str], train: Path, chosen: Path) -> None:
    """Labels count folders: with one class missing on one side, every label behind it would mean something else."""
    if not train.is_dir():
        return
    trained = sorted(item.name for item in train.iterdir() if item.is_dir() and item.name[0] != ".")
    if trained != groups:
        differing = sorted(set(trained) ^ set(groups))
        raise UsageError(
            "ND106",
            f"train/ and {chosen.name}/ have different classes: {', '.join(differing[:5])}",
            where=str(chosen),
            fix="give both the same class folders",
        )
