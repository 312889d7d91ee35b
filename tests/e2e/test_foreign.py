"""A NIR file that another tool could have written, all the way to the chip."""

import json
from itertools import pairwise

import nir
import numpy as np
import pytest

from neurodeploy.cli import run
from neurodeploy.verification.readers import READERS, lacking
from neurodeploy.verification.verify import verify

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """conv-LIF-flatten-dense-LIF with r = 1, a leak potential, tau = 2 dt and 10 steps: gains, offsets, truncation."""
    folder = tmp_path_factory.mktemp("foreign")
    rng = np.random.default_rng(0)

    def lif(*shape):
        numbers = {"tau": 2e-4, "r": 1.0, "v_leak": 0.1, "v_threshold": 1.0, "v_reset": 0.0}
        return nir.LIF(**{key: np.full(shape, value) for key, value in numbers.items()})

    weight = (rng.normal(size=(4, 2, 3, 3)) * 1.5).astype(np.float32)
    nodes = {
        "in": nir.Input({"input": np.array([2, 6, 6])}),
        "conv": nir.Conv2d((6, 6), weight, 1, 1, 1, 1, np.zeros(4, np.float32)),
        "lif1": lif(4, 6, 6),
        "flat": nir.Flatten({"input": np.array([4, 6, 6])}, 1, -1),
        "dense": nir.Affine((rng.normal(size=(5, 144)) / 2).astype(np.float32), np.zeros(5, np.float32)),
        "lif2": lif(5),
        "out": nir.Output({"output": np.array([5])}),
    }
    nir.write(folder / "net.nir", nir.NIRGraph(nodes, list(pairwise(nodes)), type_check=False))
    words = ["export", str(folder / "net.nir"), "--target", "loihi2", "--input-kind", "binary", "--timesteps", "10"]
    assert run([*words, "--quiet"]) == 0
    return folder / "net-export-loihi2"


def test_the_chip_spikes_like_the_float_file(artifact, capsys):
    capsys.readouterr()
    np.savez(artifact.parent / "x.npz", x=np.load(artifact / "golden.npz")["input"])
    results = {}
    for name in (artifact, artifact.parent / "net.nir"):
        words = ["simulate", str(name), "--input", str(artifact.parent / "x.npz"), "--input-kind", "binary", "--json"]
        assert run(words) == 0
        results[name.name] = json.loads(capsys.readouterr().out)["result"]
    chip, real = results.values()
    assert chip["arithmetic"] == "loihi"
    assert chip["purity"] == real["purity"] == "pure"
    assert chip["counts"]["sop"] == pytest.approx(real["counts"]["sop"], rel=0.02)  # 8-bit weights


def test_engine_and_interpreter_and_every_reader_here_agree(artifact):
    from neurodeploy.targets.artifact import Artifact

    here = [name for name in READERS if not lacking(name, Artifact(artifact))]
    for name, found in verify(artifact, ["interpreter", "engine", *here]).items():
        assert found.equal, name
        assert (found.spike_differences, found.output_max_difference) == (0, 0.0), name


@pytest.mark.lava
def test_and_lava(artifact, lava_python):
    found = verify(artifact, ["lava"])["lava"]
    assert (found.samples, found.spike_differences, found.state_differences) == (32, 0, 0)
