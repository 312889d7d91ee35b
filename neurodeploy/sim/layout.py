"""Axis orders: files and users have ``(B, T, C, H, W)``, the engine ``(T, B, H, W, C)``; ``(C, L)`` likewise, ``(N,)``
stays."""

from __future__ import annotations

import numpy as np


def last_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``(C, H, W)`` as ``(H, W, C)``, ``(C, L)`` as ``(L, C)``."""
    return (*shape[1:], shape[0])


def last_array(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter that broadcasts to ``shape``, full size, channels last."""
    return np.ascontiguousarray(np.moveaxis(np.broadcast_to(array, shape), 0, -1))


def in_order(x: np.ndarray) -> np.ndarray:
    """``(B, T, C, H, W)`` as ``(T, B, H, W, C)``: a view."""
    return x.transpose(1, 0, *range(3, x.ndim), 2)


def to_first(x: np.ndarray) -> np.ndarray:
    """``(T, B, H, W, C)`` as ``(T, B, C, H, W)``."""
    return np.moveaxis(x, -1, 2)


def channels_first(x: np.ndarray) -> np.ndarray:
    """``(T, B, H, W, C)`` as ``(B, T, C, H, W)``: a view."""
    return x.transpose(1, 0, x.ndim - 1, *range(2, x.ndim - 1))
