"""Samples that stream through: the numbers of a run of all at once, in memory that does not grow with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from graphs import paper_chain, random_graph, random_input
from streamed import MODEL, SAMPLES, X, Y, numbers, streamed, whole

from neurodeploy.cli import run
from neurodeploy.diagnostics import UsageError
from neurodeploy.ir.nir_io import write_nir
from neurodeploy.ir.nodes import LIF, ReLU
from neurodeploy.sim import job, sources
from neurodeploy.sim.job import prepare
from neurodeploy.sim.run import simulate
from neurodeploy.sim.sources import ArraySource, DatasetSource, FileSource
from neurodeploy.targets.artifact import Runnable, load_runnable
from neurodeploy.targets.export import export


@pytest.fixture(autouse=True)
def _small_slabs(monkeypatch) -> None:
    """Slabs of 4 samples, and files that are read as they come."""
    monkeypatch.setattr(job, "SLAB_SAMPLES", 4)
    monkeypatch.setattr(sources, "KEPT_BYTES", 0)


def assert_same(path: Path, expected: dict[str, np.ndarray]) -> None:
    with np.load(path) as found:
        assert found.files == list(expected)
        for key, array in expected.items():
            assert found[key].dtype == array.dtype, key
            np.testing.assert_array_equal(found[key], array, err_msg=key)


@pytest.mark.parametrize("membrane", [False, True])
def test_a_streamed_trace_is_that_of_all_samples_at_once(membrane: bool, tmp_path: Path) -> None:
    expected = whole(keep_spikes=True, keep_membrane=membrane)
    trace = streamed(tmp_path / "t.npz", keep_membrane=membrane)
    assert numbers(trace) == numbers(expected)
    assert_same(tmp_path / "t.npz", expected.arrays())
    assert list(tmp_path.iterdir()) == [tmp_path / "t.npz"]


@pytest.mark.parametrize("seed", range(6))
def test_random_graphs(seed: int, tmp_path: Path) -> None:
    graph = random_graph(seed)
    runnable, x = Runnable(graph, None, {}, True, ""), random_input(graph, seed, samples=9)
    expected = simulate(runnable, x, keep_spikes=True, keep_membrane=True, batch=100)
    trace = streamed(tmp_path / "t.npz", source=ArraySource(x), runnable=runnable, keep_membrane=True)
    assert numbers(trace) == numbers(expected)
    assert_same(tmp_path / "t.npz", expected.arrays())


@pytest.fixture(scope="module")
def with_host_parts(tmp_path_factory) -> Runnable:
    """An encoder before the chip, a tail behind it."""
    folder = tmp_path_factory.mktemp("host")
    write_nir(paper_chain(width=2).with_nodes({"lif2": ReLU()}), folder / "model.nir")
    np.savez(folder / "x.npz", x=X, y=Y)
    return load_runnable(export(folder / "model.nir", "loihi2", folder / "out", inputs=folder / "x.npz").folder)


def test_encoder_and_tail(with_host_parts: Runnable, tmp_path: Path, monkeypatch) -> None:
    trace = streamed(tmp_path / "t.npz", runnable=with_host_parts, keep_membrane=True)
    light = streamed(runnable=with_host_parts)
    monkeypatch.setattr(job, "SLAB_SAMPLES", 1000)
    expected = simulate(with_host_parts, X, Y, keep_spikes=True, keep_membrane=True)
    assert len(expected.host_layers) > 4
    assert numbers(trace) == numbers(light) == numbers(expected)
    assert_same(tmp_path / "t.npz", expected.arrays())
    with np.load(tmp_path / "t.npz") as found:
        assert "host_output" in found.files


def test_arrays_of_the_library_do_not_depend_on_slabs(with_host_parts: Runnable, monkeypatch) -> None:
    cut = simulate(with_host_parts, X, Y, keep_spikes=True, keep_membrane=True, batch=1)
    only_states = simulate(with_host_parts, X, keep_membrane=True, batch=1)
    monkeypatch.setattr(job, "SLAB_SAMPLES", 1000)
    expected = simulate(with_host_parts, X, Y, keep_spikes=True, keep_membrane=True)
    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(cut.arrays()[name], array)
    np.testing.assert_array_equal(cut.encoded, expected.encoded)
    for name, array in expected.membrane.items():
        np.testing.assert_array_equal(only_states.membrane[name], array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_is_read_in_slabs(save, tmp_path: Path) -> None:
    save(tmp_path / "x.npz", x=X, y=Y)
    source = FileSource(tmp_path / "x.npz")
    seen: list[tuple[int, int]] = []
    read = source.read
    source.read = lambda start, stop: seen.append((start, stop)) or read(start, stop)
    assert numbers(streamed(source=source)) == numbers(whole())
    slabs = [(0, 4), (4, 8), (8, 12), (12, 13)]
    assert seen == slabs * 2, "once to check the values, once to run"
    assert FileSource(tmp_path / "x.npz", limit=5).shape == (5, 1, 8, 8)


def test_wrong_values_are_counted_over_all_slabs_before_anything_is_written(tmp_path: Path) -> None:
    x = np.repeat(np.zeros((SAMPLES, 4, 1, 8, 8), np.float32), 1, axis=0)
    x[3, 0, 0, 0, 0], x[12, 3, 0, 7, 7] = 3, 7
    np.savez(tmp_path / "x.npz", x=x)
    runnable = Runnable(paper_chain(real=False, width=2), None, {}, True, "")
    with pytest.raises(UsageError, match=f"2 of {x.size} values are not, the first is 3") as caught:
        streamed(tmp_path / "t.npz", source=FileSource(tmp_path / "x.npz"), runnable=runnable)
    assert caught.value.code == "ND108"
    assert list(tmp_path.iterdir()) == [tmp_path / "x.npz"]


def test_a_dataset_is_checked_as_it_comes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    x = X.copy()
    x[9, 0, 0, 0] = np.nan
    made = SimpleNamespace(
        y=Y, name="toy", split="test", sha256="0", scale=None, batch=lambda i: x[i], __len__=lambda: SAMPLES
    )
    dataset = type("Toy", (), {**vars(made), "batch": lambda self, i: x[i], "__len__": lambda self: SAMPLES})()
    with pytest.raises(UsageError, match="nan") as caught:
        streamed(tmp_path / "t.npz", source=DatasetSource(dataset))
    assert caught.value.code == "ND108"
    assert list(tmp_path.iterdir()) == []
    x[9] = X[9]
    assert numbers(streamed(source=DatasetSource(dataset))) == numbers(whole())
    assert streamed(source=DatasetSource(dataset, limit=5)).samples == 5


def test_the_size_of_a_slab(monkeypatch) -> None:
    """By hand: 8 bytes for each of 64 input values and of 2 x 4 x 10 outputs; spikes are kept twice, a byte each."""
    monkeypatch.setattr(job, "SLAB_SAMPLES", 1024)

    def slab(budget: int, **how) -> int:
        monkeypatch.setattr(job, "SLAB_BYTES", budget)
        return prepare(MODEL, ArraySource(X), **how).slab_samples()

    light = 8 * (64 + 2 * 4 * 10)
    assert slab(100 * light, batch=1) == 100
    assert slab(100 * light - 1, batch=1) == 99
    assert slab(100 * light, batch=32) == 96
    assert slab(100 * light, batch=32, threads=2) == 64
    assert slab(100 * light, batch=150) == 150, "at least one round: --batch says how much memory may be used"
    assert slab(10**9, batch=1) == 1024
    neurons = sum(int(np.prod(MODEL.graph.shapes[name])) for name in MODEL.graph.names(LIF))
    spikes = 2 * 4 * neurons
    assert slab(100 * (light + spikes), batch=1, keep_spikes=True) == 100
    states = 8 * 4 * 4 * (neurons + 10)  # the readout has a state too; where there are currents they are as many
    assert slab(100 * (light + spikes + states), batch=1, keep_spikes=True, keep_membrane=True) == 100


#: Peak memory in KiB of a simulation by the command, in a fresh process. Not ``ru_maxrss``: that of the process which
#: started it, with the input in memory, is handed down.
PEAK = """
import sys
from neurodeploy.cli import run
assert run(sys.argv[1:]) == 0
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1], file=sys.stderr)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path) -> None:
    """20 times as many samples, of 125 MB and with a trace of 50 MB: within 50 MiB."""
    import nir

    nodes = {
        "in": nir.Input({"input": np.array([784])}),
        "fc": nir.Affine(np.random.default_rng(0).normal(size=(40, 784)).astype(np.float32), np.zeros(40, np.float32)),
        "lif": nir.LIF(
            tau=np.full(40, 2e-4), r=np.ones(40), v_leak=np.zeros(40), v_threshold=np.ones(40), v_reset=np.zeros(40)
        ),
        "out": nir.Output({"output": np.array([40])}),
    }
    nir.write(tmp_path / "model.nir", nir.NIRGraph(nodes, [("in", "fc"), ("fc", "lif"), ("lif", "out")]))
    few, many = 2_000, 40_000
    peaks = {}
    for samples in (few, many):
        x = np.zeros((samples, 784), np.float32)
        x[:, ::50] = np.arange(samples)[:, None] % 7
        np.savez(tmp_path / "x.npz", x=x)
        words = ["simulate", tmp_path / "model.nir", "--input", tmp_path / "x.npz", "--timesteps", "16", "--json"]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *words, "--trace", tmp_path / "t.npz"],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["result"]["samples"] == samples
        peaks[samples] = int(done.stderr.split()[-1]) / 1024
    assert (tmp_path / "t.npz").stat().st_size > 50e6
    assert peaks[many] - peaks[few] < 50, peaks


def test_the_command_streams(tmp_path: Path, capsys) -> None:
    write_nir(MODEL.graph, tmp_path / "model.nir")
    np.savez_compressed(tmp_path / "x.npz", x=X, y=Y)
    words = ["simulate", tmp_path / "model.nir", "--input", tmp_path / "x.npz", "--trace", tmp_path / "t.npz"]
    assert run([*map(str, words), "--batch", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["result"]
    expected = whole(keep_spikes=True)
    assert {key: value for key, value in found.items() if key != "seconds"} == numbers(expected)
    assert_same(tmp_path / "t.npz", expected.arrays())
