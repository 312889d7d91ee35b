"""The compiled inner loops (Numba). Channels last: ``s`` is ``(N, H, W, C)`` uint8, N = timesteps x samples.

A spike adds one contiguous row of weights per tap, so cost grows with spikes, not with connections. Rows are visited in
the order y, x, channel, which gives every output its taps in the order kernel row, kernel column, input channel: the
canonical order of float sums (:mod:`neurodeploy.ir.interpret`). No fast-math: the compiler may not reorder or fuse, so
results do not depend on the CPU. All kernels release the GIL; callers give each thread its own samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "boundscheck": False}


@njit(**_OPTIONS)
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


@njit(**_OPTIONS)
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


@njit(**_OPTIONS)
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


@njit(**_OPTIONS)
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


@njit(**_OPTIONS)
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


@njit(**_OPTIONS)
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


@njit(**_OPTIONS)
def lif_float(x, decay, gain, offset, threshold, v_reset, at_threshold, subtract, spikes, membrane):  # type: ignore[no-untyped-def]
    """LIF over time; ``x`` and ``spikes`` ``(T, B, N)``, parameters ``(N,)``; ``membrane`` the same shape or size 0."""
    keep = membrane.size > 0
    u = np.zeros(x.shape[2], x.dtype)
    for b in range(x.shape[1]):
        u[:] = 0
        for t in range(x.shape[0]):
            for n in range(x.shape[2]):
                pre = (decay[n] * u[n] + gain[n] * x[t, b, n]) + offset[n]
                fires = pre >= threshold[n] if at_threshold else pre > threshold[n]
                spikes[t, b, n] = fires
                if fires:
                    u[n] = pre - threshold[n] if subtract else v_reset[n]
                else:
                    u[n] = pre
            if keep:
                membrane[t, b] = u


@njit(**_OPTIONS)
def integrate_float(x, decay, out):  # type: ignore[no-untyped-def]
    """``out[t] = decay·out[t−1] + x[t]``; ``(T, B, N)``."""
    for b in range(x.shape[1]):
        for n in range(x.shape[2]):
            u = x.dtype.type(0)
            for t in range(x.shape[0]):
                u = decay * u + x[t, b, n]
                out[t, b, n] = u


@njit(**_OPTIONS)
def neuron_integer(a, bias, factor, threshold, spikes, membrane):  # type: ignore[no-untyped-def]
    """The integer machine over time (:mod:`neurodeploy.ir.machine`).

    ``a`` ``(T, B, N)`` int32, ``bias`` ``(N,)`` int64 in weight units, ``factor`` = 4096 − vDecay, ``threshold`` =
    vThMant << 6; ``membrane`` ``(T, B, N)`` int32 or size 0.
    """
    keep = membrane.size > 0
    v = np.zeros(a.shape[2], np.int64)
    for b in range(a.shape[1]):
        v[:] = 0
        for t in range(a.shape[0]):
            for n in range(a.shape[2]):
                u = np.int64(a[t, b, n]) << 6
                if u > 8388608:
                    u -= 16777216
                elif u <= -8388608:
                    u += 16777216
                old = v[n] * factor
                leaked = old >> 12 if old >= 0 else -((-old) >> 12)
                new = leaked + u + (bias[n] << 6)
                if new > 8388607:
                    new = 8388607
                elif new < -8388607:
                    new = -8388607
                fires = new > threshold
                spikes[t, b, n] = fires
                v[n] = 0 if fires else new
            if keep:
                for n in range(a.shape[2]):
                    membrane[t, b, n] = v[n]
