"""The papers' nets at their published width through every pass of Loihi 2, each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
model = build_for(recipe(sys.argv[2]), (3, 32, 32), 10)
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
    "bottleneck": done.placement.bottleneck,
}))
"""


def compiled(net: str) -> dict:
    words = [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[1]), net]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize(
    ("net", "weights", "rows"),
    [
        (
            "resnet19",
            12_500_000,
            # 128 channels of 32x32: eight fill a core's 8192 neurons. The last stage: 9·512 weights a channel, 96 KiB.
            {
                "stage1_block1_lif1": [16, "neurons"],
                "stage3_block2_lif1": [-(-512 // (96 * 1024 // (9 * 512))), "synaptic memory"],
            },
        ),
        ("resnet20", 11_200_000, {"lif2": [8, "neurons"]}),
        ("vgg16", 14_700_000, {"lif11": [-(-512 // (96 * 1024 // (36 * 512))), "synaptic memory"]}),
    ],
)
def test_published_widths_compile(net, weights, rows):
    """Within half a minute and 4 GiB, with cores, chips and what limits each layer."""
    found = compiled(net)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage: bytes there, KiB here
    peak = found["peak"] * unit
    limits = [limit for _, limit in found["rows"].values()]
    cores, worst = sum(cores for cores, _ in found["rows"].values()), found["bottleneck"]["node"]
    limited = ", ".join(f"{limits.count(limit)} layers limited by {limit}" for limit in sorted(set(limits)))
    print(f"\n  {net}: {cores} cores, {found['chips']} chips, bottleneck {worst}; {limited}")
    assert found["weights"] > weights
    assert found["errors"] == []
    assert found["seconds"] <= 30
    assert peak <= 4 * 2**30
    assert found["chips"] == -(-sum(cores for cores, _ in found["rows"].values()) // 128)
    assert {name: found["rows"][name] for name in rows} == rows
