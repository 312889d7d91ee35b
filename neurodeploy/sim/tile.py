"""A tile: some samples on their way through the graph, with values, states, counts and what is kept of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurodeploy.sim.memory import Memory
from neurodeploy.sim.trace import COUNT_KEYS

#: Count -> its place in :attr:`Tile.counts`.
KEYS = {key: place for place, key in enumerate(COUNT_KEYS)}


@dataclass
class Tile:
    """Samples that run together, and the timesteps ``first … last − 1`` that run now.

    Outside of cycles a node runs over all timesteps at once; in a cycle one step after the other. Both call the same
    code: an array covers the steps that run now, ``(n, B, *shape)`` channels last, or ``(1, B, *shape)`` where every
    step is the same.

    Attributes:
        samples: B.
        timesteps: T.
        keep_spikes: Keep every spike.
        keep_membrane: Keep every state.
        rows: Node -> its row of ``counts``.
        counts: ``(nodes, keys, T)`` int64.
        arrays: Where large arrays come from.
        counting: Count operations; without, only values are computed.
        constants: Where Python counts what does not depend on the data, while kernels are listened to; else ``counts``.
        repeatable: False where a step did something else than call kernels after all.
        values: Node -> what it put out, over all steps that ran.
        masks: Watched node -> where an event arrived with that (:mod:`neurodeploy.sim.arrivals`).
        spikes: Neuron node -> kept spikes.
        membrane: Neuron node -> kept states.
        current: CubaLIF node -> kept currents.
    """

    samples: int
    timesteps: int
    keep_spikes: bool
    keep_membrane: bool
    rows: Mapping[str, int]
    counts: np.ndarray
    arrays: Memory
    counting: bool = True
    constants: np.ndarray | None = None
    repeatable: bool = True
    values: dict[str, np.ndarray] = field(default_factory=dict)
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    spikes: dict[str, np.ndarray] = field(default_factory=dict)
    membrane: dict[str, np.ndarray] = field(default_factory=dict)
    current: dict[str, np.ndarray] = field(default_factory=dict)
    first: int = 0
    last: int = 0
    _memories: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    _counts_at: int = 0

    def __post_init__(self) -> None:
        self._counts_at = self.counts.ctypes.data

    def run_now(self, first: int, last: int) -> None:
        """From here on arrays are those of the steps ``first … last − 1``."""
        self.first, self.last = first, last

    @property
    def length(self) -> int:
        """Steps that run now."""
        return self.last - self.first

    @property
    def whole(self) -> bool:
        """All steps run now: no state need be carried."""
        return self.length == self.timesteps

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array to write into; its memory is used again when nobody holds it any more."""
        return self.arrays.empty(shape, dtype)

    def put(self, store: dict[str, np.ndarray], name: str, array: np.ndarray) -> None:
        """Store what a node gave for the steps that run now."""
        if self.whole:
            store[name] = array
        else:
            if name not in store:
                store[name] = np.zeros((self.timesteps, *array.shape[1:]), array.dtype)
            store[name][self.first : self.last] = array

    def delivered(
        self, store: dict[str, np.ndarray], source: str, late: bool, shape: tuple[int, ...], dtype: Any
    ) -> np.ndarray:
        """What an edge from ``source`` brings in the steps that run now; a late edge brings nothing at the first.

        ``shape`` and ``dtype`` are those of the value: in a cycle the source of a late edge may not have run yet.
        """
        if not late:
            value = store[source]
            return value if value.shape[0] == 1 else value[self.first : self.last]
        if self.last == 1:
            return np.zeros((1, self.samples, *shape), dtype)
        value = store[source]
        if self.first > 0:
            return value if value.shape[0] == 1 else value[self.first - 1 : self.last - 1]
        value = np.broadcast_to(value, (self.timesteps, *value.shape[1:]))
        return np.concatenate([np.zeros_like(value[:1]), value[:-1]])

    def every_step(self, value: np.ndarray) -> np.ndarray:
        """The same with a row for every step that runs now, contiguous."""
        if value.shape[0] != self.length:
            value = np.broadcast_to(value, (self.length, *value.shape[1:]))
        return np.ascontiguousarray(value)

    def memory(self, name: str, key: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """The state ``key`` of a node, zero before the first step; what is written into it is there at the next."""
        if self.whole:
            return np.zeros(shape, dtype)
        return self._memories.setdefault((name, key), np.zeros(shape, dtype))

    def count(self, name: str, key: str, per_step: np.ndarray | np.integer) -> None:
        """Add counts of the steps that run now: one number a step, or one for all."""
        counts = self.counts if self.constants is None else self.constants
        counts[self.rows[name], KEYS[key], self.first : self.last] += per_step

    def count_once(self, name: str, key: str, number: np.integer) -> None:
        """Add to the count of the first step: something that is done once for all steps."""
        counts = self.counts if self.constants is None else self.constants
        counts[self.rows[name], KEYS[key], 0] += number

    def counts_at(self, name: str, key: str) -> int:
        """Where the count of the first step that runs now lies in memory; the next steps lie behind it."""
        return self._counts_at + 8 * ((self.rows[name] * len(KEYS) + KEYS[key]) * self.timesteps + self.first)


def added(arriving: list[np.ndarray], dtype: Any) -> np.ndarray:
    """The sum of what several edges bring, in their order; one alone keeps its own type."""
    total = arriving[0]
    for value in arriving[1:]:
        total = total.astype(dtype, copy=False) + value.astype(dtype, copy=False)
    return total
