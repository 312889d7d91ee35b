"""Counting differences."""

import numpy as np
from graphs import paper_chain, random_input

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import Input, Linear, Output
from neurodeploy.passes.fold_pool import fold_pool
from neurodeploy.passes.quantize import quantize
from neurodeploy.verification.compare import compare, output_limit


def golden_of(graph):
    x = random_input(graph, 0, samples=4)
    meaning = interpret(graph, x, graph.arithmetic)
    arrays = {"input": x, "output": meaning.output}
    arrays.update({f"spikes/{name}": array for name, array in meaning.spikes.items()})
    arrays.update({f"membrane/{name}": array for name, array in meaning.membrane.items()})
    return arrays, meaning


def test_equal_to_itself():
    graph = paper_chain()
    golden, _ = golden_of(graph)
    found = compare(graph, golden, golden, exact=True)
    assert found.equal
    assert (found.samples, found.spikes_compared, found.spike_differences) == (4, 4 * 4 * 2 * 4 * 64, 0)
    assert (found.state_differences, found.output_max_difference, found.largest_distance) == (0, 0.0, None)


def test_a_flip_is_counted_with_its_distance_from_the_threshold():
    graph, _ = quantize(fold_pool(paper_chain(real=False)))
    golden, meaning = golden_of(graph)
    flipped = {key: value.copy() for key, value in golden.items()}
    flipped["spikes/lif2"][2, 1, 0, 3, 3] ^= 1
    found = compare(graph, golden, flipped, exact=True)
    assert not found.equal
    assert found.spike_differences == 1
    threshold = float(graph.nodes["lif2"].threshold)
    assert found.largest_distance == abs(meaning.potential["lif2"][2, 1, 0, 3, 3] / 64 - threshold)


def test_a_state_or_an_output_alone_is_a_difference_where_arithmetic_is_the_same():
    graph = paper_chain()
    golden, _ = golden_of(graph)
    for key in ("membrane/lif2", "output"):
        other = {name: value.copy() for name, value in golden.items()}
        other[key][0, 0].reshape(-1)[0] += 1e-6
        assert not compare(graph, golden, other, exact=True).equal
    without_states = {name: value for name, value in other.items() if not name.startswith("membrane/")}
    found = compare(graph, golden, without_states, exact=False)
    assert found.equal  # another order of float sums is no difference of spikes
    assert found.state_differences is None


def test_classes_of_an_artifact_with_a_tail_are_those_of_the_tail():
    """A chip that puts out what enters the tail: the class is decided behind a layer that swaps the two values."""
    chip = Graph(
        {"input": Input((2,)), "fc": Linear(np.eye(2), np.zeros(2)), "output": Output()},
        (("input", "fc"), ("fc", "output")),
        timesteps=1,
    )
    tail = chip.with_nodes({"fc": Linear(np.eye(2)[::-1] * [[1.0], [0.5]], np.zeros(2))})
    golden = {
        "input": np.zeros((2, 1, 2)),
        "output": np.asarray([[[4.0, 1.0]], [[4.0, 3.0]]]),
        "host_output": np.asarray([[[1.0, 2.0]], [[3.0, 2.0]]]),
    }
    same = compare(chip, golden, golden, exact=True, tail=tail)
    assert (same.equal, same.host_output_max_difference, same.prediction_differences) == (True, 0.0, 0)
    # The interpreter runs the tail on what was found: off by 1.5, as the output is, and that changes a class.
    found = {"output": np.asarray([[[4.0, 2.5]], [[4.0, 3.0]]])}
    other = compare(chip, golden, found, exact=False, tail=tail)
    assert (other.output_max_difference, other.host_output_max_difference) == (1.5, 1.5)
    assert (other.prediction_differences, other.equal) == (1, False)
    assert compare(chip, golden, found, exact=False).prediction_differences == 0  # the chip's own argmax is no class
    assert compare(chip, golden, golden, exact=True).host_output_max_difference is None


def test_an_output_of_the_wrong_scale_is_no_rounding():
    """Same spikes, same classes, but every logit three times as large: more than any order of float32 sums gives."""
    graph = fold_pool(paper_chain(real=False))
    golden, _ = golden_of(graph)
    limit = output_limit(graph, golden["output"].shape[1])
    rounded = {**golden, "output": golden["output"] * (1 + 1e-7)}
    assert limit is not None
    assert compare(graph, golden, rounded, exact=False).equal == (np.max(np.abs(golden["output"])) * 1e-7 <= limit)
    tripled = compare(graph, golden, {**golden, "output": golden["output"] * 3}, exact=False)
    assert not tripled.equal
    assert "float32 sums" in tripled.why
