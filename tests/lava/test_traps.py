"""What Lava corrupts without a word: that it does (raw_traps.py, real Lava), and that here it cannot happen."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from graphs import conv, dyadic, paper_chain

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import LIF, Conv2d, CubaLIF, Delay, Flatten, Input, Linear, Output, SumPool2d
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.passes.quantize import accumulator_table
from neurodeploy.targets.base import load_target

pytestmark = [pytest.mark.lava, pytest.mark.slow]

#: The shipped runner with the reset of its neurons moved to another step of the sample.
MOVED_RESET = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import numpy as np, run_lava
folder, kind = Path(sys.argv[2]), run_lava.LIFReset
for offset in ("right", "all-at-once", "never"):
    if offset == "all-at-once":
        run_lava.LIFReset = lambda **o: kind(**{**o, "reset_offset": 0})
    if offset == "never":
        run_lava.LIFReset = lambda **o: kind(**{**o, "reset_interval": 10**6, "reset_offset": 1})
    x = np.load(folder / "in.npz")["x"]
    np.savez(folder / offset, **run_lava.Simulation(run_lava.Network(folder / "network.nir"), *x.shape[:2]).run(x))
"""


@pytest.fixture(scope="module")
def raw(lava_python) -> dict:
    script = Path(__file__).with_name("raw_traps.py")
    done = subprocess.run([str(lava_python), str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_traps_are_there(raw):
    """In lava-nc 0.10.0, CPU, fixed point: what goes in, and what Lava computes with instead."""
    weights, sums, neurons = raw["weights"], raw["sums"], raw["neurons"]
    assert weights["even"] == [254, -254, 2, 0]
    assert weights["odd"] == [252, -256, 126, -2]  # 253, -255, 127, -1
    assert weights["odd-nine-bits"] == [253, -255, 127, -1]  # nine bits: no chip has them
    assert weights["large"] == [254, -256, 0, 2]  # 300, -300
    assert weights["excitatory"] == [255, 1, 2, 3]  # 300
    assert weights["non-positive"] == [0, 0, 0, 0]  # -199, 0, -7, -1
    assert weights["non-positive-told"] == [-199, 0, -7, -1]
    assert weights["fraction"] == [1, -1, 0, 3]  # 1.99, -1.99, 0.5
    assert (sums["groups-127"], sums["groups-128"]) == (6, 0)
    assert sums["fraction-and-graded"] == 1  # weight 1.99, payload 3
    assert [v for _, v in neurons["bias-4095"][:2]] == [64 * 4096 + 4095, 64 * 4096 + 2 * 4095]
    assert [v for _, v in neurons["bias-40000"][:2]] == [64 * 4096 - 25536, 64 * 4096 - 2 * 25536]
    assert [u for u, _ in neurons["no-current"][:2]] == [64 * 4096, 0]
    assert [u for u, _ in neurons["du-4096"][:2]] == [64 * 4096, -64]  # no current decay that decays everything
    assert (neurons["threshold-17-bits"][2] > 0, neurons["threshold-18-bits"][2]) == (True, 0)  # v ends at 2^23 - 1


def small_net() -> Graph:
    rng = np.random.default_rng(0)
    numbers = {"decay": np.asarray(0.25), "threshold": np.asarray(60.0), "compare": "gt"}
    nodes = {
        "input": Input((2, 4, 4), "binary"),
        "conv": Conv2d(2.0 * rng.integers(-30, 31, (2, 2, 3, 3)), np.asarray([9.0, -5.0])),
        "lif": LIF((2, 2, 2), **numbers),
        "flatten": Flatten(),
        "fc": Linear(2.0 * rng.integers(-30, 31, (3, 8)), np.asarray([20.0, 0.0, -20.0])),
        "last": CubaLIF((3,), **numbers, current_decay=np.asarray(0.5)),
        "output": Output(),
    }
    return Graph(nodes, tuple(pairwise(nodes)), timesteps=5, arithmetic="loihi")  # type: ignore[arg-type]


def changed(name: str, **changes: object) -> Graph:
    graph = small_net()
    return graph.with_nodes({name: replace(graph.nodes[name], **changes)})  # type: ignore[type-var]


def filled(name: str, value: float) -> Graph:
    """One weight of a layer set to ``value``."""
    weight = np.array(small_net().nodes[name].weight)  # type: ignore[attr-defined]
    weight.reshape(-1)[0] = value
    return changed(name, weight=weight)


def before(name: str, node: object) -> Graph:
    """``node`` put on the one edge into ``name``."""
    graph = small_net()
    (source,) = graph.sources(name)
    edges = [edge for edge in graph.edges if edge != (source, name)]
    return replace(graph, nodes={**graph.nodes, "new": node}, edges=(*edges, (source, "new"), ("new", name)))


def cycle_without_time() -> Graph:
    """Two layers in a cycle with one step of delay: the second synapse has no step left."""
    graph = before("fc", Delay((8,), np.asarray(0)))
    back = {"back": Linear(np.eye(8, 3) * 20, np.zeros(8)), "one": LIF((8,), np.asarray(0.0), np.asarray(1.0))}
    back["one"] = replace(back["one"], compare="gt")
    again = {"again": Linear(np.eye(3, 8) * 20, np.zeros(3))}
    edges = [("last", "back"), ("back", "one"), ("one", "again"), ("again", "last")]
    nodes = {**graph.nodes, **back, **again}
    return replace(graph, nodes=nodes, edges=(*graph.edges, *edges), recurrent=frozenset([("last", "back")]))


#: What no integer network may hold -> words of the refusal.
REFUSED = {
    "weights that are not integers": (filled("conv", 0.5), "`conv` are not integers"),
    "odd weights beyond 127": (filled("fc", 253.0), "`fc` (-60…253) are neither in -128…127 nor even"),
    "even weights beyond 254": (filled("fc", 300.0), "nor even numbers in -256…254"),
    "odd weights in a convolution": (filled("conv", -255.0), "`conv` (-255…"),
    "a bias that is not an integer": (changed("fc", bias=np.full(3, 0.5)), "bias of `fc` are not integers"),
    "a bias beyond 13 bits": (changed("fc", bias=np.full(3, 40000.0)), "the bias of `last` is 40000, beyond 13 bits"),
    "a threshold beyond 17 bits": (changed("lif", threshold=np.asarray(2.0**18)), "the threshold of `lif` is 262144"),
    "a threshold per channel": (
        changed("lif", threshold=np.arange(60.0, 62.0)[:, None, None]),
        "`lif` has several values of threshold",
    ),
    "a decay that is no multiple of 2^-12": (changed("lif", decay=np.asarray(0.3)), "`lif` keeps 0.3 of its state"),
    "a current decay per neuron": (
        changed("last", current_decay=np.asarray([0.0, 0.5, 0.25])),
        "`last` has several values of current_decay",
    ),
    "firing at the threshold": (changed("lif", compare="ge"), "`lif` has compare = ge: Lava's neuron has gt"),
    "a soft reset": (changed("lif", reset="subtract"), "`lif` has reset = subtract"),
    "a gain": (changed("last", gain=np.asarray(2.0)), "`last` has gain = 2.0"),
    "an offset": (changed("last", offset=np.asarray(1.0)), "`last` has offset = 1.0"),
    "a node that Lava lacks": (before("conv", SumPool2d((1, 1), (1, 1))), "`new` is SumPool2d: this runner builds"),
    "a delay beyond 62": (before("fc", Delay((8,), np.asarray(64))), "would need a delay of 63 steps: the chip has 62"),
    "a cycle without time": (cycle_without_time(), "a cycle has fewer steps of delay than synapses"),
}


@pytest.fixture(scope="module")
def answers(in_lava) -> dict:
    x = np.ones((1, 5, 2, 4, 4), np.uint8)
    return in_lava({name: (graph, x) for name, (graph, _) in REFUSED.items()})


@pytest.mark.parametrize("name", REFUSED)
def test_the_runner_refuses(answers, name):
    assert isinstance(answers[name], str), "it ran"
    assert REFUSED[name][1] in answers[name]


def test_a_delay_before_a_convolution_is_kept(in_lava, same):
    """lava-dl's reader drops it; 62 steps are possible, on every element its own."""
    graph = before("conv", Delay((2, 4, 4), np.arange(32).reshape(2, 4, 4) % 5))
    x = (np.random.default_rng(1).random((2, 7, 2, 4, 4)) < 0.5).astype(np.uint8)
    meaning = same(graph, x, in_lava({"delayed": (graph, x)})["delayed"])
    assert meaning.spikes["lif"].any()
    without = interpret(small_net(), x, "loihi")
    assert np.any(without.spikes["lif"] != meaning.spikes["lif"])


def test_states_are_reset_when_a_sample_arrives(lava_python, tmp_path):
    """A pipeline is reset layer by layer: all at once, or never, gives other spikes from the second sample on."""
    from neurodeploy.ir.nir_io import write_nir

    graph, x = small_net(), (np.random.default_rng(1).random((6, 5, 2, 4, 4)) < 0.4).astype(np.uint8)
    write_nir(graph, tmp_path / "network.nir")
    np.savez(tmp_path / "in.npz", x=x)
    kit = Path(__file__).parents[2] / "export" / "loihi2"
    subprocess.run([str(lava_python), "-c", MOVED_RESET, str(kit), str(tmp_path)], check=True, timeout=300)
    meaning = interpret(graph, x, "loihi")
    different = {}
    for name in ("right", "all-at-once", "never"):
        found = np.load(tmp_path / f"{name}.npz")
        different[name] = sum(np.count_nonzero(found[f"membrane/{n}"] != v) for n, v in meaning.membrane.items())
    assert different["right"] == 0
    assert min(different["all-at-once"], different["never"]) > 10, different


def test_loihi_sums_stay_below_fifteen_bits():
    """Loihi's accumulator has 15 bits of weight units and Lava does not model it: proven from the weights."""
    rng = np.random.default_rng(3)
    graph = paper_chain(3, real=False, width=128)
    large = replace(graph.nodes["conv2"], weight=np.abs(rng.normal(size=(128, 128, 3, 3))))  # type: ignore[type-var]
    bounds = {}
    for name in ("loihi", "loihi2"):
        compiled = compile_graph(graph.with_nodes({"conv2": large}), load_target(name).spec).graph
        bounds[name] = max(
            int(max(-row["accumulator_low"], row["accumulator_high"])) for row in accumulator_table(compiled)
        )
    assert bounds["loihi"] < 2**15 < bounds["loihi2"] < 2**17


def test_what_quantize_writes_is_never_changed_by_lava(in_lava, same):
    """256 groups, a matrix without a positive weight: what comes out of the compiler runs as it is."""
    rng = np.random.default_rng(4)
    numbers = np.asarray(0.25), np.asarray(0.5)
    nodes = {
        "input": Input((256, 3, 3), "binary"),
        "conv": conv(rng, 256, 256, (2, 2), groups=256),
        "lif": LIF((256, 2, 2), *numbers),
        "flatten": Flatten(),
        "fc": Linear(-np.abs(dyadic(rng, (4, 1024))), np.full(4, 2.0)),
        "last": LIF((4,), *numbers),
        "output": Output(),
    }
    graph = Graph(nodes, tuple(pairwise(nodes)), timesteps=6)  # type: ignore[arg-type]
    integer = compile_graph(graph, load_target("loihi2").spec).graph
    x = (rng.random((2, 6, 256, 3, 3)) < 0.1).astype(np.uint8)
    assert same(integer, x, in_lava({"quantized": (integer, x)})["quantized"]).spikes["lif"].mean() > 0.05


def test_graded_and_per_channel_networks_do_not_reach_the_chip():
    graph = paper_chain(0, real=False)
    spec = load_target("loihi2").spec
    integer_input = graph.with_nodes({"input": Input((1, 8, 8), "integer")})
    several = graph.with_nodes({"lif2": LIF((4, 8, 8), np.asarray(0.25), np.arange(1.0, 5.0)[:, None, None])})
    compiled = compile_graph(integer_input, spec)
    assert compiled.encoder is not None  # integers enter the host's part
    with pytest.raises(UnsupportedError) as refusal:
        compile_graph(several, spec)
    assert refusal.value.code == "ND215"
