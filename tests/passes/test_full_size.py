"""ResNet19 at its published width through every pass of Loihi 2, in a process of its own: seconds and memory."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[1])
import torch
from small_nets import recipe
from neurodeploy.lowering import lower_module
from neurodeploy.nn.nets import build_for
from neurodeploy.nn.tdbn import TdBatchNorm
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.targets.base import load_target
from neurodeploy.targets.check import core_limits

torch.manual_seed(0)
model = build_for(recipe("resnet19"), (3, 32, 32), 10)
for module in model.modules():
    if isinstance(module, TdBatchNorm):
        module.running_mean.normal_(0, 0.1)
        module.running_var.uniform_(0.5, 1.5)
started = time.perf_counter()
target = load_target("loihi2")
done = compile_graph(lower_module(model.eval(), (3, 32, 32), 4), target.spec, core_limits(target))
print(json.dumps({
    "seconds": time.perf_counter() - started,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    "weights": sum(p.numel() for n, p in model.named_parameters() if p.ndim > 1),
    "errors": [f.code for f in done.findings if f.severity == "error"],
    "rows": {name: [row["cores"], row["limited_by"]] for name, row in done.placement.nodes.items()},
    "chips": done.placement.chips,
}))
"""


def test_resnet19_compiles_in_half_a_minute_and_four_gibibytes():
    tests = str(Path(__file__).parents[1])
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, tests], capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["weights"] > 12_500_000
    assert found["errors"] == []
    assert found["seconds"] <= 30
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage: bytes there, KiB here
    assert found["peak"] * unit <= 4 * 2**30
    assert found["chips"] == -(-sum(cores for cores, _ in found["rows"].values()) // 128)
    # 128 channels of 32x32: eight fill a core's 8192 neurons. The last stage: 9·512 weights a channel, 96 KiB a core.
    assert found["rows"]["stage1_block1_lif1"] == [16, "neurons"]
    assert found["rows"]["stage3_block2_lif1"] == [-(-512 // (96 * 1024 // (9 * 512))), "synaptic memory"]
