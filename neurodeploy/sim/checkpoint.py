"""The state of a long run, in a folder: what it is, and per process how far it has come.

``run.json`` says what runs (its identity) and is written first; ``part-<r>.json`` is replaced after every slab of
process r and holds the next sample, the counts and the seconds so far; ``part-<r>.predictions`` its predictions, int64,
one after the other; ``trace.npz`` the trace that is being filled. Predictions and trace rows reach the disk before the
``part`` file that counts them, so a kill loses one slab at most. Nothing in it is needed once the run is over.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from neurodeploy.diagnostics import UsageError
from neurodeploy.files import read_json, refuse_file_on_the_way, write_json, writing
from neurodeploy.sim.totals import NOTHING, Totals, joined

RUN, TRACE, LOCK = "run.json", "trace.npz", "lock"
SCHEMA = "neurodeploy.simulate-state/1"
START_OVER = "start over with --fresh"


@dataclass
class Checkpoint:
    """The state of one process of a run.

    Attributes:
        folder: Where it lies.
        rank: Which process.
        first: Its first sample.
        run: Random name of the run, the same in all of its processes.
        next: Its first sample that is not done.
        seconds: Spent on the samples before them.
    """

    folder: Path
    rank: int
    first: int
    run: str
    next: int = 0
    seconds: float = 0.0
    _counts: Totals = NOTHING
    _predictions: list[np.ndarray] = field(default_factory=list)
    _started: float = field(default_factory=time.perf_counter)

    @property
    def trace(self) -> Path:
        """The trace that is being filled."""
        return self.folder / TRACE

    @property
    def _part(self) -> Path:
        return self.folder / f"part-{self.rank}.json"

    @property
    def _predicted(self) -> Path:
        return self.folder / f"part-{self.rank}.predictions"

    @property
    def totals(self) -> Totals:
        """Of the samples that are done."""
        return replace(self._counts, predictions=np.concatenate([NOTHING.predictions, *self._predictions]))

    @property
    def worth_keeping(self) -> bool:
        """Whether some process has saved a slab."""
        return any(self.folder.glob("part-*.json"))

    def restore(self) -> None:
        """Read how far this process has come, if it has.

        Raises:
            UsageError: A state that cannot be read (ND103).
        """
        self.next = self.first
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)  # on this process's machine
        if not self._part.exists():
            return
        table = read_json(self._part, what="state of the run")
        try:
            if table["run"] != self.run:
                return  # of a run before this one, on a machine of its own
            count = table["next"] - self.first
            predictions = np.fromfile(self._predicted, np.int64, count)
            if len(predictions) != count:
                raise ValueError("predictions are missing")
            self._counts = Totals.from_json(table["counts"], NOTHING.predictions)
            self._predictions = [predictions]
            self.next, self.seconds = table["next"], table["seconds"]
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise UsageError(
                "ND103", f"the state of the run cannot be read: {error}", where=str(self._part), fix=START_OVER
            ) from error

    def add(self, totals: Totals, *, save: bool) -> None:
        """A slab is done; ``save``: a kill must not lose it."""
        start = self.next - self.first
        self._predictions.append(totals.predictions)
        self._counts = replace(joined([self._counts, totals]), predictions=NOTHING.predictions)
        self.next += len(totals.predictions)
        if not save:
            return
        with writing(self.folder), self._predicted.open("r+b" if self._predicted.exists() else "w+b") as stream:
            stream.seek(8 * start)
            stream.write(totals.predictions.astype(np.int64).tobytes())
            stream.flush()
            os.fsync(stream.fileno())
        counts = self._counts.counts_to_json()
        write_json(self._part, {"run": self.run, "next": self.next, "seconds": self.spent(), "counts": counts})

    def spent(self) -> float:
        """Seconds, those before an interruption included."""
        return self.seconds + time.perf_counter() - self._started

    def remove(self) -> None:
        """This process's files; the first process takes all, and the folder goes with the last file."""
        if self.rank == 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        for path in (self._part, self._predicted):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or the first process was faster
            self.folder.rmdir()


def begin(
    folder: Path, identity: dict[str, Any], *, fresh: bool, trace_bytes: int | None
) -> tuple[str, IO[bytes] | None]:
    """The run in ``folder``, a new one or the one that was interrupted there if it is the same, and a lock on it.

    Args:
        folder: The place; made if it is not there.
        identity: What makes two runs the same.
        fresh: Forget what was interrupted.
        trace_bytes: Least size of the trace that is being filled, None without one: a run that never got so far starts
            over.

    Raises:
        UsageError: Another run was interrupted there, or another process is at work there (ND130); the place holds
            something else (ND110).
    """
    refuse_file_on_the_way(folder)
    state, trace = folder / RUN, folder / TRACE
    if folder.exists() and not state.is_file() and (not folder.is_dir() or _names(folder) - {LOCK}):
        raise UsageError(
            "ND110",
            "the place for the state of the run holds something else",
            where=str(folder),
            fix="choose another --checkpoint or --trace, or remove it",
        )
    held = _lock(folder)
    try:
        if state.is_file() and not fresh:
            run = _interrupted(state, identity)
            if run and (trace_bytes is None or (trace.is_file() and trace.stat().st_size >= trace_bytes)):
                return run, held
        with writing(folder):
            for name in _names(folder) - {LOCK}:
                (folder / name).unlink()
        run = secrets.token_hex(8)
        write_json(state, {"schema": SCHEMA, "run": run, "identity": identity})
    except BaseException:
        if held is not None:
            held.close()
        if _names(folder) <= {LOCK}:
            shutil.rmtree(folder)
        raise
    return run, held


def _interrupted(state: Path, identity: dict[str, Any]) -> str:
    """The run that was interrupted; it must be the one of ``identity``. Empty where another one had done nothing."""
    table = read_json(state, what="state of the run")
    known = table.get("identity") if isinstance(table, dict) and table.get("schema") == SCHEMA else None
    if not isinstance(known, dict):
        raise UsageError("ND103", "the state of the run cannot be read", where=str(state), fix=START_OVER)
    differing = [key for key in {**known, **identity} if known.get(key) != identity.get(key)]
    if differing and not any(state.parent.glob("part-*.json")):
        return ""
    if differing:
        raise UsageError(
            "ND130",
            "another run was interrupted here: "
            + ", ".join(_difference(key, known.get(key), identity.get(key)) for key in differing),
            where=str(state.parent),
            fix=f"give the same model, input and options to finish it, or {START_OVER}",
        )
    return str(table["run"])


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _difference(key: str, before: Any, now: Any) -> str:
    digests = any(isinstance(value, str) and len(value) == 64 for value in (before, now))
    return f"{key} differs" if digests else f"{key} was {before} and is {now}"


def _lock(folder: Path) -> IO[bytes] | None:
    """Held until the process ends, so that two do not write into one folder; None where the system has no locks."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / LOCK).open("wb")
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.close()
        raise UsageError(
            "ND130", "another process is at work on this run", where=str(folder), fix="wait for it, or stop it"
        ) from error
    except OSError:  # a file system without locks
        return stream
    return stream
