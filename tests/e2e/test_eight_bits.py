"""What eight bits cost a trained network: Fashion-MNIST, all 10,000 test images, on the weights in tests/golden.

The run was made by ``neurodeploy train fashion-mnist/conv-rmp`` (seed 0); ten minutes are too long for a test.
"""

import os
import shutil
from pathlib import Path

import pytest

from neurodeploy.targets.export import export
from neurodeploy.training.run_files import read_evaluation

pytestmark = pytest.mark.slow
RUN = Path(__file__).parents[1] / "golden" / "fashion-mnist-conv-rmp"


def test_the_chips_integers_keep_the_accuracy(tmp_path, capsys):
    root = os.environ.get("NEURODEPLOY_DATA")
    if root is None or not (Path(root) / "FashionMNIST").is_dir():
        pytest.skip("needs FashionMNIST under NEURODEPLOY_DATA")
    run = shutil.copytree(RUN, tmp_path / "run")
    result = export(run, "loihi2", data_root=Path(root)).result
    floating, integers = result["accuracy_float"], result["accuracy_target"]
    with capsys.disabled():
        print(f"\n  Fashion-MNIST, 10,000 images: {floating:.4f} in float, {integers:.4f} on loihi2")
    assert floating == pytest.approx(read_evaluation(run).accuracy, abs=0.001)  # training measured in bf16
    assert abs(integers - floating) <= 0.005
    assert integers > 0.91
