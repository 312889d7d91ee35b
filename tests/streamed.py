"""A tiny network and the call that streams samples through it, for the tests of streaming, resuming and sharing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from graphs import paper_chain

from neurodeploy.sim.job import prepare
from neurodeploy.sim.run import simulate
from neurodeploy.sim.sources import ArraySource, Source
from neurodeploy.sim.stream import Place, simulate_stream
from neurodeploy.sim.trace import Trace
from neurodeploy.targets.artifact import Runnable

SAMPLES = 13
MODEL = Runnable(paper_chain(width=2), None, {}, True, "")
X = np.random.default_rng(0).normal(size=(SAMPLES, 1, 8, 8)).astype(np.float32)
Y = np.arange(SAMPLES) % 10


def whole(**keep: bool) -> Trace:
    """The same samples at once."""
    return simulate(MODEL, X, Y, **keep)


def streamed(
    trace: Path | None = None,
    folder: Path | None = None,
    *,
    source: Source | None = None,
    fresh: bool = False,
    identity: dict[str, Any] | None = None,
    runnable: Runnable = MODEL,
    keep_membrane: bool = False,
    **how: Any,
) -> Trace:
    """Slab by slab; the state lies in ``folder``, or beside the trace."""
    source = source or ArraySource(X, Y)
    kept = {"keep_spikes": trace is not None, "keep_output": trace is not None, "keep_membrane": keep_membrane}
    job = prepare(runnable, source, batch=1, **kept)
    folder = folder or (None if trace is None else trace.with_name(trace.name + ".partial"))
    identity = {"model": "a", "timesteps": 4} if identity is None else identity
    place = None if folder is None else Place(folder, trace, lambda: identity, fresh)
    return simulate_stream(job, source, place, **how)


def numbers(trace: Trace) -> dict[str, Any]:
    """What two runs have in common: everything but the time it took."""
    return {key: value for key, value in trace.to_json().items() if key != "seconds"}
