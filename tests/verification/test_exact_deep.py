"""``--exact`` on the papers' nets: the same bits in the readers, on digits at the size of CIFAR images."""

import importlib.util

import numpy as np
import pytest
import torch
from small_nets import settled, small

from neurodeploy.data import load
from neurodeploy.ir.interpret import named_arrays
from neurodeploy.ir.nir_io import write_nir
from neurodeploy.lowering import lower_module
from neurodeploy.nn.tdbn import TdBatchNorm
from neurodeploy.passes.exact_input import snap_input
from neurodeploy.passes.pipeline import Context, compile_graph
from neurodeploy.passes.place import CoreLimits
from neurodeploy.sim.engine import Engine
from neurodeploy.targets.artifact import Artifact
from neurodeploy.targets.base import load_target
from neurodeploy.verification.compare import compare
from neurodeploy.verification.preflight import preflight
from neurodeploy.verification.readers import Reader

pytestmark = pytest.mark.slow
SAMPLES, STEPS = 24, 4


@pytest.mark.parametrize(
    ("name", "readers"), [("vgg16", ("norse", "snntorch", "spikingjelly")), ("resnet20", ("snntorch", "spikingjelly"))]
)
def test_deep_nets_give_the_same_bits(name, readers, tmp_path):
    digits = load("digits", "test").x[:SAMPLES]
    images = np.repeat(np.kron(digits, np.ones((1, 1, 4, 4), digits.dtype)), 3, axis=1)
    model = small(name)
    torch.manual_seed(1)
    for norm in (m for m in model.modules() if isinstance(m, TdBatchNorm)):
        torch.nn.init.uniform_(norm.weight, 0.6, 1.6)
        torch.nn.init.uniform_(norm.bias, -0.1, 0.3)
    settled(model, torch.from_numpy(images).expand(STEPS, *images.shape).contiguous())
    spec = load_target("nir").spec
    context = Context(spec, CoreLimits("nir"), exact=True, calibration=images[:, None])
    graph = compile_graph(lower_module(model, (3, 32, 32), STEPS), spec, context=context).graph
    x, clipped = snap_input(graph, np.repeat(images[:, None], STEPS, axis=1))
    assert clipped == 0
    run = Engine(graph).run(x, STEPS, keep_membrane=True)
    golden = {"input": x, **named_arrays(run.output, run.spikes, run.membrane)}
    assert min(spikes.mean() for spikes in run.spikes.values()) > 0.005
    write_nir(graph, tmp_path / "network.nir")
    for reader in readers:
        if importlib.util.find_spec(reader) is None:
            pytest.skip(f"{reader} is not installed (Python >= 3.11: pip install -e '.[peers]')")
        assert preflight(graph, reader) == []
        found = compare(graph, golden, Reader(reader, Artifact(tmp_path)).run(x), exact=True)
        assert (found.spike_differences, found.output_max_difference, found.equal) == (0, 0.0, True), reader
