"""Axis orders: files and users have ``(B, T, C, H, W)``, the engine ``(T, B, H, W, C)``; vectors have no H, W."""

from __future__ import annotations

import numpy as np


def last_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``(C, H, W)`` as ``(H, W, C)``."""
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def last_array(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A neuron parameter, full size, channels last."""
    full = np.broadcast_to(array, shape)
    return np.ascontiguousarray(np.moveaxis(full, 0, -1) if len(shape) == 3 else full)


def channels_last(x: np.ndarray) -> np.ndarray:
    """``(T, B, C, H, W)`` as ``(T, B, H, W, C)``."""
    return np.ascontiguousarray(np.moveaxis(x, 2, -1) if x.ndim == 5 else x)


def to_first(x: np.ndarray) -> np.ndarray:
    """``(T, B, H, W, C)`` as ``(T, B, C, H, W)``."""
    return np.moveaxis(x, -1, 2) if x.ndim == 5 else x


def channels_first(x: np.ndarray) -> np.ndarray:
    """``(T, B, H, W, C)`` as ``(B, T, C, H, W)``."""
    return np.ascontiguousarray(np.moveaxis(to_first(x), 0, 1))
