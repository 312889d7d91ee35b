"""Accuracy, quantization error, firing rates and membrane histograms of a net on a dataset.

Shape legend: T time, B batch, N classes; ``u_pre`` and spikes of a LIF are ``(T, B, …)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from neurodeploy.data import Dataset
from neurodeploy.losses.cross_entropy import cross_entropy
from neurodeploy.losses.rmp import quantization_error
from neurodeploy.nn.lif import LIFRecord, record_lifs

SCHEMA = "neurodeploy.evaluation/1"

#: The histogram of ``u_pre``: 60 equal bins; the last holds its upper end.
LOW, HIGH, BINS = -1.0, 2.0, 60

#: Samples at a time. Fixed, so that an evaluation does not depend on the recipe's batch.
BATCH = 256


@dataclass
class _Layer:
    """Running sums of one LIF."""

    elements: int = 0
    error: float = 0.0
    spikes_T: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.int64))
    counts: Tensor = field(default_factory=lambda: torch.zeros(BINS, dtype=torch.int64))
    below: int = 0
    above: int = 0

    def add(self, record: LIFRecord) -> None:
        u = record.u_pre_T.detach()
        self.elements += u.numel()
        self.error += float(quantization_error(u, record.v_threshold).sum(dtype=torch.float64))
        # Booleans, not floats: a float32 sum stops counting at 2^24.
        self.spikes_T = self.spikes_T + (record.o_T > 0).flatten(1).sum(1).cpu()
        self.counts += torch.histc(u.cpu(), BINS, LOW, HIGH).to(torch.int64)
        self.below += int((u < LOW).sum())
        self.above += int((u > HIGH).sum())

    def result(self, name: str) -> dict[str, Any]:
        per_step = self.elements // len(self.spikes_T)
        return {
            "name": name.replace(".", "_"),
            "quantization_error": self.error / self.elements,
            "firing_rate": int(self.spikes_T.sum()) / self.elements,
            "firing_rate_per_timestep": [int(spikes) / per_step for spikes in self.spikes_T],
            "membrane_histogram": {
                "low": LOW,
                "high": HIGH,
                "counts": self.counts.tolist(),
                "below": self.below,
                "above": self.above,
            },
        }


@dataclass(frozen=True)
class Evaluation:
    """What a net does on a dataset, in evaluation mode.

    Attributes:
        loss: Mean cross-entropy, without other terms.
        accuracy: Share of samples whose largest output is the label.
        samples: Number of samples.
        quantization_error: q(u) of RMP-Loss Eq. 9 with p = 2, mean over elements, T and samples of each hidden LIF,
            then mean over layers.
        firing_rate: Spikes per hidden neuron and step: all spikes over all neuron-steps, so large layers weigh more.
        layers: One entry per hidden LIF in order of execution, with the histogram of ``u_pre``.
    """

    loss: float
    accuracy: float
    samples: int
    quantization_error: float
    firing_rate: float
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
def evaluate(model: nn.Module, dataset: Dataset, *, device: str = "cpu", per: str = "mean_logits") -> Evaluation:
    """Run a whole dataset through a model in evaluation mode; its training mode is restored.

    Args:
        model: Gives the readout's ``(T, B, N)``.
        dataset: Static samples ``(N, C, H, W)``.
        device: Where the model is.
        per: Which logits the cross-entropy takes, see ``losses/cross_entropy.py``.
    """
    was_training = model.training
    model.eval()
    layers: dict[str, _Layer] = {}
    loss, correct = 0.0, 0
    with record_lifs(model) as records:
        for start in range(0, len(dataset), BATCH):
            x_BCHW = torch.from_numpy(dataset.x[start : start + BATCH]).to(device)
            y_B = torch.from_numpy(dataset.y[start : start + BATCH]).to(device)
            u_TBN = model(x_BCHW.unsqueeze(0))
            loss += float(cross_entropy(u_TBN, y_B, per)) * len(y_B)
            correct += int((u_TBN[-1].argmax(1) == y_B).sum())
            for name, record in records.items():
                layers.setdefault(name, _Layer()).add(record)
    model.train(was_training)
    results = [layer.result(name) for name, layer in layers.items()]
    elements = sum(layer.elements for layer in layers.values())
    return Evaluation(
        loss=loss / len(dataset),
        accuracy=correct / len(dataset),
        samples=len(dataset),
        quantization_error=sum(result["quantization_error"] for result in results) / len(results),
        firing_rate=sum(int(layer.spikes_T.sum()) for layer in layers.values()) / elements,
        layers=results,
    )
