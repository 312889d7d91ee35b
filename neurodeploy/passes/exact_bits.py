"""How many bits a signed integer needs to hold given weights without rounding."""

from __future__ import annotations

import numpy as np


def exact_bits(values: np.ndarray) -> int:
    """The least b for which ``values = unit · integers`` with integers in ±(2^(b−1) − 1) for some real ``unit``.

    ``unit`` is the greatest common divisor: floats are whole multiples of a power of two. 1 where all are zero.
    """
    flat = np.unique(np.abs(values.astype(np.float64)))
    flat = flat[flat > 0.0]
    if flat.size == 0:
        return 1
    mantissa, exponent = np.frexp(flat)
    whole = (mantissa * 2.0**53).astype(np.int64)
    lowest = whole & -whole  # the last one-bit of each
    last = exponent - 53 + np.round(np.log2(lowest.astype(np.float64))).astype(np.int64)
    span = int(exponent.max() - last.min())
    if span > 62:  # no odd divisor is worth looking for
        return span + 1
    integers = np.ldexp(flat, -int(last.min())).astype(np.int64)
    return int(integers.max() // np.gcd.reduce(integers)).bit_length() + 1
