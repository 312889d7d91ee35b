"""CIFAR10-DVS (Li et al. 2017): ``CIFAR10DVS/<class>/``, recordings as AEDAT 2.0 or as lists of events.

*AEDAT 2.0* (``.aedat``, as published): text lines that begin with #, then 8 bytes an event, big-endian: address,
microseconds. The DVS128's address is y in bits 8–14, x in bits 1–7, and bit 0, which is 1 for off; bit 15 marks an
event that is no pixel's. Turned as jAER shows it, so that a flip of columns is left to right: column 127 − y, row
127 − x.

*Lists*: ``.npz`` with t, x, y, p, or ``.npy`` with fields of these names or columns in this order, upright.

The publication has no split. Here the first nine tenths of each class in name order are train, the rest is test: of
1,000 recordings a class, 9,000 and 1,000.
"""

from __future__ import annotations

import io
import itertools
import zipfile
import zlib
from pathlib import Path

import numpy as np

from neurodeploy.config.recipe_sections import Data
from neurodeploy.data.catalog import SENSOR, DatasetInfo
from neurodeploy.data.class_folders import Entry, damaged, in_folder, missing
from neurodeploy.data.dataset import Dataset
from neurodeploy.data.events import Events
from neurodeploy.data.recordings import read_recordings
from neurodeploy.diagnostics import UsageError

_SUFFIXES = (".aedat", ".npz", ".npy", ".aedat4")
_LAST = SENSOR["cifar10-dvs"] - 1
_COLUMNS = ("t", "x", "y", "p")


def read(data: Data, info: DatasetInfo, split: str, root: Path, frames: int) -> Dataset:
    """A split, ordered by class, then by file name; only its own files are read.

    Raises:
        UsageError: ND106 for files that are missing, damaged or of another format.
    """
    folder = root / "CIFAR10DVS"
    if not folder.is_dir():
        raise missing("cifar10-dvs", [folder], "CIFAR10DVS/<class>/*.aedat (or .npz, .npy)")
    entries = []
    for _, group in itertools.groupby(in_folder(folder, _SUFFIXES), key=lambda entry: entry.group):
        recordings = list(group)
        first_of_test = len(recordings) * 9 // 10
        entries += recordings[:first_of_test] if split == "train" else recordings[first_of_test:]
    return read_recordings(entries, parse, data, info, split, folder, frames)


def parse(entry: Entry) -> Events:
    """Events of one file, in order of time."""
    content = entry.read()
    if entry.name.lower().endswith((".npz", ".npy")):
        events = _from_list(content, entry.where)
    else:
        events = _from_aedat(content, entry.where)
    if (np.diff(events.t) < 0).any():
        order = np.argsort(events.t, kind="stable")
        events = Events(events.t[order], events.x[order], events.y[order], events.p[order])
    return events


def _from_aedat(content: bytes, where: str) -> Events:
    if content.startswith(b"#!AER-DAT") and not content.startswith(b"#!AER-DAT2"):
        version = content[9:12].decode("ascii", "replace")
        raise UsageError(
            "ND106",
            f"AEDAT {version} is not read, AEDAT 2.0 is",
            where=where,
            fix="use the published .aedat files, or convert each recording: np.savez(name, t=t, x=x, y=y, p=p)",
        )
    start = 0
    while content[start : start + 1] == b"#":
        end = content.find(b"\n", start)
        if end < 0:
            raise damaged(where, "ends inside its header")
        start = end + 1
    if (len(content) - start) % 8:
        raise damaged(where, "does not end at the end of an event: cut short")
    address, t = np.frombuffer(content, ">u4", offset=start).astype(np.int64).reshape(-1, 2).T
    if (address >> 16).any():
        raise damaged(where, "holds addresses that a DVS128 does not have")
    pixel = address >> 15 == 0
    address, t = address[pixel], t[pixel]
    return Events(t, _LAST - ((address >> 8) & 0x7F), _LAST - ((address >> 1) & 0x7F), 1 - (address & 1))


def _from_list(content: bytes, where: str) -> Events:
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        if isinstance(loaded, np.ndarray) and loaded.dtype.names is None:
            if loaded.ndim != 2 or loaded.shape[1] != len(_COLUMNS):
                raise damaged(where, f"has shape {loaded.shape}; a list of events has columns t, x, y, p")
            columns = list(loaded.T)
        else:
            columns = [np.asarray(loaded[key]) for key in _COLUMNS]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise damaged(where, f"is no list of events t, x, y, p: {error}") from error
    if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1:
        raise damaged(where, "t, x, y and p have different lengths")
    t, x, y, p = columns
    if not np.isin(p, (-1, 0, 1)).all() or not all(np.array_equal(column, np.rint(column)) for column in (t, x, y)):
        raise damaged(where, "t, x and y are whole numbers, p is 0 or 1 (or -1 and 1)")
    return Events(t.astype(np.int64), x.astype(np.int64), y.astype(np.int64), (p > 0).astype(np.int64))
