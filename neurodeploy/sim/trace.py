"""What a simulation yields: spikes, output, and exact counts per node and timestep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: The counts of the contract, int64, exact, taken from the real fan-out of the graph that ran.
COUNT_KEYS = (
    "sop",  # spike-triggered accumulates, zero weights included
    "sop_nonzero",  # the same, zero weights left out
    "sop_graded",  # accumulates triggered by graded or integer events
    "mac",  # multiply-accumulates of real-valued inputs, every timestep
    "mac_once",  # the same when a static input is encoded once
    "neuron_updates_active",  # neuron-steps with at least one incoming event or a nonzero bias, decaying or not
    "neuron_updates_idle",  # the other neuron-steps
    "spikes_out",  # spikes sent, each of several that a neuron fires at once
    "messages",  # spikes x destination cores, one message for several at once; unknown without a placement
    "hops",  # mesh hops of those messages; unknown without a placement
)


@dataclass(frozen=True)
class LayerCounts:
    """Counts of one node, summed over samples: one int64 per timestep, or None where unknown.

    Attributes:
        name: Node name, as in the file.
        kind: Node kind in lower case (``conv2d``, ``linear``, ``lif``, ``integrator`` …).
        size: Number of values the node puts out per timestep (neurons, for a neuron node).
        per_step: Key of :data:`COUNT_KEYS` -> ``(T,)`` int64, or None where unknown.
    """

    name: str
    kind: str
    size: int
    per_step: Mapping[str, np.ndarray | None]

    def total(self, key: str) -> int | None:
        """Sum over timesteps, None where unknown."""
        steps = self.per_step[key]
        return None if steps is None else int(steps.sum())

    def to_json(self) -> dict[str, Any]:
        """``{name, kind, size, sop, …}`` with totals."""
        return {
            "name": self.name,
            "kind": self.kind,
            "size": self.size,
            **{key: self.total(key) for key in COUNT_KEYS},
        }


@dataclass(frozen=True)
class Trace:
    """Result of :func:`neurodeploy.simulate`. ``B`` samples, ``T`` timesteps.

    Attributes:
        spikes: Neuron node -> ``(B, T, *shape)`` uint8, in graph order; empty when only counts were asked for.
        output: ``(B, T, *shape)``: what reaches the Output at each step (an integrator's state after the step; raw
            24-bit integers in loihi arithmetic). No samples where a tail turned it into ``host_output`` and only counts
            were asked for.
        predictions: ``(B,)`` int64: argmax of the last step for an integrator, of the sum over steps otherwise.
        layers: Counts per node, in graph order, of the graph that ran on the chip.
        host_layers: Counts of the host's part (the encoder, then the tail), apart.
        membrane: Neuron node -> ``(B, T, *shape)`` after reset, when asked for.
        current: The same for neurons with a current state.
        encoded: ``(B, T, *shape)`` what entered the chip when a host encoder ran, when spikes were kept.
        host_output: ``(B, T, *shape)`` what the host's tail put out, where there is one: what predictions are made of.
        labels: ``(B,)`` or None.
        arithmetic: ``float32``, ``float64`` or ``loihi``.
        purity: ``pure`` when every chip synapse saw a binary edge, else ``impure``; ``violations`` names them.
        seconds: Wall-clock time of the run itself.
    """

    spikes: Mapping[str, np.ndarray]
    output: np.ndarray
    predictions: np.ndarray
    layers: tuple[LayerCounts, ...]
    host_layers: tuple[LayerCounts, ...]
    timesteps: int
    arithmetic: str
    purity: str
    violations: tuple[str, ...]
    seconds: float
    membrane: Mapping[str, np.ndarray] = field(default_factory=dict)
    current: Mapping[str, np.ndarray] = field(default_factory=dict)
    encoded: np.ndarray | None = None
    host_output: np.ndarray | None = None
    labels: np.ndarray | None = None

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.predictions.shape[0])

    @property
    def accuracy(self) -> float | None:
        """Fraction of right predictions, None without labels."""
        return None if self.labels is None else float(np.mean(self.predictions == self.labels))

    def totals(self) -> dict[str, int | None]:
        """Sum of every count over the chip's layers; None where a layer does not know it."""
        return {key: _sum_known(layer.total(key) for layer in self.layers) for key in COUNT_KEYS}

    def to_json(self) -> dict[str, Any]:
        """The ``result`` of ``neurodeploy simulate --json``."""
        return {
            "accuracy": self.accuracy,
            "predictions": self.predictions.tolist(),
            "samples": self.samples,
            "timesteps": self.timesteps,
            "arithmetic": self.arithmetic,
            "purity": self.purity,
            "violations": list(self.violations),
            "seconds": self.seconds,
            "counts": self.totals(),
            "layers": [layer.to_json() for layer in self.layers],
            "host_layers": [layer.to_json() for layer in self.host_layers],
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of ``--trace``: ``spikes/<node>``, ``output``, ``counts/<node>/<key>``, and what else was kept."""
        arrays: dict[str, np.ndarray] = {f"spikes/{name}": array for name, array in self.spikes.items()}
        arrays["output"] = self.output
        if self.host_output is not None:
            arrays["host_output"] = self.host_output
        for layer in self.layers:
            for key, steps in layer.per_step.items():
                if steps is not None:
                    arrays[f"counts/{layer.name}/{key}"] = steps
        arrays.update({f"membrane/{name}": array for name, array in self.membrane.items()})
        arrays.update({f"current/{name}": array for name, array in self.current.items()})
        return arrays


def _sum_known(values: Any) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
