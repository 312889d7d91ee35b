"""The compiled inner loops of synapses (Numba). ``s`` is ``(N, H, W, C)`` uint8, N = timesteps x samples.

A spike adds one contiguous row of weights per tap, so cost grows with spikes, not with connections. Rows are visited in
the order y, x, channel, which gives every output its taps in the order kernel row, kernel column, input channel: the
canonical order of float sums (:mod:`neurodeploy.ir.interpret`). No fast-math: the compiler may not reorder or fuse, so
results do not depend on the CPU. All kernels release the GIL; callers give each thread its own samples.
"""

from __future__ import annotations

from typing import Any

from numba import njit

OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "boundscheck": False}


@njit(**OPTIONS)
def conv_spikes(s, weight, rows, cols, group_in, out):  # type: ignore[no-untyped-def]
    """``out[n, oy, ox, g·O/g:] += weight[c, ky, kx]`` for every spike.

    ``weight`` is ``(C, kH, kW, O/groups)``; ``rows[y]`` lists ``(ky, oy)`` pairs, ended by -1; ``cols`` likewise;
    ``group_in`` is C/groups; ``out`` is ``(N, OH, OW, O)``, zeroed here.
    """
    width = weight.shape[3]
    for n in range(s.shape[0]):
        out[n] = 0
        for y in range(s.shape[1]):
            for x in range(s.shape[2]):
                for c in range(s.shape[3]):
                    if s[n, y, x, c]:
                        first = (c // group_in) * width
                        for j in range(rows.shape[1]):
                            ky, oy = rows[y, j, 0], rows[y, j, 1]
                            if ky < 0:
                                break
                            for i in range(cols.shape[1]):
                                kx, ox = cols[x, i, 0], cols[x, i, 1]
                                if kx < 0:
                                    break
                                # Views: the compiler vectorizes additions whose indices it knows not to be negative.
                                total, row = out[n, oy, ox, first : first + width], weight[c, ky, kx]
                                for o in range(width):
                                    total[o] += row[o]


@njit(**OPTIONS)
def conv_values(v, weight, rows, cols, group_in, out):  # type: ignore[no-untyped-def]
    """:func:`conv_spikes` for graded or real values: every nonzero value times its weights."""
    width = weight.shape[3]
    for n in range(v.shape[0]):
        out[n] = 0
        for y in range(v.shape[1]):
            for x in range(v.shape[2]):
                for c in range(v.shape[3]):
                    value = v[n, y, x, c]
                    if value != 0:
                        first = (c // group_in) * width
                        for j in range(rows.shape[1]):
                            ky, oy = rows[y, j, 0], rows[y, j, 1]
                            if ky < 0:
                                break
                            for i in range(cols.shape[1]):
                                kx, ox = cols[x, i, 0], cols[x, i, 1]
                                if kx < 0:
                                    break
                                total, row = out[n, oy, ox, first : first + width], weight[c, ky, kx]
                                for o in range(width):
                                    total[o] += row[o] * value


@njit(**OPTIONS)
def conv_spikes_packed(s, weight, rows, runs, out):  # type: ignore[no-untyped-def]
    """:func:`conv_spikes` for one group and no dilation along x: all taps of a kernel row in one contiguous addition.

    ``weight`` is ``(C, kH, kW·O)``, kernel columns as :func:`neurodeploy.sim.counts.packed_columns` orders them;
    ``runs[x]`` is ``(first weight, first output, length)`` in units of numbers; ``out`` is ``(N, OH, OW·O)``. Every
    output still gets one tap per spike, in the order of spikes: the sums are those of :func:`conv_spikes`, bit for bit.
    """
    for n in range(s.shape[0]):
        out[n] = 0
        for y in range(s.shape[1]):
            for x in range(s.shape[2]):
                first, place, length = runs[x, 0], runs[x, 1], runs[x, 2]
                for c in range(s.shape[3]):
                    if s[n, y, x, c]:
                        for j in range(rows.shape[1]):
                            ky, oy = rows[y, j, 0], rows[y, j, 1]
                            if ky < 0:
                                break
                            total, row = out[n, oy, place : place + length], weight[c, ky, first : first + length]
                            for i in range(length):
                                total[i] += row[i]


@njit(**OPTIONS)
def conv_values_packed(v, weight, rows, runs, out):  # type: ignore[no-untyped-def]
    """:func:`conv_spikes_packed` for graded or real values."""
    for n in range(v.shape[0]):
        out[n] = 0
        for y in range(v.shape[1]):
            for x in range(v.shape[2]):
                first, place, length = runs[x, 0], runs[x, 1], runs[x, 2]
                for c in range(v.shape[3]):
                    value = v[n, y, x, c]
                    if value != 0:
                        for j in range(rows.shape[1]):
                            ky, oy = rows[y, j, 0], rows[y, j, 1]
                            if ky < 0:
                                break
                            total, row = out[n, oy, place : place + length], weight[c, ky, first : first + length]
                            for i in range(length):
                                total[i] += row[i] * value


@njit(**OPTIONS)
def linear_spikes(s, weight, out):  # type: ignore[no-untyped-def]
    """``out[n] += weight[i]`` for every spike; ``s`` ``(N, I)``, ``weight`` ``(I, O)``, ``out`` ``(N, O)``."""
    for n in range(s.shape[0]):
        total = out[n]
        total[:] = 0
        for i in range(s.shape[1]):
            if s[n, i]:
                row = weight[i]
                for o in range(row.shape[0]):
                    total[o] += row[o]


@njit(**OPTIONS)
def linear_values(v, weight, out):  # type: ignore[no-untyped-def]
    """:func:`linear_spikes` for graded or real values."""
    for n in range(v.shape[0]):
        total = out[n]
        total[:] = 0
        for i in range(v.shape[1]):
            value = v[n, i]
            if value != 0:
                row = weight[i]
                for o in range(row.shape[0]):
                    total[o] += row[o] * value
