"""The artifact's own runner in real Lava (fixed-point CPU simulation) against the integer machine: 0 differences."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from neurodeploy.ir.nodes import LIF, Integrator
from neurodeploy.passes.quantize import accumulator_table
from neurodeploy.targets.artifact import Artifact
from neurodeploy.targets.base import load_target
from neurodeploy.targets.export import export
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


def test_loihi_through_the_same_kit(digits_runs, lava_python):
    """The first Loihi has 15 bits for a sum of weights: the same network, at a smaller scale where it must be."""
    artifact = export(digits_runs["rmp"] / "seed-0", "loihi").artifact
    found = verify(artifact, ["interpreter", "lava"], samples=6)
    assert all(one.equal and one.samples == 6 for one in found.values()), found
    assert all(max(-r["accumulator_low"], r["accumulator_high"]) < 2**15 for r in accumulator_table(artifact.network))
    assert load_target("loihi").spec.passes == load_target("loihi2").spec.passes
    assert {"run_lava.py", "lava_network.py"} <= set(artifact.manifest["files"])


def test_the_runner_writes_every_key_of_the_trace(digits_artifacts, lava_python):
    artifact = Artifact(digits_artifacts["loihi2"])
    arrays = replay(artifact, 3)
    spiking, states = artifact.network.names(LIF), artifact.network.names((LIF, Integrator))
    per_state = (f"{key}/{n}" for n in states for key in ("membrane", "current"))
    assert set(arrays) == {"output", *(f"spikes/{n}" for n in spiking), *per_state}
    assert arrays["spikes/lif2"].dtype == np.uint8


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


def test_what_the_command_refuses(tmp_path, lava_python, digits_artifacts):
    """One line, exit 1, no trace file."""
    network = digits_artifacts["loihi2"] / "network.nir"
    copy = tmp_path / "network.nir"
    copy.write_bytes(network.read_bytes())
    spikes = Artifact(digits_artifacts["loihi2"]).golden["input"][:1]
    assert "not binary" in refused(lava_python, tmp_path, x=spikes * 2)
    shape = ", ".join(map(str, spikes.shape[2:]))
    assert f"the chip takes (B, T, {shape})" in refused(lava_python, tmp_path, x=spikes[:, :, :2])
    copy.write_bytes(network.read_bytes()[:2000])
    assert "cannot be read" in refused(lava_python, tmp_path, x=spikes)
    copy.write_bytes((digits_artifacts["nir"] / "network.nir").read_bytes())
    assert "is not an integer network" in refused(lava_python, tmp_path, x=spikes)
    copy.unlink()
    assert "is not there" in refused(lava_python, tmp_path, x=spikes)
