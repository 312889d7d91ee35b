"""The runner: order, logs, conditions, and collecting all findings."""

from itertools import pairwise

import numpy as np
import pytest
from graphs import conv, paper_chain, random_graph, skip_chain

from neurodeploy.config.target import TargetSpec
from neurodeploy.diagnostics import UnsupportedError, UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, Input, Norm, Output, SumPool2d
from neurodeploy.passes.pipeline import PASSES, compile_graph
from neurodeploy.targets.base import load_target


def spec(*passes, **changes):
    every = ("input", "output", "conv2d", "linear", "flatten", "lif", "integrator", "sumpool2d", "avgpool2d", "norm")
    base = {"name": "toy", "title": "", "summary": "", "arithmetic": "float32", "nodes": every, "passes": passes}
    return TargetSpec(**{**base, **changes})


def test_the_log_says_what_ran_and_whether_it_changed_anything():
    done = compile_graph(paper_chain(), spec("fold_norm", "fold_pool"))
    assert [(p["name"], p["changed"]) for p in done.passes] == [("fold_norm", False), ("fold_pool", True)]
    assert all(p["seconds"] >= 0 for p in done.passes)


def test_dumps_hold_the_graph_after_every_pass():
    done = compile_graph(random_graph(1, norms=True), spec("fold_norm", "round_weights"), dump=True)
    assert [name for name, _ in done.dumps] == ["fold_norm", "round_weights"]
    assert not done.dumps[0][1].names(Norm)


def test_a_pass_whose_precondition_fails_is_refused():
    with pytest.raises(UnsupportedError) as refusal:
        compile_graph(random_graph(1, norms=True), spec("fold_pool"))
    assert refusal.value.code == "ND218"
    assert "unfolded norm" in refusal.value.message


def test_an_unknown_pass_or_node_kind_is_named():
    with pytest.raises(UsageError, match="unknown pass: fold_nrom"):
        compile_graph(paper_chain(), spec("fold_nrom"))
    done = compile_graph(
        paper_chain(), spec(nodes=("input", "output", "conv2d", "linear", "flatten", "lif")), collect=True
    )
    assert {f.node: f.code for f in done.findings} == {"pool2": "ND217", "readout": "ND217"}


def test_collect_gathers_the_findings_of_every_pass():
    """A pool that cannot be folded and two convolutions in a row: each is reported once, and what is left."""
    target = load_target("loihi2").spec
    assert compile_graph(skip_chain(), target, collect=True).findings == ()
    rng = np.random.default_rng(0)
    nodes = {
        "input": Input((2, 7, 7), "binary"),
        "pool": SumPool2d((2, 2), (2, 2)),
        "conv1": conv(rng, 2, 2, padding=(1, 1)),
    }
    nodes |= {"conv2": conv(rng, 2, 2, (1, 1)), "lif": LIF((2, 3, 3), 0.25, 0.5), "output": Output()}
    graph = Graph(nodes, tuple(pairwise(nodes)))
    found = compile_graph(graph, target, collect=True).findings
    assert sorted((f.code, f.node) for f in found) == [("ND217", "pool"), ("ND302", "conv1"), ("ND304", "conv2")]
    with pytest.raises(UnsupportedError, match="cannot be folded"):
        compile_graph(graph, target)


def test_every_pass_has_a_summary_and_every_target_names_known_ones():
    assert all(step.summary for step in PASSES.values())
    for name in ("nir", "loihi2"):
        assert set(load_target(name).spec.passes) <= set(PASSES)
