"""The LIF over all its steps, forward and backward, as CPU kernels (Numba).

Neurons are cut into blocks whose membrane stays in the first-level cache while time runs inside, so that every number
of the input is read once and every result written once. Arrays are flat: ``x[t·step_x + n]`` is neuron n at step t, and
``step_x`` may be 0 (an input that :class:`neurodeploy.nn.layers.Repeat` shows at every step without copying it).
``first`` and ``last`` bound the neurons of one call, so that each thread has its own
(:mod:`neurodeploy.nn.lif_threads`); a neuron's numbers do not depend on where the bounds are. No fast-math
forward: the compiler may neither reorder nor fuse, so the bits are those of the plain loop. Backward it may fuse a
product and a sum into one rounding, which saves a third of the time.

bfloat16, which Numba does not know, comes as uint16, the upper half of the float32 of the same value.

The tasks at the end are what a C caller runs. They are in this file because Numba's cache looks only at the file that a
function is in: elsewhere they would go on running old kernels after an edit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic
from numpy.polynomial import Chebyshev, Polynomial

_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "boundscheck": False}
_GRADIENT: dict[str, Any] = {**_OPTIONS, "fastmath": {"contract"}}

#: Neurons whose membrane is kept at hand: 4 KiB of float32, a few such rows fit the first-level cache.
BLOCK = 1024

#: Surrogate name -> number in the kernels.
KINDS = {"tanh": 0, "ste": 1, "rectangular": 2, "triangle": 3}


#: Middle of [0, 9/4], the range of z = y².
CENTER = 1.125


def sech2_polynomial(degree: int) -> tuple[float, ...]:
    """Coefficients, highest power first, of a polynomial in y² − 9/8 that is sech²(y) = 1 − tanh²(y) on |y| ≤ 3/2.

    sech² is even and analytic in z = y², the nearest pole is at z = −π²/4, and on [0, 9/4] the interpolation error at
    Chebyshev points falls by 6.2 per degree: 11 gives float32's precision, at a fraction of the cost of a tanh. Powers
    of z itself would cancel where sech² is smallest.
    """
    series = Chebyshev.interpolate(
        lambda w: 1 - np.tanh(np.sqrt(w + CENTER)) ** 2, degree, domain=[-CENTER, CENTER]
    )  # fmt: skip
    return tuple(float(c) for c in series.convert(kind=Polynomial).coef[::-1])


SECH2 = np.array(sech2_polynomial(11), np.float32)


@njit(**_OPTIONS)
def forward(x, step_x, u_pre, o, step, steps, first, last, tau, threshold, keep):  # type: ignore[no-untyped-def]
    """u_pre[t] = τ·u + x[t], o[t] = [u_pre[t] ≥ V_th], u = u_pre[t]·(1 − o[t]); ``u_pre`` is written where ``keep``."""
    zero, one = np.float32(0), np.float32(1)
    u = np.empty(BLOCK, np.float32)
    for a in range(first, last, BLOCK):
        m = min(BLOCK, last - a)
        u[:m] = zero
        for t in range(steps):
            x_t, o_t = x[t * step_x + a : t * step_x + a + m], o[t * step + a : t * step + a + m]
            if keep:
                u_pre_t = u_pre[t * step + a : t * step + a + m]
                for i in range(m):
                    pre = tau * u[i] + x_t[i]
                    fired = one if pre >= threshold else zero
                    u_pre_t[i] = pre
                    o_t[i] = fired
                    u[i] = pre * (one - fired)
            else:
                for i in range(m):
                    pre = tau * u[i] + x_t[i]
                    fired = one if pre >= threshold else zero
                    o_t[i] = fired
                    u[i] = pre * (one - fired)


@njit(**_GRADIENT)
def _slopes(u, m, threshold, kind, sech2, slope):  # type: ignore[no-untyped-def]
    """φ′ of :mod:`neurodeploy.nn.surrogate`, for m potentials."""
    zero, one = np.float32(0), np.float32(1)
    end = threshold + threshold
    if kind == 0:
        stretch = np.float32(1.5) / threshold
        height = np.float32(0.75 / math.tanh(1.5)) / threshold
        center = np.float32(CENTER)
        c0, c1, c2, c3, c4, c5 = sech2[0], sech2[1], sech2[2], sech2[3], sech2[4], sech2[5]
        c6, c7, c8, c9, c10, c11 = sech2[6], sech2[7], sech2[8], sech2[9], sech2[10], sech2[11]
        for i in range(m):
            y = stretch * (u[i] - threshold)
            w = y * y - center
            p = ((((c0 * w + c1) * w + c2) * w + c3) * w + c4) * w + c5
            p = (((((p * w + c6) * w + c7) * w + c8) * w + c9) * w + c10) * w + c11
            slope[i] = height * p if (u[i] >= zero) & (u[i] <= end) else zero
    elif kind == 1:
        height = one / end
        for i in range(m):
            slope[i] = height if (u[i] >= zero) & (u[i] <= end) else zero
    elif kind == 2:
        half = np.float32(0.5)
        for i in range(m):
            slope[i] = one if abs(u[i] - threshold) < half else zero
    else:
        for i in range(m):
            slope[i] = max(one - abs(u[i] - threshold), zero)


@njit(**_GRADIENT)
def backward(u_pre, step, g_o, step_o, g_u, step_u, g_x, steps, first, last, tau, threshold, kind, sech2, detach):  # type: ignore[no-untyped-def]
    """Gradient of x from those of o and, unless ``g_u`` is empty, of u_pre; with g the one of u[t], 0 at the last step:

    g_x[t] = (g_o[t] − u_pre[t]·g)·φ′(u_pre[t]) + (1 − o[t])·g + g_u[t],   g ← τ·g_x[t]

    ``detach`` leaves out u_pre[t]·g, which is what flows through the reset.
    """
    zero, one = np.float32(0), np.float32(1)
    through = zero if detach else one
    g = np.empty(BLOCK, np.float32)
    slope = np.empty(BLOCK, np.float32)
    for a in range(first, last, BLOCK):
        m = min(BLOCK, last - a)
        g[:m] = zero
        for t in range(steps - 1, -1, -1):
            u_t, g_x_t = u_pre[t * step + a : t * step + a + m], g_x[t * step + a : t * step + a + m]
            g_o_t = g_o[t * step_o + a : t * step_o + a + m]
            _slopes(u_t, m, threshold, kind, sech2, slope)
            if g_u.size:
                g_u_t = g_u[t * step_u + a : t * step_u + a + m]
                for i in range(m):
                    stays = zero if u_t[i] >= threshold else g[i]
                    new = (g_o_t[i] - through * (u_t[i] * g[i])) * slope[i] + stays + g_u_t[i]
                    g_x_t[i] = new
                    g[i] = tau * new
            else:
                for i in range(m):
                    stays = zero if u_t[i] >= threshold else g[i]
                    new = (g_o_t[i] - through * (u_t[i] * g[i])) * slope[i] + stays
                    g_x_t[i] = new
                    g[i] = tau * new


@njit(**_OPTIONS)
def widen(half):  # type: ignore[no-untyped-def]
    """A bfloat16 (as uint16) as float32."""
    return np.uint32(np.uint32(half) << np.uint32(16)).view(np.float32)


@njit(**_OPTIONS)
def narrow(value):  # type: ignore[no-untyped-def]
    """To the nearest bfloat16, ties to even; adding to the bits of a NaN could wrap around, so it gets its own."""
    bits = np.float32(value).view(np.uint32)
    rounded = np.uint32(bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.uint16(rounded) if value == value else np.uint16(0x7FC0)


@njit(**_OPTIONS)
def forward_bf16(x, step_x, u_pre, o, step, steps, first, last, tau, threshold, below, above, keep):  # type: ignore[no-untyped-def]
    """:func:`forward` with a float32 membrane between bfloat16 in- and outputs.

    ``below`` and ``above`` are the bfloat16 values next to the threshold: the written u_pre is on the side of V_th
    where the membrane was, so that comparing it gives the spike that was sent.
    """
    zero, one = np.float32(0), np.float32(1)
    spike, silence = np.uint16(0x3F80), np.uint16(0)
    u = np.empty(BLOCK, np.float32)
    for a in range(first, last, BLOCK):
        m = min(BLOCK, last - a)
        u[:m] = zero
        for t in range(steps):
            x_t, o_t = x[t * step_x + a : t * step_x + a + m], o[t * step + a : t * step + a + m]
            if keep:
                u_pre_t = u_pre[t * step + a : t * step + a + m]
                for i in range(m):
                    pre = tau * u[i] + widen(x_t[i])
                    fires = pre >= threshold
                    # Comparisons written so that a NaN stays one.
                    kept = (above if pre < above else pre) if fires else (below if pre > below else pre)
                    u_pre_t[i] = narrow(kept)
                    o_t[i] = spike if fires else silence
                    u[i] = pre * (zero if fires else one)
            else:
                for i in range(m):
                    pre = tau * u[i] + widen(x_t[i])
                    fires = pre >= threshold
                    o_t[i] = spike if fires else silence
                    u[i] = pre * (zero if fires else one)


@njit(**_GRADIENT)
def backward_bf16(u_pre, step, g_o, step_o, g_u, step_u, g_x, steps, first, last, tau, threshold, kind, sech2, detach):  # type: ignore[no-untyped-def]
    """:func:`backward` in float32 between bfloat16 in- and outputs."""
    zero, one = np.float32(0), np.float32(1)
    through = zero if detach else one
    g = np.empty(BLOCK, np.float32)
    u = np.empty(BLOCK, np.float32)
    slope = np.empty(BLOCK, np.float32)
    for a in range(first, last, BLOCK):
        m = min(BLOCK, last - a)
        g[:m] = zero
        for t in range(steps - 1, -1, -1):
            u_t, g_x_t = u_pre[t * step + a : t * step + a + m], g_x[t * step + a : t * step + a + m]
            g_o_t = g_o[t * step_o + a : t * step_o + a + m]
            for i in range(m):
                u[i] = widen(u_t[i])
            _slopes(u, m, threshold, kind, sech2, slope)
            if g_u.size:
                g_u_t = g_u[t * step_u + a : t * step_u + a + m]
                for i in range(m):
                    stays = zero if u[i] >= threshold else g[i]
                    new = (widen(g_o_t[i]) - through * (u[i] * g[i])) * slope[i] + stays + widen(g_u_t[i])
                    g_x_t[i] = narrow(new)
                    g[i] = tau * new
            else:
                for i in range(m):
                    stays = zero if u[i] >= threshold else g[i]
                    new = (widen(g_o_t[i]) - through * (u[i] * g[i])) * slope[i] + stays
                    g_x_t[i] = narrow(new)
                    g[i] = tau * new


TASK = types.void(types.CPointer(types.int64))
PREFIX = "neurodeploy_"
_thread = types.ExternalFunction(PREFIX + "omp_get_thread_num", types.int32())
_team = types.ExternalFunction(PREFIX + "omp_get_num_threads", types.int32())


def _float32_at(typing_context, address):  # type: ignore[no-untyped-def]
    return _pointer(types.float32)


def _uint16_at(typing_context, address):  # type: ignore[no-untyped-def]
    return _pointer(types.uint16)


def _pointer(kind):  # type: ignore[no-untyped-def]
    """An address (int64) as a pointer to numbers of a kind."""
    signature = types.CPointer(kind)(types.int64)

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return signature, code


_f32: Any = intrinsic(_float32_at)
_u16: Any = intrinsic(_uint16_at)


@njit(**_OPTIONS)
def _share(n, threads):  # type: ignore[no-untyped-def]
    """First and last neuron of this thread. The runtime may have given fewer threads than were asked for."""
    if threads == 1:
        return 0, n
    size = -(-n // _team())
    first = size * _thread()
    return first, min(n, first + size)


# A task's table: 0 neurons, 1 steps, 2 threads, 3 address of four float32 (τ, V_th, the bfloat16 below and above V_th),
# then as the task reads them. Arrays are flat, with 0 as length where the address is 0.


def forward_task_f32(table):  # type: ignore[no-untyped-def]
    """4 x, 5 its step, 6 u_pre or 0, 7 o."""
    d = carray(table, (8,))
    n, steps = d[0], d[1]
    first, last = _share(n, d[2])
    real = carray(_f32(d[3]), (4,))
    x, o = carray(_f32(d[4]), (d[5] * (steps - 1) + n,)), carray(_f32(d[7]), (n * steps,))
    u_pre = carray(_f32(d[6]), (n * steps,))
    tau, threshold = real[0], real[1]
    forward(x, d[5], u_pre, o, n, steps, first, last, tau, threshold, d[6] != 0)


def forward_task_bf16(table):  # type: ignore[no-untyped-def]
    """As :func:`forward_task_f32`."""
    d = carray(table, (8,))
    n, steps = d[0], d[1]
    first, last = _share(n, d[2])
    real = carray(_f32(d[3]), (4,))
    x, o = carray(_u16(d[4]), (d[5] * (steps - 1) + n,)), carray(_u16(d[7]), (n * steps,))
    u_pre = carray(_u16(d[6]), (n * steps,))
    tau, threshold, below, above = real[0], real[1], real[2], real[3]
    forward_bf16(x, d[5], u_pre, o, n, steps, first, last, tau, threshold, below, above, d[6] != 0)


def backward_task_f32(table):  # type: ignore[no-untyped-def]
    """4 u_pre, 5 g_o, 6 its step, 7 g_u or 0, 8 its step, 9 g_x, 10 surrogate, 11 detach, 12 sech²."""
    d = carray(table, (13,))
    n, steps = d[0], d[1]
    first, last = _share(n, d[2])
    real = carray(_f32(d[3]), (4,))
    u_pre, g_x = carray(_f32(d[4]), (n * steps,)), carray(_f32(d[9]), (n * steps,))
    g_o = carray(_f32(d[5]), (d[6] * (steps - 1) + n,))
    g_u = carray(_f32(d[7]), (d[8] * (steps - 1) + n if d[7] else 0,))
    sech2 = carray(_f32(d[12]), (12,))
    tau, threshold = real[0], real[1]
    backward(
        u_pre, n, g_o, d[6], g_u, d[8], g_x, steps, first, last, tau, threshold, d[10], sech2, d[11] != 0
    )  # fmt: skip


def backward_task_bf16(table):  # type: ignore[no-untyped-def]
    """As :func:`backward_task_f32`."""
    d = carray(table, (13,))
    n, steps = d[0], d[1]
    first, last = _share(n, d[2])
    real = carray(_f32(d[3]), (4,))
    u_pre, g_x = carray(_u16(d[4]), (n * steps,)), carray(_u16(d[9]), (n * steps,))
    g_o = carray(_u16(d[5]), (d[6] * (steps - 1) + n,))
    g_u = carray(_u16(d[7]), (d[8] * (steps - 1) + n if d[7] else 0,))
    sech2 = carray(_f32(d[12]), (12,))
    tau, threshold = real[0], real[1]
    backward_bf16(
        u_pre, n, g_o, d[6], g_u, d[8], g_x, steps, first, last, tau, threshold, d[10], sech2, d[11] != 0
    )  # fmt: skip
