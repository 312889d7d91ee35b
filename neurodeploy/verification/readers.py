"""NIR readers as oracles: Norse, snnTorch and SpikingJelly load ``network.nir`` and run it in float32.

Each reader's network is stepped by hand; a hook on every module under the name of a spiking node collects its spikes.
dt is passed where the reader asks for it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import nir
import numpy as np

from neurodeploy.ir.nodes import LIF, Integrator
from neurodeploy.targets.artifact import NETWORK, Artifact
from neurodeploy.verification.compare import STATE_UNIT
from neurodeploy.verification.preflight import module_name, preflight


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
    return "; ".join(f"{finding.node or 'the file'}: {finding.rule}" for finding in preflight(artifact.network, name))


def replay(name: str, artifact: Artifact, samples: int) -> dict[str, np.ndarray]:
    """The first ``samples`` golden inputs through reader ``name``; ``spikes/<node>`` and ``output``."""
    return Reader(name, artifact).run(artifact.golden["input"][:samples])


class Reader:
    """``network.nir`` of an artifact, loaded by reader ``name``; every :meth:`run` starts from zero states."""

    def __init__(self, name: str, artifact: Artifact) -> None:
        self.name, self.graph = name, artifact.network
        with _quiet():  # snnTorch prints the graph, Norse warns of every r that it ignores
            # nir 1.0.8 checks the shapes of grouped and non-square kernels wrongly; we check them when we read.
            self.net = READERS[name](nir.read(artifact.folder / NETWORK, type_check=False), self.graph.dt)
        self.net.eval()
        self.seen: dict[str, list[np.ndarray]] = {node: [] for node in self.graph.names(LIF)}
        modules = dict(self.net.named_modules())
        for node, steps in self.seen.items():
            if module_name(node) in modules:
                modules[module_name(node)].register_forward_hook(_collect(steps))

    def run(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """``x`` ``(B, T, *shape)``; ``spikes/<node>`` and ``output``, as ``--trace``.

        The file leaves the integrator to the host: its sum is taken here, in float64, in the unit of the golden output.
        """
        import torch

        for steps in self.seen.values():
            steps.clear()
        for module in self.net.modules():
            if hasattr(module, "reset_mem"):  # snnTorch keeps the membrane in the module; the others pass it along
                module.reset_mem()
        outputs, state = [], None
        with torch.no_grad(), _quiet():
            for t in range(x.shape[1]):
                step = torch.from_numpy(np.ascontiguousarray(x[:, t])).float()
                y = self.net(step) if state is None else self.net(step, state)
                y, state = y if isinstance(y, tuple) else (y, None)
                outputs.append(y.double().numpy())
        unheard = sorted(node for node, steps in self.seen.items() if len(steps) != x.shape[1])
        assert not unheard, f"{self.name} has no module for {unheard}"
        output = np.stack(outputs, axis=1)
        read = [self.graph.nodes[source] for source in self.graph.sources(self.graph.output)]
        if len(read) == 1 and isinstance(read[0], Integrator):
            output = _summed(read[0], output)
        in_state_units = self.graph.arithmetic == "loihi" and not all(isinstance(node, LIF) for node in read)
        found: dict[str, np.ndarray] = {
            f"spikes/{node}": np.stack(steps, axis=1).astype(np.uint8) for node, steps in self.seen.items()
        }
        found["output"] = output * (STATE_UNIT if in_state_units else 1.0)
        return found


def _summed(node: Integrator, x: np.ndarray) -> np.ndarray:
    """The integrator that the file leaves to the host, in float64."""
    states, u = [], np.zeros_like(x[:, 0])
    for t in range(x.shape[1]):
        u = node.decay * u + node.gain * x[:, t] + node.offset
        states.append(u)
    return np.stack(states, axis=1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _collect(into: list[np.ndarray]) -> Callable[..., None]:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        spikes = output[0] if isinstance(output, tuple) else output
        into.append(spikes.detach().numpy())

    return hook
