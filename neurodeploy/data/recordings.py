"""Datasets of recordings: the frames of all files of a split, made once and held in memory as small integers.

A sample takes F·2·s² bytes, twice that with counts: N-MNIST's training split with 4 frames 0.56 GB, CIFAR10-DVS's with
10 frames of 48x48 0.42 GB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from neurodeploy.config.recipe_sections import Data
from neurodeploy.data.catalog import SENSOR, DatasetInfo
from neurodeploy.data.class_folders import Entry, damaged, labels_of
from neurodeploy.data.dataset import Dataset, from_arrays
from neurodeploy.data.events import Events, to_frames


def read_recordings(
    entries: Sequence[Entry],
    parse: Callable[[Entry], Events],
    data: Data,
    info: DatasetInfo,
    split: str,
    where: Path,
    frames: int,
) -> Dataset:
    """Parse every file and cut it into frames as ``data`` says.

    Raises:
        UsageError: ND106 for a file that is damaged, holds no event, or holds one outside the sensor.
    """
    y = labels_of(entries, info.classes, where)
    sensor, side = SENSOR[data.name], info.shape[-1]
    dtype = np.uint8 if data.binary else np.uint16
    pixels = np.empty((len(entries), frames, 2, side, side), dtype)
    for index, entry in enumerate(entries):
        events = parse(entry)
        if not len(events):
            raise damaged(entry.where, "holds no event")
        outside = max(int(events.x.max()), int(events.y.max()))
        if outside >= sensor or min(int(events.x.min()), int(events.y.min())) < 0:
            raise damaged(entry.where, f"holds an event outside the sensor's {sensor}x{sensor} pixels")
        try:
            pixels[index] = to_frames(
                events,
                frames=frames,
                slicing=data.slice,
                sensor=sensor,
                side=side,
                binary=data.binary,
                resize=data.resize,
            )
        except OverflowError as error:
            raise damaged(entry.where, str(error)) from error
    laid_out = pixels.reshape(len(entries), frames * 2, side, side) if data.stack else pixels
    return from_arrays(data.name, split, laid_out, y, info.classes)
