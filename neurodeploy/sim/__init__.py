"""The event-driven simulator: exact against the interpreter, counts included.

``engine.py`` runs a graph as ``plan.py`` orders it, a ``tile.py`` of samples at a time, in the memory of ``memory.py``;
``replay.py`` makes the calls of a tile again for the next of the same form. ``synapses.py``, ``neurons.py`` and
``passing.py`` hold the node kinds, ``counts.py`` the exact fan-out arithmetic, ``arrivals.py`` and ``messages.py`` the
counts of neurons.

``native/`` holds the kernels in C and their Python faces. ``synapse_sums.py`` chooses the one of a synapse:
event-driven, seen through composed pools (``squares.py``), dense (``dense.py``; ``dense_choice.py`` says when), of real
values (``real_values.py``), or those of Numba (``kernels.py``), which run everywhere; ``neuron_updates.py`` chooses for
neurons (Numba: ``neuron_kernels.py``).

``run.py`` is the whole call from an emitted file and arrays to a :class:`~neurodeploy.sim.trace.Trace`; ``stream.py``
the one for any number of samples, of the command. ``job.py`` is what both run, a slab of samples at a time, and
``totals.py`` what adds up; ``sources.py`` says where samples come from (``npz_reader.py``), ``checkpoint.py`` how a
killed run goes on, ``shards.py`` how processes share one, ``npz_writer.py`` how all of them fill one trace.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # Only who simulates pays for the import.
    if name == "simulate":
        from neurodeploy.sim.run import simulate

        return simulate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
