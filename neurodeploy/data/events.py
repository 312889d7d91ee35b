"""From a recording of events to frames.

A recording of n events (t, x, y, p) is cut into F frames. By equal ``count``, event k belongs to frame ⌊k·F/n⌋: counts
differ by one at most. By equal ``time``, an event at t belongs to frame ⌊(t − t₀)·F/(t₁ − t₀ + 1)⌋, t₀ and t₁ being the
first and the last event's time. A frame counts events per polarity (channel 0: off, 1: on) and pixel.

From a sensor of side S to frames of side s there are two ways. ``nearest`` is what resizing finished frames to the
nearest pixel gives, as in the authors' code: pixel i of a frame takes the events of the sensor's pixel ⌊i·S/s⌋, the
others are dropped, more than half of all pixels at 128 → 48. ``bin`` drops none: the sensor's pixel x falls on ⌊x·s/S⌋.
Either way the recording is cut first.

Shape legend: F frames, two polarities, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Events:
    """A recording: times, columns, rows and polarities (1 on, 0 off), integer arrays ``(n,)`` in order of time."""

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray

    def __len__(self) -> int:
        return len(self.t)


def frame_of_each(t: np.ndarray, frames: int, slicing: str) -> np.ndarray:
    """The frame that each event belongs to, int64 ``(n,)``."""
    n = len(t)
    if n == 0:
        return np.zeros(0, np.int64)
    if slicing == "count":
        return np.arange(n) * frames // n
    assert slicing == "time"
    t = t.astype(np.int64)
    first, last = int(t.min()), int(t.max())
    return (t - first) * frames // (last - first + 1)


def places(sensor: int, side: int, resize: str) -> np.ndarray:
    """The pixel of a frame on which each pixel of the sensor falls, int64 ``(sensor,)``; −1 where on none."""
    if resize == "bin" or side > sensor:  # an enlarged frame has pixels without a sensor's of their own
        return np.arange(sensor) * side // sensor
    found = np.full(sensor, -1)
    found[np.arange(side) * sensor // side] = np.arange(side)
    return found


def to_frames(
    events: Events, *, frames: int, slicing: str, sensor: int, side: int, binary: bool, resize: str = "nearest"
) -> np.ndarray:
    """Frames ``(F, 2, H, W)``: uint8 zeros and ones where ``binary``, else counts as uint16.

    Raises:
        OverflowError: A pixel counts more than 65,535 events in one frame.
    """
    place_of = places(sensor, side, resize)
    column, row = place_of[events.x], place_of[events.y]
    frame = frame_of_each(events.t, frames, slicing)
    place = ((frame * 2 + events.p) * side + row) * side + column
    place = place[(column >= 0) & (row >= 0)]
    shape = (frames, 2, side, side)
    if binary:
        out = np.zeros(shape, np.uint8)
        out.reshape(-1)[place] = 1
        return out
    counts = np.bincount(place, minlength=int(np.prod(shape))).reshape(shape)
    if counts.max() > np.iinfo(np.uint16).max:
        raise OverflowError(f"a pixel counts {counts.max():,} events in one frame")
    return counts.astype(np.uint16)
