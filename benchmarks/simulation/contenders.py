"""Who takes part: a call that simulates the input once, and one that gives the spikes of every population.

Files are read and networks built before the clock starts, and the input has the layout that each of them takes.
Gradients are off.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Integrator
from neurodeploy.sim.engine import Engine, Result
from neurodeploy.verification.compare import STATE_UNIT
from simulation.measure import interleaved, peak_bytes
from simulation.nets import Network
from simulation.peers import norse_net, snntorch_net, spikingjelly_net
from simulation.torch_nets import CompiledLif, Lacking, Whole, joined, torch_make

#: ``--peers`` -> name for people. snnTorch's and Norse's module names are the keys.
PEERS = {
    "eager": "PyTorch eager",
    "compile": "torch.compile, frozen",
    "spikingjelly": "SpikingJelly, multi-step",
    "snntorch": "snnTorch",
    "norse": "Norse",
}
Spikes = dict[str, np.ndarray]


@dataclass(frozen=True)
class Contender:
    """One simulator of one network.

    Attributes:
        name: For people.
        run: Simulate once.
        outcome: ``(B, T, classes)`` float64 in weight units, and spikes ``(B, T, *shape)`` where it shows them.
        peak: Bytes that it takes at most (:func:`~simulation.measure.peak_bytes`), None where nobody knows.
        note: What else should be known.
    """

    name: str
    run: Callable[[], object]
    outcome: Callable[[], tuple[np.ndarray, Spikes]]
    peak: int | None = None
    note: str = ""


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Environment variables that the engine reads when it is built."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


class Ours:
    """Our engine on encoder and chip.

    Args:
        network: The network.
        arithmetic: Of the chip; the encoder computes in float32.
        threads: Of the engine.
        dense: Whether layers may take the dense path.
    """

    def __init__(self, network: Network, arithmetic: str, threads: int = 1, dense: bool = True) -> None:
        self.network, self.threads = network, threads
        batch = network.x.shape[0]
        self.tile = -(-batch // threads)
        self.x = network.x
        with environment(NEURODEPLOY_DENSE="1" if dense else "0"):
            self.encoder = Engine(network.encoder, "float32") if network.encoder else None
            self.chip = Engine(network.chip, arithmetic)
            self.run()

    def run(self, *, keep_spikes: bool = False) -> tuple[Result | None, Result]:
        """One simulation."""
        how = {"keep_spikes": keep_spikes, "tile": self.tile, "threads": self.threads}
        host, x = None, self.x
        if self.encoder is not None:
            host = self.encoder.run(x, self.network.timesteps, **how)
            x = host.output.astype(np.uint8, copy=False)
        return host, self.chip.run(x, self.network.timesteps, **how)

    def outcome(self) -> tuple[np.ndarray, Spikes]:
        host, chip = self.run(keep_spikes=True)
        return in_weight_units(self.chip, chip.output), {**(host.spikes if host else {}), **chip.spikes}


def in_weight_units(engine: Engine, output: np.ndarray) -> np.ndarray:
    """Membranes of the integer machine have six bits more."""
    graph = engine.graph
    membranes = all(isinstance(graph.nodes[source], Integrator) for source in graph.sources(graph.output))
    return output / (STATE_UNIT if engine.arithmetic == "loihi" and membranes else 1.0)


class Torch:
    """A torch module on the network's input; ``prepared`` is what runs, ``net`` what collects spikes."""

    def __init__(self, network: Network, net: nn.Module, prepared: Callable[..., torch.Tensor] | None = None) -> None:
        self.net, self.prepared = net.eval(), prepared or net
        self.x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(network.x, 1, 0), np.float32))

    def run(self) -> torch.Tensor:
        with torch.inference_mode():
            return self.prepared(self.x)

    def outcome(self) -> tuple[np.ndarray, Spikes]:
        kept: dict[str, torch.Tensor] = {}
        self.net.kept = kept  # type: ignore[assignment]
        with torch.inference_mode():
            output = self.net(self.x)
        self.net.kept = None  # type: ignore[assignment]
        spikes = {name: np.moveaxis(s.numpy(), 0, 1).astype(np.uint8) for name, s in kept.items()}
        return np.moveaxis(output.double().numpy(), 0, 1), spikes

    def compiled_outcome(self) -> tuple[np.ndarray, Spikes]:
        """Of the compiled function itself: its output; the spikes stay inside."""
        return np.moveaxis(self.run().double().numpy(), 0, 1), {}


def ours(network: Network, threads: int, dense: str) -> list[Contender]:
    """Our rows: integer (where the network has integers) and float32, with and without the dense path."""
    rows = []
    kinds = ["loihi", "float32"] if network.chip.arithmetic == "loihi" else ["float32"]
    for arithmetic in kinds:
        for allowed in {"on": (True,), "off": (False,), "both": (True, False)}[dense]:
            engine = Ours(network, arithmetic, threads, allowed)
            peak = peak_bytes(partial(_run_of, partial(Ours, network, arithmetic, threads, allowed)))
            words = ["ours", "integer" if arithmetic == "loihi" else arithmetic, "" if allowed else "events alone"]
            rows.append(Contender(", ".join(filter(None, words)), engine.run, engine.outcome, peak))
    return rows


def _run_of(make: Callable[[], Ours | Torch]) -> Callable[[], object]:
    return make().run


def peers(network: Network, names: list[str]) -> tuple[list[Contender], list[str]]:
    """The other simulators, and a line for each that cannot take part."""
    found, missing = [], []
    makes = {"spikingjelly": spikingjelly_net, "snntorch": snntorch_net, "norse": norse_net}
    for name in names:
        if name in makes and importlib.util.find_spec(name) is None:
            missing.append(f"{PEERS[name]}: not installed (pip install 'neurodeploy[peers]')")
            continue
        try:
            graph, T = joined(network), network.timesteps
            if name == "compile":
                found.append(_compiled(network, Whole(graph, torch_make(T, CompiledLif))))
                continue
            build = partial(makes.get(name, _eager_net), graph, T)
            layout, note = _faster_layout(network, build())
            make = partial(_in_layout, network, build, layout)
            simulator = make()
            found.append(
                Contender(PEERS[name], simulator.run, simulator.outcome, peak_bytes(partial(_run_of, make)), note)
            )
        except Lacking as error:
            missing.append(f"{PEERS[name]}: {error}")
    return found, missing


def _compiled(network: Network, net: nn.Module) -> Contender:
    """Weights are constants to the compiler, so that it may lay them out for the CPU once."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    contender = Torch(network, net)
    contender.prepared = torch.compile(net, dynamic=False, fullgraph=True)
    note = "its output compared, not its spikes; peak memory above what it holds when compiled"
    peak = peak_bytes(lambda: contender.run, compiles=True)
    return Contender(PEERS["compile"], contender.run, contender.compiled_outcome, peak, note)


def _eager_net(graph: Graph, timesteps: int) -> nn.Module:
    return Whole(graph, torch_make(timesteps))


def _in_layout(network: Network, build: Callable[[], nn.Module], layout: torch.memory_format) -> Torch:
    return Torch(network, build().to(memory_format=layout))


def _faster_layout(network: Network, net: nn.Module) -> tuple[torch.memory_format, str]:
    """The memory layout of weights (torch's own, or channels_last) that is faster here."""
    plain = Torch(network, net)
    if not any(isinstance(module, nn.Conv2d) for module in net.modules()):
        return torch.contiguous_format, ""
    seconds = {}
    for layout in (torch.channels_last, torch.contiguous_format):
        net.to(memory_format=layout)
        seconds[layout] = interleaved({"": plain.run}, 3)[""].median
    best = min(seconds, key=seconds.__getitem__)
    return best, "channels_last" if best is torch.channels_last else ""
