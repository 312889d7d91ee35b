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

import numpy as np

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.machine import require_machine
from neurodeploy.ir.nodes import LIF, NEURONS, SYNAPSES, CubaLIF, Norm
from neurodeploy.sim.counts import Counter
from neurodeploy.sim.layout import channels_first, channels_last
from neurodeploy.sim.memory import Memory
from neurodeploy.sim.messages import destinations
from neurodeploy.sim.neurons import prepare_neuron
from neurodeploy.sim.passing import prepare_passing
from neurodeploy.sim.plan import Plan, make_plan
from neurodeploy.sim.synapses import Step, prepare_synapse
from neurodeploy.sim.tile import Tile
from neurodeploy.sim.trace import LayerCounts


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

    layers: tuple[LayerCounts, ...] = ()


class Engine:
    """A graph prepared for one arithmetic.

    Args:
        graph: Norms folded. ``loihi`` needs an integer graph.
        arithmetic: ``float32``, ``float64`` or ``loihi``.
        cores: Neuron node -> cores it occupies, where a placement is known (for ``messages``).

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
    ) -> Result:
        """Run all samples.

        Args:
            x: ``(B, T, *shape)``, or ``(B, 1, *shape)``: a static input, the same at every step.
            timesteps: T.
            keep_spikes: Keep every spike (memory grows with samples); otherwise only output and counts.
            keep_membrane: Keep every state after reset, and the currents of CubaLIFs.
            tile: Samples in flight per thread: bounds memory, changes nothing else.
            threads: Tiles in parallel.
            progress: Called with the number of samples finished since the last call.

        Raises:
            UnsupportedError: A value left the range of what holds it (ND223).
        """
        counters = self._counters(timesteps)
        kept: list[Kept] = []
        starts = range(0, x.shape[0], tile)

        def one(start: int) -> tuple[Kept, dict[str, Counter]]:
            return self._run_tile(x[start : start + tile], timesteps, keep_spikes, keep_membrane)

        for tile_kept, tile_counts in _in_order(one, starts, threads):
            kept.append(tile_kept)
            for name, counter in tile_counts.items():
                counters[name].merge(counter.steps)
            if progress is not None:
                progress(tile_kept.output.shape[0])
        layers = tuple(
            LayerCounts(name, node.kind, int(np.prod(self.graph.shapes[name])), counters[name].steps)
            for name, node in self.graph.nodes.items()
        )
        return Result(
            np.concatenate([k.output for k in kept]),
            {name: np.concatenate([k.spikes[name] for k in kept]) for name in kept[0].spikes},
            {name: np.concatenate([k.membrane[name] for k in kept]) for name in kept[0].membrane},
            {name: np.concatenate([k.current[name] for k in kept]) for name in kept[0].current},
            layers,
        )

    def _memory(self) -> Memory:
        if not hasattr(self._local, "memory"):
            self._local.memory = Memory()
        return self._local.memory

    def _counters(self, timesteps: int) -> dict[str, Counter]:
        return {name: Counter(timesteps, unknown) for name, unknown in self._unknown.items()}

    def _run_tile(
        self, x: np.ndarray, timesteps: int, keep_spikes: bool, keep_membrane: bool
    ) -> tuple[Kept, dict[str, Counter]]:
        plan, graph = self.plan, self.graph
        tile = Tile(x.shape[0], timesteps, keep_spikes, keep_membrane, self._counters(timesteps), self._memory())
        entry = graph.input
        given = np.moveaxis(x, 1, 0).astype(plan.value_type(entry), copy=False)
        tile.values[entry] = channels_last(given)
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
        output = tile.values[graph.output]
        full = np.broadcast_to(output, (timesteps, *output.shape[1:]))
        kept = Kept(
            channels_first(full),
            {name: channels_first(tile.spikes.pop(name)) for name in graph.names(LIF) if keep_spikes},
            {name: channels_first(tile.membrane.pop(name)) for name in graph.names(NEURONS) if keep_membrane},
            {name: channels_first(tile.current.pop(name)) for name in graph.names(CubaLIF) if keep_membrane},
        )
        return kept, tile.counters

    def _run_node(self, tile: Tile, name: str) -> None:
        """Run ``name`` in the steps that run now on what its edges bring, in their order; put out its value."""
        plan = self.plan
        arriving = [
            tile.delivered(tile.values, source, plan.late(source, name), plan.shape(source), plan.value_type(source))
            for source in self.graph.sources(name)
        ]
        value = self._steps[name](tile, arriving)
        tile.put(tile.values, name, value.astype(plan.value_type(name), copy=False))


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


def _in_order(one: Callable[[int], object], starts: range, threads: int) -> Iterator[tuple[Kept, dict[str, Counter]]]:
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
