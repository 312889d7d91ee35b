"""Run a Speck artifact in Sinabs and compare with its golden vectors.

    python run_sinabs.py [ARTIFACT] [--input golden.npz] [--trace out.npz]

Needs sinabs (3.1) and nir. ``load(ARTIFACT)`` gives the network for ``DynapcnnNetwork``, right in three points where
``sinabs.from_nir`` alone is not:

* ``spike_threshold``: NIR fires above the threshold, Sinabs at it, so network.nir holds the float just below; Sinabs
  would subtract that at every spike. Here it is the threshold itself, one number for a layer.
* ``min_v_mem``: from_nir clamps every membrane at minus the threshold, which the network does not. The chip's own floor
  is −2^15 of its integers, and that is what it becomes.
* weights: DynapcnnNetwork multiplies by the largest factor that fits, 127/max|w|, and rounds. Weights that are whole
  multiples of one power of two would be rounded for nothing; the floor above makes it choose that power of two.

What is equal here is equal in Sinabs' simulation by timesteps. The chip has none: it handles events as they come.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nir
import numpy as np
import sinabs.layers as sl
import torch
from sinabs.nir import from_nir

LARGEST, FLOOR = 127, 2.0**15


def scale_of(weights: np.ndarray, biases: np.ndarray, threshold: float) -> float:
    """Chip integers per unit: a power of two that makes all numbers whole, else as much as 8 and 16 bits hold."""
    top = max(float(np.abs(weights).max(initial=0.0)), float(np.abs(biases).max(initial=0.0)))
    most = min(LARGEST / top if top else np.inf, (FLOOR - 1) / threshold)
    power = 2.0 ** np.floor(np.log2(most))
    numbers = np.concatenate([weights.ravel(), biases.ravel(), [threshold]]) * power
    return float(power if np.array_equal(numbers, np.round(numbers)) else most)


def load(artifact: Path, timesteps: int) -> torch.nn.Module:
    """The network: ``(B·T, *shape)`` of spike counts in, spikes of the last layer out."""
    graph = nir.read(artifact / "network.nir")
    network = from_nir(graph, num_timesteps=timesteps)
    for name, layer in neurons(network, graph).items():
        (source,) = (graph.nodes[a] for a, b in graph.edges if b == name)
        threshold = float(np.max(graph.nodes[name].metadata["neurodeploy"]["threshold"]))
        layer.spike_threshold = torch.nn.Parameter(torch.tensor(threshold), requires_grad=False)
        floor = -FLOOR / scale_of(np.asarray(source.weight), np.asarray(source.bias), threshold)
        layer.min_v_mem = torch.nn.Parameter(torch.tensor(floor), requires_grad=False)
    return network


def neurons(network: torch.nn.Module, graph: nir.NIRGraph) -> dict[str, sl.IAFSqueeze]:
    """Spiking layers by the name of their node."""
    modules = dict(network.named_modules())
    names = [name for name, node in graph.nodes.items() if isinstance(node, nir.IF)]
    return {name: next(modules[m] for m in (name, name.replace(".", "_")) if m in modules) for name in names}


def run(artifact: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    """``spikes/<node>`` ``(B, T, *shape)`` for input ``(B, T, *shape)``."""
    graph = nir.read(artifact / "network.nir")
    network = load(artifact, x.shape[1])
    found: dict[str, np.ndarray] = {}

    def keep(name: str):
        def hook(module, inputs, output) -> None:
            value = (output[0] if isinstance(output, tuple) else output).detach().numpy()
            found[f"spikes/{name}"] = value.reshape(*x.shape[:2], *value.shape[1:])

        return hook

    for name, layer in neurons(network, graph).items():
        layer.register_forward_hook(keep(name))
    with torch.no_grad():
        network(torch.as_tensor(x.reshape(-1, *x.shape[2:]), dtype=torch.float32))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--input", type=Path, help="npz with input (B, T, ...)  [default: the artifact's golden.npz]")
    parser.add_argument("--trace", type=Path, help="npz to write the spikes to")
    words = parser.parse_args()
    with np.load(words.input or words.artifact / "golden.npz") as arrays:
        given = dict(arrays)
    found = run(words.artifact, given["input"])
    if words.trace:
        np.savez(words.trace, **found)
    wrong = 0
    for key, spikes in found.items():
        if key in given:
            differing = int(np.count_nonzero(spikes != given[key]))
            print(f"{key}: {spikes.size} compared, {differing} differ, {int(spikes.sum())} spikes")
            wrong += differing
    return 4 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
