"""The event-driven engine: runs a graph tile by tile, layer by layer, with exact counts.

Equal to the interpreter bit for bit in every arithmetic (tests hold it to that). Results do not depend on the tile size
or on the number of threads: samples are independent, and counts are integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.kinds import incoming_kind, value_kinds
from neurodeploy.ir.machine import (
    DECAY_UNITY,
    SHIFT,
    STATE_LIMIT,
    STATE_UNITS,
    accumulator_bounds,
    neuron_bias,
    require_machine,
    threshold_mantissa,
    voltage_decay,
)
from neurodeploy.ir.nodes import (
    LIF,
    NEURONS,
    SYNAPSES,
    AvgPool2d,
    Conv1d,
    Conv2d,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Integrator,
    Linear,
    MaxPool2d,
    Node,
    Norm,
    Output,
    ReLU,
    Scale,
    SumPool2d,
    Threshold,
)
from neurodeploy.sim import kernels
from neurodeploy.sim.counts import Counter, fan_out, packed_columns, taps, touched
from neurodeploy.sim.layout import channels_first, channels_last, last_array, last_shape, to_first
from neurodeploy.sim.trace import LayerCounts

_NOTHING: dict[type, np.ndarray] = {t: np.zeros((0, 0, 0), t) for t in (np.float32, np.float64, np.int32)}


@dataclass
class Kept:
    """Arrays of one tile, channels first: ``(B, T, *shape)``."""

    output: np.ndarray
    spikes: dict[str, np.ndarray] = field(default_factory=dict)
    membrane: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Result:
    """Everything of a run: arrays over all samples, counts per node."""

    output: np.ndarray
    spikes: dict[str, np.ndarray]
    membrane: dict[str, np.ndarray]
    layers: tuple[LayerCounts, ...]


class Engine:
    """A graph prepared for one arithmetic.

    Args:
        graph: Norms folded. ``loihi`` needs an integer graph.
        arithmetic: ``float32``, ``float64`` or ``loihi``.
        cores: Neuron node -> cores it occupies, where a placement is known (for ``messages``).

    Raises:
        UnsupportedError: A node the engine does not run (ND220), or ``loihi`` on a float graph (ND213).
    """

    def __init__(self, graph: Graph, arithmetic: str = "float32", cores: Mapping[str, int] | None = None) -> None:
        if arithmetic == "loihi":
            require_machine(graph)
        unfolded = graph.names(Norm)
        if unfolded:
            raise UnsupportedError(
                "ND220", "the engine runs no norms", where=", ".join(unfolded), fix="fold them: export the model first"
            )
        unknown = [
            name
            for name, node in graph.nodes.items()
            if isinstance(node, (Conv1d, CubaLIF, Delay, MaxPool2d, ReLU, Scale, Threshold))
        ]
        if unknown or graph.recurrent:
            raise UnsupportedError(
                "ND220", "the engine does not run these nodes", where=", ".join(unknown), fix="use the interpreter"
            )
        self.graph = graph
        self.arithmetic = arithmetic
        self.cores = dict(cores or {})
        self.dtype: Any = {"float32": np.float32, "float64": np.float64, "loihi": np.int32}[arithmetic]
        self._kinds = value_kinds(graph)
        self._last_reader = self._last_readers()
        self._steps = {name: _prepare(self, name, node) for name, node in graph.nodes.items()}

    def _last_readers(self) -> dict[str, str]:
        last: dict[str, str] = {}
        order = {name: index for index, name in enumerate(self.graph.nodes)}
        for source, target in self.graph.edges:
            if source not in last or order[target] > order[last[source]]:
                last[source] = target
        return last

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
            keep_membrane: Keep every state after reset.
            tile: Samples in flight per thread: bounds memory, changes nothing else.
            threads: Tiles in parallel.
            progress: Called with the number of samples finished since the last call.
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
            layers,
        )

    def _counters(self, timesteps: int) -> dict[str, Counter]:
        counters = {}
        for name, node in self.graph.nodes.items():
            placed = not isinstance(node, LIF) or self._destinations(name) is not None
            unknown = ("hops",) if isinstance(node, LIF) else ()
            counters[name] = Counter(timesteps, unknown if placed else (*unknown, "messages"))
        return counters

    def _destinations(self, name: str) -> list[tuple[str, int]] | None:
        """``(synapse, cores behind it)`` for every synapse that reads ``name``; None without a placement."""
        if not self.cores:
            return None
        found: list[tuple[str, int]] = []
        waiting = [(name, target) for target in self.graph.targets(name)]
        while waiting:
            _, target = waiting.pop(0)
            node = self.graph.nodes[target]
            if isinstance(node, SYNAPSES):
                behind = [n for n in self.graph.targets(target) if isinstance(self.graph.nodes[n], NEURONS)]
                if not behind or any(n not in self.cores for n in behind):
                    return None
                found.append((target, sum(self.cores[n] for n in behind)))
            elif isinstance(node, Flatten):
                waiting.extend((target, t) for t in self.graph.targets(target))
            elif not isinstance(node, Output):
                return None  # a pool on the way: nobody says which core does it
        return found

    def _run_tile(
        self, x: np.ndarray, timesteps: int, keep_spikes: bool, keep_membrane: bool
    ) -> tuple[Kept, dict[str, Counter]]:
        tile = _Tile(x.shape[0], timesteps, keep_spikes, keep_membrane, self._counters(timesteps))
        for name, step in self._steps.items():
            if isinstance(self.graph.nodes[name], Input):
                tile.values[name] = channels_last(np.moveaxis(x, 1, 0))
                continue
            sources = self.graph.sources(name)
            incoming = tile.values[sources[0]]
            if len(sources) > 1:
                incoming = incoming.astype(self.dtype) if incoming.dtype == np.uint8 else incoming
                for source in sources[1:]:
                    incoming = incoming + tile.values[source].astype(self.dtype, copy=False)
            tile.values[name] = step(tile, incoming)
            for source in sources:
                if self._last_reader[source] == name:
                    del tile.values[source]
        output = tile.values[self.graph.output]
        if self._kinds[self.graph.output].name == "binary":
            output = output.astype(np.uint8)
        full = np.broadcast_to(output, (timesteps, *output.shape[1:]))
        return Kept(channels_first(full), tile.spikes, tile.membrane), tile.counters


@dataclass
class _Tile:
    """The state of one tile: values per node ``(T, B, *shape)`` channels last, T = 1 while static."""

    samples: int
    timesteps: int
    keep_spikes: bool
    keep_membrane: bool
    counters: dict[str, Counter]
    values: dict[str, np.ndarray] = field(default_factory=dict)
    active: dict[str, np.ndarray] = field(default_factory=dict)
    spikes: dict[str, np.ndarray] = field(default_factory=dict)
    membrane: dict[str, np.ndarray] = field(default_factory=dict)

    def every_step(self, value: np.ndarray) -> np.ndarray:
        """A static value at every step."""
        return np.ascontiguousarray(np.broadcast_to(value, (self.timesteps, *value.shape[1:])))


Step = Callable[[_Tile, np.ndarray], np.ndarray]


def _prepare(engine: Engine, name: str, node: Node) -> Step:
    """What to do with the incoming values of a node; everything that does not depend on data is computed here."""
    if isinstance(node, (Conv2d, Linear)):
        return _prepare_synapse(engine, name, node)
    if isinstance(node, (LIF, Integrator)):
        return _prepare_neuron(engine, name, node)
    if isinstance(node, SumPool2d):
        return lambda tile, x: _pool(node, x, engine.dtype)
    if isinstance(node, Flatten):
        return lambda tile, x: np.ascontiguousarray(to_first(x)).reshape(*x.shape[:2], -1)
    return lambda tile, x: x


def _prepare_synapse(engine: Engine, name: str, node: Conv2d | Linear) -> Step:
    graph, dtype = engine.graph, engine.dtype
    before, after = graph.input_shape(name), graph.shapes[name]
    kind = incoming_kind(graph, name, engine._kinds)
    spikes = kind.name == "binary"
    every, nonzero = fan_out(node, before, after)
    total = int(every.sum())
    weight = _weights(node, engine.arithmetic)
    bias = None if engine.arithmetic == "loihi" else node.bias.astype(dtype)
    silent = _silent_outputs(engine, name)
    out_shape = last_shape(after)
    if isinstance(node, Conv2d):
        add_up = _convolution(node, before, after, weight, spikes)
    else:
        kernel = kernels.linear_spikes if spikes else kernels.linear_values
        add_up = lambda flat, out: kernel(flat, weight, out)  # noqa: E731

    def step(tile: _Tile, x: np.ndarray) -> np.ndarray:
        flat = x.reshape(-1, *x.shape[2:])
        flat = flat if spikes else np.ascontiguousarray(flat.astype(dtype, copy=False))
        out = np.empty((flat.shape[0], *out_shape), dtype)
        add_up(flat, out)
        counter = tile.counters[name]
        if kind.name == "real":
            counter.add("mac", np.int64(total * tile.samples))
            if x.shape[0] == 1 and tile.timesteps >= 1:
                once = np.zeros(tile.timesteps, np.int64)
                once[0] = total * tile.samples
                counter.add("mac_once", once)
        else:
            events = (x != 0).sum(axis=1, dtype=np.int64).reshape(x.shape[0], -1)
            sop = np.broadcast_to(events @ every.reshape(-1), (tile.timesteps,))
            useful = np.broadcast_to(events @ nonzero.reshape(-1), (tile.timesteps,))
            counter.add("sop" if spikes else "sop_graded", sop)
            if spikes:
                counter.add("sop_nonzero", useful)
        if silent:
            reached = np.ones((1, *(1,) * len(out_shape)), bool) if kind.name == "real" else touched(node, flat, after)
            tile.active[name] = np.broadcast_to(reached, (flat.shape[0], *out_shape)).reshape(*x.shape[:2], *out_shape)
        if bias is not None:
            out += bias
        elif isinstance(node, Conv2d):
            out = (out + (1 << 23)) % (1 << 24) - (1 << 23)  # a convolution of Lava wraps at 24 bits
        return out.reshape(*x.shape[:2], *out_shape)

    return step


def _convolution(
    node: Conv2d, before: tuple[int, ...], after: tuple[int, ...], weight: np.ndarray, spikes: bool
) -> Callable[[np.ndarray, np.ndarray], None]:
    """``(input, out)`` -> nothing; ``out`` gets the weighted sums. The kernel is chosen by the geometry."""
    rows = taps(node, before, after, 0)
    if node.groups == 1 and node.dilation[1] == 1:
        order, runs = packed_columns(node, before, after)
        packed = np.ascontiguousarray(weight[:, :, order]).reshape(*weight.shape[:2], -1)
        fast = kernels.conv_spikes_packed if spikes else kernels.conv_values_packed

        def packed_sums(flat: np.ndarray, out: np.ndarray) -> None:
            fast(flat, packed, rows, runs, out.reshape(*out.shape[:2], -1))

        return packed_sums
    kernel = kernels.conv_spikes if spikes else kernels.conv_values
    cols, group_in = taps(node, before, after, 1), node.weight.shape[1]

    def sums(flat: np.ndarray, out: np.ndarray) -> None:
        kernel(flat, weight, rows, cols, group_in, out)

    return sums


def _silent_outputs(engine: Engine, name: str) -> bool:
    """Whether an update of the neuron behind synapse ``name`` can be idle: some bias is zero, so events decide."""
    graph = engine.graph
    for target in graph.targets(name):
        node = graph.nodes[target]
        if isinstance(node, NEURONS) and all(isinstance(graph.nodes[s], SYNAPSES) for s in graph.sources(target)):
            if isinstance(node, LIF) and np.all(node.offset != 0.0):
                continue
            if np.any(sum(graph.nodes[s].bias.astype(np.float64) for s in graph.sources(target)) == 0.0):  # type: ignore[attr-defined]
                return True
    return False


def _prepare_neuron(engine: Engine, name: str, node: LIF | Integrator) -> Step:
    graph, dtype = engine.graph, engine.dtype
    run = _integer_neuron(engine, name, node) if engine.arithmetic == "loihi" else _float_neuron(engine, node)
    synapses = all(isinstance(graph.nodes[s], SYNAPSES) for s in graph.sources(name))
    events = not synapses and incoming_kind(graph, name, engine._kinds).name != "real"
    driven = np.ones((), bool)  # neurons that are active at every step: by a bias, or by real values
    if synapses or events:
        driven = np.zeros((), bool)
        if synapses:
            constant = sum(graph.nodes[s].bias.astype(np.float64) for s in graph.sources(name))  # type: ignore[attr-defined]
            driven = np.asarray(constant != 0.0)
        if isinstance(node, LIF):
            driven = driven | (last_array(node.offset, node.shape) != 0.0)
    spread = [(_reaching(graph, synapse), cores) for synapse, cores in engine._destinations(name) or []]
    size = int(np.prod(node.shape))

    def step(tile: _Tile, x: np.ndarray) -> np.ndarray:
        full = tile.every_step(x.astype(dtype, copy=False))
        out, fired, membrane = run(full.reshape(*full.shape[:2], -1), tile.keep_membrane)
        counter = tile.counters[name]
        active = np.full(tile.timesteps, size * tile.samples, np.int64)
        if not np.all(driven):
            reached = np.zeros((1,) * full.ndim, bool) | driven
            if events:
                reached = reached | (full != 0)
            else:
                for source in graph.sources(name):
                    reached = reached | tile.active[source]
            reached = np.broadcast_to(reached, full.shape)
            active = reached.reshape(tile.timesteps, -1).sum(axis=1, dtype=np.int64)
        counter.add("neuron_updates_active", active)
        counter.add("neuron_updates_idle", size * tile.samples - active)
        if isinstance(node, LIF):
            counter.add("spikes_out", fired.reshape(tile.timesteps, -1).sum(axis=1, dtype=np.int64))
            per_neuron = fired.sum(axis=1, dtype=np.int64)
            for reaching, destination_cores in spread:
                counter.add("messages", per_neuron @ reaching * destination_cores)
            if tile.keep_spikes:
                tile.spikes[name] = channels_first(fired.reshape(full.shape))
        if tile.keep_membrane:
            tile.membrane[name] = channels_first(membrane.reshape(full.shape))
        return out.reshape(full.shape)

    return step


def _reaching(graph: Graph, synapse: str) -> np.ndarray:
    """1 for every source neuron with at least one connection, in the neurons' order (channels last), int64."""
    node, before = graph.nodes[synapse], graph.input_shape(synapse)
    assert isinstance(node, (Conv2d, Linear))
    # Linear reaches all its outputs from everywhere, so the order behind a Flatten does not matter.
    return (fan_out(node, before, graph.shapes[synapse])[0] > 0).reshape(-1).astype(np.int64)


NeuronRun = Callable[[np.ndarray, bool], tuple[np.ndarray, np.ndarray, np.ndarray]]


def _float_neuron(engine: Engine, node: LIF | Integrator) -> NeuronRun:
    """``(values, spikes, membrane)`` of ``x`` ``(T, B, N)``."""
    dtype = engine.dtype
    if isinstance(node, Integrator):
        decay = dtype(node.decay)

        def integrate(x: np.ndarray, keep: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            out = np.empty_like(x)
            kernels.integrate_float(x, decay, out)
            return out, out, out

        return integrate
    numbers = [
        last_array(getattr(node, key), node.shape).astype(dtype).reshape(-1)
        for key in ("decay", "gain", "offset", "threshold", "v_reset")
    ]

    def fire(x: np.ndarray, keep: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        spikes = np.empty(x.shape, np.uint8)
        membrane = np.empty_like(x) if keep else _NOTHING[dtype]
        kernels.lif_float(x, *numbers, node.compare == "ge", node.reset == "subtract", spikes, membrane)
        return spikes, spikes, membrane

    return fire


def _integer_neuron(engine: Engine, name: str, node: LIF | Integrator) -> NeuronRun:
    """The same on the integer machine; an integrator's value is its state."""
    bias = neuron_bias(engine.graph, name)
    per_neuron = np.ascontiguousarray(np.broadcast_to(bias, last_shape(node.shape))).reshape(-1)
    factor, threshold = DECAY_UNITY - voltage_decay(node), threshold_mantissa(node) << SHIFT
    reads_state = isinstance(node, Integrator)

    def run(a: np.ndarray, keep: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        spikes = np.empty(a.shape, np.uint8)
        membrane = np.empty(a.shape, np.int32) if keep or reads_state else _NOTHING[np.int32]
        kernels.neuron_integer(a, per_neuron, factor, threshold, spikes, membrane)
        if reads_state and (spikes.any() or np.abs(membrane).max() >= STATE_LIMIT):
            raise _out_of_range(engine.graph, name, bias, a.shape[0])
        return (membrane if reads_state else spikes), spikes, membrane

    return run


def _out_of_range(graph: Graph, name: str, bias: np.ndarray, timesteps: int) -> UnsupportedError:
    """ND223, with the number of timesteps for which the readout's range is proven."""
    synapses = [node for s in graph.sources(name) if isinstance(node := graph.nodes[s], SYNAPSES)]
    bounds = [accumulator_bounds(node) for node in synapses]
    highest = sum(high for _, high in bounds) + int(bias.max())
    lowest = sum(low for low, _ in bounds) + int(bias.min())
    most = max(1, STATE_UNITS // max(highest, -lowest, 1))
    return UnsupportedError(
        "ND223",
        f"the readout left its 24-bit range within {timesteps} timesteps: its sum is no longer a sum",
        where=name,
        fix=f"run at most {most} timesteps, for which the range is proven, or export for this many: "
        f"neurodeploy export MODEL --target loihi2 --timesteps {timesteps}",
    )


def _weights(node: Conv2d | Linear, arithmetic: str) -> np.ndarray:
    """Weights as the kernels read them: ``(C, kH, kW, O/groups)`` or ``(I, O)``, contiguous."""
    if arithmetic == "loihi":
        small = np.max(np.abs(node.weight), initial=0) < 2**15
        weight = node.weight.astype(np.int16 if small else np.int32)
    else:
        weight = node.weight.astype(np.float32 if arithmetic == "float32" else np.float64)
    if isinstance(node, Linear):
        return np.ascontiguousarray(weight.T)
    grouped = weight.reshape(node.groups, -1, *weight.shape[1:])  # (G, O/G, C/G, kH, kW)
    rows = grouped.transpose(0, 2, 3, 4, 1)
    return np.ascontiguousarray(rows.reshape(-1, *rows.shape[2:]))


def _pool(node: SumPool2d, x: np.ndarray, dtype: Any) -> np.ndarray:
    """Window sums ``(T, B, H, W, C)``, window rows then columns; the mean for AvgPool2d."""
    (kh, kw), (sh, sw), (ph, pw) = node.kernel, node.stride, node.padding
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw), (0, 0)))
    oh, ow = (x.shape[2] - kh) // sh + 1, (x.shape[3] - kw) // sw + 1
    total = np.zeros((*x.shape[:2], oh, ow, x.shape[4]), dtype)
    for ky in range(kh):
        for kx in range(kw):
            total += x[:, :, ky : ky + sh * (oh - 1) + 1 : sh, kx : kx + sw * (ow - 1) + 1 : sw]
    return total / dtype(kh * kw) if isinstance(node, AvgPool2d) else total


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
