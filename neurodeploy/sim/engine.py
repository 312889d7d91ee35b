"""The event-driven engine: runs a graph tile by tile, layer by layer, with exact counts.

Equal to the interpreter bit for bit in every arithmetic (tests hold it to that). Results do not depend on the tile size
or on the number of threads: samples are independent, and counts are integers. A node outside of every cycle runs over
all timesteps before the next node does; the nodes of a cycle run together, one step after the other. An edge that
delivers one step late and closes no cycle is a shift in time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.machine import require_machine
from neurodeploy.ir.nodes import LIF, NEURONS, SYNAPSES, Norm
from neurodeploy.sim.layout import channels_first, in_order
from neurodeploy.sim.memory import Memory
from neurodeploy.sim.messages import destinations
from neurodeploy.sim.native.arrays import kernels, listening
from neurodeploy.sim.neurons import prepare_neuron
from neurodeploy.sim.passing import prepare_passing
from neurodeploy.sim.plan import Plan, make_plan
from neurodeploy.sim.replay import AGAIN, FIRST, Recording, calls_only_kernels
from neurodeploy.sim.synapses import Step, prepare_synapse
from neurodeploy.sim.tile import KEYS, Tile
from neurodeploy.sim.trace import LayerCounts

#: Forms of tiles of which a thread keeps memory and calls: all tiles but the last are alike.
_FORMS = 4


@dataclass
class Kept:
    """Arrays of one tile, or of all: ``(B, T, *shape)`` channels first; per node in graph order."""

    output: np.ndarray
    spikes: dict[str, np.ndarray] = field(default_factory=dict)
    membrane: dict[str, np.ndarray] = field(default_factory=dict)
    current: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Result(Kept):
    """Everything of a run: arrays over all samples, counts per node."""

    engine: Engine | None = None
    totals: np.ndarray | None = None

    @cached_property
    def layers(self) -> tuple[LayerCounts, ...]:
        """Counts per node, in graph order."""
        assert self.engine is not None
        assert self.totals is not None
        return self.engine.layers(self.totals)


class Engine:
    """A graph prepared for one arithmetic.

    Args:
        graph: Norms folded. ``loihi`` needs an integer graph.
        arithmetic: ``float32``, ``float64`` or ``loihi``.
        cores: Neuron node -> cores it occupies, where a placement is known (for ``messages``).

    Attributes:
        repeats: Tiles of one form may make the calls of one again (:mod:`neurodeploy.sim.replay`).

    Raises:
        UnsupportedError: A Norm (ND220), or ``loihi`` on a float graph (ND213).
    """

    def __init__(self, graph: Graph, arithmetic: str = "float32", cores: Mapping[str, int] | None = None) -> None:
        if arithmetic == "loihi":
            require_machine(graph)
        unfolded = graph.names(Norm)
        if unfolded:
            raise UnsupportedError(
                "ND220", "the engine runs no norms", where=", ".join(unfolded), fix="fold them: export the model first"
            )
        self.graph = graph
        self.arithmetic = arithmetic
        self.plan = make_plan(graph, arithmetic, cores or {})
        self._steps = {name: _prepare(self.plan, name) for name in graph.nodes if name != graph.input}
        self._unknown = {name: _unknown(self.plan, name) for name in graph.nodes}
        self._rows = {name: row for row, name in enumerate(graph.nodes)}
        self._sizes = {name: prod(shape) for name, shape in graph.shapes.items()}
        self._edges = {
            name: tuple(_Edge(self.plan, source, name) for source in graph.sources(name)) for name in graph.nodes
        }
        self._types = {name: self.plan.value_type(name) for name in graph.nodes}
        self._entry, self._exit = graph.input, graph.output
        self.repeats = (
            kernels() is not None
            and not graph.recurrent
            and all(calls_only_kernels(step) for step in self._steps.values())
        )
        self._local = threading.local()  # every thread has arrays of its own

    def run(
        self,
        x: np.ndarray,
        timesteps: int,
        *,
        keep_spikes: bool = True,
        keep_membrane: bool = False,
        tile: int = 32,
        threads: int = 1,
        progress: Callable[[int], None] | None = None,
        counts: bool = True,
    ) -> Result:
        """Run all samples.

        Args:
            x: ``(B, T, *shape)``, or ``(B, 1, *shape)``: a static input, the same at every step.
            timesteps: T.
            keep_spikes: Keep every spike (memory grows with samples); otherwise only output and counts.
            keep_membrane: Keep every state after reset, and the currents of CubaLIFs.
            tile: Samples in flight per thread at most: bounds memory, changes nothing else.
            threads: Tiles in parallel.
            progress: Called with the number of samples finished since the last call.
            counts: Count; without, all counts are 0.

        Raises:
            UnsupportedError: A value left the range of what holds it (ND223).
        """
        totals = self._no_counts(timesteps)
        kept: list[Kept] = []
        tile = min(tile, self._enough(timesteps))
        starts = range(0, x.shape[0], tile)

        def one(start: int) -> tuple[Kept, np.ndarray]:
            return self._run_tile(x[start : start + tile], timesteps, keep_spikes, keep_membrane, counts)

        for tile_kept, tile_counts in _results(one, starts, threads):
            kept.append(tile_kept)
            totals += tile_counts
            if progress is not None:
                progress(tile_kept.output.shape[0])
        return Result(
            _joined([k.output for k in kept]),
            {name: _joined([k.spikes[name] for k in kept]) for name in self._in_order(kept[0].spikes)},
            {name: _joined([k.membrane[name] for k in kept]) for name in self._in_order(kept[0].membrane)},
            {name: _joined([k.current[name] for k in kept]) for name in self._in_order(kept[0].current)},
            self,
            totals,
        )

    def _in_order(self, kept: Mapping[str, np.ndarray]) -> list[str]:
        return sorted(kept, key=self._rows.__getitem__)

    def layers(self, totals: np.ndarray) -> tuple[LayerCounts, ...]:
        """Counts ``(nodes, keys, T)`` of a run by node."""
        return tuple(
            LayerCounts(
                name,
                node.kind,
                self._sizes[name],
                {key: None if key in self._unknown[name] else row[place] for key, place in KEYS.items()},
            )
            for (name, node), row in zip(self.graph.nodes.items(), totals, strict=True)
        )

    def _enough(self, timesteps: int) -> int:
        """Samples that run together best: more of them read weights less often, fewer leave what a layer puts out in
        the cache. About as many as put out, in the widest layer, as many bytes as there are weights."""
        weights = sum(node.weight.size for node in self.graph.nodes.values() if isinstance(node, SYNAPSES))
        size = np.dtype(self.plan.dtype).itemsize
        widest = max(self._sizes.values()) * timesteps * (size + 1)
        return max(1, round(weights * (2 if self.arithmetic == "loihi" else size) / widest))

    def _no_counts(self, timesteps: int) -> np.ndarray:
        return np.zeros((len(self._rows), len(KEYS), timesteps), np.int64)

    def _run_tile(
        self, x: np.ndarray, timesteps: int, keep_spikes: bool, keep_membrane: bool, counting: bool
    ) -> tuple[Kept, np.ndarray]:
        form = self._form((x.shape, timesteps, keep_spikes, keep_membrane, counting))
        if keep_spikes or keep_membrane or not self.repeats:
            tile = self._tile(x.shape[0], timesteps, keep_spikes, keep_membrane, counting, form.memory)
            return self._step_by_step(tile, x), tile.counts
        recording = form.recording
        if recording is not None and recording.uses < AGAIN:
            found = recording.again(in_order(x))
            if found is not None:
                output, counts = found
                return Kept(_complete(output, timesteps).copy(order="K")), counts
        form.tiles += 1
        if (recording is None and form.tiles < FIRST) or (recording is not None and recording.uses == AGAIN):
            form.recording = None  # the next tile is written down
            tile = self._tile(x.shape[0], timesteps, False, False, counting, form.memory)
            return self._step_by_step(tile, x), tile.counts
        return self._record(form, x, timesteps, counting)

    def _record(self, form: _Form, x: np.ndarray, timesteps: int, counting: bool) -> tuple[Kept, np.ndarray]:
        """Run a tile step by step, and write its calls down."""
        new = Recording(self._no_counts(timesteps))
        tile = self._tile(x.shape[0], timesteps, False, False, counting, new.memory, new)
        with listening(new.listen):
            kept = self._step_by_step(tile, x, new)
        if new.sound and tile.repeatable:
            new.finish()
            form.recording, form.memory = new, Memory()  # one tile's memory is enough
        else:
            self.repeats = False
        return Kept(kept.output.copy(order="K")), new.counts + new.constants

    def _form(self, key: tuple[object, ...]) -> _Form:
        if not hasattr(self._local, "forms"):
            self._local.forms = {}
        forms: dict[tuple[object, ...], _Form] = self._local.forms
        if key not in forms:
            while len(forms) >= _FORMS:
                del forms[next(iter(forms))]
            forms[key] = _Form()
        return forms[key]

    def _tile(
        self,
        samples: int,
        timesteps: int,
        keep_spikes: bool,
        keep_membrane: bool,
        counting: bool,
        memory: Memory,
        recording: Recording | None = None,
    ) -> Tile:
        counts = self._no_counts(timesteps) if recording is None else recording.counts
        constants = None if recording is None else recording.constants
        return Tile(samples, timesteps, keep_spikes, keep_membrane, self._rows, counts, memory, counting, constants)

    def _step_by_step(self, tile: Tile, x: np.ndarray, recording: Recording | None = None) -> Kept:
        plan, entry, timesteps = self.plan, self._entry, tile.timesteps
        given = in_order(x)
        entering = tile.empty(given.shape, self._types[entry])
        np.copyto(entering, given, casting="unsafe")
        tile.values[entry] = entering
        for members, done in zip(plan.groups, plan.done, strict=True):
            if members != (entry,):
                spans = [(t, t + 1) for t in range(timesteps)] if plan.in_cycle(members) else [(0, timesteps)]
                for first, last in spans:
                    tile.run_now(first, last)
                    for name in members:
                        self._run_node(tile, name)
            for name in done:
                del tile.values[name]
                tile.masks.pop(name, None)
        output = tile.values[self._exit]
        if recording is not None:
            recording.ends(entering, output)
        return Kept(
            _complete(output, timesteps),
            {name: channels_first(array) for name, array in tile.spikes.items()},
            {name: channels_first(array) for name, array in tile.membrane.items()},
            {name: channels_first(array) for name, array in tile.current.items()},
        )

    def _run_node(self, tile: Tile, name: str) -> None:
        """Run ``name`` in the steps that run now on what its edges bring, in their order; put out its value."""
        arriving = [edge.delivered(tile) for edge in self._edges[name]]
        value = self._steps[name](tile, arriving)
        tile.put(tile.values, name, value.astype(self._types[name], copy=False))


@dataclass
class _Form:
    """Tiles of one form: how many ran step by step, in which memory, and the calls of one.

    Sizes differ from form to form, so they would not use each other's memory again: it goes when the form is forgotten.
    """

    tiles: int = 0
    memory: Memory = field(default_factory=Memory)
    recording: Recording | None = None


class _Edge:
    """An edge, with what must be known to bring what it delivers."""

    def __init__(self, plan: Plan, source: str, target: str) -> None:
        self._source = source
        self._late = plan.late(source, target)
        self._shape, self._type = plan.shape(source), plan.value_type(source)

    def delivered(self, tile: Tile) -> np.ndarray:
        """What it brings in the steps that run now."""
        if tile.whole and not self._late:
            return tile.values[self._source]
        return tile.delivered(tile.values, self._source, self._late, self._shape, self._type)


def _prepare(plan: Plan, name: str) -> Step:
    node = plan.graph.nodes[name]
    if isinstance(node, SYNAPSES):
        return prepare_synapse(plan, name, node)
    if isinstance(node, NEURONS):
        return prepare_neuron(plan, name, node)
    return prepare_passing(plan, name, node)


def _unknown(plan: Plan, name: str) -> tuple[str, ...]:
    """Counts of a node that nobody can know without a placement."""
    if not isinstance(plan.graph.nodes[name], LIF):
        return ()
    return ("hops",) if destinations(plan, name) is not None else ("hops", "messages")


def _results(one: Callable[[int], object], starts: range, threads: int) -> Iterator[tuple[Kept, np.ndarray]]:
    """``one(start)`` for every start, results in order, at most ``2·threads`` of them waiting."""
    if threads == 1 or len(starts) == 1:
        for start in starts:
            yield one(start)  # type: ignore[misc]
        return
    with ThreadPoolExecutor(threads) as pool:
        pending = [pool.submit(one, start) for start in starts[: 2 * threads]]
        for start in starts[2 * threads :]:
            yield pending.pop(0).result()  # type: ignore[misc]
            pending.append(pool.submit(one, start))
        for last in pending:
            yield last.result()  # type: ignore[misc]


def _complete(output: np.ndarray, timesteps: int) -> np.ndarray:
    """``(B, T, *shape)`` channels first, every step there."""
    return channels_first(np.broadcast_to(output, (timesteps, *output.shape[1:])))


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Samples of all tiles, one after the other."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
