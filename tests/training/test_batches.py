"""Order and augmentation depend on seed, epoch and sample alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neurodeploy.config.recipe import load_recipe
from neurodeploy.data import load
from neurodeploy.training.batches import batches, sample_order, steps_of, time_first
from neurodeploy.training.distributed import World


@pytest.fixture(scope="module")
def digits():
    return load("digits", "train")


def drawn(digits, *, world=None, after=0, workers=0, epoch=1):
    recipe = load_recipe("digits/mlp-vanilla", ["data.batch=500", "data.augment=crop-flip"])
    return list(batches(recipe, digits, epoch, world or World(), after=after, workers=workers))


def test_order_is_a_permutation_of_its_own_each_epoch() -> None:
    first, second = sample_order(0, 1, 100), sample_order(0, 2, 100)
    assert sorted(first) == list(range(100)) == sorted(second)
    assert list(first) != list(second)


def test_every_sample_once_and_the_last_batch_is_smaller(digits) -> None:
    found = drawn(digits)
    assert [samples for _, _, samples in found] == [500, 500, 437]
    assert steps_of(load_recipe("digits/mlp-vanilla", ["data.batch=500"]), len(digits)) == 3
    labels = torch.cat([y for _, y, _ in found]).numpy()
    assert np.array_equal(np.bincount(labels), np.bincount(digits.y))


def test_two_processes_see_together_what_one_sees(digits) -> None:
    alone = drawn(digits)
    parts = [drawn(digits, world=World(rank, 2)) for rank in (0, 1)]
    for whole, first, second in zip(alone, *parts, strict=True):
        assert torch.equal(whole[0], torch.cat([first[0], second[0]]))
        assert torch.equal(whole[1], torch.cat([first[1], second[1]]))
        assert whole[2] == first[2] == second[2]


def test_a_resumed_epoch_goes_on_with_the_same_samples(digits) -> None:
    whole, rest = drawn(digits), drawn(digits, after=2)
    assert len(rest) == 1
    assert torch.equal(whole[2][0], rest[0][0])


@pytest.mark.slow
def test_workers_change_nothing(digits) -> None:
    state = torch.get_rng_state()
    here, there = drawn(digits), drawn(digits, workers=2)
    assert torch.equal(state, torch.get_rng_state()), "the run's generator is left alone"
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(here, there, strict=True))


def test_another_epoch_is_augmented_otherwise(digits) -> None:
    one, two = (
        digits.batch(np.arange(50), augment="crop-flip", seed=0, epoch=1),
        digits.batch(np.arange(50), augment="crop-flip", seed=0, epoch=2),
    )
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("channels_last", [False, True])
def test_time_first(channels_last) -> None:
    frames = torch.randn(2, 3, 4, 5, 6)  # B T C H W
    x = time_first(frames, temporal=True, channels_last=channels_last)
    assert torch.equal(x, frames.transpose(0, 1))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    flat = x.flatten(0, 1)
    assert flat.is_contiguous(memory_format=layout)
    assert flat.data_ptr() == x.data_ptr(), "a view"
    static = torch.randn(2, 4, 5, 6)
    assert torch.equal(time_first(static, temporal=False)[0], static)
