"""The compiled inner loops of neurons (Numba): ``x`` is ``(T, B, N)``, parameters ``(N,)``.

States are updated in place: ``(B, N)`` where a later call goes on with them, ``(1, N)`` where they need not be kept and
start at zero for every sample. What is not asked for has size 0. Order of float operations, no fast-math:
:mod:`neurodeploy.ir.interpret`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from neurodeploy.sim.kernels import OPTIONS


@njit(**OPTIONS)
def row_of(state, b, samples):  # type: ignore[no-untyped-def]
    """The state of sample ``b``; a shared row is cleared first."""
    if state.shape[0] == samples:
        return state[b]
    row = state[0]
    row[:] = 0
    return row


@njit(**OPTIONS)
def integrate_float(x, decay, gain, offset, u, out):  # type: ignore[no-untyped-def]
    """``out[t] = u = (decay·u + gain·x[t]) + offset``: an Integrator, and the current of a CubaLIF."""
    for b in range(x.shape[1]):
        state = row_of(u, b, x.shape[1])
        for t in range(x.shape[0]):
            for n in range(x.shape[2]):
                state[n] = (decay[n] * state[n] + gain[n] * x[t, b, n]) + offset[n]
                out[t, b, n] = state[n]


@njit(**OPTIONS)
def lif_float(x, decay, gain, offset, threshold, v_reset, at_threshold, subtract, u, spikes, membrane):  # type: ignore[no-untyped-def]
    """LIF, one spike at most; ``spikes`` uint8 like ``x``, ``membrane`` like ``x``."""
    keep = membrane.size > 0
    for b in range(x.shape[1]):
        state = row_of(u, b, x.shape[1])
        for t in range(x.shape[0]):
            for n in range(x.shape[2]):
                pre = (decay[n] * state[n] + gain[n] * x[t, b, n]) + offset[n]
                fires = pre >= threshold[n] if at_threshold else pre > threshold[n]
                spikes[t, b, n] = fires
                if fires:
                    state[n] = pre - threshold[n] if subtract else v_reset[n]
                else:
                    state[n] = pre
            if keep:
                membrane[t, b] = state


@njit(error_model="numpy", **OPTIONS)
def lif_multi(x, decay, gain, offset, threshold, u, spikes, membrane):  # type: ignore[no-untyped-def]
    """LIF, several spikes at once; ``spikes`` is like ``x``: their number."""
    keep = membrane.size > 0
    for b in range(x.shape[1]):
        state = row_of(u, b, x.shape[1])
        for t in range(x.shape[0]):
            for n in range(x.shape[2]):
                pre = (decay[n] * state[n] + gain[n] * x[t, b, n]) + offset[n]
                fired = np.floor(pre / threshold[n])
                if fired > 0:
                    spikes[t, b, n] = fired
                    state[n] = pre - fired * threshold[n]
                else:
                    spikes[t, b, n] = 0
                    state[n] = pre
            if keep:
                membrane[t, b] = state


@njit(**OPTIONS)
def leaked(state, factor):  # type: ignore[no-untyped-def]
    """``state · factor >> 12`` truncated toward zero; int64."""
    old = np.int64(state) * factor
    return old >> 12 if old >= 0 else -((-old) >> 12)


@njit(**OPTIONS)
def wrapped(u):  # type: ignore[no-untyped-def]
    """``u`` wrapped once at 24 bits."""
    if u > 8388608:
        return u - 16777216
    if u <= -8388608:
        return u + 16777216
    return u


@njit(**OPTIONS)
def clipped(v):  # type: ignore[no-untyped-def]
    """``v`` clipped to ±(2^23 − 1)."""
    return min(max(v, -8388607), 8388607)


@njit(**OPTIONS)
def neuron_integer(a, bias, factor, threshold, v, spikes, membrane):  # type: ignore[no-untyped-def]
    """The integer machine (:mod:`neurodeploy.ir.machine`) without a current state.

    ``a`` is int32 or int64, ``bias`` int64 in weight units, ``factor`` = 4096 − vDecay, ``threshold`` = vThMant << 6;
    ``membrane`` and the state ``v`` int32.
    """
    keep = membrane.size > 0
    for b in range(a.shape[1]):
        state = row_of(v, b, a.shape[1])
        for t in range(a.shape[0]):
            for n in range(a.shape[2]):
                u = wrapped(np.int64(a[t, b, n]) << 6)
                new = clipped(leaked(state[n], factor) + u + (bias[n] << 6))
                fires = new > threshold
                spikes[t, b, n] = fires
                state[n] = 0 if fires else new
            if keep:
                membrane[t, b] = state


@njit(**OPTIONS)
def cuba_integer(a, current_factor, bias, factor, threshold, i, v, spikes, membrane, current):  # type: ignore[no-untyped-def]
    """:func:`neuron_integer` with a current: ``current_factor`` = 4096 − iDecay, ``i`` and ``current`` int64."""
    keep = membrane.size > 0
    for b in range(a.shape[1]):
        flowing, state = row_of(i, b, a.shape[1]), row_of(v, b, a.shape[1])
        for t in range(a.shape[0]):
            for n in range(a.shape[2]):
                flowing[n] = wrapped(leaked(flowing[n], current_factor) + (np.int64(a[t, b, n]) << 6))
                new = clipped(leaked(state[n], factor) + flowing[n] + (bias[n] << 6))
                fires = new > threshold
                spikes[t, b, n] = fires
                state[n] = 0 if fires else new
            if keep:
                membrane[t, b] = state
                current[t, b] = flowing
