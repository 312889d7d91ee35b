"""Exact int64 counts from the real fan-out of every input position: borders, stride, dilation and groups included."""

from __future__ import annotations

import numpy as np

from neurodeploy.ir.nodes import Conv1d, Conv2d, Linear, Shape, Synapse, as_conv2d


def taps(node: Conv2d, before: Shape, after: Shape, axis: int) -> np.ndarray:
    """Per input row (axis 0) or column (axis 1) the ``(kernel, output)`` pairs that read it, ended by -1.

    ``(size, most, 2)`` int64, kernel index ascending.
    """
    kernel, stride = node.weight.shape[2 + axis], node.stride[axis]
    padding, dilation = node.padding[axis], node.dilation[axis]
    pairs: list[list[tuple[int, int]]] = []
    for place in range(before[1 + axis]):
        found = []
        for k in range(kernel):
            start = place + padding - k * dilation
            if start >= 0 and start % stride == 0 and start // stride < after[1 + axis]:
                found.append((k, start // stride))
        pairs.append(found)
    most = max(1, *(len(found) for found in pairs))
    table = np.full((before[1 + axis], most, 2), -1, np.int64)
    for place, found in enumerate(pairs):
        if found:
            table[place, : len(found)] = found
    return table


def packed_columns(node: Conv2d, before: Shape, after: Shape) -> tuple[np.ndarray, np.ndarray]:
    """An order of kernel columns in which the taps of every input column, and their outputs, lie side by side.

    With stride s, input column x is read by the columns ``kx ≡ x + padding (mod s)``; going down in kx goes up in the
    output. So the columns are sorted by ``kx mod s``, descending within.

    Returns:
        The order ``(kW,)`` of kernel columns, and per input column ``(first weight, first output, length)`` in units
        of numbers (columns x output channels), int64 ``(W, 3)``; length 0 where nothing reads the column.
    """
    stride, outputs = node.stride[1], node.weight.shape[0]
    columns = np.arange(node.weight.shape[3])
    order = np.concatenate([columns[columns % stride == phase][::-1] for phase in range(stride)])
    place = {int(k): index for index, k in enumerate(order)}
    runs = np.zeros((before[2], 3), np.int64)
    for x, pairs in enumerate(taps(node, before, after, 1)):
        valid = [(int(k), int(o)) for k, o in pairs if k >= 0]
        if valid:
            last_column, first_output = valid[-1]  # the largest kx reads the smallest output
            runs[x] = place[last_column] * outputs, first_output * outputs, len(valid) * outputs
    return order, runs


def fan_out(node: Synapse, before: Shape, after: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Accumulates that one event at each input position triggers: all, and those with a nonzero weight.

    int64, channels last for convolutions: ``(H, W, C)``, ``(1, L, C)``; ``(I,)`` for Linear.
    """
    if isinstance(node, Conv1d):
        return fan_out(as_conv2d(node), (before[0], 1, before[1]), (after[0], 1, after[1]))
    if isinstance(node, Linear):
        size, outputs = node.weight.shape[1], node.weight.shape[0]
        return np.full(size, outputs, np.int64), np.count_nonzero(node.weight, axis=0).astype(np.int64)
    channels, height, width = before
    reached_rows = _reach(taps(node, before, after, 0), node.weight.shape[2])
    reached_cols = _reach(taps(node, before, after, 1), node.weight.shape[3])
    all_taps = reached_rows.sum(axis=1)[:, None] * reached_cols.sum(axis=1)[None, :]
    every = np.broadcast_to(all_taps[:, :, None] * (node.weight.shape[0] // node.groups), (height, width, channels))
    # nonzero[c, ky, kx]: weights that are not zero from input channel c through this tap
    per_group = node.weight.reshape(node.groups, -1, *node.weight.shape[1:])
    nonzero = np.count_nonzero(per_group, axis=1).reshape(channels, *node.weight.shape[2:]).astype(np.int64)
    return np.ascontiguousarray(every), np.einsum("yk,xl,ckl->yxc", reached_rows, reached_cols, nonzero)


def _reach(table: np.ndarray, kernel: int) -> np.ndarray:
    """``(size, kernel)`` int64: 1 where a row is read through that tap."""
    reached = np.zeros((table.shape[0], kernel), np.int64)
    for place, pairs in enumerate(table):
        for k, _ in pairs:
            if k >= 0:
                reached[place, k] = 1
    return reached


def touched(node: Conv2d | Linear, events: np.ndarray, after: Shape) -> np.ndarray:
    """Which outputs received at least one event: bool, broadcastable to ``(N, *output, channels last)``.

    ``events`` is ``(N, H, W, C)`` or ``(N, I)``; connections count whatever their weight, as in ``sop``.
    """
    if isinstance(node, Linear):
        return np.any(events, axis=1, keepdims=True)
    n, height, width, channels = events.shape
    grouped = (events != 0).reshape(n, height, width, node.groups, channels // node.groups).any(axis=4)
    (ph, pw), (sh, sw), (dh, dw) = node.padding, node.stride, node.dilation
    padded = np.pad(grouped, ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    result = np.zeros((n, after[1], after[2], node.groups), bool)
    for ky in range(node.weight.shape[2]):
        for kx in range(node.weight.shape[3]):
            rows = slice(ky * dh, ky * dh + sh * (after[1] - 1) + 1, sh)
            cols = slice(kx * dw, kx * dw + sw * (after[2] - 1) + 1, sw)
            result |= padded[:, rows, cols]
    return np.repeat(result, after[0] // node.groups, axis=3)
