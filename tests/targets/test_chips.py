"""spinnaker2, truenorth, tianjic, speck: what fits, and each rule broken by itself, its numbers counted by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import nir
import numpy as np
import pytest
from chip_graphs import chain, conv, crossbar_net, eighths, lif, linear, multi, speck_net, ternary

from neurodeploy.cli import run
from neurodeploy.config.target import validate_target
from neurodeploy.diagnostics import UnsupportedError, UsageError
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nir_io import write_nir
from neurodeploy.ir.nodes import Conv2d, Input, Output, SumPool2d
from neurodeploy.passes.bias_offset import bias_offset
from neurodeploy.passes.exact_bits import exact_bits
from neurodeploy.passes.layer_cores import matching
from neurodeploy.passes.layer_form import LayerForm, layer_form
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.targets.base import load_target
from neurodeploy.targets.check import check, core_limits
from neurodeploy.targets.export import export

CHIPS = ("spinnaker2", "truenorth", "tianjic", "speck")
FITTING = {"spinnaker2": crossbar_net, "truenorth": crossbar_net, "tianjic": crossbar_net, "speck": speck_net}


def compiled(graph, target):
    found = load_target(target)
    return compile_graph(graph, found.spec, core_limits(found), collect=True)


def told(graph, target):
    """``(code, severity, node, measured, limit)`` of every finding."""
    return [(f.code, f.severity, f.node, f.measured, f.limit) for f in compiled(graph, target).findings]


# ---------------------------------------------------------------------------------------------------------------------
# what fits


@pytest.mark.parametrize("target", CHIPS)
def test_a_network_made_for_the_chip_fits_without_a_word(target):
    assert told(FITTING[target](), target) == []


@pytest.mark.parametrize("target", ["tianjic", "spinnaker2"])
def test_a_leak_fits_where_the_chip_has_one(target):
    assert told(crossbar_net(decay=0.25), target) == []


def test_truenorth_cores_counted_by_hand():
    """Weights are −1, 0 and 1: a source that several neurons of a core read needs an axon of each of 2 types."""
    placement = compiled(crossbar_net(), "truenorth").placement
    cores = placement.cores()
    # conv1: 8 x 2 outputs of all 6 channels read 8 rows (not 10: the map has 8) and 4 columns of 4 channels, for
    # 2 types: 8·4·4·2 = 256 axons, 96 neurons: 4 blocks. 8 x 3 would read 8·5·4·2 = 320.
    assert cores["lif1"] == 4
    # conv2: 2x2 windows of 6 channels, 2 types: 48 axons an output: 5 of 16 positions; 2 x 2 or 4 x 1 blocks: 4
    assert cores["lif2"] == 4
    # fc: 128 sources x 2 types = 256 axons, 10 neurons: one core
    assert cores["lif3"] == 1
    assert placement.total["cores"] == 9
    assert placement.chips == 1
    assert placement.bottleneck == {"node": "lif1", "resource": "input axons", "cores": 4}
    # a 1-bit crossbar: one bit a synapse
    assert placement.nodes["lif3"]["synaptic_memory_bytes"] == 1280 // 8
    # lif1 is read by lif2's 4 cores, lif2 by one
    assert placement.nodes["lif1"]["axons_out"] == 6 * 64 * 4
    assert placement.nodes["lif2"]["axons_out"] == 8 * 16


def test_tianjic_stores_weights_not_types_and_needs_fewer_cores():
    # conv1: 384 neurons need at least 2 of 256; 8 x 4 x 6 = 192 neurons read 8·6·4 = 192 axons: 2 blocks
    # conv2: 24 axons an output: 2 x 4 positions, 192 axons: 2 blocks. fc: 128 axons: 1.
    assert compiled(crossbar_net(), "tianjic").placement.cores() == {"lif1": 2, "lif2": 2, "lif3": 1}


def test_speck_words_counted_by_hand():
    forms = {name: layer_form(speck_net(), name) for name in ("conv1", "conv2", "fc")}
    assert forms["conv1"].memory() == {"kernel": 2 * 16 * 4, "neuron": 4 * 16 * 16, "bias": 4}
    assert forms["conv2"].memory() == {"kernel": 4 * 16 * 8, "neuron": 8 * 8 * 8, "bias": 8}
    # fc over the 8x2x2 map: 4 taps, 5 outputs rounded up to 8
    assert forms["fc"].kernel == (2, 2)
    assert forms["fc"].memory() == {"kernel": 8 * 4 * 8, "neuron": 5, "bias": 5}
    # the example of Sinabs' documentation: 16 channels to 32, 3x3, on 64x64: 8 Ki words, 128 Ki neurons
    documented = LayerForm((16, 64, 64), (32, 64, 64), (3, 3))
    assert documented.memory() == {"kernel": 8 * 1024, "neuron": 128 * 1024, "bias": 32}
    placement = compiled(speck_net(), "speck").placement
    assert placement.cores() == {"if1": 1, "if2": 1, "if3": 1}
    assert (placement.chips, placement.chips_limited_by) == (1, "layers")
    assert placement.bottleneck == {"node": "if2", "resource": "kernel memory", "cores": 1}


def test_the_matching_finds_a_place_whenever_there_is_one():
    """All assignments of up to 4 layers to 4 cores are tried."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        count = int(rng.integers(1, 5))
        fitting = {str(i): [c for c in range(4) if rng.random() < 0.4] for i in range(count)}
        best = max(
            sum(core in fitting[name] for name, core in zip(fitting, cores, strict=True))
            for cores in permutations(range(4), count)
        )
        found = matching(fitting)
        assert len(found) == best
        assert len(set(found.values())) == len(found)
        assert all(core in fitting[name] for name, core in found.items())


# ---------------------------------------------------------------------------------------------------------------------
# one rule broken at a time


def changed(graph, **nodes):
    return graph.with_nodes(nodes)


def with_if1(**rest):
    return changed(speck_net(), if1=replace(multi((4, 16, 16), 1.25), **rest))


def first_conv(weight_shape, size=(16, 16), **rest):
    """A Speck network whose first convolution is given; its neurons go straight out."""
    rng = np.random.default_rng(1)
    groups = rest.get("groups", 1)
    layer = conv(eighths(rng, weight_shape), **rest)
    out = layer.output_shape((weight_shape[1] * groups, *size))
    entry = Input((weight_shape[1] * groups, *size), "integer")
    return chain({"input": entry, "conv1": layer, "if1": multi(out), "output": Output()})


def pooled(kernel, stride, padding=(0, 0)):
    rng = np.random.default_rng(2)
    pool = SumPool2d(kernel, stride, padding)
    middle = pool.output_shape((2, 16, 16))
    return chain(
        {
            "input": Input((2, 16, 16), "integer"),
            "pool1": pool,
            "conv1": conv(eighths(rng, (2, 2, 3, 3))),
            "if1": multi(middle),
            "output": Output(),
        }
    )


def fan_out_of_three():
    rng = np.random.default_rng(3)
    nodes = {"input": Input((2, 8, 8), "integer"), "conv0": conv(eighths(rng, (2, 2, 3, 3))), "if0": multi((2, 8, 8))}
    edges = [("input", "conv0"), ("conv0", "if0")]
    for i in (1, 2, 3):
        nodes |= {f"conv{i}": conv(eighths(rng, (2, 2, 3, 3))), f"if{i}": multi((2, 8, 8))}
        edges += [("if0", f"conv{i}"), (f"conv{i}", f"if{i}"), (f"if{i}", "output")]
    graph = chain({"input": nodes["input"], "output": Output()})
    return replace(graph, nodes={**nodes, "output": Output()}, edges=tuple(edges))


def skip():
    """if1 reaches if2 through conv2 and through a 1x1 convolution."""
    graph = speck_net()
    rng = np.random.default_rng(4)
    nodes = {**graph.nodes, "skip": Conv2d(eighths(rng, (8, 4, 1, 1)), np.zeros(8, np.float32))}
    return replace(graph, nodes=nodes, edges=(*graph.edges, ("pool1", "skip"), ("skip", "if2")))


def spikes_added():
    """conv2 reads the spikes of two layers."""
    rng = np.random.default_rng(5)
    nodes = {
        "input": Input((2, 8, 8), "integer"),
        "conv1": conv(eighths(rng, (2, 2, 3, 3))),
        "if1": multi((2, 8, 8)),
        "conv2": conv(eighths(rng, (2, 2, 3, 3))),
        "if2": multi((2, 8, 8)),
        "output": Output(),
    }
    return chain(nodes, ("input", "conv2"))


def looped():
    """if3 reads itself, a step late, added to what it reads anyway."""
    rng = np.random.default_rng(6)
    nodes = {
        "input": Input((6,), "integer"),
        "fc": linear(eighths(rng, (6, 6))),
        "if1": multi((6,)),
        "output": Output(),
    }
    return chain(nodes, recurrent=(("if1", "fc"),))


def too_many_layers(count=10):
    rng = np.random.default_rng(7)
    nodes = {"input": Input((2, 8, 8), "integer")}
    for i in range(count):
        nodes |= {f"conv{i}": conv(eighths(rng, (2, 2, 3, 3))), f"if{i}": multi((2, 8, 8))}
    return chain({**nodes, "output": Output()})


ERROR = "error"
SPECK = {
    "leak": (lambda: with_if1(decay=np.asarray(0.5)), "ND259", "if1", 0.5, 1),
    "threshold": (
        lambda: changed(speck_net(), if2=multi((8, 8, 8), np.arange(1.0, 9.0).reshape(8, 1, 1))),
        "ND260", "if2", 8, 1,
    ),
    "output map": (lambda: first_conv((1, 1, 1, 1), (65, 8), padding=(0, 0)), "ND262", "conv1", 65, 64),
    "input map": (lambda: first_conv((1, 1, 3, 3), (129, 8), stride=(4, 1)), "ND262", "conv1", 129, 128),
    "channels": (lambda: first_conv((1, 1025, 1, 1), (2, 2), padding=(0, 0)), "ND262", "conv1", 1025, 1024),
    "kernel": (lambda: first_conv((1, 1, 17, 17), (20, 20), padding=(0, 0)), "ND262", "conv1", 17, 16),
    "square": (lambda: first_conv((1, 2, 3, 1)), "ND262", "conv1", "3x1", "square"),
    "stride": (lambda: first_conv((1, 2, 3, 3), stride=(3, 1)), "ND262", "conv1", 3, "1, 2, 4, 8"),
    "padding": (lambda: first_conv((1, 2, 3, 3), padding=(8, 0)), "ND262", "conv1", 8, 7),
    "dilation": (lambda: first_conv((1, 2, 3, 3), dilation=(2, 2)), "ND262", "conv1", "2x2", "1x1"),
    "groups": (lambda: first_conv((2, 1, 3, 3), groups=2), "ND262", "conv1", 2, 1),
    "pool size": (lambda: pooled((8, 8), (8, 8)), "ND262", "pool1", 8, "1, 2, 4"),
    "pool form": (
        lambda: pooled((3, 3), (2, 2), (1, 1)),
        "ND262", "pool1", "window 3x3, stride 2x2, padding 1x1", "a tiling",
    ),
    "skip": (skip, "ND263", "if2", 2, 1),
    "added spikes": (spikes_added, "ND263", "conv2", 2, 1),
    "fan-out": (fan_out_of_three, "ND263", "if0", 3, 2),
    "neuron memory": (lambda: first_conv((17, 1, 3, 3), (64, 64)), "ND264", "if1", 17 * 4096, 65536),
    "kernel memory": (
        lambda: first_conv((512, 200, 1, 1), (1, 1), padding=(0, 0)), "ND264", "if1", 200 * 512, 65536,
    ),
    # 16 x 2048 kernel words need a core of 32 Ki; those have at most 32 Ki words for neurons
    "both memories": (
        lambda: first_conv((128, 16, 3, 3), (32, 16)), "ND264", "if1", 128 * 32 * 16, 32768,
    ),
    "layers": (too_many_layers, "ND264", "if9", 10, 9),
}  # fmt: skip


@pytest.mark.parametrize("rule", SPECK)
def test_speck_names_the_layer_and_the_number(rule):
    make, code, node, measured, limit = SPECK[rule]
    assert told(make(), "speck") == [(code, ERROR, node, measured, limit)]


def test_speck_refuses_neurons_that_sinabs_would_take_for_its_own():
    single = with_if1(spikes="single")
    assert told(single, "speck") == [("ND260", ERROR, "if1", "single", "multi")]
    found = told(with_if1(spikes="single", compare="gt", reset="to"), "speck")
    assert found == [
        ("ND260", ERROR, "if1", "to", "subtract"),
        ("ND260", ERROR, "if1", "single", "multi"),
        ("ND260", ERROR, "if1", "gt", "ge"),
    ]


def test_speck_warns_of_biases_and_of_weights_that_will_be_rounded():
    rng = np.random.default_rng(8)
    biased = changed(speck_net(), conv1=conv(eighths(rng, (4, 2, 3, 3)), bias=0.25))
    assert told(biased, "speck") == [("ND265", "warning", "conv1", 4, 0)]
    fine = eighths(rng, (4, 2, 3, 3))
    fine[0, 0, 0, 0], fine[0, 0, 0, 1] = 1.0, 2.0**-7  # 128 units of 1/128: 8 bits and a sign
    assert told(changed(speck_net(), conv1=conv(fine)), "speck") == [("ND261", "warning", "if1", 9, 8)]


def test_recurrent_edges():
    found = told(looped(), "speck")
    assert ("ND263", ERROR, "if1", 1, 0) in found
    assert {code for code, *_ in found} == {"ND263"}


def test_truenorth_rules_one_at_a_time():
    net = crossbar_net()
    assert told(changed(net, lif2=lif((8, 4, 4), 0.25)), "truenorth") == [("ND259", ERROR, "lif2", 0.25, 1)]
    several = changed(net, lif2=multi((8, 4, 4)))
    # and the graded spikes that leave it are no spikes for a crossbar
    assert told(several, "truenorth") == [
        ("ND304", ERROR, "fc", "integer", "binary"),
        ("ND260", ERROR, "lif2", "multi", "single"),
    ]
    weight = ternary(np.random.default_rng(9), (6, 4, 3, 3))
    weight[3, 0, 0] = (1.0, 2.0, -2.0)
    weight[3, 0, 1] = (-1.0, 3.0, 0.0)  # neuron 3: -2, -1, 1, 2, 3
    assert told(changed(net, conv1=conv(weight)), "truenorth") == [("ND261", ERROR, "lif1", 5, 4)]
    weight[3, 0, 1] = (-1.0, 1.0, 256.0)
    weight[3, 0, 0] = (1.0, 1.0, -1.0)
    # 256 units: 9 bits and a sign
    assert told(changed(net, conv1=conv(weight)), "truenorth") == [("ND261", "warning", "lif1", 10, 9)]


@pytest.mark.parametrize("target", ["truenorth", "tianjic"])
def test_a_crossbar_reads_256_sources(target):
    """3x3 of 28 channels are 252 synapses, of 29 channels 261."""
    for channels, findings in ((28, []), (29, [("ND224", ERROR, "lif1", 261, 256)])):
        weight = np.ones((2, channels, 3, 3), np.float32)
        graph = chain(
            {
                "input": Input((channels, 3, 3), "binary"),
                "conv1": conv(weight),
                "lif1": lif((2, 3, 3)),
                "output": Output(),
            }
        )
        assert told(graph, target) == findings


def test_tianjic_resets_to_a_value():
    graph = changed(crossbar_net(), lif1=lif((6, 8, 8), 0.25, reset="subtract"))
    assert told(graph, "tianjic") == [("ND260", ERROR, "lif1", "subtract", "to")]


def test_spinnaker2_rules_are_what_its_import_misreads():
    net = crossbar_net(decay=0.25)
    rng = np.random.default_rng(10)
    grouped = changed(net, conv1=conv(ternary(rng, (6, 2, 3, 3)), groups=2))
    assert told(grouped, "spinnaker2") == [("ND262", ERROR, "conv1", 2, 1)]
    strided = changed(net, conv2=conv(ternary(rng, (8, 6, 2, 5)), stride=(2, 1), padding=(0, 0)))
    assert told(strided, "spinnaker2") == [("ND262", ERROR, "conv2", "2x1", "equal")]
    mixed = changed(net, lif2=lif((8, 4, 4), 0.25, reset="subtract"))
    assert told(mixed, "spinnaker2") == [("ND260", ERROR, "lif2", "subtract, to", 1)]
    hyper = changed(net, lif2=lif((8, 4, 4), 0.25, v_reset=np.asarray(-0.5)))
    assert told(hyper, "spinnaker2") == [("ND260", ERROR, "lif2", -0.5, 0)]
    # a bias of a convolution is read only as a leaking neuron's constant drive
    without_leak = changed(crossbar_net(), conv1=conv(ternary(rng, (6, 4, 3, 3)), bias=0.5))
    assert told(without_leak, "spinnaker2") == [("ND260", ERROR, "conv1", "a bias", "none")]
    assert told(changed(net, conv1=without_leak.nodes["conv1"]), "spinnaker2") == []
    skipped = replace(net, nodes={**net.nodes, "skip": conv(ternary(rng, (8, 6, 2, 2)), stride=(2, 2), padding=(0, 0))},
                      edges=(*net.edges, ("lif1", "skip"), ("skip", "lif2")))  # fmt: skip
    assert told(skipped, "spinnaker2") == [("ND263", ERROR, "lif2", 2, 1)]


def test_all_findings_of_a_network_at_once():
    """A leaking network with real weights breaks three kinds of rules in both layers of TrueNorth."""
    rng = np.random.default_rng(11)
    weights = [rng.normal(size=(4, 4, 3, 3)).astype(np.float32) for _ in (1, 2)]
    graph = chain(
        {
            "input": Input((4, 6, 6), "binary"),
            "conv1": conv(weights[0]), "lif1": lif((4, 6, 6), 0.25),
            "conv2": conv(weights[1]), "lif2": lif((4, 6, 6), 0.25),
            "output": Output(),
        }
    )  # fmt: skip
    errors = [
        (code, node, measured) for code, severity, node, measured, _ in told(graph, "truenorth") if severity == ERROR
    ]
    assert errors == [("ND259", "lif1", 0.25), ("ND259", "lif2", 0.25), ("ND261", "lif1", 36), ("ND261", "lif2", 36)]


# ---------------------------------------------------------------------------------------------------------------------
# parts


@pytest.mark.parametrize(
    ("values", "bits"),
    [
        ([0.0], 1), ([3.0, -3.0], 2), ([1.0, -1.0, 0.5], 3), ([127.0, 1.0], 8), ([128.0, 1.0], 9),
        ([0.3, 0.3], 2), ([6.0, 9.0], 3), ([2.0**40, 1.0], 42), ([2.0**70, 1.0], 72),
    ],
)  # fmt: skip
def test_exact_bits(values, bits):
    assert exact_bits(np.asarray(values)) == bits


def test_exact_bits_are_enough_and_one_fewer_is_not():
    rng = np.random.default_rng(12)
    for _ in range(100):
        top = int(rng.integers(1, 2000))
        whole = np.append(rng.integers(-top, top + 1, size=6), [top, 1])  # the unit is 1
        scale = 2.0 ** int(rng.integers(-9, 9)) * int(rng.choice([1, 3, 5]))
        bits = exact_bits(whole * scale)
        assert 2 ** (bits - 1) - 1 >= top > 2 ** (bits - 2) - 1


def test_biases_become_the_drive_of_leaking_neurons_and_nothing_else_changes():
    rng = np.random.default_rng(13)
    graph = changed(crossbar_net(decay=0.25), conv1=conv(ternary(rng, (6, 4, 3, 3)), bias=0.5))
    moved = bias_offset(graph)
    assert not moved.nodes["conv1"].bias.any()
    assert float(moved.nodes["lif1"].offset) == 0.5
    assert moved.nodes["fc"] is graph.nodes["fc"]
    x = (rng.random((3, 6, 4, 8, 8)) < 0.3).astype(np.uint8)
    before, after = interpret(graph, x, "float64"), interpret(moved, x, "float64")
    assert before.spikes["lif1"].any()
    assert all(np.array_equal(before.spikes[name], after.spikes[name]) for name in before.spikes)
    without = changed(crossbar_net(), conv1=graph.nodes["conv1"])
    assert bias_offset(without) is without


# ---------------------------------------------------------------------------------------------------------------------
# artifacts


@pytest.mark.parametrize("target", ["truenorth", "tianjic"])
def test_export_is_refused_with_the_reason(target, tmp_path: Path, capsys):
    write_nir(crossbar_net(), tmp_path / "net.nir")
    with pytest.raises(UnsupportedError, match="never published") as refusal:
        export(tmp_path / "net.nir", target, tmp_path / "out", dry_run=True)
    assert (refusal.value.code, refusal.value.exit_code) == ("ND258", 3)
    assert "check MODEL" in refusal.value.fix
    assert run(["export", str(tmp_path / "net.nir"), "--target", target, "--out", str(tmp_path / "out")]) == 3
    assert "nothing open could load a file" in capsys.readouterr().err.replace("\n", " ").replace("  ", "")
    assert not (tmp_path / "out").exists()
    assert check(tmp_path / "net.nir", target)["fits"]


def test_the_speck_artifact_is_what_sinabs_reads(tmp_path: Path):
    """IF nodes with r = 1, thresholds a float below, Flatten from the end; the kit's files are there."""
    write_nir(speck_net(), tmp_path / "net.nir")
    x = np.random.default_rng(14).poisson(0.3, (4, 6, 2, 16, 16))
    np.savez(tmp_path / "x.npz", x=x)
    done = export(tmp_path / "net.nir", "speck", tmp_path / "out", inputs=tmp_path / "x.npz")
    assert {"network.nir", "golden.npz", "run_sinabs.py", "README.md"} <= set(done.result["files"])
    assert "encoder.nir" not in done.result["files"]
    written = nir.read(done.folder / "network.nir")
    assert {type(node).__name__ for node in written.nodes.values()} == {
        "Input", "Conv2d", "IF", "SumPool2d", "Flatten", "Affine", "Output",
    }  # fmt: skip
    assert np.all(written.nodes["if1"].r == 1.0)
    assert np.all(written.nodes["if1"].v_threshold == np.nextafter(np.float32(1.25), np.float32(0)))
    assert float(written.nodes["if1"].metadata["neurodeploy"]["threshold"]) == 1.25
    # Sinabs' neuron written out: what the runner has to meet
    with np.load(done.folder / "golden.npz") as golden:
        spikes = golden["spikes/if1"].astype(np.int64)
        membrane = golden["membrane/if1"]
    assert spikes.max() > 1
    assert membrane.min() < -1.25  # from_nir would clamp it there


def test_the_spinnaker2_artifact_in_the_imports_own_formulas(tmp_path: Path):
    """convert_LIF of s2_nir.py with dt = 1, forward Euler: decay, threshold and drive are ours again."""
    rng = np.random.default_rng(15)
    graph = changed(crossbar_net(decay=0.25), conv1=conv(ternary(rng, (6, 4, 3, 3)), bias=0.5))
    write_nir(graph, tmp_path / "net.nir")
    done = export(tmp_path / "net.nir", "spinnaker2", tmp_path / "out", timesteps=6)
    assert {"network.nir", "README.md"} <= set(done.result["files"])
    written = nir.read(done.folder / "network.nir")
    node, dt = written.nodes["lif1"], 1.0
    v_scale = 1.0 / (dt / node.tau * node.r)
    assert np.all(1 - dt / node.tau == 0.25)
    assert np.allclose(node.v_threshold * v_scale, 1.0, rtol=1e-6, atol=0)
    assert np.all(dt / node.tau * node.v_leak * v_scale == 0.5)
    assert not written.nodes["conv1"].bias.any()


def test_an_integrating_network_has_r_1_for_spinnaker2(tmp_path: Path):
    """convert_IF divides the threshold by r and knows no dt: r = 1/dt would make it 10,000 times too small."""
    write_nir(crossbar_net(), tmp_path / "net.nir")
    done = export(tmp_path / "net.nir", "spinnaker2", tmp_path / "out", timesteps=6)
    written = nir.read(done.folder / "network.nir")
    assert np.all(written.nodes["lif1"].r == 1.0)


def test_what_is_real_behind_the_last_spikes_is_the_hosts(tmp_path: Path):
    net = crossbar_net()
    spiking = {name: node for name, node in net.nodes.items() if name != "output"}
    graph = chain({**spiking, "head": linear(ternary(np.random.default_rng(16), (3, 10))), "output": Output()})
    found = compiled(graph, "truenorth")
    assert [f.code for f in found.findings] == []
    assert found.graph.sources(found.graph.output) == ("lif3",)
    assert "head" in found.tail.nodes


def test_rules_without_a_source_and_unknown_rules_are_refused():
    spec = load_target("speck").spec.model_dump()
    spec["chip"]["neuron"]["source"] = ""
    spec["chip"]["layers"]["color"] = "red"
    with pytest.raises(UsageError) as refusal:
        validate_target(spec, where="x")
    assert refusal.value.code == "ND115"
    assert "chip.neuron.source" in refusal.value.message
    assert "chip.layers.color" in refusal.value.message
