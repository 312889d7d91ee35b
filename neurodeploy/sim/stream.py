"""``simulate`` for any number of samples: slab by slab, in constant memory, resumable, shared by processes.

Counts are int64 and samples are independent, so totals, predictions and the trace are those of one uninterrupted run of
one process, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.diagnostics import NeurodeployError, UsageError
from neurodeploy.files import read_json, writing
from neurodeploy.sim.checkpoint import RUN, Checkpoint, begin
from neurodeploy.sim.job import Job, check_values
from neurodeploy.sim.npz_writer import NpzLayout
from neurodeploy.sim.run import slabs, traced
from neurodeploy.sim.shards import Shards
from neurodeploy.sim.sources import Source
from neurodeploy.sim.totals import NOTHING, Totals, joined
from neurodeploy.sim.trace import LayerCounts, Trace

#: ``watch(samples, done)`` gives a callback for every sample more.
Watch = Callable[[int, int], AbstractContextManager[Callable[[int], None] | None]]
#: Rows that a trace on disk leaves out.
UNTRACED = "encoded"
#: Errors that a second attempt may not meet: files that cannot be read or written, a process that has gone.
PASSING_ERRORS = ("ND103", "ND106", "ND110", "ND131")


@dataclass(frozen=True)
class Place:
    """Where a run keeps its state, and where its trace goes.

    Attributes:
        folder: Of the state.
        trace: The ``.npz`` to make, or None.
        identity: What the run is, for whoever resumes it; called once, by the first process.
        fresh: Forget what was interrupted there.
    """

    folder: Path
    trace: Path | None
    identity: Callable[[], dict[str, Any]]
    fresh: bool = False


def simulate_stream(
    job: Job,
    source: Source,
    place: Place | None = None,
    *,
    shards: Shards | None = None,
    watch: Watch | None = None,
    notice: Callable[[str], None] = lambda line: None,
) -> Trace:
    """Run all samples; the result holds predictions and counts, and no arrays of spikes or output.

    Args:
        job: What :func:`~neurodeploy.sim.job.prepare` gave; what it keeps goes to the trace.
        source: Samples; their values are checked before anything runs (a dataset's as they come).
        place: For the state and the trace; None: neither is kept.
        shards: Processes that share the samples; each calls this with the same arguments.
        watch: Progress.
        notice: Told what a person should know.

    Raises:
        UsageError: Values that the network cannot take (ND108), a file that cannot be read or written (ND103, ND106,
            ND110), the state of another run (ND130), a process that failed (ND131). What was written is removed, but
            for errors that may pass: then, and when the process is killed, the same call goes on where it stopped.
        UnsupportedError: A value left the range of what holds it (ND223).
    """
    shards = shards or Shards()
    samples = source.shape[0]
    first, last = shards.part(samples)
    layout = None
    if place is not None and place.trace is not None:
        layout = shards.each(lambda: _layout(job, source))
    resumable = shards.meet(lambda: place is not None and not place.fresh and (place.folder / RUN).is_file())[0]
    if source.values_are_read_twice and not resumable:  # before anything is written
        shards.each(lambda: check_values(job, source, first, last))
    state = Checkpoint(Path(), shards.rank, first, "", first)
    lock = None
    if place is not None:
        state, lock = _opened(place, shards, first, layout)
    try:
        done = sum(shards.meet(lambda: state.next - first))
        if done:
            notice(f"resuming: {done:,} of {samples:,} samples are done")
        elif source.values_are_read_twice and resumable:
            shards.each(lambda: check_values(job, source, first, last))
        if layout is not None:
            _create(layout, state, shards, resumed=done > 0)
        with watch(last - first, state.next - first) if watch is not None else nullcontext() as progress:
            parts = shards.meet(lambda: _run(job, source, last, state, layout, place, shards, progress))
        totals, seconds = joined([part for part, _ in parts]), max(spent for _, spent in parts)
        if layout is not None and place is not None:
            shards.each(lambda: _finish(layout, state, place, totals) if shards.main else None)
    except BaseException as error:
        final = isinstance(error, NeurodeployError) and error.code not in PASSING_ERRORS
        if place is not None and (final or not state.worth_keeping):
            state.remove()
        elif place is not None and shards.main:
            notice(f"what is done is kept in {place.folder}: the same command goes on from there")
        raise
    finally:
        if lock is not None:
            lock.close()
    if place is not None:
        state.remove()
    return traced(job, source, totals, {}, seconds)


def _layout(job: Job, source: Source) -> NpzLayout:
    """Arrays of the trace, in the order of :meth:`Trace.arrays`: shapes and types of a run of one sample."""
    part = job.run(source.read(0, 1))
    counts = _counts(part.totals.chip)
    rows = {key: array for key, array in part.rows.items() if key != UNTRACED}
    whole = {key: ((source.shape[0], *array.shape[1:]), array.dtype) for key, array in rows.items()}
    late = {key: whole.pop(key) for key in rows if key.startswith(("membrane/", "current/"))}
    return NpzLayout({**whole, **{key: (steps.shape, steps.dtype) for key, steps in counts.items()}, **late})


def _counts(layers: tuple[LayerCounts, ...]) -> dict[str, np.ndarray]:
    return {
        f"counts/{layer.name}/{key}": steps
        for layer in layers
        for key, steps in layer.per_step.items()
        if steps is not None
    }


def _opened(place: Place, shards: Shards, first: int, layout: NpzLayout | None) -> tuple[Checkpoint, Any]:
    """This process's state, as far as it has come, and the lock on the folder."""
    lock: list[Any] = []

    def named() -> str:
        if not shards.main:
            return ""
        size = None if layout is None else layout.end  # the file ends there or behind it
        run, held = begin(place.folder, place.identity(), fresh=place.fresh, trace_bytes=size)
        lock.append(held)
        return run

    run = shards.meet(named)[0]
    state = Checkpoint(place.folder, shards.rank, first, run)
    shards.each(state.restore)
    return state, lock[0] if lock else None


def _create(layout: NpzLayout, state: Checkpoint, shards: Shards, *, resumed: bool) -> None:
    """The file that is filled, unless it is there; every process must see it."""

    def make() -> None:
        try:
            layout.create(state.trace)
        except OSError as error:
            raise UsageError(
                "ND110",
                f"a trace of {layout.bytes / 2**20:,.1f} MiB cannot be written: {error.strerror or error}",
                where=str(state.trace),
                fix="choose another place, or keep fewer samples with --limit",
            ) from error

    def see() -> None:
        path = state.folder / RUN
        if not path.is_file() or read_json(path, what="state of the run").get("run") != state.run:
            raise UsageError(
                "ND131",
                f"process {shards.rank} does not see the folder of the trace",
                where=str(state.folder),
                fix="put the trace on a file system that all machines share",
            )

    shards.each(lambda: make() if shards.main and not resumed else None)
    shards.each(see)


def _run(
    job: Job,
    source: Source,
    last: int,
    state: Checkpoint,
    layout: NpzLayout | None,
    place: Place | None,
    shards: Shards,
    progress: Callable[[int], None] | None,
) -> tuple[Totals, float]:
    """This process's samples."""
    for start, part in slabs(job, source, state.next, last, progress):
        shards.look()
        if layout is not None:
            rows = {key: array for key, array in part.rows.items() if key != UNTRACED}
            with writing(state.trace):
                layout.write(state.trace, start, rows)
        over = start + len(part.totals.predictions) == last and shards.size == 1
        state.add(part.totals, save=place is not None and not over)
    return state.totals if state.next > state.first else NOTHING, state.spent()


def _finish(layout: NpzLayout, state: Checkpoint, place: Place, totals: Totals) -> None:
    """Counts, and what makes the file an archive; then it gets its name."""
    assert place.trace is not None
    with writing(place.trace):
        layout.write(state.trace, 0, _counts(totals.chip))
        layout.finish(state.trace)
        state.trace.replace(place.trace)
