"""The layer that every language computes: 128 -> 128 channels, 3x3, 16x16 pixels, padding 1, four timesteps.

Spikes are event lists: ``events[starts[n, y, x] : starts[n, y, x + 1]]`` are the spikes of pixel ``(y, x)``, each as
``x·C + c``, so the spikes under the columns of a kernel are one contiguous piece of a pixel row. Weights are
``(O/64, kH, kW·C, 64)`` int16, aligned to 64 bytes: an event adds one row of 64. Sums fit 16 bits by choice of the
weights; the result is ``(N, H, W, O)`` int32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Outputs that a kernel keeps in registers: two of AVX-512, four of AVX2.
BLOCK = 64
KERNEL, PADDING = 3, 1


@dataclass(frozen=True)
class Layer:
    """Inputs of a kernel, room for its result, and what the result must be."""

    starts: np.ndarray
    events: np.ndarray
    weight: np.ndarray
    out: np.ndarray
    expected: np.ndarray
    operations: int


def make_layer(rate: float, *, channels: int = 128, pixels: int = 16, steps: int = 4, seed: int = 0) -> Layer:
    """Random weights and spikes that are independent with probability ``rate``."""
    rng = np.random.default_rng(seed)
    spikes = rng.random((steps, pixels, pixels, channels)) < rate
    dense = rng.integers(-25, 26, (channels, KERNEL, KERNEL, channels), np.int16)  # O, kH, kW, C
    per_pixel = spikes.sum(axis=-1).reshape(steps, pixels, pixels)
    starts = np.zeros((steps, pixels, pixels + 1), np.int32)
    ends = np.cumsum(per_pixel).reshape(per_pixel.shape)
    starts[..., 1:] = ends
    starts[..., 0] = ends[..., 0] - per_pixel[..., 0]
    events = (np.flatnonzero(spikes) % (pixels * channels)).astype(np.int32)
    blocks = dense.reshape(channels // BLOCK, BLOCK, KERNEL, KERNEL * channels).transpose(0, 2, 3, 1)
    weight = _aligned(blocks.shape, np.int16)
    weight[...] = blocks
    expected, operations = _reference(spikes, dense)
    return Layer(starts, events, weight, _aligned(expected.shape, np.int32), expected, operations)


def _reference(spikes: np.ndarray, dense: np.ndarray) -> tuple[np.ndarray, int]:
    """The same by a matrix product for each tap, and the additions it takes: borders are not counted."""
    steps, pixels, _, _ = spikes.shape
    padded = np.pad(spikes, ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))).astype(np.float32)
    total = np.zeros((steps, pixels, pixels, dense.shape[0]), np.float32)  # exact: all sums are below 2^24
    seen = 0
    for ky in range(KERNEL):
        for kx in range(KERNEL):
            window = padded[:, ky : ky + pixels, kx : kx + pixels]
            total += window @ dense[:, ky, kx].T.astype(np.float32)
            seen += int(window.sum())
    assert np.abs(total).max() < 2**15
    return total.astype(np.int32), seen * dense.shape[0]


def _aligned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    first = -raw.ctypes.data % 64
    return raw[first : first + size].view(dtype).reshape(shape)
