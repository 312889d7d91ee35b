"""Networks at the seams of the passes: every target takes them or refuses them by name, and never breaks a promise."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from neurodeploy.diagnostics import UnsupportedError, first_error
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.machine import machine_findings
from neurodeploy.ir.nodes import (
    LIF,
    Conv2d,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Integrator,
    Linear,
    Node,
    Norm,
    Output,
    ReLU,
    Scale,
    Threshold,
)
from neurodeploy.passes.fold_norm import fold_norm
from neurodeploy.passes.pipeline import Context, compile_graph
from neurodeploy.passes.place import CoreLimits, place
from neurodeploy.passes.quantize import quantize
from neurodeploy.sim.run import simulate
from neurodeploy.targets.artifact import Runnable
from neurodeploy.targets.base import load_target, target_names


def dense(out: int, inputs: int, seed: int = 0) -> Linear:
    return Linear(np.random.default_rng(seed).normal(size=(out, inputs)), np.zeros(out))


def lif(size: int, **other) -> LIF:
    return LIF((size,), np.asarray(0.25), np.asarray(0.5), **other)


MIDDLES: dict[str, dict[str, Node]] = {
    "two layers without a neuron": {"a": dense(8, 6), "b": dense(3, 8), "l": lif(3)},
    "ends in a synapse": {"a": dense(3, 6)},
    "delay behind a synapse": {"a": dense(3, 6), "d": Delay((3,), np.asarray(1)), "l": lif(3)},
    "scale behind a synapse": {"a": dense(3, 6), "s": Scale((3,), np.asarray(2.0)), "l": lif(3)},
    "rectified tail": {"a": dense(3, 6), "r": ReLU(), "b": dense(3, 3), "i": Integrator((3,))},
    "integrator inside": {"a": dense(3, 6), "i": Integrator((3,)), "b": dense(3, 3), "l": lif(3)},
    "neuron on neuron": {"l": lif(6)},
    "threshold": {"a": dense(3, 6), "t": Threshold((3,), np.asarray(0.2))},
    "threshold inside": {"a": dense(3, 6), "t": Threshold((3,), np.asarray(0.2)), "b": dense(3, 3), "l": lif(3)},
    "current": {"a": dense(3, 6), "c": CubaLIF((3,), 0.25, 0.5, current_decay=np.asarray(0.5))},
    "several spikes": {"a": dense(3, 6), "m": lif(3, reset="subtract", spikes="multi"), "b": dense(3, 3), "l": lif(3)},
    "leaky readout": {"a": dense(3, 6), "i": Integrator((3,), np.asarray(0.5))},
}


@pytest.mark.parametrize("target", target_names())
@pytest.mark.parametrize("middle", MIDDLES)
def test_no_pass_breaks_its_promise(target, middle):
    """What compiles has only nodes of the target; what does not says why: an assertion would be our bug."""
    nodes = {"input": Input((6,), "binary"), "a0": dense(6, 6, 1), "l0": lif(6), **MIDDLES[middle], "output": Output()}
    graph, spec = Graph(nodes, tuple(pairwise(nodes)), timesteps=4), load_target(target).spec
    done = compile_graph(graph, spec, collect=True)
    if first_error(done.findings):
        assert all(f.rule and f.fix for f in done.findings if f.severity == "error")
    else:
        assert {node.kind for node in done.graph.nodes.values()} <= set(spec.nodes)


def two_readouts(*, spiking: bool = False) -> Graph:
    """Two populations behind one, both added at the Output."""
    end = lif(3) if spiking else Integrator((3,))
    nodes = {"input": Input((4,), "binary"), "a": dense(3, 4), "A": end, "b": dense(3, 4, 1), "B": Integrator((3,))}
    edges = (("input", "a"), ("a", "A"), ("input", "b"), ("b", "B"), ("A", "output"), ("B", "output"))
    return Graph({**nodes, "output": Output()}, edges, timesteps=4)


@pytest.mark.parametrize("spiking", [False, True])
def test_states_of_two_scales_are_never_added(spiking):
    with pytest.raises(UnsupportedError) as caught:
        compile_graph(two_readouts(spiking=spiking), load_target("loihi2").spec)
    assert caught.value.code == "ND307"
    integers = two_readouts(spiking=spiking)
    rounded = {n: replace(integers.nodes[n], weight=np.full((3, 4), 2.0)) for n in ("a", "b")}
    found = [f.rule for f in machine_findings(integers.with_nodes(rounded)) if f.node == "output"]
    assert found == ["states of different populations cannot be added"]


def test_a_grid_waits_for_all_that_meets_in_a_neuron():
    """The recurrent synapse comes first in the order; its neuron also reads through a Flatten that comes later."""
    rng = np.random.default_rng(2)
    nodes = {
        "rec": Linear(rng.normal(size=(8, 8)), np.zeros(8)),
        "input": Input((2, 2, 2), "binary"),
        "conv": Conv2d(rng.normal(size=(2, 2, 1, 1)), np.zeros(2)),
        "flat": Flatten(),
        "n": lif(8),
        "output": Output(),
    }
    edges = (("input", "conv"), ("conv", "flat"), ("flat", "n"), ("rec", "n"), ("n", "rec"), ("n", "output"))
    graph = Graph(nodes, edges, timesteps=4, recurrent=frozenset({("n", "rec")}))
    spec = load_target("nir").spec
    done = compile_graph(graph, spec, context=Context(spec, CoreLimits("nir"), exact=True)).graph
    x = (rng.random((20, 4, 2, 2, 2)) < 0.5).astype(np.uint8)
    np.testing.assert_array_equal(interpret(done, x, "float32").potential["n"], interpret(done, x).potential["n"])


def test_parallel_synapses_find_free_names_and_share_axons():
    """One identity read by two populations, whose copies need names of their own."""
    eye = Linear(np.eye(8) * 0.4, np.zeros(8))
    nodes = {"input": Input((8,), "binary"), "skip": eye}
    edges = [("input", "skip")]
    for n in ("n1", "n2"):
        nodes |= {f"fc{n}": Linear(np.random.default_rng(3).normal(size=(8, 8)) / 50, np.zeros(8)), n: lif(8)}
        edges += [("input", f"fc{n}"), (f"fc{n}", n), ("skip", n)]
    nodes |= {"output": Output()}
    graph = Graph(nodes, (*edges, ("n1", "output"), ("n2", "output")), timesteps=4)
    done = compile_graph(graph, load_target("loihi2").spec).graph
    into = done.sources("n1")
    assert len(into) > 2, "no synapse was split"
    row = place(done, CoreLimits("a chip", neurons=100, axons_in=8)).nodes["n1"]
    assert (row["axons_in"], row["cores"]) == (8, 1)


def test_a_norm_that_is_read_late_is_not_folded():
    ones = np.ones(3)
    nodes = {"input": Input((3,)), "fc": dense(3, 3), "norm": Norm(ones, ones, ones, ones), "l": lif(3)}
    edges = (("input", "fc"), ("fc", "norm"), ("norm", "l"), ("l", "output"))
    graph = Graph({**nodes, "output": Output()}, edges, recurrent=frozenset({("fc", "norm")}))
    with pytest.raises(UnsupportedError) as caught:
        fold_norm(graph)
    assert caught.value.code == "ND214"


def test_a_neuron_without_leak_keeps_to_the_timesteps_that_were_proven():
    nodes = {"input": Input((4,), "binary"), "fc": dense(3, 4), "n": LIF((3,), np.asarray(1.0), np.asarray(0.5))}
    graph = Graph({**nodes, "output": Output()}, tuple(pairwise([*nodes, "output"])), timesteps=4)
    done, _ = quantize(graph)
    runnable = Runnable(done, None, {}, True, "")
    simulate(runnable, np.zeros((1, 4, 4), np.uint8))
    with pytest.raises(UnsupportedError, match="4 timesteps, this run has 5") as caught:
        simulate(runnable, np.zeros((1, 5, 4), np.uint8))
    assert caught.value.code == "ND223"
    warned = [f.code for f in quantize(replace(graph, timesteps=None))[1]]
    assert "ND118" in warned
