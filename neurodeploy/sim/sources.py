"""Where samples come from: an array, an ``--input`` file or a dataset, all read some samples at a time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from neurodeploy.diagnostics import UsageError
from neurodeploy.sim.inputs import check_batch_axis, no_x
from neurodeploy.sim.npz_reader import NpzMember

if TYPE_CHECKING:
    from neurodeploy.data.dataset import Dataset

#: A file whose input is not larger is read once and kept.
KEPT_BYTES = 16 << 20


class Source(Protocol):
    """Samples in order.

    Attributes:
        shape: ``(B, T, *shape)`` or ``(B, *shape)``.
        dtype: Of the values.
        labels: ``(B,)`` or None.
        values_are_read_twice: Whether the values can be checked before anything runs at the cost of reading them; else
            they are checked as they come.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    labels: np.ndarray | None
    values_are_read_twice: bool

    def read(self, start: int, stop: int) -> np.ndarray:
        """Samples ``start`` to ``stop`` (exclusive)."""

    def identity(self) -> dict[str, str | int]:
        """What makes two sources the same: bytes of a file; name, split and digest of a dataset; number of samples."""

    def close(self) -> None:
        """Close what is open."""


class ArraySource:
    """Samples in memory."""

    values_are_read_twice = True

    def __init__(self, x: np.ndarray, labels: np.ndarray | None = None) -> None:
        self.x, self.labels = np.asarray(x), labels
        self.shape, self.dtype = self.x.shape, self.x.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.x[start:stop]

    def identity(self) -> dict[str, str | int]:
        from neurodeploy.files import sha256_arrays

        return {"input": sha256_arrays(self.x), "samples": self.shape[0]}

    def close(self) -> None:
        pass


class FileSource:
    """The first ``limit`` samples of an ``.npz`` with ``x`` and perhaps ``y``.

    Raises:
        UsageError: Not readable (ND103); no ``x``, or labels that do not fit it (ND105).
    """

    values_are_read_twice = True

    def __init__(self, path: Path, limit: int | None = None) -> None:
        from neurodeploy.targets.artifact import reading_npz

        self.path = path
        if not path.exists():
            raise UsageError("ND103", "the input cannot be read: No such file", where=str(path), fix="check the path")
        with reading_npz(path, what="input"):
            with np.load(path, allow_pickle=False) as archive:
                if "x" not in archive.files:
                    raise no_x(path, archive.files)
                y = archive["y"] if "y" in archive.files else None
            self._member = NpzMember(path, "x")
        shape, self.dtype = self._member.shape, self._member.dtype
        check_batch_axis(path, shape, y)
        samples = shape[0] if limit is None else min(shape[0], limit)
        self.shape = (samples, *shape[1:])
        self.labels = None if y is None else y[:samples]
        self._all: np.ndarray | None = None
        if math.prod(self.shape) * self.dtype.itemsize <= KEPT_BYTES:
            self._all = self.read(0, samples)
            self.close()

    def read(self, start: int, stop: int) -> np.ndarray:
        from neurodeploy.targets.artifact import reading_npz

        if self._all is not None:
            return self._all[start:stop]
        with reading_npz(self.path, what="input"):
            return self._member.read(start, stop)

    def identity(self) -> dict[str, str | int]:
        from neurodeploy.files import sha256

        return {"input": sha256(self.path), "samples": self.shape[0]}

    def close(self) -> None:
        self._member.close()


class DatasetSource:
    """The first ``limit`` samples of a split."""

    values_are_read_twice = False  # images are decoded from files; their values are finite by construction

    def __init__(self, dataset: Dataset, limit: int | None = None) -> None:
        self.dataset = dataset
        samples = len(dataset) if limit is None else min(len(dataset), limit)
        first = dataset.batch(np.arange(min(1, samples)))
        self.shape, self.dtype = (samples, *first.shape[1:]), first.dtype
        self.labels: np.ndarray | None = dataset.y[:samples]

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.dataset.batch(np.arange(start, stop))

    def identity(self) -> dict[str, str | int]:
        data = self.dataset
        return {
            "data": data.name,
            "split": data.split,
            "input": data.sha256,
            "scale": repr(data.scale),
            "samples": self.shape[0],
        }

    def close(self) -> None:
        pass
