"""An ``.npz`` of known shapes that is filled in place, in any order and by several processes.

Arrays are stored, not compressed: then every row has its place from the start, so a run that was killed overwrites what
it had half written, shards write side by side, and the bytes of the file follow from the numbers in it alone. What a
zip archive needs beside them (a CRC per member, the directory) is written by :func:`finish`; until then the file is no
archive. Format: APPNOTE.TXT 6.3.3, with 64-bit sizes where 32 bits do not hold them; local headers as ``numpy.savez``
writes them.
"""

from __future__ import annotations

import errno
import io
import math
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Stands where a number is written with 64 bits elsewhere.
ELSEWHERE = 0xFFFFFFFF
#: Sizes and offsets from here on are.
LIMIT_32 = ELSEWHERE
#: Bytes read at a time for a CRC.
BLOCK = 1 << 20
#: 1980-01-01, the first day of zip: files do not differ by when they were written.
DATE, TIME = 0x21, 0
VERSION, UTF8 = 45, 0x800

Form = tuple[tuple[int, ...], np.dtype]


@dataclass(frozen=True)
class Member:
    """One array: where its bytes lie."""

    name: bytes
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    header: bytes

    @property
    def data(self) -> int:
        """Offset of the first value."""
        return self.start + 30 + len(self.name) + 20 + len(self.header)

    @property
    def size(self) -> int:
        """Bytes of the member: ``.npy`` header and values."""
        return len(self.header) + math.prod(self.shape) * self.dtype.itemsize


class NpzLayout:
    """Where every array of an archive goes.

    Args:
        arrays: Key -> shape and dtype, in order.
    """

    def __init__(self, arrays: Mapping[str, Form]) -> None:
        self.members: dict[str, Member] = {}
        end = 0
        for key, (shape, dtype) in arrays.items():
            stream = io.BytesIO()
            form = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, form)
            self.members[key] = Member(f"{key}.npy".encode(), shape, dtype, end, stream.getvalue())
            end = self.members[key].start + 30 + len(self.members[key].name) + 20 + self.members[key].size
        self.end = end
        self.bytes = end + sum(46 + 28 + len(member.name) for member in self.members.values()) + 98

    def create(self, path: Path) -> None:
        """Make the file at its full size, so that a full disk is noticed now.

        Raises:
            OSError: No space, no permission.
        """
        with path.open("wb") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, self.bytes)
            except (AttributeError, OSError) as error:  # macOS has no such call, some file systems neither
                if getattr(error, "errno", errno.ENOSYS) not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                stream.truncate(self.bytes)

    def write(self, path: Path, first: int, rows: Mapping[str, np.ndarray]) -> None:
        """Rows ``first`` … of some arrays; on disk when this returns."""
        with path.open("r+b") as stream:
            for key, array in rows.items():
                member = self.members[key]
                assert array.dtype == member.dtype, (key, array.dtype, member.dtype)
                assert array.shape[1:] == member.shape[1:], (key, array.shape, member.shape)
                stream.seek(member.data + first * math.prod(member.shape[1:]) * member.dtype.itemsize)
                stream.write(array.tobytes())
            stream.flush()
            os.fsync(stream.fileno())

    def finish(self, path: Path) -> None:
        """Write what makes the file an archive."""
        with path.open("r+b") as stream:
            directory = b""
            for member in self.members.values():
                stream.seek(member.data - len(member.header))
                stream.write(member.header)
                crc = _crc(stream, member)
                stream.seek(member.start)
                stream.write(_local(member, crc))
                directory += _central(member, crc)
            stream.seek(self.end)
            stream.write(directory + _end(len(self.members), self.end, len(directory)))
            stream.truncate()
            stream.flush()
            os.fsync(stream.fileno())


def _crc(stream: io.BufferedRandom, member: Member) -> int:
    """CRC-32 of header and values."""
    left, crc = member.size, 0
    stream.seek(member.data - len(member.header))
    while left:
        block = stream.read(min(left, BLOCK))
        crc = zlib.crc32(block, crc)
        left -= len(block)
    return crc


def _local(member: Member, crc: int) -> bytes:
    sizes = struct.pack("<HHQQ", 1, 16, member.size, member.size)
    fixed = (VERSION, UTF8, 0, TIME, DATE, crc, ELSEWHERE, ELSEWHERE, len(member.name), len(sizes))
    return struct.pack("<4s5H3L2H", b"PK\3\4", *fixed) + member.name + sizes


def _central(member: Member, crc: int) -> bytes:
    size, start = member.size, member.start
    large = [value for value in (size, size, start) if value >= LIMIT_32]
    extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    short_size, short_start = _short(size), _short(start)
    fixed = (VERSION, VERSION, UTF8, 0, TIME, DATE, crc, short_size, short_size, len(member.name), len(extra))
    return struct.pack("<4s6H3L5H2L", b"PK\1\2", *fixed, 0, 0, 0, 0o100644 << 16, short_start) + member.name + extra


def _end(count: int, start: int, size: int) -> bytes:
    few = min(count, 0xFFFF)
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, few, few, _short(size), _short(start), 0)
    if start < LIMIT_32 and size < LIMIT_32 and count < 0xFFFF:
        return last
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, VERSION, VERSION, 0, 0, count, count, size, start)
    return wide + struct.pack("<4sLQL", b"PK\6\7", 0, start + size, 1) + last


def _short(value: int) -> int:
    return ELSEWHERE if value >= LIMIT_32 else value
