"""The artifact's own runner in real Lava (fixed-point CPU simulation) against the integer machine: 0 differences."""

import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from graphs import conv, dyadic, random_input

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nir_io import write_nir
from neurodeploy.ir.nodes import LIF, Flatten, Input, Integrator, Linear, Output
from neurodeploy.passes.quantize import quantize
from neurodeploy.targets.artifact import Artifact
from neurodeploy.verification.lava import replay
from neurodeploy.verification.verify import verify

pytestmark = [pytest.mark.lava, pytest.mark.slow]
RUNNER = Path(__file__).parents[2] / "export" / "loihi2" / "run_lava.py"


def test_digits_on_twenty_four_samples_back_to_back(digits_artifacts, lava_python):
    """Spikes, membranes and readout of every layer, with biases; states must be reset between samples."""
    found = verify(digits_artifacts["loihi2"], ["lava"], samples=24)["lava"]
    assert not found.skipped
    assert found.samples == 24
    assert (found.spike_differences, found.state_differences, found.output_max_difference) == (0, 0, 0.0)
    assert found.spikes_compared == 24 * 4 * sum(
        int(np.prod(Artifact(digits_artifacts["loihi2"]).network.nodes[n].shape)) for n in ("lif2", "lif3")
    )


def test_the_runner_writes_every_key_of_the_trace(digits_artifacts, lava_python):
    artifact = Artifact(digits_artifacts["loihi2"])
    arrays = replay(artifact, 3)
    spiking, states = artifact.network.names(LIF), artifact.network.names((LIF, Integrator))
    assert set(arrays) == {"output", *(f"spikes/{n}" for n in spiking), *(f"membrane/{n}" for n in states)}
    assert arrays["spikes/lif2"].dtype == np.uint8


def geometry_net(seed: int, **geometry: object) -> Graph:
    """A convolution of that geometry, a dense layer, a readout; random dyadic weights, quantized."""
    rng = np.random.default_rng(seed)
    node = conv(rng, 4, 4, (3, 2), **geometry)
    shape = node.output_shape((4, 7, 6))
    size = int(np.prod(shape))
    nodes = {
        "input": Input((4, 7, 6), "binary"),
        "conv": node,
        "lif": LIF(shape, np.asarray(0.25), np.asarray(0.5)),
        "flatten": Flatten(),
        "dense": Linear(dyadic(rng, (8, size)) / 2, dyadic(rng, 8)),
        "lif2": LIF((8,), np.asarray(0.25), np.asarray(0.5)),
        "fc": Linear(dyadic(rng, (3, 8)), dyadic(rng, 3)),
        "readout": Integrator((3,)),
        "output": Output(),
    }
    names = list(nodes)
    graph = Graph(nodes, tuple(pairwise(names)), timesteps=6)
    return replace(quantize(graph)[0], origin="geometry")


@pytest.mark.parametrize(
    "geometry",
    [{"padding": (1, 0)}, {"stride": (2, 1), "padding": (0, 1)}, {"dilation": (2, 1)}, {"groups": 2}, {"groups": 4}],
    ids=str,
)
def test_geometries_of_convolutions(tmp_path, lava_python, geometry):
    """Six timesteps, beyond where the leak is exact: truncation must be Lava's."""
    graph = geometry_net(0, **geometry)
    write_nir(graph, tmp_path / "network.nir")
    x = random_input(graph, 1, samples=4, timesteps=6)
    np.savez(tmp_path / "in.npz", x=x)
    command = [str(lava_python), str(RUNNER), str(tmp_path), "--input", str(tmp_path / "in.npz")]
    subprocess.run([*command, "--trace", str(tmp_path / "out.npz")], check=True, timeout=300, capture_output=True)
    meaning = interpret(graph, x, "loihi")
    with np.load(tmp_path / "out.npz") as found:
        for name, spikes in meaning.spikes.items():
            np.testing.assert_array_equal(found[f"spikes/{name}"], spikes, err_msg=name)
            assert 0 < spikes.mean() < 1
        for name, state in meaning.membrane.items():
            np.testing.assert_array_equal(found[f"membrane/{name}"], state, err_msg=name)
        np.testing.assert_array_equal(found["output"], meaning.output)


def refused(lava_python, folder, **arrays) -> str:
    np.savez(folder / "in.npz", **arrays)
    command = [str(lava_python), str(RUNNER), str(folder), "--input", str(folder / "in.npz")]
    done = subprocess.run(
        [*command, "--trace", str(folder / "out.npz")], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (folder / "out.npz").exists()
    return done.stderr


def test_what_lava_would_corrupt_silently_is_refused(tmp_path, lava_python):
    graph = geometry_net(0)
    spikes = random_input(graph, 1, samples=1, timesteps=6)

    def with_node(name, **changes):
        write_nir(graph.with_nodes({name: replace(graph.nodes[name], **changes)}), tmp_path / "network.nir")

    dense = graph.nodes["dense"]
    with_node("dense", weight=dense.weight + 0.5)
    assert "not integers" in refused(lava_python, tmp_path, x=spikes)
    with_node("dense", weight=dense.weight + 1)
    assert "not even numbers" in refused(lava_python, tmp_path, x=spikes)
    with_node("dense", bias=dense.bias + 40000)
    assert "exceeds 13 bits" in refused(lava_python, tmp_path, x=spikes)
    with_node("dense")
    assert "not binary" in refused(lava_python, tmp_path, x=spikes * 2)
    assert "the chip takes (B, T, 4, 7, 6)" in refused(lava_python, tmp_path, x=spikes[:, :, :2])
    (tmp_path / "network.nir").unlink()
    assert "is not there" in refused(lava_python, tmp_path, x=spikes)
