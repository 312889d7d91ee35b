"""What reaches a chip synapse, and where the host ends."""

from itertools import pairwise

import numpy as np
import pytest
from graphs import dyadic, paper_chain, random_graph, random_input, skip_chain
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import (
    LIF,
    Conv2d,
    Flatten,
    Input,
    Integrator,
    Linear,
    MaxPool2d,
    Output,
    ReLU,
    Scale,
    SumPool2d,
)
from neurodeploy.passes.fold_pool import fold_pool
from neurodeploy.passes.partition import partition
from neurodeploy.passes.purity import purity


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_chip_after_encoder_is_the_graph(seed):
    """Case 2: composing the two parts again gives the same output."""
    graph = random_graph(seed)
    encoder, chip = partition(graph)
    assert encoder is not None
    x = random_input(graph, seed)
    spikes = interpret(encoder, x).output
    assert set(np.unique(spikes)) <= {0.0, 1.0}
    np.testing.assert_array_equal(interpret(chip, spikes).output, interpret(graph, x).output)


def test_a_binary_input_needs_no_encoder():
    """Case 1."""
    graph = paper_chain(real=False)
    assert partition(graph) == (None, graph)


def test_an_input_that_cannot_be_cut_off_is_refused():
    """Case 3, both kinds."""
    lif = LIF((2,), 0.25, 0.5)
    fc = Linear(np.eye(2), np.zeros(2))
    straight = Graph({"input": Input((2,)), "fc": fc, "output": Output()}, (("input", "fc"), ("fc", "output")))
    with pytest.raises(UnsupportedError, match="without passing a spiking neuron") as refusal:
        partition(straight)
    assert refusal.value.code == "ND305"
    nodes = {"input": Input((2,)), "a": fc, "b": fc, "lif_a": lif, "lif_b": lif, "c": fc, "d": fc, "out": lif}
    nodes["output"] = Output()
    edges = [("input", "a"), ("input", "b"), ("a", "lif_a"), ("b", "lif_b"), ("lif_a", "c"), ("lif_b", "d")]
    edges += [("c", "out"), ("d", "out"), ("out", "output")]
    with pytest.raises(UnsupportedError, match="2 populations leave it"):
        partition(Graph(nodes, tuple(edges)))


def test_a_loop_through_the_encoder_stays_on_the_host():
    """A recurrent first layer: its loop is the encoder's; the spikes that leave it are the chip's input."""
    rng = np.random.default_rng(0)
    nodes = {"input": Input((3,)), "fc": Linear(dyadic(rng, (3, 3)), np.zeros(3)), "lif": LIF((3,), 0.25, 0.5)}
    nodes |= {"again": Linear(dyadic(rng, (3, 3)), np.zeros(3)), "fc2": Linear(np.eye(3), np.zeros(3))}
    nodes |= {"late": Linear(dyadic(rng, (3, 3)), np.zeros(3)), "out": LIF((3,), 0.25, 0.5), "output": Output()}
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "again"), ("again", "lif"), ("lif", "fc2"), ("fc2", "out")]
    edges += [("lif", "late"), ("late", "out"), ("out", "output")]
    graph = Graph(nodes, tuple(edges), recurrent=frozenset({("lif", "again"), ("lif", "late")}))
    encoder, chip = partition(graph)
    assert set(encoder.nodes) == {"input", "fc", "lif", "again", "output"}
    assert (encoder.recurrent, chip.recurrent) == ({("lif", "again")}, {("input", "late")})
    x = random_input(graph, 1, timesteps=6)
    spikes = interpret(encoder, x).output
    np.testing.assert_array_equal(interpret(chip, spikes).output, interpret(graph, x).output)


def test_what_fires_several_spikes_leaves_the_encoder_as_integers():
    lif = LIF((2,), 0.5, 0.25, reset="subtract", spikes="multi")
    nodes = {
        "input": Input((2,)),
        "fc": Linear(np.eye(2), np.zeros(2)),
        "lif": lif,
        "fc2": Linear(np.eye(2), np.zeros(2)),
    }
    nodes |= {"out": LIF((2,), 0.25, 0.5), "output": Output()}
    _, chip = partition(Graph(nodes, tuple(pairwise(nodes))))
    assert chip.nodes["input"].values == "integer"
    assert codes(chip) == {"fc2": "ND301"}


def test_an_ann_is_refused():
    """Case 4."""
    nodes = {"input": Input((2,)), "fc": Linear(np.eye(2), np.zeros(2)), "relu": ReLU(), "output": Output()}
    with pytest.raises(UnsupportedError, match="1 ReLU layers, no LIF") as refusal:
        partition(Graph(nodes, tuple(pairwise(nodes))))
    assert (refusal.value.code, refusal.value.where) == ("ND306", "relu")


def codes(graph):
    return {f.node: f.code for f in purity(graph)}


def test_pure_after_folding_and_partition():
    _, chip = partition(fold_pool(paper_chain()))
    assert purity(chip) == []


def test_every_cause_has_its_code_and_its_way_out():
    assert codes(paper_chain()) == {"conv1": "ND301", "fc": "ND302"}
    assert codes(skip_chain()) == {}
    lif, fc = LIF((2,), 0.25, 0.5), Linear(np.eye(2), np.zeros(2))
    nodes = {"input": Input((2,), "binary"), "a": lif, "b": lif, "fc": fc, "output": Output()}
    edges = (("input", "a"), ("input", "b"), ("a", "fc"), ("b", "fc"), ("fc", "output"))
    sew = Graph(nodes, edges)
    assert codes(sew) == {"fc": "ND303"}
    assert purity(sew)[0].measured == "integer(2)"
    nodes = {"input": Input((2,), "binary"), "a": fc, "sum": Integrator((2,)), "fc": fc, "output": Output()}
    deep = Graph(nodes, (("input", "a"), ("a", "sum"), ("sum", "fc"), ("fc", "output")))
    assert codes(deep) == {"fc": "ND304"}
    assert all(f.fix for graph in (sew, deep, paper_chain()) for f in purity(graph))


def test_the_cause_is_found_behind_a_flatten():
    nodes = {
        "input": Input((1, 2, 2)),
        "flatten": Flatten(),
        "fc": Linear(np.ones((2, 4)), np.zeros(2)),
        "output": Output(),
    }
    names = list(nodes)
    assert codes(Graph(nodes, tuple(pairwise(names)))) == {"fc": "ND301"}


@pytest.mark.parametrize(
    ("between", "code", "says"),
    [
        (MaxPool2d((1, 1), (1, 1)), "ND302", "spiking_pool"),
        (Scale((1, 2, 2), 0.5), "ND304", "multiply the scale into the weights"),
        (LIF((1, 2, 2), 0.5, 0.25, reset="subtract", spikes="multi"), "ND304", "--spikes single"),
    ],
    ids=["max pool", "scale", "multi"],
)
def test_the_way_out_names_the_pass_or_the_option(between, code, says):
    pool = SumPool2d((1, 1), (1, 1), (1, 1))
    nodes = {"input": Input((1, 2, 2), "binary")}
    nodes |= (
        {"pool": pool, "max": MaxPool2d((3, 3), (1, 1))} if isinstance(between, MaxPool2d) else {"between": between}
    )
    nodes |= {"conv": Conv2d(np.ones((1, 1, 1, 1)), np.zeros(1)), "output": Output()}
    (finding,) = purity(Graph(nodes, tuple(pairwise(nodes))))
    assert finding.code == code
    assert says in finding.fix


def test_kinds_do_not_look_at_values():
    """A convolution of zeros is still real."""
    zero = Conv2d(np.zeros((1, 1, 1, 1)), np.zeros(1))
    nodes = {"input": Input((1, 2, 2), "binary"), "a": zero, "b": zero, "output": Output()}
    graph = Graph(nodes, (("input", "a"), ("a", "b"), ("b", "output")))
    assert codes(graph) == {"b": "ND304"}
