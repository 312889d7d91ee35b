"""Sums of real values in the compiled library: float32, in the canonical order, every connection. See ``values.c``.

This is the first layer of most networks: an image has no zeros to skip.
"""

from __future__ import annotations

import numpy as np

from neurodeploy.ir.nodes import Conv2d, Linear, Shape
from neurodeploy.sim.native import aligned
from neurodeploy.sim.native.arrays import function, kernels, place


class ValueSums:
    """The sums of one layer, made by :func:`prepare_values`; several threads may run it at the same time."""

    def __init__(self, geometry: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> None:
        self._call = function("nd_conv_values_f32", "pppaia")
        self._kept = geometry, weight, bias
        self._pointers = [None if array is None else array.ctypes.data for array in self._kept]

    def run(self, x: np.ndarray, out: np.ndarray) -> None:
        """``out[n] = Σ w·x[n] + bias``: float32 ``(N, H, W, C)`` to ``(N, OH, OW, O)``, or ``(N, I)`` to ``(N, O)``,
        both C-contiguous."""
        self._call(*self._pointers, place(x), len(x), place(out))


def prepare_values(
    node: Conv2d | Linear, before: Shape, after: Shape, bias: np.ndarray | None = None
) -> ValueSums | None:
    """The sums of a layer with float32 weights of the node's and ``bias`` ``(O,)``, added last; shapes channels first.

    None for groups, for weights that are not finite (a zero times them is no zero), and without a compiled library.
    """
    weight = node.weight.astype(np.float32)
    if kernels() is None or not np.isfinite(weight).all():
        return None
    if isinstance(node, Linear):
        weight, before, after = weight.reshape(*weight.shape, 1, 1), (before[-1], 1, 1), (after[-1], 1, 1)
        steps: tuple[int, ...] = (1, 1, 0, 0, 1, 1)
    elif node.groups == 1:
        steps = (*node.stride, *node.padding, *node.dilation)
    else:
        return None
    outputs, channels, kh, kw = weight.shape
    geometry = np.array([*before[1:], channels, *after[1:], outputs, kh, kw, *steps], np.int64)
    padded = aligned((kh, kw, channels, -(-outputs // 16) * 16), np.float32)
    padded[..., :outputs] = weight.transpose(2, 3, 1, 0)
    last = None
    if bias is not None:
        last = aligned((padded.shape[-1],), np.float32)
        last[:outputs] = bias
    return ValueSums(geometry, padded, last)
