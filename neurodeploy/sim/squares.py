"""Kernels composed with a sum pool, seen through: squares of pixels that meet the same weights.

An exporter folds a pool of f by f into the convolution behind it: every weight stands f² times in the composed kernel.
For integers the order of sums does not matter, so a spike may as well meet the weight of its square: the same sums from
1/f² of the weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from neurodeploy.ir.nodes import Conv2d


class Squares(NamedTuple):
    """A convolution of squares of ``pool`` by ``pool`` pixels; ``before`` is the input's shape in squares."""

    pool: int
    node: Conv2d
    before: tuple[int, ...]


def squares(node: Conv2d, before: tuple[int, ...]) -> Squares:
    """The largest squares that ``node`` cannot tell the pixels of; ``pool`` is 1 where there are none."""
    sizes = (*node.weight.shape[2:], *node.stride, *node.padding, *before[1:])
    if node.dilation == (1, 1):
        for pool in range(min(node.stride), 1, -1):
            if any(size % pool for size in sizes):
                continue
            one = node.weight[:, :, ::pool, ::pool]
            (outputs, channels, rows, columns) = one.shape
            split = node.weight.reshape(outputs, channels, rows, pool, columns, pool)
            if (split == one[:, :, :, None, :, None]).all():
                stride, padding = ((pair[0] // pool, pair[1] // pool) for pair in (node.stride, node.padding))
                smaller = replace(node, weight=one, stride=stride, padding=padding)
                return Squares(pool, smaller, (before[0], before[1] // pool, before[2] // pool))
    return Squares(1, node, before)
