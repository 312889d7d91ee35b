"""N-MNIST (Orchard et al. 2015): ``NMNIST/{Train,Test}/<label>/*.bin``, or the same in ``NMNIST_small.tar.gz``.

Five bytes an event: x, y, then 24 bits big-endian: polarity (1 on), 23 bits of time in microseconds. A y of 240 is no
event; it says that the clock has run over and all later times are 2¹³ µs later (the authors' MATLAB reader).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neurodeploy.config.recipe_sections import Data
from neurodeploy.data.catalog import DatasetInfo
from neurodeploy.data.class_folders import Entry, damaged, in_folder, in_tar, missing
from neurodeploy.data.dataset import Dataset
from neurodeploy.data.events import Events
from neurodeploy.data.recordings import read_recordings

EVENT_BYTES = 5
_OVERFLOW_Y, _OVERFLOW_US = 240, 1 << 13


def read(data: Data, info: DatasetInfo, split: str, root: Path, frames: int) -> Dataset:
    """A split, ordered by label, then by file name; the whole set if it is there, else the small archive.

    Raises:
        UsageError: ND106 for files that are missing or damaged.
    """
    part = split.capitalize()
    folder, archive = root / "NMNIST" / part, root / "NMNIST_small" / "NMNIST_small.tar.gz"
    if folder.is_dir():
        where, entries = folder, in_folder(folder, (".bin",))
    elif archive.is_file():
        where, entries = archive, in_tar(archive, (".bin",), within=part)
    else:
        layout = f"NMNIST/{part}/<label>/*.bin or NMNIST_small/{archive.name}"
        raise missing("nmnist", [folder, archive], layout)
    return read_recordings(entries, _parsed, data, info, split, where, frames)


def _parsed(entry: Entry) -> Events:
    content = entry.read()
    if len(content) % EVENT_BYTES:
        raise damaged(entry.where, f"has {len(content):,} bytes, no multiple of {EVENT_BYTES}: cut short")
    return parse(content)


def parse(content: bytes) -> Events:
    """Events of a ``.bin`` file."""
    raw = np.frombuffer(content, np.uint8).reshape(-1, EVENT_BYTES)
    x, y, high, middle, low = raw.astype(np.int64).T
    t = ((high & 0x7F) << 16) | (middle << 8) | low
    overflow = y == _OVERFLOW_Y
    t += np.cumsum(overflow) * _OVERFLOW_US
    kept = ~overflow
    return Events(t[kept], x[kept], y[kept], high[kept] >> 7)
