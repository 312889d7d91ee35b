"""What is left of samples when they have run: predictions, and counts that add up. Exact: int64, in any order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurodeploy.sim.trace import LayerCounts

Layers = tuple[LayerCounts, ...]


@dataclass(frozen=True)
class Totals:
    """Of consecutive samples.

    Attributes:
        predictions: ``(b,)`` int64.
        encoder: Counts of the host's part before the chip, None without one.
        chip: Counts of the chip's layers; empty before the first sample.
        tail: Counts of the host's part behind the chip, None without one.
    """

    predictions: np.ndarray
    encoder: Layers | None
    chip: Layers
    tail: Layers | None

    @property
    def host_layers(self) -> Layers:
        """The host's counts. Where the encoder encodes a static input once, the tail's ``mac_once`` is its ``mac``.

        So the sum over the host's layers is what the host computes then: the tail runs at every step all the same.
        """
        before, behind = self.encoder or (), self.tail or ()
        if any(layer.total("mac_once") for layer in before):
            behind = tuple(replace(row, per_step={**row.per_step, "mac_once": row.per_step["mac"]}) for row in behind)
        return (*before, *behind)

    def counts_to_json(self) -> dict[str, Any]:
        """Everything but the predictions."""
        parts = {"encoder": self.encoder, "chip": self.chip, "tail": self.tail}
        return {key: None if layers is None else [_to_json(row) for row in layers] for key, layers in parts.items()}

    @staticmethod
    def from_json(table: dict[str, Any], predictions: np.ndarray) -> Totals:
        """What :meth:`counts_to_json` gave, with its predictions."""
        encoder, chip, tail = (
            None if table[key] is None else tuple(_from_json(row) for row in table[key])
            for key in ("encoder", "chip", "tail")
        )
        return Totals(predictions, encoder, chip or (), tail)


#: No samples.
NOTHING = Totals(np.zeros(0, np.int64), None, (), None)


def joined(parts: Iterable[Totals]) -> Totals:
    """Totals of consecutive samples as one."""
    some = [part for part in parts if part.chip]
    if not some:
        return NOTHING
    return Totals(
        np.concatenate([part.predictions for part in some]),
        None if some[0].encoder is None else _sum([part.encoder or () for part in some]),
        _sum([part.chip for part in some]),
        None if some[0].tail is None else _sum([part.tail or () for part in some]),
    )


def _sum(parts: list[Layers]) -> Layers:
    return tuple(
        replace(same[0], per_step={key: _added([one.per_step[key] for one in same]) for key in same[0].per_step})
        for same in zip(*parts, strict=True)
    )


def _added(steps: list[np.ndarray | None]) -> np.ndarray | None:
    known = [step for step in steps if step is not None]
    return np.asarray(np.sum(known, axis=0, dtype=np.int64)) if len(known) == len(steps) else None


def _to_json(row: LayerCounts) -> dict[str, Any]:
    steps = {key: None if value is None else value.tolist() for key, value in row.per_step.items()}
    return {"name": row.name, "kind": row.kind, "size": row.size, "per_step": steps}


def _from_json(row: dict[str, Any]) -> LayerCounts:
    steps = {key: None if value is None else np.asarray(value, np.int64) for key, value in row["per_step"].items()}
    return LayerCounts(row["name"], row["kind"], row["size"], steps)
