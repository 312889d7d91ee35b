"""Dense sums: integer synapses on the CPU's matrix unit (Intel AMX) or byte dot products (AVX-512 VNNI).

Above some firing rate it is cheaper to multiply every input with every weight, zeros included, sixteen thousand
products an instruction, than to look for the events: the same integers, so the same sums, bit for bit. Only integer
arithmetic comes here; float sums keep their canonical order and stay event-driven. When it pays:
:mod:`neurodeploy.sim.dense_choice`. The C side, with the layouts of input and weights: ``native/dense.c``.
"""

from __future__ import annotations

import os
import threading
from functools import cache
from math import prod

import numpy as np

from neurodeploy.diagnostics import UsageError
from neurodeploy.ir.nodes import Conv2d, Linear, Shape
from neurodeploy.sim.native import aligned
from neurodeploy.sim.native.arrays import function, kernels, place, scratch

#: Values of ``NEURODEPLOY_DENSE``: never; where it is faster; wherever it can be done.
SETTINGS = ("0", "1", "always")
NONE, DOT_PRODUCTS, MATRIX_UNIT = range(3)
#: Bytes of input copied at once: they stay in a cache of 1 to 2 MiB beside the weights of 32 output channels.
CHUNK = 256 << 10
#: Zero weights meet up to this many bytes behind the input: a step reads 64 bytes, a tile 16 rows of them.
_SLACK = 4096
_MOST_JUMPS = 256
_FIELDS = (
    *("h", "w", "c", "oh", "ow", "o", "kh", "kw", "sy", "sx", "py", "px", "f0", "f1", "interleaved"),
    *("planes", "jumps", "columns", "chunk", "amx", "planes_size", "buffer_size"),
)  # those of dense_t, in its order


def setting() -> str:
    """``NEURODEPLOY_DENSE``: ``"0"`` never, ``"1"`` (the default) where it is faster, ``"always"`` where it can be.

    Raises:
        UsageError: It is something else (ND100).
    """
    wanted = os.environ.get("NEURODEPLOY_DENSE", "1")
    if wanted not in SETTINGS:
        fix = "0 for never, 1 for where it is faster, always; or unset it"
        raise UsageError("ND100", f"{wanted}: no such choice", where="NEURODEPLOY_DENSE", fix=fix)
    return wanted


@cache
def unit() -> int:
    """What this CPU computes dense sums with: :data:`MATRIX_UNIT`, :data:`DOT_PRODUCTS` or :data:`NONE`."""
    return NONE if kernels() is None else int(function("nd_dense_kind", "", "i")())


class DenseSums:
    """The sums of one layer, made by :func:`prepare`; several threads may run it at the same time.

    Weights are packed when they are needed first: a layer whose events are few never needs them.

    Attributes:
        numbers: Those of ``dense_t``.
        macs: Products per image, as a user counts them.
        weights: Bytes of packed weights.
        work: Products per image that are computed: with those of padding, and for both digits.
        moved: Bytes per image that are copied and written.
    """

    def __init__(self, numbers: dict[str, int], weight: np.ndarray, tables: int) -> None:
        out = numbers["oh"] * numbers["ow"] * numbers["o"]
        blocks, steps = -(-numbers["o"] // 16), numbers["planes"] * numbers["kh"] * numbers["jumps"]
        self.numbers = numbers
        self.macs = numbers["kh"] * numbers["kw"] * numbers["c"] * out
        self.weights = blocks * steps * 1024
        self.work = self.weights * numbers["oh"] * numbers["ow"]
        self.moved = numbers["planes_size"] // numbers["chunk"] + 4 * out
        self._size = numbers["planes_size"] + numbers["buffer_size"] + tables
        self._weight = weight
        self._plan = np.array([numbers[name] for name in _FIELDS], np.int64)
        self._lock = threading.Lock()
        self._pointers: tuple[int, int] | None = None
        self._call = function("nd_dense", "pppaia")

    def run(self, s: np.ndarray, out: np.ndarray) -> None:
        """``out[n] = Σ w·s[n]``: ``s`` uint8 ``(N, H, W, C)`` or ``(N, I)``, ``out`` int32 ``(N, OH, OW, O)`` or
        ``(N, O)``, both C-contiguous."""
        self._call(*(self._pointers or self.pack()), scratch(self._size), place(s), len(s), place(out))

    def pack(self) -> tuple[int, int]:
        """Pack the weights, if nobody has; the addresses of the plan and of them."""
        with self._lock:
            if self._pointers is None:
                found = digits(self._weight, self.numbers["f0"], self.numbers["f1"])
                taps = found[0] if len(found) == 1 else np.concatenate(found, axis=1)
                self._packed = aligned((self.weights,), np.int8)
                where = self._plan.ctypes.data, self._packed.ctypes.data
                function("nd_dense_pack", "ppp").unheard(where[0], taps.ctypes.data, where[1])
                self._pointers = where
                del self._weight
            return self._pointers


def prepare(
    node: Conv2d | Linear,
    before: Shape,
    after: Shape,
    weight: np.ndarray,
    *,
    most: int = 1,
    wrap: bool = False,
    kind: int | None = None,
) -> DenseSums | None:
    """The dense sums of a layer, or None where there are none.

    Args:
        node: The layer; only its geometry is read.
        before: Shape that enters, channels first.
        after: Shape that leaves, channels first.
        weight: Integers of any type, in the shape of the node's own; held until the first run.
        most: Largest value of an input.
        wrap: Sums wrap at 24 bits. None where one could.
        kind: A slower unit instead of the CPU's best.

    None for groups, dilation, inputs above 255, weights that two digits cannot write (:func:`factors`), sums that could
    leave their range, where the CPU has no unit, and with ``NEURODEPLOY_DENSE=0``.
    """
    kind = min(unit(), MATRIX_UNIT if kind is None else kind)
    if kind == NONE or setting() == "0" or not 1 <= most <= 255:
        return None
    if isinstance(node, Linear):
        before, after = (before[-1], 1, 1), (after[-1], 1, 1)
        stride, padding = (1, 1), (0, 0)
        weight = weight.reshape(*weight.shape, 1, 1)
    else:
        stride, padding = node.stride, node.padding
        if node.groups != 1 or node.dilation != (1, 1):
            return None
    low, high = int(weight.min()), int(weight.max())
    written = factors(weight, low, high, most)
    if written is None or _largest_sum(weight, low, high, most) >= (2**23 if wrap else 2**31):
        return None
    (_, h, w), (outputs, oh, ow), (kh, kw) = before, after, weight.shape[2:]
    channels = before[0] * (2 if written[1] else 1)
    interleaved = -(-ow // 16) * 16 > 1.2 * ow  # tiles of 16 neighbors would be too empty
    width = (ow - 1) * stride[1] + kw  # columns that are read, padding included
    if channels % 64 == 0:
        planes, jumps = channels // 64, kw
        columns = -(-width // stride[1]) * stride[1]
        image = planes * h * columns * 64
    elif interleaved:
        planes, jumps, columns = -(-kw * channels // 64), 1, ow
        image = planes * h * ow * 64
    else:
        planes, jumps, columns = 1, -(-kw * channels // 64), width * channels
        image = h * columns
    if jumps > _MOST_JUMPS:
        return None
    chunk = max(1, CHUNK // image)
    if interleaved and chunk > 16:
        chunk -= chunk % 16
    tiles = (ow if interleaved else chunk) * -(-max(chunk, ow) // 16)
    numbers = (
        *(h, w, before[0], oh, ow, outputs, kh, kw, *stride, *padding, *written, int(interleaved)),
        *(planes, jumps, columns, chunk, int(kind == MATRIX_UNIT)),
        *(_whole_lines(chunk * image) + _SLACK, _whole_lines(w * channels + 64 * planes) + 64),
    )
    return DenseSums(dict(zip(_FIELDS, numbers, strict=True)), weight, 8 * (2 * tiles + 16 * ow))


def factors(weight: np.ndarray, low: int, high: int, most: int) -> tuple[int, int] | None:
    """``(f0, f1)`` with which every weight is ``f0·w0 + f1·w1``, digits of a signed byte, ``f·most ≤ 255``; ``f1 = 0``
    where one digit is enough; None where there are none. Weights lie between ``low`` and ``high``."""
    largest = 255 // most
    if _are_bytes(low, high):
        return 1, 0
    together = int(np.bitwise_or.reduce(weight.astype(np.int64), axis=None))
    common = together & -together  # the largest power of two that divides all: those of the integer machine are even
    if common <= largest and _are_bytes(low // common, high // common):
        return common, 0
    return (1, largest) if _are_bytes(*((w + largest // 2) // largest for w in (low, high))) else None


def digits(weight: np.ndarray, f0: int, f1: int) -> list[np.ndarray]:
    """The digits of integers with the factors of :func:`factors`, int8: ``w0``, and ``w1`` where ``f1`` is not 0.

    Where there are two f0 is 1, and w0 lies between ``−(f1/2)`` and ``f1/2``.
    """
    if not f1:
        return [(weight if f0 == 1 else weight / f0).astype(np.int8, order="C")]
    w = weight.astype(np.int32)
    high = (w + f1 // 2) // f1
    return [(w - high * f1).astype(np.int8), high.astype(np.int8)]


def _are_bytes(low: int, high: int) -> bool:
    return low >= -128 and high <= 127


def _largest_sum(weight: np.ndarray, low: int, high: int, most: int) -> int:
    """An upper bound of ``|Σ w·s|`` over all inputs ``0 ≤ s ≤ most``: the exact one, unless a simpler one is small."""
    simple = max(-low, high) * prod(weight.shape[1:]) * most
    if simple < 2**23:
        return simple
    rows = weight.reshape(len(weight), -1).astype(np.int64)
    return most * int(max(np.maximum(sign * rows, 0).sum(axis=1).max() for sign in (1, -1)))


def _whole_lines(size: int) -> int:
    """``size`` bytes up to the end of a cache line."""
    return -(-size // 64) * 64
