"""The event-driven simulator: exact against the interpreter, counts included.

``engine.py`` runs a graph, ``kernels.py`` holds its compiled inner loops, ``counts.py`` the exact fan-out arithmetic,
``run.py`` the whole call from an emitted file to a :class:`~neurodeploy.sim.trace.Trace`.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # Numba takes a quarter of a second to import: only who simulates pays for it.
    if name == "simulate":
        from neurodeploy.sim.run import simulate

        return simulate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
