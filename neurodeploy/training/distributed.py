"""Several processes under ``torchrun``: who is who, which samples are whose, and sums over all.

Every process holds the whole model and the whole dataset's index; of each batch it takes a slice. ``data.batch`` is the
batch of all processes together, so a run gives the same numbers, up to the rounding of sums, with any number of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

_T = TypeVar("_T")


@dataclass(frozen=True)
class World:
    """The processes of a run; ``World()`` is one process alone.

    Attributes:
        rank: This process, 0 … size − 1; rank 0 writes the files.
        size: Number of processes.
        device: Where this process computes.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def main(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def shard(self, batch: np.ndarray) -> np.ndarray:
        """This process's samples of a batch: contiguous, sizes differ by one at most."""
        return np.array_split(batch, self.size)[self.rank]

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: _T) -> list[_T]:
        """The values of all processes, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


def is_main() -> bool:
    """Whether this process is the one that speaks: rank 0 of ``torchrun``, or the only one. Joins nothing."""
    return int(os.environ.get("RANK", "0")) == 0


def join(device: str) -> World:
    """The world that ``torchrun`` started this process in (its environment variables), or this process alone.

    Gloo on the CPU, NCCL on CUDA, where process n of a machine takes device n.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 and not dist.is_initialized():
        return World(device=device)
    cuda = device.startswith("cuda")
    if cuda and device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    return World(dist.get_rank(), dist.get_world_size(), device)


def leave() -> None:
    """Close the connection to the other processes."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
