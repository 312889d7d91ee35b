"""Which samples a step sees, in which order, and how they reach the network.

The order of an epoch is a function of (seed, epoch), the augmentation of a sample of (seed, epoch, sample): neither
depends on how many processes or workers there are, nor on whether the run was interrupted before.

Shape legend: T time, B batch, C H W image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data

from neurodeploy.config.recipe import Recipe
from neurodeploy.data import Dataset
from neurodeploy.training.distributed import World


def sample_order(seed: int, epoch: int, samples: int) -> np.ndarray:
    """The permutation of training samples in an epoch: a function of seed and epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(samples)


def steps_of(recipe: Recipe, samples: int) -> int:
    """Steps of an epoch; the last batch may be smaller."""
    return math.ceil(samples / recipe.data.batch)


def batches(
    recipe: Recipe, dataset: Dataset, epoch: int, world: World, *, after: int = 0, workers: int = 0
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """``(x, y, samples of all processes)`` of every step of an epoch behind step ``after``; x and y are this process's.

    Args:
        recipe: Seed, batch and augmentation.
        dataset: Training samples.
        epoch: From 1.
        world: Who else takes part.
        after: Steps that were done already.
        workers: Processes that prepare batches beside this one; 0 prepares them here.
    """
    order = sample_order(recipe.seed, epoch, len(dataset))
    whole = [order[start : start + recipe.data.batch] for start in range(0, len(order), recipe.data.batch)][after:]
    drawn = read(
        dataset,
        [world.shard(batch) for batch in whole],
        augment=recipe.data.augment,
        seed=recipe.seed,
        epoch=epoch,
        workers=workers,
    )
    for (x, y), batch in zip(drawn, whole, strict=True):
        yield x, y, len(batch)


def read(
    dataset: Dataset,
    batches: list[np.ndarray],
    *,
    augment: str = "none",
    seed: int = 0,
    epoch: int = 0,
    workers: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """``(x, y)`` of each of some arrays of sample numbers, prepared ``workers`` processes ahead (0: here)."""
    drawn = _Drawn(dataset, augment, seed, epoch)
    loader = torch_data.DataLoader(
        drawn,
        batch_size=None,
        sampler=batches,  # one array is one batch
        num_workers=workers,
        # Without one of its own the loader would draw from the run's generator.
        generator=torch.Generator(),
        pin_memory=torch.cuda.is_available(),
    )
    yield from loader


class _Drawn(torch_data.Dataset[tuple[Tensor, Tensor]]):
    """The augmented samples of one epoch; an index is an array of sample numbers."""

    def __init__(self, dataset: Dataset, augment: str, seed: int, epoch: int) -> None:
        self.dataset, self.augment, self.seed, self.epoch = dataset, augment, seed, epoch

    def __getitem__(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        x = self.dataset.batch(indices, augment=self.augment, seed=self.seed, epoch=self.epoch)
        return torch.from_numpy(x), torch.from_numpy(self.dataset.y[indices])


def time_first(x: Tensor, *, temporal: bool, channels_last: bool = False) -> Tensor:
    """What a network takes: ``(1, B, C, H, W)`` of static samples, ``(T, B, …)`` of frames ``(B, T, …)``."""
    if temporal:
        x = x.transpose(0, 1)
    else:
        x = x.unsqueeze(0)
    steps = x.shape[:2]
    flat = x.flatten(0, 1)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return flat.contiguous(memory_format=layout).unflatten(0, steps)
