"""Tiles whose kernels are called again without Python between them: the same bits and counts as step by step.

Before every replay all memory of the recording is filled with a pattern: what a replay does not write anew shows.
"""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pytest
from every_kind import any_input, every_kind, every_kind_of_machine
from graphs import paper_chain, random_graph, skip_chain

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import (
    LIF,
    Conv2d,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Integrator,
    Linear,
    MaxPool2d,
    Node,
    Output,
    Scale,
)
from neurodeploy.passes.fold_pool import fold_pool
from neurodeploy.passes.quantize import quantize
from neurodeploy.sim import engine as engines
from neurodeploy.sim.dense import NONE, unit
from neurodeploy.sim.engine import Engine, Result
from neurodeploy.sim.job import predict
from neurodeploy.sim.native import arrays
from neurodeploy.sim.replay import FIRST, Recording

needs_kernels = pytest.mark.skipif(arrays.kernels() is None, reason="no compiled kernels here")
PATTERN = 0xA5


@dataclass
class Seen:
    """What happened: recordings that were begun, replays that gave a result, and replays in which a kernel refused."""

    recordings: list[Recording] = field(default_factory=list)
    results: list[bool] = field(default_factory=list)  # threads append to it

    @property
    def replays(self) -> int:
        return sum(self.results)

    @property
    def refused(self) -> int:
        return len(self.results) - sum(self.results)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found, begin, again = Seen(), Recording.__init__, Recording.again

    def begins(self: Recording, no_counts: np.ndarray) -> None:
        begin(self, no_counts)
        found.recordings.append(self)

    def replays(self: Recording, entering: np.ndarray) -> object:
        for first, size in self.memory._blocks:
            ctypes.memset(first, PATTERN, size)
        result = again(self, entering)
        found.results.append(result is not None)
        return result

    monkeypatch.setattr(Recording, "__init__", begins)
    monkeypatch.setattr(Recording, "again", replays)
    monkeypatch.setattr(Engine, "_enough", lambda self, timesteps: 64)  # tiles are as large as a test says
    return found


def chain(nodes: dict[str, Node], values: str = "binary", shape: tuple[int, ...] = (4,)) -> Graph:
    named = {"input": Input(shape, values), **nodes, "output": Output()}  # type: ignore[arg-type]
    return Graph(named, tuple(pairwise(named)), timesteps=4)


def spikes(graph: Graph, samples: int, timesteps: int = 4, seed: int = 0) -> np.ndarray:
    """Every sample at a firing rate of its own; the first silent, the last with a spike everywhere."""
    rng = np.random.default_rng(seed)
    shape = graph.shapes[graph.input]
    rates = rng.permutation(np.linspace(0, 1, samples)).reshape(-1, 1, *[1] * len(shape))
    x = (rng.random((samples, timesteps, *shape)) < rates).astype(np.uint8)
    x[0], x[-1] = 0, 1
    return x


def machine(seed: int = 0, width: int = 20) -> Graph:
    return quantize(fold_pool(paper_chain(seed, real=False, width=width)))[0]


def skips() -> Graph:
    """Two edges into one population, and no pool: all of it kernels, masks of events included."""
    return skip_chain(3)


def relays() -> Graph:
    """The same with an identity as its skip, without biases: updates are idle where no event arrives."""
    graph = skips()
    nodes = {
        name: replace(node, bias=np.zeros_like(node.bias)) if isinstance(node, Conv2d) else node
        for name, node in graph.nodes.items()
    }
    nodes["skip"] = Conv2d(np.array([0.75, 0.0]).reshape(2, 1, 1, 1), np.zeros(2), groups=2)
    return replace(graph, nodes=nodes)


def linear(rng: np.random.Generator, outputs: int, inputs: int) -> Linear:
    return Linear(rng.normal(size=(outputs, inputs)), rng.normal(size=outputs))


def populations() -> Graph:
    rng = np.random.default_rng(1)
    nodes: dict[str, Node] = {
        "pool": MaxPool2d((2, 2), (2, 2)),
        "flat": Flatten(),
        "fc": linear(rng, 7, 12),
        "cuba": CubaLIF((7,), 0.5, 0.5, current_decay=np.asarray(0.25)),
        "fc2": linear(rng, 40, 7),
        "lif": LIF((40,), 0.75, 1.0),
        "fc3": linear(rng, 3, 40),
        "readout": Integrator((3,), 0.5),
    }
    return chain(nodes, shape=(3, 4, 4))


NETWORKS: dict[str, tuple[Callable[[], Graph], str]] = {
    "integers": (machine, "loihi"),
    "floats": (skips, "float32"),
    "relays": (relays, "float32"),
    "real input": (lambda: fold_pool(paper_chain(2, real=True)), "float32"),
    "populations": (populations, "float32"),
}


def given(graph: Graph, samples: int, timesteps: int = 4, seed: int = 0) -> np.ndarray:
    x = spikes(graph, samples, timesteps, seed)
    if graph.nodes[graph.input].values == "real":  # type: ignore[union-attr]
        return x * np.random.default_rng(seed).normal(size=x.shape)
    return x


def plain(graph: Graph, arithmetic: str, cores: dict[str, int] | None = None) -> Engine:
    """An engine that runs every tile step by step."""
    engine = Engine(graph, arithmetic, cores)
    engine.repeats = False
    return engine


def assert_same(found: Result, wanted: Result, *, counts: bool = True) -> None:
    assert found.output.dtype == wanted.output.dtype
    assert found.output.shape == wanted.output.shape
    assert np.ascontiguousarray(found.output).tobytes() == np.ascontiguousarray(wanted.output).tobytes()
    if counts:
        np.testing.assert_array_equal(found.totals, wanted.totals)
        assert [layer.to_json() for layer in found.layers] == [layer.to_json() for layer in wanted.layers]
    else:
        assert found.totals is not None
        assert not found.totals.any()


@needs_kernels
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("tile", "threads"), [(1, 1), (4, 1), (1, 3), (4, 3)])
def test_many_tiles_give_the_bits_and_counts_of_step_by_step(name, tile, threads, seen):
    make, arithmetic = NETWORKS[name]
    graph = make()
    tiles = (FIRST + 2) * threads
    x = given(graph, tile * tiles + tile // 2)  # the last tile is smaller
    cores = {node: 1 + place % 3 for place, node in enumerate(graph.nodes)}
    wanted = plain(graph, arithmetic, cores).run(x, 4, keep_spikes=False, tile=5)
    assert len({row.tobytes() for row in wanted.output}) > 2  # else any tile would do for any other
    engine = Engine(graph, arithmetic, cores)
    found = engine.run(x, 4, keep_spikes=False, tile=tile, threads=threads)
    assert_same(found, wanted)
    np.testing.assert_array_equal(predict(graph, found.output), predict(graph, wanted.output))
    assert engine.repeats
    # Each thread runs FIRST tiles of a form step by step, the last of them written down; the smaller tile is one more.
    assert seen.replays >= tiles - FIRST * threads
    if threads == 1:
        assert seen.replays == tiles - FIRST
        (form,) = [form for form in engine._local.forms.values() if form.recording is not None]
        assert form.recording.uses == tiles - FIRST
    assert len(seen.recordings) <= threads


@pytest.mark.parametrize("rarely", [False, True])
def test_events_through_an_identity_arrive_where_they_leave(rarely):
    """Against every update counted here: ``lif3`` is active where an event comes by conv3 or from lif1."""
    graph = relays()
    if rarely:  # few spikes of lif2: most events come through the identity
        conv2 = graph.nodes["conv2"]
        graph = replace(graph, nodes=dict(graph.nodes) | {"conv2": replace(conv2, weight=conv2.weight - 0.75)})
    x = spikes(graph, 6)
    result = Engine(graph).run(x, 4)
    around = np.pad(result.spikes["lif2"].any(axis=2), ((0, 0), (0, 0), (1, 1), (1, 1)))
    near = np.logical_or.reduce([around[:, :, y : y + 4, x : x + 4] for y in range(3) for x in range(3)])
    active = near[:, :, None] | (result.spikes["lif1"] != 0)  # of both channels: a weight of 0 is a connection
    assert 0 < active.sum() < active.size
    assert (near[:, :, None] != active).any() == rarely
    (layer,) = [layer for layer in result.layers if layer.name == "lif3"]
    assert layer.total("neuron_updates_active") == active.sum()
    assert layer.total("neuron_updates_idle") == active.size - active.sum()


@needs_kernels
@pytest.mark.parametrize("name", NETWORKS)
def test_silence_then_bursts(name, seen):
    """What is written down while nothing happens must not be taken for what always happens, and the other way round."""
    make, arithmetic = NETWORKS[name]
    graph = make()
    for first in (0, 1):
        x = np.full((3 * FIRST, 4, *graph.shapes[graph.input]), first, np.uint8)
        x[FIRST + 1 :] = 1 - first
        found = Engine(graph, arithmetic).run(x, 4, keep_spikes=False, tile=1)
        assert_same(found, plain(graph, arithmetic).run(x, 4, keep_spikes=False, tile=1))
    assert seen.replays == 2 * 2 * FIRST


@needs_kernels
@pytest.mark.parametrize("arithmetic", ["float32", "float64", "loihi"])
def test_random_graphs_of_every_kind(arithmetic, seen):
    could = 0
    for seed in range(60):
        if arithmetic == "loihi":
            graph = every_kind_of_machine(seed, populations=1 + seed % 2, late=0)
        elif seed % 3:
            graph = every_kind(seed, size=1 + seed % 4, late=0)
        else:
            graph = random_graph(seed, real=seed % 2 == 0, pools=False)
        x = any_input(graph, seed, samples=FIRST + 4, timesteps=4)
        for entering in (x, x[:, :1]):  # a static input too
            try:
                wanted = plain(graph, arithmetic).run(entering, 4, keep_spikes=False)
            except UnsupportedError:  # a readout out of range
                continue
            engine = Engine(graph, arithmetic)
            could += engine.repeats
            for tile, counts in ((1, True), (1, False), (2, True)):
                found = engine.run(entering, 4, keep_spikes=False, tile=tile, counts=counts)
                assert_same(found, wanted, counts=counts)
    if arithmetic != "float64":
        assert could > 20
        assert seen.replays > 3 * could  # counted static spikes are not replayed


@needs_kernels
def test_a_readout_in_float64_is_not_replayed(seen):
    """Its kernel is not one of those that are listened to: what it gave would never change again."""
    graph = chain({"readout": Integrator((4,), 0.5)}, "real")
    x = np.random.default_rng(0).normal(size=(3 * FIRST, 4, 4))
    assert_same(Engine(graph, "float64").run(x, 4, keep_spikes=False, tile=1), Engine(graph, "float64").run(x, 4))
    assert not seen.recordings


@needs_kernels
@pytest.mark.parametrize(
    "graph",
    [
        chain({"fc": linear(np.random.default_rng(0), 4, 4), "late": Delay((4,), 1), "lif": LIF((4,), 0.25, 0.5)}),
        chain({"scale": Scale((4,), 2.0), "lif": LIF((4,), 0.25, 0.5)}),
        chain({"lif": LIF((4,), 0.25, 0.5, spikes="multi", reset="subtract")}),
        replace(
            chain({"lif": LIF((4,), 0.25, 0.5), "back": linear(np.random.default_rng(1), 4, 4)}),
            edges=(("input", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output")),
            recurrent=frozenset([("back", "lif")]),
        ),
    ],
    ids=["delay", "scale", "several spikes", "recurrent"],
)
def test_what_is_not_made_of_kernels_runs_step_by_step(graph, seen):
    x = spikes(graph, 2 * FIRST)
    engine = Engine(graph)
    assert not engine.repeats
    assert_same(engine.run(x, 4, keep_spikes=False, tile=1), Engine(graph).run(x, 4))
    assert not seen.recordings


@needs_kernels
def test_static_spikes_are_counted_step_by_step(seen):
    """The counts of one row are those of every step: Python adds them, so the calls alone are not the tile."""
    graph = skips()
    x = spikes(graph, 3 * FIRST, 1)
    engine = Engine(graph)
    assert_same(engine.run(x, 4, keep_spikes=False, tile=1), plain(graph, "float32").run(x, 4, keep_spikes=False))
    assert (len(seen.recordings), seen.replays, engine.repeats) == (1, 0, False)
    uncounted = Engine(graph).run(x, 4, keep_spikes=False, tile=1, counts=False)
    assert_same(uncounted, plain(graph, "float32").run(x, 4, counts=False), counts=False)
    assert seen.replays == 2 * FIRST


@needs_kernels
def test_what_leaves_in_a_copy_is_not_replayed(seen):
    """A step that says that it is kernels only, but gives an array of its own."""
    graph = chain({"lif": LIF((4,), 0.25, 0.5)})
    x = spikes(graph, 3 * FIRST)
    engine = Engine(graph)
    honest = engine._steps["output"]

    def copies(tile: object, arriving: list[np.ndarray]) -> np.ndarray:
        return honest(tile, arriving).copy()  # type: ignore[arg-type]

    engine._steps["output"] = copies
    assert_same(engine.run(x, 4, keep_spikes=False, tile=1), plain(graph, "float32").run(x, 4))
    assert (len(seen.recordings), seen.replays, engine.repeats) == (1, 0, False)


@needs_kernels
@pytest.mark.parametrize("again", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_calls_are_written_down_anew_after_some_tiles(name, again, seen, monkeypatch):
    monkeypatch.setattr(engines, "AGAIN", again)
    make, arithmetic = NETWORKS[name]
    graph = make()
    x = given(graph, FIRST + 3 * (again + 2), seed=1)
    found = Engine(graph, arithmetic).run(x, 4, keep_spikes=False, tile=1)
    assert_same(found, plain(graph, arithmetic).run(x, 4, keep_spikes=False, tile=1))
    # FIRST tiles, then again and again: replays, one tile step by step, one that is written down.
    assert (len(seen.recordings), seen.replays) == (4, 3 * again)


@needs_kernels
@pytest.mark.skipif(unit() == NONE, reason="no dense sums on this CPU")
@pytest.mark.parametrize("setting", ["0", "1", "always"])
def test_dense_and_event_driven_sums(setting, seen, monkeypatch):
    monkeypatch.setenv("NEURODEPLOY_DENSE", setting)
    graph = machine(1, width=32)
    x = spikes(graph, 5 * FIRST)
    engine = Engine(graph, "loihi")
    found = engine.run(x, 4, keep_spikes=False, tile=2)
    monkeypatch.setenv("NEURODEPLOY_DENSE", "0")
    assert_same(found, plain(graph, "loihi").run(x, 4, keep_spikes=False))
    assert seen.replays == 5 * FIRST // 2 - FIRST


@needs_kernels
def test_every_form_of_tile_has_calls_of_its_own(seen):
    graph = machine()
    engine, other = Engine(graph, "loihi"), plain(graph, "loihi")
    for _ in range(FIRST + 3):
        for timesteps, samples, counts in ((4, 2, True), (1, 2, True), (7, 2, True), (4, 2, False)):
            x = spikes(graph, samples, timesteps, seed=len(seen.recordings))
            found = engine.run(x, timesteps, keep_spikes=False, counts=counts)
            assert_same(found, other.run(x, timesteps, counts=counts), counts=counts)
    assert (len(seen.recordings), seen.replays) == (4, 12)


@needs_kernels
def test_what_is_kept_is_kept_between_replays(seen):
    graph = machine()
    engine, other = Engine(graph, "loihi"), plain(graph, "loihi")
    for seed in range(3):
        x = spikes(graph, 2 * FIRST, seed=seed)
        assert_same(engine.run(x, 4, keep_spikes=False, tile=1), other.run(x, 4))
        kept, wanted = (e.run(x, 4, keep_spikes=True, keep_membrane=True, tile=1) for e in (engine, other))
        assert_same(kept, wanted)
        for name, array in wanted.spikes.items():
            np.testing.assert_array_equal(kept.spikes[name], array)
        for name, array in wanted.membrane.items():
            np.testing.assert_array_equal(kept.membrane[name], array)
    assert seen.replays == 3 * 2 * FIRST - FIRST


@needs_kernels
def test_forms_that_are_not_used_any_more_give_their_memory_back(seen):
    graph = machine()
    engine = Engine(graph, "loihi")
    memories: list[weakref.ref[object]] = []
    for samples in range(1, 10):
        for _ in range(FIRST + 1):
            engine.run(spikes(graph, samples), 4, keep_spikes=False)
        engine.run(spikes(graph, samples), 4)
        memories += [weakref.ref(form.memory) for form in engine._local.forms.values()]
        memories += [weakref.ref(recording.memory) for recording in seen.recordings]
        seen.recordings.clear()
    gc.collect()
    assert len({id(memory()) for memory in memories if memory() is not None}) <= 2 * 4  # of 9 sizes, kept and not
    del engine
    gc.collect()
    assert all(memory() is None for memory in memories)


def out_of_range(bad: int, samples: int) -> tuple[Graph, np.ndarray]:
    """Sample ``bad`` drives the readout out of its range, the others are far from it."""
    nodes: dict[str, Node] = {
        "fc": Linear(np.full((2, 4), 254.0), np.full(2, 4000.0)),
        "readout": Integrator((2,)),
    }
    graph = replace(chain(nodes), timesteps=28)  # 28 x 4000 is within 131071, 28 x 5016 is not
    x = np.zeros((samples, 28, 4), np.uint8)
    x[:, :3] = np.random.default_rng(0).random((samples, 3, 4)) < 0.5
    x[bad] = 1
    return graph, x


@needs_kernels
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("bad", [0, FIRST - 1, FIRST, FIRST + 2, FIRST + 3, FIRST + 4, FIRST + 5])
def test_a_readout_out_of_range_is_refused_wherever_it_comes(bad, threads, seen, monkeypatch):
    """Step by step, while calls are written down, in a replay, in the last replay before they are written down anew."""
    monkeypatch.setattr(engines, "AGAIN", 4)
    samples = 4 * FIRST
    graph, x = out_of_range(bad, samples)
    with pytest.raises(UnsupportedError, match="left its 24-bit range") as wanted:
        plain(graph, "loihi").run(x, 28, tile=1)
    engine, done = Engine(graph, "loihi"), []
    with pytest.raises(UnsupportedError) as refusal:
        engine.run(x, 28, keep_spikes=False, tile=1, threads=threads, progress=done.append)
    assert (refusal.value.code, str(refusal.value)) == ("ND223", str(wanted.value))
    assert len(done) == bad  # all before it, none behind it
    assert arrays._local.listener is None
    if threads == 1:
        assert seen.refused == (bad in range(FIRST, FIRST + 4))
    good = np.delete(x, bad, axis=0)
    replayed = seen.replays
    for _ in range(2):
        again = engine.run(good, 28, keep_spikes=False, tile=1)
        assert_same(again, plain(graph, "loihi").run(good, 28, keep_spikes=False, tile=1))
    assert engine.repeats
    assert seen.replays > replayed


@needs_kernels
def test_an_error_while_calls_are_written_down_leaves_nothing_behind(seen, monkeypatch):
    graph = machine()
    engine, x = Engine(graph, "loihi"), spikes(graph, 3 * FIRST)
    run_node, calls = Engine._run_node, iter(range(10**6))

    def fails_once(self: Engine, tile: object, name: str) -> None:
        if arrays._local.listener is not None and next(calls) == 3:
            raise KeyboardInterrupt
        run_node(self, tile, name)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "_run_node", fails_once)
    with pytest.raises(KeyboardInterrupt):
        engine.run(x, 4, keep_spikes=False, tile=1)
    assert arrays._local.listener is None
    found = engine.run(x, 4, keep_spikes=False, tile=1)
    assert_same(found, plain(graph, "loihi").run(x, 4, keep_spikes=False))
    assert (len(seen.recordings), seen.replays) == (2, 3 * FIRST - 1)


@needs_kernels
def test_results_are_not_overwritten_by_what_comes_after(seen):
    """Of a tile step by step, of the one that was written down and of a replay; held longer than the engine."""
    for name in NETWORKS:
        make, arithmetic = NETWORKS[name]
        graph = make()
        engine = Engine(graph, arithmetic)
        held = []
        for seed in range(2 * FIRST):
            result = engine.run(given(graph, 2, seed=seed), 4, keep_spikes=False)
            held.append((result.output, result.totals, result.output.tobytes(), result.totals.tobytes()))
        del engine, result
        seen.recordings.clear()
        gc.collect()
        other = [Engine(graph, arithmetic).run(given(graph, 2, seed=99), 4) for _ in range(3)]
        for output, totals, output_then, totals_then in held:
            assert (output.tobytes(), totals.tobytes()) == (output_then, totals_then)
        del other


@needs_kernels
def test_scratch_memory_that_grew_in_between_does_not_matter(seen):
    graph = machine()
    engine, x = Engine(graph, "loihi"), spikes(graph, 2 * FIRST)
    engine.run(x[: FIRST + 1], 4, keep_spikes=False, tile=1)
    before = arrays.scratch_memory()
    arrays.scratch(8 << 20)
    assert arrays.scratch_memory() is not before
    del before
    gc.collect()
    held = [np.full(1 << 16, PATTERN, np.uint8) for _ in range(64)]  # whoever got that memory now
    found = engine.run(x, 4, keep_spikes=False, tile=1)
    assert_same(found, plain(graph, "loihi").run(x, 4))
    assert seen.replays == 1 + 2 * FIRST
    assert all((array == PATTERN).all() for array in held)


@needs_kernels
def test_one_engine_in_several_threads_of_a_user(seen):
    graph = machine(2)
    engine, other = Engine(graph, "loihi"), plain(graph, "loihi")
    x = [spikes(graph, 3 * FIRST, seed=seed) for seed in range(4)]
    found: dict[int, list[Result]] = {}

    def user(place: int) -> None:
        found[place] = [engine.run(x[place], 4, keep_spikes=False, tile=1 + place % 2) for _ in range(2)]

    threads = [threading.Thread(target=user, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place in range(4):
        for result in found[place]:
            assert_same(result, other.run(x[place], 4))
    assert len(seen.recordings) == 4


SCRIPT = """
import hashlib, sys
import numpy as np
from test_replay import NETWORKS, given
from neurodeploy.sim.engine import Engine
for name, (make, arithmetic) in NETWORKS.items():
    graph = make()
    engine = Engine(graph, arithmetic)
    result = engine.run(given(graph, 12), 4, keep_spikes=False, tile=1)
    print(name, engine.repeats, hashlib.sha256(result.output.tobytes() + result.totals.tobytes()).hexdigest())
"""


@needs_kernels
def test_numba_kernels_are_never_replayed_and_give_the_same():
    told = {}
    for kernels in ("", "numba"):
        here = os.path.dirname(__file__)
        paths = [here, os.path.dirname(here), os.path.dirname(os.path.dirname(here)), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        if kernels:
            environment["NEURODEPLOY_KERNELS"] = kernels
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        told[kernels] = done.stdout
    assert "True" not in told["numba"]
    assert told["numba"] == told[""].replace("True", "False")
    assert told[""].count("True") == len(NETWORKS)
