"""Placement arithmetic."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from graphs import paper_chain, skip_chain

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Conv1d, Conv2d, CubaLIF, Input, Output
from neurodeploy.passes.balance import balance, relay_neuron
from neurodeploy.passes.fold_pool import fold_pool
from neurodeploy.passes.place import CoreLimits, place, synapse_count
from neurodeploy.passes.skip_synapses import identity


def test_resources_by_hand():
    """lif2: 4x8x8 neurons, conv2 4·4·9 = 144 weights; one channel is 64 neurons and 36 bytes at 8 bits."""
    graph = fold_pool(paper_chain(real=False))
    limits = CoreLimits("toy", neurons=128, synaptic_memory_bytes=4096, cores=2)
    placement = place(graph, limits)
    row = placement.nodes["lif2"]
    assert (row["neurons"], row["synaptic_memory_bytes"], row["axons_in"]) == (256, 144, 256)
    assert (row["cores"], row["limited_by"]) == (2, "neurons")  # 128 // 64 = 2 channels a core
    assert row["synapses"] == 4 * 4 * (36 * 9 + 24 * 6 + 4 * 4)
    assert row["axons_out"] == 256 * placement.nodes["readout"]["cores"]
    assert placement.total["cores"] == 2 + 2 + 1
    assert placement.chips == 3
    assert placement.bottleneck["cores"] == 2
    assert placement.cores() == {"lif1": 2, "lif2": 2, "readout": 1}


def test_memory_decides_where_it_is_tighter():
    graph = fold_pool(paper_chain(real=False))
    placement = place(graph, CoreLimits("toy", neurons=8192, synaptic_memory_bytes=80))
    assert placement.nodes["lif2"]["limited_by"] == "synaptic memory"
    assert placement.nodes["lif2"]["cores"] == 2  # 80 // 36 = 2 channels a core
    codes = {f.node: f.code for f in placement.findings}
    assert codes == {"readout": "ND203"}  # 256 bytes for one output
    assert placement.chips is None


@pytest.mark.parametrize(
    ("limits", "code", "unit"),
    [
        (CoreLimits("toy", neurons=10), "ND202", "neurons"),
        (CoreLimits("toy", neurons=8192, synaptic_memory_bytes=8), "ND203", "bytes"),
        (CoreLimits("toy", neurons=8192, axons_in=16), "ND204", "axons"),
        (CoreLimits("toy", neurons=8192, fan_in=35), "ND224", "synapses"),
        (CoreLimits("toy", neurons=8192, weight_bits=4), "ND225", "bits"),
        (CoreLimits("toy", neurons=8192, state_bits=20, needed_state_bits=24), "ND225", "bits"),
    ],
)
def test_findings_carry_number_limit_unit_and_fix(limits, code, unit):
    findings = [f for f in place(fold_pool(paper_chain(real=False)), limits).findings if f.code == code]
    assert findings
    for finding in findings:
        assert finding.measured > finding.limit
        assert finding.unit == unit
        assert finding.fix


def test_unknown_limits_are_not_checked():
    placement = place(paper_chain(real=False), CoreLimits("nothing known"))
    assert placement.findings == []
    assert placement.chips is None
    assert placement.total["cores"] is None


def test_synapses_are_counted_without_the_border():
    node = Conv2d(np.ones((6, 2, 3, 3)), np.zeros(6), stride=(2, 2), padding=(1, 1), groups=2)
    assert synapse_count(node, (4, 5, 5), (6, 3, 3)) == (2 + 3 + 2) ** 2 * 6 * 2


def test_a_one_dimensional_convolution_and_a_current_state_are_placed():
    """5 of 6 places have all three taps, none of the border's: 4·2·(3·4 + 2·2) connections; 24 weights."""
    nodes = {"input": Input((2, 6), "binary"), "conv": Conv1d(np.ones((4, 2, 3)), np.zeros(4), padding=1)}
    nodes |= {"lif": CubaLIF((4, 6), 0.5, 1.0, current_decay=0.5), "output": Output()}
    row = place(Graph(nodes, tuple(pairwise(nodes))), CoreLimits("toy", neurons=12)).nodes["lif"]
    assert (row["neurons"], row["synapses"], row["synaptic_memory_bytes"]) == (24, 4 * 2 * 16, 24)
    assert (row["cores"], row["axons_in"]) == (2, 12)


def test_a_core_of_a_depthwise_skip_reads_its_own_channels_only():
    """8 channels of 16 neurons through a 1x1 depthwise convolution: 32 axons hold two of them."""
    nodes = {"input": Input((8, 4, 4), "binary"), "skip": identity((8, 4, 4)), "relay": relay_neuron((8, 4, 4))}
    nodes["output"] = Output()
    graph = Graph(nodes, tuple(pairwise(nodes)))
    row = place(graph, CoreLimits("toy", neurons=64, axons_in=32)).nodes["relay"]
    assert (row["cores"], row["limited_by"]) == (4, "input axons")
    assert place(graph, CoreLimits("toy", neurons=64)).nodes["relay"]["cores"] == 2
    refused = place(graph, CoreLimits("toy", neurons=64, axons_in=15)).findings
    assert [(f.code, f.measured, f.limit) for f in refused] == [("ND204", 16, 15)]


def test_relays_of_a_skip_are_counted():
    done = balance(skip_chain())
    row = place(done, CoreLimits("toy", neurons=8192)).nodes["lif1-relay-1"]
    assert (row["neurons"], row["synapses"], row["axons_in"]) == (32, 32, 32)


def test_synapses_per_chip_decide_the_number_of_chips():
    graph = fold_pool(paper_chain(real=False))
    total = place(graph, CoreLimits("toy", neurons=8192, cores=128)).total["synapses"]
    assert place(graph, CoreLimits("toy", neurons=8192, cores=128)).chips == 1
    tight = place(graph, CoreLimits("toy", neurons=8192, cores=128, synapses=total // 2))
    assert (tight.chips, tight.chips_limited_by) == (2, "synapses")


def test_a_kernel_that_is_stored_once_counts_once_among_the_chips_synapses():
    """conv1, conv2 and the folded fc hold 36 + 144 + 2560 weights; their connections are many more."""
    graph = fold_pool(paper_chain(real=False))
    limits = CoreLimits("toy", neurons=8192, synaptic_memory_bytes=4096, cores=128, synapses=36 + 144 + 2560)
    assert (place(graph, limits).chips, place(graph, limits).chips_limited_by) == (1, "cores")
    assert place(graph, replace(limits, synapses=36 + 144 + 2559)).chips == 2
