"""Many small networks in one Lava process, and what must come out: spikes, v and u of every population."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import Interpretation, interpret
from neurodeploy.ir.nir_io import write_nir
from neurodeploy.ir.nodes import (
    LIF,
    NEURONS,
    SYNAPSES,
    Conv1d,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Linear,
)

KIT = Path(__file__).parents[2] / "export" / "loihi2"
Case = tuple[Graph, np.ndarray]

#: Runs every folder with a network.nir and an in.npz; importing Lava takes longer than most networks do.
SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
import run_lava
for folder in sorted(Path(sys.argv[2]).iterdir()):
    started = time.perf_counter()
    try:
        network = run_lava.Network(folder / "network.nir")
        spikes = np.load(folder / "in.npz")["x"]
        np.savez(folder / "out.npz", **run_lava.Simulation(network, *spikes.shape[:2]).run(spikes))
    except run_lava.Refused as refusal:
        (folder / "refused.txt").write_text(str(refusal))
    print(folder.name, round(time.perf_counter() - started, 2), flush=True)
"""


@pytest.fixture(scope="session")
def in_lava(lava_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict]:
    """``{name: (graph, x)} -> {name: arrays, or the refusal}``, by the shipped runner in real Lava."""

    def run(cases: Mapping[str, Case], timeout: float = 300) -> dict[str, dict[str, np.ndarray] | str]:
        root = tmp_path_factory.mktemp("lava")
        for name, (graph, x) in cases.items():
            (root / name).mkdir()
            write_nir(graph, root / name / "network.nir")
            np.savez(root / name / "in.npz", x=x)
        command = [str(lava_python), "-c", SCRIPT, str(KIT), str(root)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, done.stdout + done.stderr[-3000:]
        print(done.stdout)
        found: dict[str, dict[str, np.ndarray] | str] = {}
        for name in cases:
            refusal = root / name / "refused.txt"
            found[name] = refusal.read_text() if refusal.exists() else dict(np.load(root / name / "out.npz"))
        return found

    return run


def assert_same(graph: Graph, x: np.ndarray, found: dict[str, np.ndarray] | str) -> Interpretation:
    """0 differences of spikes, v and u in every population, and of the output."""
    assert not isinstance(found, str), found
    meaning = interpret(graph, x, "loihi")
    for name, spikes in meaning.spikes.items():
        np.testing.assert_array_equal(found[f"spikes/{name}"], spikes, err_msg=f"spikes of {name}")
    for name, state in meaning.membrane.items():
        np.testing.assert_array_equal(found[f"membrane/{name}"], state, err_msg=f"v of {name}")
    for name, state in currents(graph, x, meaning).items():
        np.testing.assert_array_equal(found[f"current/{name}"], state, err_msg=f"u of {name}")
        if name in meaning.current:
            np.testing.assert_array_equal(meaning.current[name], state, err_msg=f"u of {name}, interpreted")
    np.testing.assert_array_equal(found["output"], meaning.output)
    populations = graph.names(NEURONS)
    assert {key for key in found if key.startswith("membrane/")} == {f"membrane/{name}" for name in populations}
    return meaning


@pytest.fixture(scope="session")
def same() -> Callable[..., Interpretation]:
    """:func:`assert_same`."""
    return assert_same


def currents(graph: Graph, x: np.ndarray, meaning: Interpretation) -> dict[str, np.ndarray]:
    """u of every population, from the spikes alone: ``u = (u·kept >> 12) + (Σ w·s << 6)``, wrapped."""
    found = {}
    for name in graph.names(NEURONS):
        total = sum(_late(_sums(graph, s, x, meaning), (s, name) in graph.recurrent) for s in graph.sources(name))
        node = graph.nodes[name]
        kept = round(4096 * float(node.current_decay)) if isinstance(node, CubaLIF) else 0
        u, states = np.zeros_like(total[:, 0]), []
        for t in range(x.shape[1]):
            u = np.sign(u) * (np.abs(u) * kept >> 12) + (total[:, t] << 6)
            u = np.where(u > 2**23, u - 2**24, np.where(u <= -(2**23), u + 2**24, u))
            states.append(u)
        found[name] = np.stack(states, axis=1)
    return found


def _late(array: np.ndarray, late: bool, steps: int = 1) -> np.ndarray:
    """``(B, T, …)`` one or more steps later."""
    return np.concatenate([np.zeros_like(array[:, :steps]), array], axis=1)[:, : array.shape[1]] if late else array


def _values(graph: Graph, name: str, x: np.ndarray, meaning: Interpretation) -> np.ndarray:
    """What leaves a node that is no synapse, ``(B, T, *shape)`` int64."""
    node = graph.nodes[name]
    if isinstance(node, Input):
        return x.astype(np.int64)
    if isinstance(node, LIF):
        return meaning.spikes[name].astype(np.int64)
    (source,) = graph.sources(name)
    before = _late(_values(graph, source, x, meaning), (source, name) in graph.recurrent)
    if isinstance(node, Flatten):
        return before.reshape(*x.shape[:2], -1)
    assert isinstance(node, Delay)
    steps = np.broadcast_to(node.steps, node.shape)
    return sum(np.where(steps == n, _late(before, True, int(n)), 0) for n in np.unique(steps))


def _sums(graph: Graph, name: str, x: np.ndarray, meaning: Interpretation) -> np.ndarray:
    """``Σ w·s`` of a synapse, by torch in float64 (exact below 2^53), a convolution wrapped at 24 bits."""
    node = graph.nodes[name]
    assert isinstance(node, SYNAPSES)
    (source,) = graph.sources(name)
    spikes = _late(_values(graph, source, x, meaning), (source, name) in graph.recurrent)
    flat = torch.from_numpy(spikes.reshape(-1, *spikes.shape[2:])).double()
    weight = torch.from_numpy(np.asarray(node.weight)).double()
    if isinstance(node, Linear):
        sums = flat @ weight.T
    else:
        function = torch.nn.functional.conv1d if isinstance(node, Conv1d) else torch.nn.functional.conv2d
        sums = function(flat, weight, None, node.stride, node.padding, node.dilation, node.groups)
    whole = sums.numpy().astype(np.int64).reshape(*spikes.shape[:2], *sums.shape[1:])
    return whole if isinstance(node, Linear) else (whole + 2**23) % 2**24 - 2**23
