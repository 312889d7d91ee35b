"""One split of a dataset: raw samples, how they become the float32 numbers that a network sees, and their labels.

Shape legend: N samples, B batch, T frames, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np

from neurodeploy.data.augment import augmented, resized_crop_boxes
from neurodeploy.data.draws import Draws
from neurodeploy.diagnostics import UsageError
from neurodeploy.files import sha256_arrays

#: The largest array that ``Dataset.x`` builds.
MAX_X_GIB = 4


@dataclass(frozen=True)
class Scale:
    """``(raw / divisor − mean) / std`` per channel, in ``dtype``, given as float32.

    With ``float32`` and a divisor of 255 this is torchvision's ``ToTensor`` then ``Normalize``, operation by operation.
    """

    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    divisor: float = 255.0
    dtype: str = "float32"

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Scale ``(…, C, H, W)``."""
        x = raw.astype(self.dtype)
        x /= x.dtype.type(self.divisor)
        x -= np.asarray(self.mean, self.dtype)[:, None, None]
        x /= np.asarray(self.std, self.dtype)[:, None, None]
        return x.astype(np.float32, copy=False)


def as_counted(raw: np.ndarray) -> np.ndarray:
    """The scale of event frames: none. Zero and one stay zero and one."""
    return raw.astype(np.float32)


class Samples(Protocol):
    """Where raw samples come from."""

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Raw samples, unsigned integers ``(B, C, H, W)`` or ``(B, T, C, H, W)``, a new array."""


@runtime_checkable
class Resizable(Samples, Protocol):
    """Images whose files are larger than a sample, so that a crop of them can be resized to one."""

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        """Height and width of each image file, ``(B, 2)``."""

    def read_boxes(self, indices: np.ndarray, boxes_B4: np.ndarray) -> np.ndarray:
        """The box (top, left, height, width) of each image, resized to a sample."""


@dataclass(frozen=True)
class InMemory:
    """Samples held as one array of unsigned integers."""

    pixels: np.ndarray

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self.pixels[indices]


@dataclass(frozen=True)
class Dataset:
    """One split.

    Attributes:
        name: Name of the dataset.
        split: ``train`` or ``test``.
        classes: Number of classes.
        shape: ``(C, H, W)`` of one step, as the network sees it.
        temporal: Samples have frames: ``(T, C, H, W)``.
        y: Labels, int64 ``(N,)``.
        sha256: Digest of the raw samples and labels; of names and sizes where files are read one by one (see note).
        note: Where it comes from, how it is split and scaled.
    """

    name: str
    split: str
    classes: int
    shape: tuple[int, int, int]
    temporal: bool
    y: np.ndarray
    sha256: str
    note: str
    samples: Samples = field(repr=False)
    scale: Scale | None = None

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, indices: np.ndarray, *, augment: str = "none", seed: int = 0, epoch: int = 0) -> np.ndarray:
        """Samples as float32 ``(B, C, H, W)``, or ``(B, T, C, H, W)`` where temporal; scaled.

        Args:
            indices: Which samples, integers from 0; any order, repeats allowed.
            augment: As ``data.augment`` of a recipe. What happens to sample i is a function of (seed, epoch, i) alone:
                the same in any batch, order, process or worker.
            seed: Of the augmentation.
            epoch: Of the augmentation.

        Raises:
            UsageError: ND102 for an augmentation that does not fit the samples, ND106 for a file that cannot be read.
        """
        indices = np.asarray(indices, np.int64)
        assert indices.ndim == 1
        assert not len(indices) or indices.min() >= 0, "a negative index would draw other numbers than its sample"
        draws = Draws(seed, epoch, indices)
        if augment == "resized-crop-flip":
            raw = self._resized_crops(indices, draws)
        else:
            raw = self.samples.read(indices)
        steps = raw.shape[1:-3]
        merged = raw.reshape(len(raw), -1, *raw.shape[-2:])
        raw = augmented(merged, augment, draws).reshape(len(raw), *steps, *self.shape)
        return as_counted(raw) if self.scale is None else self.scale(raw)

    def _resized_crops(self, indices: np.ndarray, draws: Draws) -> np.ndarray:
        samples = self.samples
        if not isinstance(samples, Resizable):
            raise UsageError(
                "ND102",
                f"resized-crop-flip is for image files of any size; {self.name} has samples of {self.shape[-1]} pixels",
                where="data.augment",
                fix="roll-flip for events, crop-flip for small images",
            )
        boxes_B4 = resized_crop_boxes(samples.sizes(indices), draws)
        return samples.read_boxes(indices, boxes_B4)

    @cached_property
    def x(self) -> np.ndarray:
        """The whole split as one float32 array, built once and kept.

        Raises:
            UsageError: ND100 where it would exceed ``MAX_X_GIB`` GiB.
        """
        if not len(self):
            return self.batch(np.arange(0))
        gib = len(self) * self.batch(np.arange(1)).nbytes / 2**30
        if gib > MAX_X_GIB:
            raise UsageError(
                "ND100",
                f"{len(self):,} samples as one array are {gib:.1f} GiB; at most {MAX_X_GIB} GiB are built",
                where=f"{self.name}, {self.split}",
                fix="use fewer samples (--limit), or read batches with Dataset.batch",
            )
        return self.batch(np.arange(len(self)))


def from_arrays(
    name: str,
    split: str,
    pixels: np.ndarray,
    y: np.ndarray,
    classes: int,
    *,
    note: str = "",
    scale: Scale | None = None,
    sha256: str | None = None,
) -> Dataset:
    """A dataset held in memory: unsigned ``pixels`` ``(N, C, H, W)``, or ``(N, T, C, H, W)`` with frames."""
    assert pixels.dtype.kind == "u"
    assert len(pixels) == len(y)
    channels, height, width = pixels.shape[-3:]
    return Dataset(
        name=name,
        split=split,
        classes=classes,
        shape=(channels, height, width),
        temporal=pixels.ndim == 5,
        y=np.asarray(y, np.int64),
        sha256=sha256 or sha256_arrays(pixels, y),
        note=note,
        samples=InMemory(pixels),
        scale=scale,
    )
