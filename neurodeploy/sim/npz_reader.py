"""One array of an ``.npz``, read some rows at a time, so that a file larger than memory can be simulated.

A member of the archive is a stream, stored or compressed: rows come out in order, and going back starts over. The CRC
of the archive is checked when the last row has been read.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

#: Bytes thrown away at a time on the way to a row.
SKIP_BYTES = 1 << 20


class NpzMember:
    """The array ``name`` of the archive at ``path``; open until :meth:`close`.

    Attributes:
        shape: Of the whole array.
        dtype: Of its values.

    Raises:
        ValueError: Objects, which only pickle reads.
        zipfile.BadZipFile: A truncated or damaged archive.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._archive = zipfile.ZipFile(path)
        names = self._archive.namelist()
        self._name = f"{name}.npy" if f"{name}.npy" in names else name
        self._rows_read = 0
        self._all: np.ndarray | None = None
        self._stream: IO[bytes] = self._archive.open(self._name)
        self.shape, columns_first, self.dtype = _header(self._stream)
        if self.dtype.hasobject:
            raise ValueError("it holds objects, which needs allow_pickle")
        self._row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        if columns_first and len(self.shape) > 1:  # rows do not lie together: no other way than all at once
            self._stream.seek(0)
            self._all = np.lib.format.read_array(self._stream, allow_pickle=False)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` (exclusive); the array may be read-only."""
        if self._all is not None:
            return self._all[start:stop]
        if start < self._rows_read:
            self._stream.close()
            self._stream = self._archive.open(self._name)
            _header(self._stream)
            self._rows_read = 0
        left = (start - self._rows_read) * self._row_bytes
        while left:
            left -= len(self._exactly(min(left, SKIP_BYTES)))
        data = self._exactly((stop - start) * self._row_bytes)
        self._rows_read = stop
        if stop == self.shape[0]:
            self._stream.read(1)  # the end of the member: here its CRC is compared
        return np.frombuffer(data, self.dtype).reshape(stop - start, *self.shape[1:])

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise zipfile.BadZipFile("the array ends early")
        return data

    def close(self) -> None:
        """Close the file."""
        self._archive.close()


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and dtype, of an ``.npy`` stream, which then stands at its first value."""
    major, _ = np.lib.format.read_magic(stream)
    if major == 1:
        return np.lib.format.read_array_header_1_0(stream)
    if major == 2:
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError("it holds records with field names; only arrays of numbers are read")
