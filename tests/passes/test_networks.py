"""The papers' networks, small, all the way to the chip: with skips, pools and RepAct's tail."""

import numpy as np
import pytest
import torch
from small_nets import settled, small

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.machine import machine_findings
from neurodeploy.ir.nodes import LIF, NEURONS, SYNAPSES
from neurodeploy.lowering import lower_module
from neurodeploy.passes.balance import levels, paths
from neurodeploy.passes.pipeline import Compilation, compile_graph
from neurodeploy.passes.purity import purity
from neurodeploy.targets.base import load_target
from neurodeploy.targets.check import core_limits
from neurodeploy.targets.export import golden_vectors

MAX = {"net": {"stem_pool": "max"}}
NETS = [
    ("vgg16", (3, 32, 32), {}),
    ("resnet20", (3, 16, 16), {}),
    ("resnet20-slim", (1, 12, 12), {}),
    ("resnet19", (3, 8, 8), {"net": {"head": "fc256"}}),
    ("resnet18", (3, 32, 32), MAX),
    ("resnet18", (3, 33, 33), {}),  # the authors' average pool: right on odd maps
    ("resnet34", (3, 32, 32), MAX),
    ("conv", (1, 8, 8), {"repact": True}),
    ("vgg16", (3, 32, 32), {"repact": True}),
    ("resnet20", (3, 16, 16), {"repact": True}),
]


def lowered(name: str, shape: tuple[int, int, int], tables: dict) -> Graph:
    """Width 4, float64, norms with the statistics of random input, so that every layer fires."""
    model = settled(small(name, shape, **tables), torch.randn(4, 8, *shape)).double()
    return lower_module(model, shape, 4)


def in_float(graph: Graph) -> Compilation:
    """The chip's passes without the quantization."""
    spec = load_target("loihi2").spec
    passes = tuple(name for name in spec.passes if name not in ("quantize", "place"))
    return compile_graph(graph, spec.model_copy(update={"passes": passes}))


@pytest.mark.parametrize(("name", "shape", "tables"), NETS, ids=str)
def test_every_spike_is_kept_and_the_integers_are_pure(name, shape, tables):
    graph = lowered(name, shape, tables)
    x = np.random.default_rng(0).normal(size=(1, 4, *shape))
    meant = interpret(graph, x)

    done = in_float(graph)
    assert done.encoder is not None
    spikes = interpret(done.encoder, x)
    chip = interpret(done.graph, spikes.output)
    output = chip.output if done.tail is None else interpret(done.tail, chip.output).output
    assert (done.tail is not None) == bool(tables.get("repact"))
    kept = {**spikes.spikes, **chip.spikes}
    assert 0.05 < np.mean([s.mean() for s in meant.spikes.values()]) < 0.4
    assert {key for key in meant.spikes if np.any(kept[key] != meant.spikes[key])} == set()
    # Encoder and tail are rounded to float32, and behind it float64 sums have another order.
    np.testing.assert_allclose(output, meant.output, atol=1e-5)

    target = load_target("loihi2")
    done = compile_graph(graph, target.spec, core_limits(target))
    assert [f for f in done.findings if f.severity == "error"] == []
    assert purity(done.graph) == []
    assert not list(machine_findings(done.graph))
    level = levels(done.graph)
    assert all(level[p.target] - level[p.source] == 1 for p in paths(done.graph))
    for neuron in done.graph.names(NEURONS):
        assert all(isinstance(done.graph.nodes[s], SYNAPSES) for s in done.graph.sources(neuron))
    golden = golden_vectors(done, x.astype(np.float32), 4)
    rates = {key: golden[key].mean() for key in golden if key.startswith("spikes/")}
    assert min(rates.values()) > 0.02, rates
    assert ("host_output" in golden) == (done.tail is not None)
    for relay in (n for n in done.graph.names(LIF) if "-relay-" in n):
        source = relay.rpartition("-relay-")[0]
        before = golden["input"] if source == "input" else golden[f"spikes/{source}"]
        np.testing.assert_array_equal(golden[f"spikes/{relay}"], before, err_msg=relay)
    assert done.placement is not None
    assert done.placement.chips is not None
    assert all(row["limited_by"] for row in done.placement.nodes.values())


def test_the_average_pool_of_an_imagenet_stem_on_an_even_map_is_refused_with_the_way_out():
    target = load_target("loihi2")
    done = compile_graph(lowered("resnet18", (3, 32, 32), {}), target.spec, core_limits(target), collect=True)
    errors = [f for f in done.findings if f.severity == "error"]
    assert {f.code for f in errors} == {"ND302", "ND217"}
    (refused,) = [f for f in errors if f.code == "ND302" and f.node == "stage1_block1_conv1"]
    assert 'net.stem_pool = "max"' in refused.fix


def test_sew_blocks_stay_refused():
    target = load_target("loihi2")
    graph = lowered("resnet20-slim", (1, 9, 9), {"net": {"block": "sew"}})
    errors = compile_graph(graph, target.spec, core_limits(target), collect=True).findings
    assert {f.code for f in errors if f.severity == "error"} == {"ND303"}
