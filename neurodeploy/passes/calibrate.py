"""What calibration data say about a population: which weights matter, and how far a scale takes its membrane off.

A population is looked at alone, driven by the spikes that the *float* network sends it, at P of its positions (all
channels; the same ones for every scale) and all T steps. Its potentials are those of the float neuron; a candidate is
driven by the same spikes and reset when the float neuron is, so that its error is that of its weights::

    error(S) = mean over positions, steps, channels of ((û_pre − u_pre)/θ)²

For a readout, which has no threshold, the unit is the standard deviation of its last state.

Shape legend: P positions, T time, C channels in, O channels out, K taps of a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from neurodeploy.diagnostics import UnsupportedError, UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import (
    LIF,
    Conv1d,
    Conv2d,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Integrator,
    Linear,
    Synapse,
    as_conv2d,
)

#: Calibration samples: of the training split, of a data set or of a file, the first of them.
SAMPLES = 256
#: Share of all synaptic events that ``percentile`` may send through clipped weights.
CLIPPED_EVENTS = 1e-3
#: Multiply-adds of one candidate at most; bounds the positions that are looked at.
BUDGET = 200_000_000
POSITIONS = (64, 4096)


def spikes_of(graph: Graph, x: np.ndarray, timesteps: int) -> dict[str, np.ndarray]:
    """Every population's spikes ``(B, T, *shape)`` in float32; ``x`` is ``(B, T, *shape)`` or ``(B, 1, *shape)``."""
    from neurodeploy.ir.interpret import interpret
    from neurodeploy.sim.engine import Engine

    try:
        return dict(Engine(graph, "float32").run(x, timesteps, keep_spikes=True).spikes)
    except UnsupportedError:  # a node that only the interpreter runs
        full = np.repeat(x, timesteps, axis=1) if x.shape[1] == 1 else x
        return dict(interpret(graph, full, "float32").spikes)


def encoded(encoder: Graph, x: np.ndarray, timesteps: int) -> np.ndarray:
    """What the host's part sends to the chip, ``(B, T, *shape)`` uint8."""
    (last,) = encoder.sources(encoder.output)
    return spikes_of(encoder, x, timesteps)[last].astype(np.uint8)


def calibrate(chip: Graph, encoder: Graph | None, x: np.ndarray | None) -> Calibration:
    """The float chip graph on samples of the whole network, through the host's encoder where there is one.

    Raises:
        UsageError: There are no samples (ND237).
    """
    if x is None:
        fix = "give samples, or quantize = proven, which needs none"
        raise UsageError("ND237", "this way of quantizing looks at data, and there are none", where="quantize", fix=fix)
    timesteps = chip.timesteps or x.shape[1]
    x = x[:SAMPLES]
    if encoder is not None:
        x = encoded(encoder, x, timesteps)
    elif x.shape[1] == 1:
        x = np.repeat(x, timesteps, axis=1)
    return Calibration(chip, x)


@dataclass(frozen=True)
class Calibration:
    """The spikes of a float graph on calibration data.

    Attributes:
        graph: The float graph that is about to be quantized.
        x: ``(B, T, *shape)`` what enters it.
        seed: Of the positions that are looked at.
    """

    graph: Graph
    x: np.ndarray
    seed: int = 0

    @cached_property
    def spikes(self) -> dict[str, np.ndarray]:
        """Every population's."""
        return spikes_of(self.graph, self.x, self.x.shape[1])

    def observed(self, name: str, synapses: Mapping[str, Synapse]) -> Observed:
        """What the population ``name`` sees."""
        shape = self.graph.nodes[name].shape  # type: ignore[attr-defined]
        timesteps = self.x.shape[1]
        cost = sum(int(s.weight.size) * timesteps for s in synapses.values())
        rng = np.random.default_rng(self.seed)
        sites = int(np.prod(shape[1:]))
        most = int(np.clip(BUDGET // cost, *POSITIONS))
        number = min(most, self.x.shape[0] * sites)
        chosen = np.sort(rng.choice(self.x.shape[0] * sites, size=number, replace=False))
        sample, site = chosen // sites, chosen % sites
        patches = {s: self._patches(s, node, name, sample, site) for s, node in synapses.items()}
        return Observed(patches)

    def _patches(self, synapse: str, node: Synapse, name: str, sample: np.ndarray, site: np.ndarray) -> np.ndarray:
        """``(P, T, C·K)``: what reaches one synapse at the chosen positions of the population behind it."""
        late = (synapse, name) in self.graph.recurrent
        x = self._into(synapse)
        x = _later(x) if late else x
        if isinstance(node, Linear):
            return x[sample]
        conv = as_conv2d(node) if isinstance(node, Conv1d) else node
        x = x[:, :, :, None] if isinstance(node, Conv1d) else x
        assert isinstance(conv, Conv2d)
        width = self.graph.shapes[synapse][-1]
        rows, columns = (site // width, site % width) if isinstance(node, Conv2d) else (np.zeros_like(site), site)
        (ph, pw), (sh, sw), (dh, dw) = conv.padding, conv.stride, conv.dilation
        x = np.pad(x, ((0, 0), (0, 0), (0, 0), (ph, ph), (pw, pw)))
        y = rows[:, None, None] * sh + np.arange(conv.weight.shape[2])[None, :, None] * dh
        z = columns[:, None, None] * sw + np.arange(conv.weight.shape[3])[None, None, :] * dw
        # Advanced indices apart: (P, kH, kW) first, then T and C.
        patches = x[sample[:, None, None], :, :, y, z]
        return np.ascontiguousarray(patches.transpose(0, 3, 4, 1, 2)).reshape(len(sample), x.shape[1], -1)

    def _into(self, name: str) -> np.ndarray:
        """What enters a node, ``(B, T, *shape)``."""
        parts = []
        for source in self.graph.sources(name):
            node = self.graph.nodes[source]
            if isinstance(node, Input):
                value = self.x
            elif isinstance(node, LIF):
                value = self.spikes[source]
            elif isinstance(node, Flatten):
                value = self._into(source)
                value = value.reshape(*value.shape[:2], -1)
            elif isinstance(node, Delay) and node.steps.ndim == 0:
                value = self._into(source)
                for _ in range(int(node.steps)):
                    value = _later(value)
            else:
                raise UnsupportedError(
                    "ND237",
                    f"calibration cannot follow what `{source}` ({node.kind}) sends",
                    where=name,
                    fix="--quantize proven, which needs no data",
                )
            parts.append(_later(value) if (source, name) in self.graph.recurrent else value)
        return np.asarray(sum(parts[1:], parts[0]))


def _later(x: np.ndarray) -> np.ndarray:
    """The same one step later."""
    return np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1)


@dataclass(frozen=True)
class Observed:
    """What a population saw: synapse -> ``(P, T, C·K)`` spikes at the chosen positions."""

    patches: Mapping[str, np.ndarray]

    def usage(self, name: str, node: Synapse) -> np.ndarray:
        """How often each weight carried a spike, in the weight's shape."""
        rate = self.patches[name].mean(axis=(0, 1), dtype=np.float64)
        groups = getattr(node, "groups", 1)
        per_group = rate.reshape(groups, 1, -1)
        rows = np.broadcast_to(per_group, (groups, node.weight.shape[0] // groups, per_group.shape[2]))
        return rows.reshape(node.weight.shape)

    def range_of(self, method: str, synapses: Mapping[str, Synapse]) -> float:
        """The largest weight to keep: ``minmax`` of those that carried a spike, ``percentile`` so that at most
        :data:`CLIPPED_EVENTS` of all events go through larger ones; 0 where nothing fired."""
        sizes = np.concatenate([np.abs(s.weight.astype(np.float64)).reshape(-1) for s in synapses.values()])
        events = np.concatenate([self.usage(key, s).reshape(-1) for key, s in synapses.items()])
        if method == "minmax":
            return float(sizes[events > 0].max(initial=0.0))
        order = np.argsort(-sizes, kind="stable")
        beyond = np.cumsum(events[order]) / max(events.sum(), np.finfo(np.float64).tiny)
        return float(sizes[order[min(int(np.searchsorted(beyond, CLIPPED_EVENTS)), sizes.size - 1)]])

    def potentials(
        self, node: LIF | Integrator, synapses: Mapping[str, Synapse], scale: float, fired: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """``u_pre`` and spikes ``(P, T, O)`` in real units, reset by ``fired`` where it is given."""
        total: np.ndarray | None = None
        bias = np.zeros(next(iter(synapses.values())).weight.shape[0])
        for name, synapse in synapses.items():
            x = self._sums(name, synapse)
            total = x if total is None else total + x
            bias = bias + synapse.bias.astype(np.float64)
        assert total is not None
        through = isinstance(node, CubaLIF)
        drive = total.astype(np.float64) / scale
        u = i = np.zeros(drive[:, 0].shape)
        potentials, spikes = [], []
        for t in range(drive.shape[1]):
            # As on the chip: a bias goes to the membrane (quantize refuses one that would pass through a current).
            i = float(node.current_decay) * i + drive[:, t] if through else drive[:, t]  # type: ignore[union-attr]
            u = float(node.decay) * u + i + bias / scale
            potentials.append(u)
            if isinstance(node, LIF):
                own = u >= float(node.threshold) if node.compare == "ge" else u > float(node.threshold)
                now = own if fired is None else fired[:, t]
                u = np.where(now, 0.0, u)
                spikes.append(now)
        empty = np.zeros((*drive.shape[:1], 0, drive.shape[2]), bool)
        return np.stack(potentials, axis=1), np.stack(spikes, axis=1) if spikes else empty

    def _sums(self, name: str, node: Synapse) -> np.ndarray:
        """``Σ w·s`` ``(P, T, O)``, float32."""
        patches = self.patches[name]
        groups = getattr(node, "groups", 1)
        weight = node.weight.reshape(groups, node.weight.shape[0] // groups, -1).astype(np.float32)
        split = patches.reshape(-1, groups, weight.shape[2]).astype(np.float32)
        sums = np.stack([split[:, g] @ weight[g].T for g in range(groups)], axis=1)
        return sums.reshape(*patches.shape[:2], -1)

    def error(
        self,
        node: LIF | Integrator,
        synapses: Mapping[str, Synapse],
        integers: Mapping[str, Synapse],
        scale: float,
    ) -> float:
        """``error(S)`` of the module's first lines; ``synapses`` in floats, ``integers`` in units of ``scale``."""
        expected, fired = self._expected(node, synapses)
        found, _ = self.potentials(node, integers, scale, fired if isinstance(node, LIF) else None)
        unit = float(node.threshold) if isinstance(node, LIF) else float(expected[:, -1].std()) or 1.0
        return float(np.mean(((found - expected) / unit) ** 2))

    def _expected(self, node: LIF | Integrator, synapses: Mapping[str, Synapse]) -> tuple[np.ndarray, np.ndarray]:
        return self.potentials(node, synapses, 1.0, None)
