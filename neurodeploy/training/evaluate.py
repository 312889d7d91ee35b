"""Accuracy, quantization error, firing rates and membrane histograms of a net on a dataset.

Shape legend: T time, B batch, N classes; ``u_pre`` and spikes of a LIF are ``(T, B, …)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neurodeploy.data import Dataset
from neurodeploy.losses.cross_entropy import cross_entropy
from neurodeploy.losses.rmp import quantization_error
from neurodeploy.nn.lif import LIFRecord, watch_lifs
from neurodeploy.training.batches import read, time_first
from neurodeploy.training.distributed import World

SCHEMA = "neurodeploy.evaluation/1"

#: The histogram of ``u_pre``: 60 equal bins; the last holds its upper end.
LOW, HIGH, BINS = -1.0, 2.0, 60

#: Samples at a time, at most, and input numbers of them. Fixed, so that an evaluation does not depend on the recipe's
#: batch.
BATCH, NUMBERS = 256, 2**21


@dataclass
class _Layer:
    """Sums over a block of samples of one LIF."""

    elements: int
    error: float
    spikes_T: list[int]
    counts: np.ndarray
    below: int
    above: int

    @classmethod
    def of(cls, record: LIFRecord, p: float) -> _Layer:
        u = record.u_pre_T.detach().float()
        return cls(
            elements=u.numel(),
            error=float(quantization_error(u, record.v_threshold, p).sum(dtype=torch.float64)),
            # Booleans, not floats: a float32 sum stops counting at 2^24.
            spikes_T=(record.o_T > 0).flatten(1).sum(1).tolist(),
            counts=_histogram(u),
            below=int((u < LOW).sum()),
            above=int((u > HIGH).sum()),
        )

    def __add__(self, other: _Layer) -> _Layer:
        return _Layer(
            self.elements + other.elements,
            self.error + other.error,
            [a + b for a, b in zip(self.spikes_T, other.spikes_T, strict=True)],
            self.counts + other.counts,
            self.below + other.below,
            self.above + other.above,
        )

    def result(self, name: str) -> dict[str, Any]:
        per_step = self.elements // len(self.spikes_T)
        return {
            "name": name.replace(".", "_"),
            "quantization_error": self.error / self.elements,
            "firing_rate": sum(self.spikes_T) / self.elements,
            "firing_rate_per_timestep": [spikes / per_step for spikes in self.spikes_T],
            "membrane_histogram": {
                "low": LOW,
                "high": HIGH,
                "counts": self.counts.tolist(),
                "below": self.below,
                "above": self.above,
            },
        }


def _histogram(u: Tensor) -> np.ndarray:
    """Counts of the bins; in pieces, because torch counts in float32, which stops at 2^24."""
    counts = np.zeros(BINS, np.int64)
    for piece in u.flatten().split(2**24):
        counts += torch.histc(piece, BINS, LOW, HIGH).to(torch.int64).cpu().numpy()
    return counts


@dataclass
class _Block:
    """What a block of samples gave."""

    loss: float
    correct: int
    layers: dict[str, _Layer]


@dataclass(frozen=True)
class Evaluation:
    """What a net does on a dataset, in evaluation mode.

    Attributes:
        loss: Mean cross-entropy, without other terms.
        accuracy: Share of samples whose largest output is the label.
        samples: Number of samples.
        quantization_error: q(u) of RMP-Loss Eq. 9, mean over elements, T and samples of each hidden LIF, then mean
            over layers; None for a net without LIF, an ANN.
        firing_rate: Spikes per hidden neuron and step: all spikes over all neuron-steps, so large layers weigh more.
        layers: One entry per hidden LIF in order of execution, with the histogram of ``u_pre``.
    """

    loss: float
    accuracy: float
    samples: int
    quantization_error: float | None
    firing_rate: float | None
    layers: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The content of ``evaluation.json``."""
        return {
            "schema": SCHEMA,
            "accuracy": self.accuracy,
            "loss": self.loss,
            "samples": self.samples,
            "quantization_error": self.quantization_error,
            "firing_rate": self.firing_rate,
            "layers": self.layers,
        }


@torch.no_grad()
def evaluate(
    model: nn.Module,
    dataset: Dataset,
    *,
    per: str = "mean_logits",
    p: float = 2.0,
    world: World | None = None,
    workers: int = 0,
) -> Evaluation:
    """Run a whole dataset through a model in evaluation mode and float32; its training mode is restored.

    Processes share the blocks of samples; the sums are taken in the order of blocks, so their number changes no bit.

    Args:
        model: Gives the readout's ``(T, B, N)``.
        dataset: What to run.
        per: Which logits the cross-entropy takes, see ``losses/cross_entropy.py``.
        p: Exponent of the quantization error.
        world: The processes, and the device of the model; default: this one alone, on the CPU.
        workers: Processes that read samples beside this one.
    """
    world = world or World()
    was_training = model.training
    model.eval()
    size = max(1, min(BATCH, NUMBERS // dataset.batch(np.arange(1)).size))
    mine = range(world.rank, -(-len(dataset) // size), world.size)
    samples = [np.arange(block * size, min(len(dataset), (block + 1) * size)) for block in mine]
    blocks: dict[int, _Block] = {}
    layers: dict[str, _Layer] = {}
    # Each layer is summed up when it has run, so no more than one layer's potentials are held.
    with watch_lifs(model, lambda name, record: layers.__setitem__(name, _Layer.of(record, p))):
        for block, (x, y_B) in zip(mine, read(dataset, samples, workers=workers), strict=True):
            x, y_B = x.to(world.device), y_B.to(world.device)
            u_TBN = model(time_first(x, temporal=dataset.temporal))
            blocks[block] = _Block(
                loss=float(cross_entropy(u_TBN, y_B, per)) * len(y_B),
                correct=int((u_TBN[-1].argmax(1) == y_B).sum()),
                layers=dict(layers),
            )
    model.train(was_training)
    shared = {number: block for part in world.gather(blocks) for number, block in part.items()}
    ordered = [shared[number] for number in sorted(shared)]
    layers = ordered[0].layers
    for following in ordered[1:]:
        layers = {name: layer + following.layers[name] for name, layer in layers.items()}
    results = [layer.result(name) for name, layer in layers.items()]
    elements = sum(layer.elements for layer in layers.values())
    return Evaluation(
        loss=sum(block.loss for block in ordered) / len(dataset),
        accuracy=sum(block.correct for block in ordered) / len(dataset),
        samples=len(dataset),
        quantization_error=sum(r["quantization_error"] for r in results) / len(results) if results else None,
        firing_rate=sum(sum(layer.spikes_T) for layer in layers.values()) / elements if elements else None,
        layers=results,
    )
