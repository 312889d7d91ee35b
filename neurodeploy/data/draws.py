"""Random numbers that are a function of (seed, epoch, sample, slot), so that batches and workers cannot change them.

SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): the k-th output of a
stream with state s is ``mix(s + k·γ)``, which needs no stepping through the ones before. Arrays wrap modulo 2⁶⁴.
"""

from __future__ import annotations

import numpy as np

GAMMA = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def mix(z: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64, on uint64 arrays."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Draws:
    """The random numbers of a batch; every slot is one number per sample, independent of every other slot."""

    def __init__(self, seed: int, epoch: int, indices: np.ndarray) -> None:
        base = mix(np.array([seed & _MASK], np.uint64) + np.uint64(GAMMA))
        base = mix(base + np.uint64(epoch & _MASK) + np.uint64(GAMMA))
        self._state_B = mix(base + np.asarray(indices).astype(np.uint64) * np.uint64(GAMMA))

    def bits(self, slot: int) -> np.ndarray:
        """64 random bits per sample, uint64 ``(B,)``."""
        return mix(self._state_B + np.uint64((slot + 1) * GAMMA & _MASK))

    def integers(self, slot: int, end: int) -> np.ndarray:
        """Integers in ``[0, end)``, int64 ``(B,)``; by multiplication, biased by less than end/2³²."""
        return ((self.bits(slot) >> np.uint64(32)) * np.uint64(end) >> np.uint64(32)).astype(np.int64)

    def uniform(self, slot: int) -> np.ndarray:
        """Numbers in ``[0, 1)``, float64 ``(B,)``."""
        return (self.bits(slot) >> np.uint64(11)) * 2.0**-53
