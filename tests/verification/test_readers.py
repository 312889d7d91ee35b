"""The exported .nir in Norse, snnTorch and SpikingJelly: spikes and logits on the whole digits test set."""

import importlib.util

import numpy as np
import pytest

from neurodeploy.data import load
from neurodeploy.ir.interpret import interpret
from neurodeploy.targets.artifact import Artifact
from neurodeploy.verification.compare import compare
from neurodeploy.verification.readers import READERS, Reader

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("target", ["nir", "loihi2"])
@pytest.mark.parametrize("reader", sorted(READERS))
def test_spikes_and_logits_on_the_whole_test_set(digits_artifacts, reader, target, capsys):
    if importlib.util.find_spec(reader) is None:
        pytest.skip(f"{reader} is not installed (Python >= 3.11: pip install -e '.[peers]')")
    artifact = Artifact(digits_artifacts[target])
    digits = load("digits", "test")
    x = np.repeat(digits.x[:, None], 4, axis=1)
    if artifact.encoder is not None:
        x = interpret(artifact.encoder, x, "float32").output.astype(np.uint8)
    meaning = interpret(artifact.network, x, artifact.network.arithmetic)
    golden = {"input": x, "output": meaning.output}
    golden.update({f"spikes/{name}": spikes for name, spikes in meaning.spikes.items()})
    loaded = Reader(reader, artifact)
    found = compare(artifact.network, golden, loaded.run(x), exact=False)
    # A second run starts from zero states, not where the first one ended.
    assert compare(artifact.network, golden, loaded.run(x), exact=False) == found
    with capsys.disabled():
        distance = "" if found.largest_distance is None else f", first flips within {found.largest_distance:.2g}"
        print(
            f"\n  {target} in {reader}: {found.spike_differences} of {found.spikes_compared:,} spikes differ"
            f"{distance}, logits by {found.output_max_difference:.2g} at most"
        )
    assert found.samples == len(digits)
    if target == "loihi2":
        # Integers below 2^24 are exact in float32, whatever the order of sums: nothing may differ.
        assert (found.spike_differences, found.output_max_difference) == (0, 0.0)
        return
    # Float sums of a few hundred terms of order one in another order: a spike may flip only where the potential is
    # within 1e-5 of the threshold (300 terms x 2^-24, generously), and then later ones follow from it.
    assert found.largest_distance is None or found.largest_distance < 1e-5
    assert found.spike_differences <= found.spikes_compared // 10_000
    if found.spike_differences == 0:
        assert found.output_max_difference < 1e-4
        assert found.prediction_differences == 0
