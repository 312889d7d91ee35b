"""neurodeploy without torch, on Lava's Python 3.10: simulate and check an artifact there, with the same result."""

import json
import subprocess

import pytest

from neurodeploy.data import load
from neurodeploy.sim.run import simulate

pytestmark = [pytest.mark.lava, pytest.mark.slow]


def test_simulate_gives_the_same_counts_there(digits_artifacts, lava_python, tmp_path):
    import numpy as np

    installed = subprocess.run([str(lava_python), "-c", "import neurodeploy, numba"], capture_output=True, check=False)
    if installed.returncode != 0:
        pytest.skip("neurodeploy is not installed in Lava's environment: make lava")
    digits = load("digits", "test")
    np.savez(tmp_path / "x.npz", x=digits.x[:20], y=digits.y[:20])
    command = [str(lava_python), "-m", "neurodeploy", "simulate", str(digits_artifacts["loihi2"])]
    done = subprocess.run(
        [*command, "--input", str(tmp_path / "x.npz"), "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout)["result"]
    here = json.loads(json.dumps(simulate(digits_artifacts["loihi2"], digits.x[:20], digits.y[:20]).to_json()))
    assert {k: v for k, v in there.items() if k != "seconds"} == {k: v for k, v in here.items() if k != "seconds"}
