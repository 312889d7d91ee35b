"""NIR readers as oracles: Norse, snnTorch and SpikingJelly load ``network.nir`` and run it in float32.

Each reader's network is stepped by hand; a hook on every module under the name of a spiking node collects its spikes.
dt is passed where the reader asks for it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Callable
from typing import Any

import nir
import numpy as np

from neurodeploy.ir.nodes import LIF, Integrator
from neurodeploy.targets.artifact import NETWORK, Artifact
from neurodeploy.verification.compare import STATE_UNIT


def _norse(graph: nir.NIRGraph, dt: float) -> Any:
    from norse.torch.utils.import_nir import from_nir

    return from_nir(graph, dt=dt)


def _snntorch(graph: nir.NIRGraph, dt: float) -> Any:
    from snntorch.import_nir import import_from_nir

    return import_from_nir(graph)  # its dt is fixed at 1e-4


def _spikingjelly(graph: nir.NIRGraph, dt: float) -> Any:
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return import_from_nir(graph, dt=dt)


#: Module name -> how it loads a NIR graph.
READERS: dict[str, Callable[[nir.NIRGraph, float], Any]] = {
    "norse": _norse,
    "snntorch": _snntorch,
    "spikingjelly": _spikingjelly,
}


def lacking(name: str, artifact: Artifact) -> str:
    """Why the reader cannot replay this artifact here; empty if it can."""
    if importlib.util.find_spec(name) is None:
        return f"{name} is not installed: pip install 'neurodeploy[peers]' (Python >= 3.11)"
    if name == "snntorch" and artifact.network.dt != 1e-4:
        return f"snnTorch reads every file at dt = 1e-4, this one has {artifact.network.dt:g}"
    return ""


def replay(name: str, artifact: Artifact, samples: int) -> dict[str, np.ndarray]:
    """The first ``samples`` golden inputs through reader ``name``; ``spikes/<node>`` and ``output``."""
    return run_reader(name, artifact, artifact.golden["input"][:samples])


def run_reader(name: str, artifact: Artifact, x: np.ndarray) -> dict[str, np.ndarray]:
    """``x`` ``(B, T, *shape)`` through reader ``name``.

    The file leaves the integrator to the host: its sum is taken here, in float64, in the unit of the golden output.
    """
    import torch

    graph = artifact.network
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        net = READERS[name](nir.read(artifact.folder / NETWORK), graph.dt)
        net.eval()
        wanted = {key.removeprefix("spikes/") for key in artifact.golden if key.startswith("spikes/")}
        seen: dict[str, list[np.ndarray]] = {node: [] for node in wanted}
        hooks = [
            module.register_forward_hook(_collect(seen[path])) for path, module in net.named_modules() if path in wanted
        ]
        outputs, state = [], None
        with torch.no_grad():
            for t in range(x.shape[1]):
                step = torch.from_numpy(np.ascontiguousarray(x[:, t])).float()
                y = net(step) if state is None else net(step, state)
                y, state = y if isinstance(y, tuple) else (y, None)
                outputs.append(y.double().numpy())
        for hook in hooks:
            hook.remove()
    unheard = sorted(node for node, steps in seen.items() if len(steps) != x.shape[1])
    assert not unheard, f"{name} has no module for {unheard}"
    output = np.stack(outputs, axis=1)
    reads_state = not all(isinstance(graph.nodes[s], LIF) for s in graph.sources(graph.output))
    if any(isinstance(graph.nodes[s], Integrator) for s in graph.sources(graph.output)):
        output = output.cumsum(axis=1)
    found: dict[str, np.ndarray] = {
        f"spikes/{node}": np.stack(steps, axis=1).astype(np.uint8) for node, steps in seen.items()
    }
    found["output"] = output * (STATE_UNIT if graph.arithmetic == "loihi" and reads_state else 1.0)
    return found


def _collect(into: list[np.ndarray]) -> Callable[..., None]:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        spikes = output[0] if isinstance(output, tuple) else output
        into.append(spikes.detach().numpy())

    return hook
