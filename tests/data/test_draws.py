"""Random numbers of a sample: the published generator, and nothing but (seed, epoch, sample, slot)."""

from __future__ import annotations

import numpy as np

from neurodeploy.data.draws import GAMMA, Draws, mix


def test_mix_is_splitmix64() -> None:
    """First outputs of the authors' C program for the state 0."""
    states = np.array([k * GAMMA % 2**64 for k in (1, 2, 3)], np.uint64)
    assert mix(states).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_batches_do_not_matter() -> None:
    indices = np.array([7, 0, 59_999, 7])
    together = Draws(3, 5, indices).bits(2)
    alone = [int(Draws(3, 5, np.array([index])).bits(2)[0]) for index in indices]
    assert together.tolist() == alone
    assert together[0] == together[3]


def test_seed_epoch_sample_and_slot_all_matter() -> None:
    """No two of 4·4·64·16 numbers agree: swapped arguments (seed 1, epoch 2 and 2, 1) are different streams."""
    seen = [
        Draws(seed, epoch, np.arange(64)).bits(slot) for seed in range(4) for epoch in range(4) for slot in range(16)
    ]
    assert len(np.unique(np.concatenate(seen))) == 4 * 4 * 64 * 16


def test_numbers_are_uniform() -> None:
    """χ² over 9 values, 8 degrees of freedom: above 31.8 once in 10,000 draws; the draw is fixed."""
    draws = Draws(0, 1, np.arange(90_000))
    counts = np.bincount(draws.integers(0, 9), minlength=9)
    assert len(counts) == 9
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 31.8
    u = draws.uniform(1)
    assert 0 <= u.min() < u.max() < 1
    # Standard error of the mean: sqrt(1/12/90000) < 0.001; of neighboring samples' correlation: 1/300.
    assert abs(u.mean() - 0.5) < 0.004
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.014
    assert abs(np.corrcoef(u, draws.uniform(2))[0, 1]) < 0.014
