"""Quantization-aware fine-tuning: a few passes over training data with the integer machine in the loop.

The chip's float graph, as it stands before quantization (norms and pools folded, relays in place), is trained by
cross-entropy of its readout, its forward pass being that of the integer machine bit for bit
(:mod:`neurodeploy.training.integer_machine`). Scales and thresholds are chosen anew before every epoch, and at the end,
by the very code that quantizes. Adam; the step of a layer is ``rate`` times the root mean square of its weights, and
falls to zero along a cosine::

    W ← W − rate·rms(W)·(1 + cos(π·n/N))/2·m̂/(√v̂ + ε)

The host's parts, encoder and tail, stay as they are. RMP-Loss and the other terms of a recipe are not applied again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from neurodeploy.diagnostics import UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Integrator

if TYPE_CHECKING:
    from torch import Tensor

    from neurodeploy.passes.pipeline import Compilation, Context

#: ``(epoch, epochs, share done)``.
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class FineTuning:
    """How to fine-tune.

    Attributes:
        epochs: Passes over the samples.
        samples: Training samples, drawn once by ``seed``; all where there are fewer.
        batch: Samples of a step.
        rate: First step, relative to the root mean square of a layer's weights.
        seed: Of the drawing and the order.
    """

    epochs: int = 1
    samples: int = 20_000
    batch: int = 100
    rate: float = 0.001
    seed: int = 0


@dataclass(frozen=True)
class TrainingData:
    """Labeled samples: ``read(indices)`` gives ``(B, T, *shape)``, or ``(B, 1, *shape)``: the same at every step."""

    read: Callable[[np.ndarray], np.ndarray]
    y: np.ndarray
    label: str


def finetuner(
    data: TrainingData, how: FineTuning, progress: Progress = lambda epoch, epochs, share: None
) -> Callable[[Compilation, Context], Compilation]:
    """What :class:`~neurodeploy.passes.pipeline.Context` takes as ``finetune``.

    Raises:
        UsageError: No epochs or no samples (ND239).
    """
    if how.epochs < 1 or not len(data.y):
        what = f"{how.epochs} epochs over {len(data.y)} samples"
        raise UsageError("ND239", f"{what} are no fine-tuning", where="--finetune", fix="at least 1 epoch and 1 sample")

    def run(state: Compilation, context: Context) -> Compilation:
        return _finetuned(state, context, data, how, progress)

    return run


def _finetuned(
    state: Compilation, context: Context, data: TrainingData, how: FineTuning, progress: Progress
) -> Compilation:
    import torch

    from neurodeploy.passes.calibrate import Calibration, calibrate
    from neurodeploy.passes.quantize import Limits, populations
    from neurodeploy.training.integer_machine import IntegerMachine

    spec = context.spec.quantize
    limits = Limits(accumulator=2 ** (spec.accumulator_bits if spec else 17) - 1)
    net = IntegerMachine(state.graph, state.tail)
    trained = [p for p in net.parameters() if p.requires_grad]
    sizes = [max(float(p.detach().square().mean().sqrt()), 1e-12) for p in trained]
    groups = [{"params": [p], "lr": how.rate * size} for p, size in zip(trained, sizes, strict=True)]
    optimizer = torch.optim.Adam(groups)
    rng = np.random.default_rng(how.seed)
    chosen = rng.permutation(len(data.y))[: how.samples]
    steps = math.ceil(len(chosen) / how.batch) * how.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: (1 + math.cos(math.pi * n / steps)) / 2)
    first: Calibration | None = None
    if context.quantize != "proven":
        first = calibrate(state.graph, state.encoder, context.calibration)
    losses = []
    for epoch in range(1, how.epochs + 1):
        graph = net.as_graph()
        calibration = None if first is None else Calibration(graph, first.x)
        net.take(populations(graph, limits, context.quantize, calibration)[0])
        order = rng.permutation(chosen)
        total = 0.0
        for start in range(0, len(order), how.batch):
            indices = order[start : start + how.batch]
            x_TB = torch.from_numpy(_entering(state, data.read(indices)))
            loss = torch.nn.functional.cross_entropy(
                logits(state.tail or state.graph, net(x_TB)), torch.from_numpy(data.y[indices])
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(indices)
            progress(epoch, how.epochs, (start + len(indices)) / len(order))
        net.clip()
        losses.append(round(total / len(order), 6))
    log: dict[str, Any] = {**asdict(how), "samples": len(chosen), "data": data.label, "train_loss": losses}
    return replace(state, graph=net.as_graph(), training=log)


def logits(graph: Graph, out_TBN: Tensor) -> Tensor:
    """``(B, N)``: the state of an integrator after the last step over T, the mean of anything else."""
    reads = [graph.nodes[source] for source in graph.sources(graph.output)]
    flat = out_TBN.flatten(2)
    return flat[-1] / flat.shape[0] if all(isinstance(n, Integrator) for n in reads) else flat.mean(dim=0)


def _entering(state: Compilation, x: np.ndarray) -> np.ndarray:
    """What enters the chip, ``(T, B, *shape)`` float32."""
    from neurodeploy.passes.calibrate import encoded

    timesteps = state.graph.timesteps or x.shape[1]
    if state.encoder is not None:
        x = encoded(state.encoder, x, timesteps)
    elif x.shape[1] == 1:
        x = np.repeat(x, timesteps, axis=1)
    return np.ascontiguousarray(np.moveaxis(x, 1, 0), np.float32)
