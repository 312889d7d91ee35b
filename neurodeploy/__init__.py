"""neurodeploy: from a trained spiking network to a neuromorphic chip, with proof of what it will do there.

One verb and one frozen type per stage; nothing heavy is imported before it is used::

    recipe = load_recipe("digits/conv-rmp")        # Recipe
    checkpoint = train(recipe, "runs/mine")        # Checkpoint
    graph = lower(checkpoint)                      # Graph
    compilation = compile_graph(graph, load_target("loihi2").spec)
    done = export("runs/mine", "loihi2")           # Export: an Artifact on disk
    trace = simulate(done.folder, x, y)            # Trace: spikes, exact counts
    costs = estimate(trace.layers, load_profile("loihi"), samples=trace.samples, timesteps=trace.timesteps)
"""

from __future__ import annotations

import importlib
from typing import Any

#: Public name -> module that holds it.
_PUBLIC = {
    "Artifact": "neurodeploy.targets.artifact",
    "Checkpoint": "neurodeploy.training.checkpoint",
    "Estimate": "neurodeploy.energy",
    "Graph": "neurodeploy.ir.graph",
    "NeurodeployError": "neurodeploy.diagnostics",
    "Recipe": "neurodeploy.config.recipe",
    "Report": "neurodeploy.reporting.model",
    "Trace": "neurodeploy.sim.trace",
    "check": "neurodeploy.targets.check",
    "compile_graph": "neurodeploy.passes.pipeline",
    "estimate": "neurodeploy.energy",
    "export": "neurodeploy.targets.export",
    "from_torch": "neurodeploy.frontend",
    "interpret": "neurodeploy.ir.interpret",
    "load_checkpoint": "neurodeploy.training.checkpoint",
    "load_profile": "neurodeploy.config.profile",
    "load_recipe": "neurodeploy.config.recipe",
    "load_target": "neurodeploy.targets.base",
    "lower": "neurodeploy.lowering",
    "read_net": "neurodeploy.ir.netx_io",
    "read_nir": "neurodeploy.ir.nir_io",
    "report": "neurodeploy.reporting",
    "simulate": "neurodeploy.sim.run",
    "train": "neurodeploy.training.loop",
    "verify": "neurodeploy.verification.verify",
    "write_nir": "neurodeploy.ir.nir_io",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("neurodeploy")
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC, "__version__"])
