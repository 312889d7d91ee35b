"""What netx and Lava make of the weights of a ``.net`` file, so that weights that would change are refused.

A dense matrix ``W`` of integers is first shifted by netx (lava-dl 0.6.0, ``netx/utils.py``, optimize_weight_bits), then
clipped and cut to its bits by Lava (lava-nc 0.10.0, ``utils/weightutils.py`` and ``proc/dense/models.py``), and the
sums are shifted back::

    signed = min(W) < 0 ≤ max(W)                               netx's view of the signs
    scale  = min(127/max W, 128/−min W) | 256/−min W | 255/max W
    e      = ⌊log2 scale⌋ + signed                             every weight becomes W·2^e
    bits   = 8 − e − n + signed                                2^n the largest common factor, n ≤ 8
    mixed  = some weight < 0 and some > 0                      Lava's view: another one where max W = 0
    Q      = clip(W·2^e; mixed: ±256, else 0…255 by magnitude)
    Q      = (Q >> k) << k,  k = 8 − bits + mixed
    W used = Q / 2^e

The same e and bits serve both matrices of a recurrent layer. A convolution uses the file's integers as they are.
"""

from __future__ import annotations

import math

import numpy as np


def used_by_lava(*matrices: np.ndarray) -> list[np.ndarray] | None:
    """The weights that Lava's CPU models multiply with, one array per matrix of a layer (forward, recurrent).

    Integer matrices ``(O, I)``; the result is a fraction where Lava drops a bit of the shifted weight. None where netx
    cannot scale them at all (all zero) or Lava shifts by a negative number of bits, which NumPy leaves undefined (and
    turns into zeros).
    """
    whole = np.concatenate([m.reshape(-1) for m in matrices]).astype(np.int64)
    low, high = int(whole.min()), int(whole.max())
    if low == high == 0:
        return None
    if low < 0 < high:  # netx clips, with a printed line
        whole = np.clip(whole, -256, 254)
        low, high = int(whole.min()), int(whole.max())
    signed = int(low < 0 <= high)
    if signed:
        scale = min(127 / high if high > 0 else math.inf, 128 / -low)
    else:
        scale = 256 / -low if low < 0 else 255 / high
    shift = math.floor(math.log2(scale)) + signed
    if shift < 0:
        return None
    common = next((n for n in range(8, 0, -1) if not np.any(whole % 2**n)), 0)
    bits = 8 - shift - common + signed
    used = []
    for matrix in matrices:
        clipped = np.clip(matrix, -256, 254) if low < 0 < high else matrix
        cut = _clip_and_cut(clipped.astype(np.int64) << shift, bits)
        if cut is None:
            return None
        used.append(cut / 2.0**shift)
    return used


def _clip_and_cut(matrix: np.ndarray, bits: int) -> np.ndarray | None:
    """Lava's clip and truncation; it judges the signs of this matrix alone."""
    sign = -1 if matrix.max() <= 0 and matrix.min() < 0 else 1
    mixed = matrix.min() < 0 < matrix.max()
    magnitude = sign * matrix
    magnitude = np.clip(magnitude, -256 if mixed else 0, 255)
    cut = 8 - bits + int(mixed)
    return None if cut < 0 else sign * ((magnitude >> cut) << cut)


def fits_eight_bits(weight: np.ndarray) -> bool:
    """Whether one 8-bit format of a synapse holds every integer of ``weight``.

    Signed: −128…127 times one power of two, up to −256…254; of one sign: 0…255 by magnitude.
    """
    low, high = int(weight.min()), int(weight.max())
    if low >= 0 or high <= 0:
        return max(-low, high) <= 255
    if low >= -128 and high <= 127:
        return True
    return low >= -256 and high <= 254 and not np.any(weight % 2)
