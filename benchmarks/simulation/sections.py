"""What each section of ``simulate.py`` does with its options; all give what ``--json`` writes."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurodeploy.sim import native
from neurodeploy.targets.artifact import find_artifact
from simulation import counting as counts
from simulation import layer as one_layer
from simulation import startup as start
from simulation import with_lava
from simulation.contest import contest
from simulation.nets import Network, random_network

LAYER_RATES = (1, 2, 5, 10, 15, 25, 40)
COUNTING_NETS = ("resnet20-slim", "vgg16")


def _begin(given: argparse.Namespace) -> None:
    warnings.simplefilter("ignore", FutureWarning)  # of what the peers use of torch
    torch.set_num_threads(given.threads)
    print(f"{native.describe()}; torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}", end="")
    print(", limited to AVX2\n" if given.isa == "avx2" else "\n", flush=True)


def nets(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Whole networks against the peers."""
    _begin(given)
    names = given.net if given.net is not None else [] if given.artifacts else ["resnet20-slim", "vgg16"]
    results = []
    how = {
        "names": given.peers, "repeats": given.repeats, "threads": given.threads, "dense": given.dense,
        "stem": given.stem,
    }  # fmt: skip
    for batch in map(int, given.batch):
        for name in names:
            for rate in map(float, given.rates or ("15",)):
                torch._dynamo.reset()
                results.append(contest(random_network(name, rate / 100, batch), **how))
        for folder in given.artifacts:
            torch._dynamo.reset()
            results.append(contest(trained_network(folder, batch), **how))
    return results


def trained_network(folder: Path, batch: int) -> Network:
    """An artifact's encoder and chip on its golden inputs, as many times as it takes; a host's tail is left out."""
    artifact = find_artifact(folder)
    golden, encoder = artifact.golden, artifact.encoder
    x = golden["host_input"] if "host_input" in golden else golden["input"]
    entry = (encoder or artifact.network).nodes[(encoder or artifact.network).input]
    x = x[:, None] if x.ndim == len(entry.shape) + 1 else x  # type: ignore[attr-defined]
    x = np.concatenate([x] * -(-batch // len(x)))[:batch]
    steps = golden["output"].shape[1]
    return Network(str(folder), encoder, artifact.network, x, steps, exact=False)


def layer(given: argparse.Namespace) -> list[dict[str, Any]]:
    """One layer against the roofline."""
    _begin(given)
    return [one_layer.measure([float(rate) / 100 for rate in given.rates or LAYER_RATES], given.repeats)]


def counting(given: argparse.Namespace) -> list[dict[str, Any]]:
    """What the counts cost."""
    _begin(given)
    results = []
    for name in given.net or COUNTING_NETS:
        for batch in map(int, given.batch):
            for rate in map(float, given.rates or ("15",)):
                results.append(counts.measure(random_network(name, rate / 100, batch), given.repeats))
    return results


def startup(given: argparse.Namespace) -> list[dict[str, Any]]:
    """A fresh process."""
    return [start.measure(find_artifact(folder).folder, given.repeats) for folder in given.artifacts]


def lava(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Lava's CPU simulation."""
    _begin(given)
    return [with_lava.measure(given.repeats, (given.net or ["large"])[0])]
