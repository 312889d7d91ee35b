"""Neurons by the compiled kernels: what ``neurons_int.c`` and ``neurons_f32.c`` need, and how they are called."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from neurodeploy.sim.native.arrays import HEADER, Function, periodic, place

_P, _N = ctypes.c_void_p, ctypes.c_int64
_BYTES = np.dtype(np.uint8)
#: Arrays that a kernel adds up; more are added before.
SOURCES = 3
#: Largest bias, in weight units, for which 32 bits hold every sum (neurons_int.c).
LARGEST_BIAS = 2**22


class _IntegerNeuron(ctypes.Structure):
    """``struct integer_neuron`` of neurons_int.c."""

    _fields_ = [
        *((name, _N) for name in ("period", "cores")),
        ("bias", _P),
        *((name, ctypes.c_int32) for name in ("factor", "threshold", "wraps", "reads")),
    ]


class _CubaNeuron(ctypes.Structure):
    """``struct cuba_neuron`` of neurons_int.c."""

    _fields_ = [("membrane", _IntegerNeuron), ("current_factor", ctypes.c_int32)]


class _FloatNeuron(ctypes.Structure):
    """``struct float_neuron`` of neurons_f32.c."""

    _fields_ = [
        *((name, _N) for name in ("period", "cores")),
        *((name, _P) for name in ("decay", "gain", "offset", "threshold", "v_reset")),
        *((name, ctypes.c_int32) for name in ("at_threshold", "subtracts")),
    ]


class Kernel:
    """A function of the library with the parameters of a population.

    Args:
        found: The library.
        name: The function.
        struct: Its first argument.
        held: Arrays that the struct points to.
        wide: dtype of what arrives, where it is not bytes, and of states.
        written: Number of array arguments behind the arriving ones.
        counts: Number of addresses behind those.
        result: What the function gives.
    """

    def __init__(
        self,
        found: ctypes.CDLL,
        name: str,
        struct: ctypes.Structure,
        held: list[np.ndarray],
        wide: Any,
        written: int,
        counts: int = 0,
        result: str | None = None,
    ) -> None:
        self._function = Function(found, name, "piii" + "a" * (SOURCES + written) + "p" * counts, result)
        self._kept = struct, held
        self._struct = ctypes.addressof(struct)
        self._wide = np.dtype(wide)

    def run(
        self,
        arriving: Sequence[np.ndarray],
        steps: int,
        written: Sequence[np.ndarray | None],
        counts: Sequence[int | None] = (),
    ) -> Any:
        """Update all neurons through ``steps`` steps.

        Args:
            arriving: What the edges bring, at most :data:`SOURCES`, ``(steps or 1, B, …)``.
            steps: Timesteps.
            written: The other arrays of the C function, contiguous; None where one is not asked for.
            counts: Addresses of the counts that are added to, or None.
        """
        x = arriving[0]
        to = [None if a is None else id(a) + HEADER for a in written]
        if len(arriving) == 1 and x.dtype is self._wide and x.shape[0] == steps and x.flags.c_contiguous:
            return self._function(self._struct, steps, x.size // steps, 0, id(x) + HEADER, None, None, *to, *counts)
        held = [np.ascontiguousarray(x, x.dtype if x.dtype == _BYTES else self._wide) for x in arriving]
        layout = 0
        for k, x in enumerate(held):
            layout |= ((x.dtype == _BYTES) | (x.shape[0] != steps) << 1) << 4 * k
        where = [*map(place, held), *[None] * (SOURCES - len(held))]
        return self._function(self._struct, steps, held[0].size // held[0].shape[0], layout, *where, *to, *counts)


def integer_neuron(
    found: ctypes.CDLL, bias: np.ndarray, factor: int, threshold: int, *, wraps: bool, reads: bool, cores: int = 0
) -> Kernel:
    """``nd_neuron_int``: ``run(arriving, steps, (state, spikes, membrane), (fired, messages))``.

    It gives not 0 where a readout left its range.

    Args:
        found: The library.
        bias: Full, channels last, in weight units, at most :data:`LARGEST_BIAS` each.
        factor: 4096 − vDecay.
        threshold: vThMant << 6.
        wraps: Sums may leave ±2^17, where u wraps at 24 bits.
        reads: A readout: v leaves as ``membrane``, and a spike or a clipped v is an error.
        cores: Messages of a spike.
    """
    period, (repeated,) = periodic([bias.astype(np.int32)])
    struct = _IntegerNeuron(period, cores, repeated.ctypes.data, factor, threshold, wraps, reads)
    return Kernel(found, "nd_neuron_int", struct, [repeated], np.int32, 3, 2, "n")


def integer_cuba(
    found: ctypes.CDLL, bias: np.ndarray, current_factor: int, factor: int, threshold: int, cores: int = 0
) -> Kernel:
    """``nd_cuba_int``: ``run(arriving, steps, (i, v, spikes, membrane, current), (fired, messages))``, all int32.

    ``current_factor`` is 4096 − iDecay; sums must stay within ±(2^17 − 1); the rest as in :func:`integer_neuron`.
    """
    period, (repeated,) = periodic([bias.astype(np.int32)])
    membrane = _IntegerNeuron(period, cores, repeated.ctypes.data, factor, threshold, False, False)
    return Kernel(found, "nd_cuba_int", _CubaNeuron(membrane, current_factor), [repeated], np.int32, 5, 2)


def float_lif(
    found: ctypes.CDLL, parameters: Sequence[np.ndarray], *, at_threshold: bool, subtracts: bool, cores: int = 0
) -> Kernel:
    """``nd_lif_f32``: ``run(arriving, steps, (state, spikes, membrane), (fired, messages))``.

    ``parameters`` are decay, gain, offset, threshold and v_reset, float32, full, channels last.
    """
    period, held = periodic(list(parameters))
    struct = _FloatNeuron(period, cores, *(array.ctypes.data for array in held), at_threshold, subtracts)
    return Kernel(found, "nd_lif_f32", struct, held, np.float32, 3, 2)


def float_integrator(found: ctypes.CDLL, parameters: Sequence[np.ndarray]) -> Kernel:
    """``nd_integrate_f32``: ``run(arriving, steps, (state, out))``; ``parameters`` are decay, gain and offset."""
    period, held = periodic(list(parameters))
    struct = _FloatNeuron(period, 0, *(array.ctypes.data for array in held))
    return Kernel(found, "nd_integrate_f32", struct, held, np.float32, 2)
