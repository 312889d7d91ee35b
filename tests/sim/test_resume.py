"""A run that is killed goes on where it stopped, and ends with the bytes of one that was not."""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_files import listing
from streamed import MODEL, X, Y, numbers, streamed, whole

from neurodeploy.cli import run
from neurodeploy.diagnostics import UsageError
from neurodeploy.ir.nir_io import write_nir
from neurodeploy.sim import checkpoint, job, npz_writer, stream
from neurodeploy.sim.checkpoint import begin
from neurodeploy.sim.job import Job
from neurodeploy.sim.sources import ArraySource

SLABS = [(0, 4), (4, 8), (8, 12), (12, 13)]


@pytest.fixture(autouse=True)
def _small_slabs(monkeypatch) -> None:
    monkeypatch.setattr(job, "SLAB_SAMPLES", 4)


def killed(work: Callable[[], object]) -> None:
    """Do ``work`` in a process that gets SIGKILL on the way (see :func:`kill_at`)."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
        os._exit(3)  # it should not have come here
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the process was to be killed, and ended by itself"
    assert os.WTERMSIG(status) == signal.SIGKILL


def kill_at(monkeypatch, owner: object, name: str, call: int) -> None:
    """SIGKILL when ``owner.name`` is called for the n-th time."""
    original, calls = getattr(owner, name), []

    def last(*arguments, **named):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, last)


def reads(source: ArraySource) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []
    read = source.read
    source.read = lambda start, stop: seen.append((start, stop)) or read(start, stop)  # type: ignore[method-assign]
    return seen


#: Where it is killed, at which call, and how many samples are then done. The engine's first call is for the shapes.
MOMENTS = {
    "in the first slab": (Job, "run", 2, 0),
    "in the third slab": (Job, "run", 4, 8),
    "before the rows of the second slab": (npz_writer.NpzLayout, "write", 2, 4),
    "after the rows of the second slab": (checkpoint.Checkpoint, "add", 2, 4),
    "after its predictions, before its counts": (checkpoint, "write_json", 3, 4),
    "before the counts of the trace": (stream, "_finish", 1, 12),
    "before the archive is closed": (npz_writer, "_end", 1, 12),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_goes_on(moment: str, tmp_path: Path) -> None:
    owner, name, call, done = MOMENTS[moment]
    expected = streamed(tmp_path / "whole.npz")
    trace, said = tmp_path / "t.npz", []
    with pytest.MonkeyPatch.context() as monkeypatch:
        kill_at(monkeypatch, owner, name, call)
        killed(lambda: streamed(trace))
    assert not trace.exists()
    source = ArraySource(X, Y)
    seen = reads(source)
    assert numbers(streamed(trace, source=source, notice=said.append)) == numbers(expected) == numbers(whole())
    assert trace.read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert said == ([f"resuming: {done} of 13 samples are done"] if done else [])
    assert [slab for slab in seen if slab != (0, 1)][-len(SLABS) + done // 4 :] == SLABS[done // 4 :]
    if done:
        assert len(seen) == 1 + len(SLABS) - done // 4, "a sample for the shapes, then what was left; nothing twice"
    assert {path.name for path in tmp_path.iterdir()} == {"t.npz", "whole.npz"}


def test_killed_again_and_again(tmp_path: Path) -> None:
    """Every attempt gets one slab further."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        kill_at(monkeypatch, Job, "run", 2)
        for _ in range(3):
            killed(lambda: streamed(folder=tmp_path / "state"))
    assert numbers(streamed(folder=tmp_path / "state")) == numbers(whole())
    assert list(tmp_path.iterdir()) == []


def interrupted(*arguments, monkeypatch, call: int = 3, error: BaseException | None = None, **named) -> None:
    with monkeypatch.context() as patch:
        original, calls = Job.run, []

        def last(*given, **rest):
            calls.append(1)
            if len(calls) == call:
                raise error or KeyboardInterrupt
            return original(*given, **rest)

        patch.setattr(Job, "run", last)
        with pytest.raises(type(error or KeyboardInterrupt())):
            streamed(*arguments, **named)


def test_ctrl_c_keeps_what_is_done_and_says_where(tmp_path: Path, monkeypatch) -> None:
    said: list[str] = []
    interrupted(folder=tmp_path / "state", monkeypatch=monkeypatch, notice=said.append)
    assert len(said) == 1
    assert str(tmp_path / "state") in said[0]
    assert numbers(streamed(folder=tmp_path / "state")) == numbers(whole())


def test_ctrl_c_before_anything_is_done_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    interrupted(tmp_path / "t.npz", monkeypatch=monkeypatch, call=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("code", "kept"), [("ND223", False), ("ND108", False), ("ND106", True), ("ND110", True)])
def test_errors_that_stay_remove_the_state(code: str, kept: bool, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "t.npz").write_bytes(b"older")
    interrupted(tmp_path / "t.npz", monkeypatch=monkeypatch, call=4, error=UsageError(code, "no", where="x", fix="y"))
    assert (tmp_path / "t.npz.partial").exists() == kept
    assert (tmp_path / "t.npz").read_bytes() == b"older"


def test_the_state_of_another_run_is_refused_by_name(tmp_path: Path, monkeypatch) -> None:
    mine = {"model": "a" * 64, "input": "b" * 64, "timesteps": 4}
    interrupted(folder=tmp_path / "s", monkeypatch=monkeypatch, identity=mine)
    before = listing(tmp_path)
    for change, says in (
        ({"model": "c" * 64}, "model differs"),
        ({"input": "d" * 64}, "input differs"),
        ({"timesteps": 8}, "timesteps was 4 and is 8"),
        ({"--dt": 1.0}, "--dt was None and is 1.0"),
    ):
        with pytest.raises(UsageError, match=says) as caught:
            streamed(folder=tmp_path / "s", identity={**mine, **change})
        assert (caught.value.code, "--fresh" in caught.value.fix) == ("ND130", True)
        assert listing(tmp_path) == before
    assert numbers(streamed(folder=tmp_path / "s", identity={**mine, "timesteps": 8}, fresh=True)) == numbers(whole())


def test_another_run_that_had_done_nothing_is_in_nobodys_way(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        kill_at(monkeypatch, Job, "run", 1)
        killed(lambda: streamed(folder=tmp_path / "s", identity={"timesteps": 8}))
    assert (tmp_path / "s" / "run.json").is_file()
    assert numbers(streamed(folder=tmp_path / "s")) == numbers(whole())


def test_two_processes_do_not_work_on_one_run(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    _, held = begin(tmp_path / "s", {}, fresh=False, trace_bytes=None)
    with pytest.raises(UsageError, match="at work") as caught:
        streamed(folder=tmp_path / "s", identity={})
    assert caught.value.code == "ND130"
    held.close()
    assert numbers(streamed(folder=tmp_path / "s", identity={})) == numbers(whole())


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_place_that_holds_something_else(what: str, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    if what == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "thesis.tex").write_text("mine")
    before = listing(tmp_path)
    for fresh in (False, True):
        with pytest.raises(UsageError) as caught:
            streamed(folder=place, fresh=fresh)
        assert caught.value.code == "ND110"
        assert listing(tmp_path) == before


@pytest.mark.parametrize("damage", ["{", "{}", '{"schema": "neurodeploy.simulate-state/1", "identity": 3}'])
def test_a_state_that_cannot_be_read(damage: str, tmp_path: Path, monkeypatch) -> None:
    interrupted(folder=tmp_path / "s", monkeypatch=monkeypatch)
    (tmp_path / "s" / "run.json").write_text(damage)
    with pytest.raises(UsageError) as caught:
        streamed(folder=tmp_path / "s")
    assert caught.value.code == "ND103"


def test_predictions_that_are_missing_are_noticed(tmp_path: Path, monkeypatch) -> None:
    interrupted(folder=tmp_path / "s", monkeypatch=monkeypatch)
    (tmp_path / "s" / "part-0.predictions").write_bytes(b"")
    with pytest.raises(UsageError, match="predictions are missing"):
        streamed(folder=tmp_path / "s")


# ---------------------------------------------------------------------------------------------------------------------
# the command


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    write_nir(MODEL.graph, tmp_path / "model.nir")
    np.savez(tmp_path / "x.npz", x=X, y=Y)
    return ["simulate", str(tmp_path / "model.nir"), "--input", str(tmp_path / "x.npz"), "--batch", "1", "--json"]


def stopped(words: list[str], monkeypatch, capsys) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, Job, "run", 3)
        patch.setattr(os, "kill", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(words) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--trace", "--checkpoint"])
def test_the_command_resumes(option: str, words: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
    words += [option, str(tmp_path / "out.npz")]
    stopped(words, monkeypatch, capsys)
    place = tmp_path / ("out.npz.partial" if option == "--trace" else "out.npz")
    assert (place / "run.json").is_file()
    for change, says in (
        (["--limit", "5"], "samples was 13 and is 5"),
        (["--timesteps", "8"], "timesteps was 4 and is 8"),
        (["--arithmetic", "float64"], "arithmetic was float32 and is float64"),
        (["--compare", "gt"], "--compare was None and is gt"),
    ):
        assert run([*words, *change]) == 2
        error = json.loads(capsys.readouterr().out)["error"]
        assert (error["code"], error["message"].split(": ")[1]) == ("ND130", says)
    (tmp_path / "x.npz").rename(tmp_path / "kept.npz")
    np.savez(tmp_path / "x.npz", x=X + 1, y=Y)
    assert run(words) == 2
    assert "input differs" in json.loads(capsys.readouterr().out)["error"]["message"]
    (tmp_path / "kept.npz").replace(tmp_path / "x.npz")
    assert run([*words, "--batch", "2", "--threads", "2"]) == 0  # nothing depends on these
    captured = capsys.readouterr()
    assert "resuming: " in captured.err
    result = json.loads(captured.out)["result"]
    assert {key: value for key, value in result.items() if key != "seconds"} == numbers(whole())
    assert not place.is_dir()


def test_fresh_starts_over(words: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
    words += ["--checkpoint", str(tmp_path / "state")]
    stopped(words, monkeypatch, capsys)
    assert run([*words, "--limit", "5", "--fresh"]) == 0
    captured = capsys.readouterr()
    assert "resuming" not in captured.err
    assert json.loads(captured.out)["result"]["samples"] == 5


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (["--fresh"], "--fresh"),
        (["--trace", "t.npz", "--checkpoint", "state"], "--checkpoint"),
        (["--split", "test"], "--split"),
    ],
)
def test_options_that_do_not_go_together(options, where, words, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = listing(tmp_path)
    assert run([*words, *options]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["where"]) == ("ND100", where)
    assert listing(tmp_path) == before
