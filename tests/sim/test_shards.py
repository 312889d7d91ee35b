"""Samples shared by processes: the numbers, the trace and the errors of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamed import MODEL, SAMPLES, X, Y, numbers, streamed, whole

from neurodeploy.diagnostics import Finding, UnsupportedError, UsageError
from neurodeploy.ir.nir_io import write_nir
from neurodeploy.sim import job
from neurodeploy.sim.job import Job
from neurodeploy.sim.shards import Shards
from neurodeploy.sim.sources import ArraySource
from neurodeploy.sim.trace import Trace


@pytest.fixture(autouse=True)
def _small_slabs(monkeypatch) -> None:
    monkeypatch.setattr(job, "SLAB_SAMPLES", 2)


@pytest.mark.parametrize(("samples", "size"), [(13, 1), (13, 4), (3, 5), (1, 2), (100, 7)])
def test_parts_cover_the_samples_once_in_order(samples: int, size: int) -> None:
    parts = [Shards(rank, size).part(samples) for rank in range(size)]
    assert [sample for first, last in parts for sample in range(first, last)] == list(range(samples))
    lengths = [last - first for first, last in parts]
    assert max(lengths) - min(lengths) <= 1


# ---------------------------------------------------------------------------------------------------------------------
# threads in the place of processes: the same code, another way to exchange values


class Killed(BaseException):
    """What SIGKILL is to a process."""


class Meeting:
    """What gloo and its store are to processes."""

    def __init__(self, size: int) -> None:
        self.barrier, self.values, self.told = threading.Barrier(size), [None] * size, {}

    def set(self, key: str, value: str) -> None:
        self.told[key] = value

    def check(self, keys: list[str]) -> bool:
        return all(key in self.told for key in keys)


@dataclass(frozen=True)
class Thread(Shards):
    def _exchange(self, value: Any) -> list[Any]:
        self._store.values[self.rank] = value
        self._store.barrier.wait(60)
        everyone = list(self._store.values)
        self._store.barrier.wait(60)
        return everyone


def together(size: int, *arguments: Any, **named: Any) -> list[Trace | BaseException]:
    """What :func:`streamed` gives in every one of ``size`` processes; a value that is a list has one for each."""
    meeting = Meeting(size)
    ends: list[Any] = [None] * size

    def one(rank: int) -> None:
        given = [value[rank] if isinstance(value, list) else value for value in arguments]
        try:
            ends[rank] = streamed(*given, shards=Thread(rank, size, meeting), **named)
        except BaseException as error:
            ends[rank] = error
            if isinstance(error, Killed):
                meeting.barrier.abort()

    threads = [threading.Thread(target=one, args=(rank,), name=f"rank {rank}") for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def failing(monkeypatch, error: BaseException, *, rank: int, call: int) -> list[str]:
    """Rank ``rank`` meets ``error`` at its n-th slab (with a trace, the first call is for the shapes)."""
    original, calls = Job.run, []

    def run(self: Job, *arguments: Any) -> Any:
        calls.append(threading.current_thread().name)
        if calls.count(f"rank {rank}") == call and calls[-1] == f"rank {rank}":
            raise error
        return original(self, *arguments)

    monkeypatch.setattr(Job, "run", run)
    return calls


@pytest.mark.parametrize("size", [2, 3])
def test_totals_and_trace_are_those_of_one_process(size: int, tmp_path: Path) -> None:
    streamed(tmp_path / "one.npz", keep_membrane=True)
    for trace in together(size, tmp_path / "many.npz", keep_membrane=True):
        assert numbers(trace) == numbers(whole())
    assert (tmp_path / "many.npz").read_bytes() == (tmp_path / "one.npz").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"one.npz", "many.npz"}


def test_more_processes_than_samples() -> None:
    few = ArraySource(X[:2], Y[:2])
    expected = numbers(streamed(source=few))
    assert [numbers(trace) for trace in together(3, source=few)] == [expected] * 3


def test_an_error_of_one_is_the_error_of_all(tmp_path: Path, monkeypatch) -> None:
    finding = Finding("ND223", "error", "lif1", "left its range", 9, 8, "bits")
    error = UnsupportedError("ND223", "left its range", where="lif1", fix="scale", findings=(finding,))
    calls = failing(monkeypatch, error, rank=1, call=2)
    ends = together(2, tmp_path / "t.npz")
    for end in ends:
        assert isinstance(end, UnsupportedError)
        assert end.to_json() == error.to_json()
    assert list(tmp_path.iterdir()) == [], "an error that stays leaves nothing"
    assert calls.count("rank 0") <= 5, "one for the shapes, and at most its own 4 slabs"


def test_the_others_stop_at_their_next_slab(monkeypatch) -> None:
    """Rank 0 is held in its first slab until rank 1 has failed: it must not begin another."""
    failed = threading.Event()
    original, calls = Job.run, []

    def run(self: Job, *arguments: Any) -> Any:
        calls.append(threading.current_thread().name)
        if calls[-1] == "rank 1":
            failed.set()
            raise UsageError("ND108", "no", where="x", fix="y")
        assert failed.wait(60)
        result = original(self, *arguments)
        while not Meeting.last.told:
            failed.wait(0.01)
        return result

    monkeypatch.setattr(Job, "run", run)
    made = Meeting.__init__

    def remember(self: Meeting, size: int) -> None:
        made(self, size)
        Meeting.last = self

    monkeypatch.setattr(Meeting, "__init__", remember)
    assert all(isinstance(end, UsageError) for end in together(2))
    assert calls.count("rank 0") == 1


def test_a_bug_is_told_where_it_is_and_the_others_say_which_process_failed(monkeypatch) -> None:
    failing(monkeypatch, ZeroDivisionError("oh"), rank=1, call=1)
    first, second = together(2)
    assert isinstance(first, UsageError)
    assert (first.code, first.message) == ("ND131", "process 1 failed: ZeroDivisionError: oh")
    assert isinstance(second, ZeroDivisionError)


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_one_is_killed_and_all_go_on(rank: int, trace: bool, tmp_path: Path) -> None:
    streamed(tmp_path / "one.npz")
    places = (tmp_path / "t.npz",) if trace else (None, tmp_path / "state")
    with pytest.MonkeyPatch.context() as monkeypatch:
        failing(monkeypatch, Killed(), rank=rank, call=2 + trace)
        ends = together(3, *places)
    assert [type(end) for end in ends].count(Killed) == 1
    assert {end.code for end in ends if isinstance(end, UsageError)} == {"ND131"}
    said: list[str] = []
    for end in together(3, *places, notice=said.append):
        assert numbers(end) == numbers(whole())
    assert any(line.startswith("resuming") for line in said)
    if trace:
        assert (tmp_path / "t.npz").read_bytes() == (tmp_path / "one.npz").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"one.npz", *(["t.npz"] if trace else [])}


def test_every_process_must_see_the_folder_of_the_trace(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    ends = together(2, tmp_path / "t.npz", [tmp_path / "here", tmp_path / "elsewhere"])
    assert {(end.code, end.message) for end in ends} == {("ND131", "process 1 does not see the folder of the trace")}


def test_without_a_trace_each_machine_has_its_own_folder(tmp_path: Path) -> None:
    folders = [tmp_path / "here", tmp_path / "there"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        failing(monkeypatch, Killed(), rank=0, call=3)
        together(2, None, folders)
    assert (folders[1] / "part-1.json").is_file()
    for end in together(2, None, folders):
        assert numbers(end) == numbers(whole())
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------------------------------
# real processes


def torchrun(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launch, "-m", "neurodeploy", "simulate", *map(str, words), "--json"],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_torchrun(tmp_path: Path) -> None:
    write_nir(MODEL.graph, tmp_path / "model.nir")
    np.savez(tmp_path / "x.npz", x=X, y=Y)
    done = torchrun("model.nir", "--input", "x.npz", "--trace", "many.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["result"]  # one document: the second process prints nothing
    assert {key: value for key, value in found.items() if key != "seconds"} == numbers(whole())
    streamed(tmp_path / "one.npz")
    assert (tmp_path / "many.npz").read_bytes() == (tmp_path / "one.npz").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"model.nir", "x.npz", "one.npz", "many.npz"}


@pytest.mark.slow
def test_torchrun_says_an_error_of_the_second_process_once(tmp_path: Path) -> None:
    write_nir(MODEL.graph, tmp_path / "model.nir")
    x = X.copy()
    x[SAMPLES - 1] = np.nan
    np.savez(tmp_path / "x.npz", x=x)
    done = torchrun("model.nir", "--input", "x.npz", "--trace", "t.npz", cwd=tmp_path)
    assert done.returncode != 0
    assert json.loads(done.stdout)["error"]["code"] == "ND108"
    assert "nan or infinity" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"model.nir", "x.npz"}
