"""Counts that can be priced: of a Trace, of ``simulate --json``, or of the arrays that ``simulate --trace`` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.diagnostics import UsageError
from neurodeploy.sim.trace import COUNT_KEYS, LayerCounts, Trace

#: Anything that names a layer and its counts: :class:`LayerCounts`, or one entry of ``layers`` in simulate's JSON.
Layer = LayerCounts | Mapping[str, Any]
#: What :func:`counted` takes.
Source = Trace | Mapping[str, Any] | str | Path
#: Kinds of nodes that spike.
SPIKING = ("lif", "cubalif")


@dataclass(frozen=True)
class Counted:
    """Counts summed over ``samples`` inferences of ``timesteps`` steps.

    Attributes:
        layers: Of the chip, in graph order.
        host_layers: Of the host, apart; None where the source does not hold them (a trace's arrays).
    """

    layers: tuple[Layer, ...]
    host_layers: tuple[Layer, ...] | None
    samples: int
    timesteps: int

    def spiking_neurons(self) -> int:
        """Neurons that spike, the host's encoder included: its spikes drive the chip's first layer."""
        return sum(_size(layer) for layer in self._spiking())

    def spikes(self) -> float | None:
        """Spikes of those neurons per inference, None where unknown."""
        total = sum_known(count(layer, "spikes_out") for layer in self._spiking())
        return None if total is None else total / self.samples

    def _spiking(self) -> Iterable[Layer]:
        return (layer for layer in (*(self.host_layers or ()), *self.layers) if _kind(layer) in SPIKING)


def counted(source: Source) -> Counted:
    """The counts of a :class:`Trace`, of simulate's JSON (whole or its ``result``), or of a file.

    A ``.json`` file is what ``simulate --json`` printed, an ``.npz`` what ``simulate --trace`` wrote. An ``.npz`` holds
    counts of the chip's layers only, and a count that it lacks is unknown, not 0.

    Raises:
        UsageError: ND103 for a file that cannot be read, or holds no counts of a simulation.
    """
    if isinstance(source, Trace):
        return Counted(source.layers, source.host_layers, source.samples, source.timesteps)
    if isinstance(source, Mapping):
        return _of_json(source, "the counts")
    path = Path(source)
    if path.suffix == ".npz":
        from neurodeploy.targets.artifact import read_npz

        return _of_arrays(read_npz(path, what="trace", fix="write it with neurodeploy simulate --trace"), str(path))
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _no_counts(f"the file cannot be read: {error}", str(path)) from error
    return _of_json(document, str(path))


def _of_json(document: Any, where: str) -> Counted:
    result = document.get("result", document) if isinstance(document, Mapping) else {}
    missing = [key for key in ("layers", "samples", "timesteps") if key not in result]
    if missing:
        raise _no_counts(f"these are no counts of a simulation: {', '.join(missing)} missing", where)
    host = result.get("host_layers")
    for layer in (*result["layers"], *(host or ())):
        _check(layer, where)
    return Counted(
        tuple(result["layers"]), None if host is None else tuple(host), int(result["samples"]), int(result["timesteps"])
    )


def _check(layer: Any, where: str) -> None:
    if not isinstance(layer, Mapping) or "name" not in layer:
        raise _no_counts("a layer without a name", where)
    for key in COUNT_KEYS:
        value = layer.get(key)
        if key not in layer or not (value is None or (type(value) is int and value >= 0)):
            raise _no_counts(f"layer `{layer['name']}`: {key} is {value!r}, not a count", where)


def _of_arrays(arrays: Mapping[str, np.ndarray], where: str) -> Counted:
    found: dict[str, dict[str, np.ndarray | None]] = {}
    for name, steps in arrays.items():
        if name.startswith("counts/"):
            layer, _, key = name.removeprefix("counts/").rpartition("/")
            found.setdefault(layer, dict.fromkeys(COUNT_KEYS))[key] = steps
    if not found or "output" not in arrays:
        raise _no_counts("these arrays hold no counts of a simulation", where)
    layers = []
    for layer, per_step in found.items():
        spikes = arrays.get(f"spikes/{layer}")
        size = 0 if spikes is None else int(np.prod(spikes.shape[2:]))
        layers.append(LayerCounts(layer, "" if spikes is None else "lif", size, per_step))
    samples, timesteps = arrays["output"].shape[:2]
    return Counted(tuple(layers), None, int(samples), int(timesteps))


def _no_counts(what: str, where: str) -> UsageError:
    return UsageError("ND103", what, where=where, fix="give what `neurodeploy simulate --json` or --trace wrote")


def with_hops(layers: Sequence[LayerCounts], hops: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> list[LayerCounts]:
    """The layers with ``hops`` filled in, both directions added (see :func:`~neurodeploy.energy.mesh.count_hops`)."""
    filled = []
    for layer in layers:
        if layer.name in hops:
            along, across = hops[layer.name]
            layer = replace(layer, per_step={**layer.per_step, "hops": along + across})
        filled.append(layer)
    return filled


def name_of(layer: Layer) -> str:
    """The layer's name."""
    return layer.name if isinstance(layer, LayerCounts) else str(layer["name"])


def count(layer: Layer, key: str) -> int | None:
    """A count, summed over samples and timesteps; None where unknown."""
    if isinstance(layer, LayerCounts):
        return layer.total(key)
    value = layer[key]
    return None if value is None else int(value)


def sum_known(counts: Iterable[int | None]) -> int | None:
    """The sum, None where one of them is unknown."""
    total = 0
    for value in counts:
        if value is None:
            return None
        total += value
    return total


def _kind(layer: Layer) -> str:
    return layer.kind if isinstance(layer, LayerCounts) else str(layer.get("kind", ""))


def _size(layer: Layer) -> int:
    return layer.size if isinstance(layer, LayerCounts) else int(layer.get("size", 0))
