"""NIR: round trips, what a plain reader sees, and files that must be refused."""

from dataclasses import dataclass

import h5py
import nir
import numpy as np
import pytest
from graphs import paper_chain, random_graph, random_input, random_lif
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.diagnostics import UnsupportedError, UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nir_io import ReadOptions, from_nir, read_nir, to_nir, write_nir
from neurodeploy.ir.nodes import LIF, Input, Linear, Output
from neurodeploy.passes.fold_pool import fold_pool
from neurodeploy.passes.quantize import quantize


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), readout=st.booleans(), real=st.booleans())
def test_from_nir_of_to_nir_is_the_graph(seed, readout, real):
    graph = random_graph(seed, readout=readout, real=real)
    assert from_nir(to_nir(graph)) == graph


def test_a_file_is_the_graph_again_byte_for_byte(tmp_path):
    for seed in range(5):
        graph = random_graph(seed)
        write_nir(graph, tmp_path / "a.nir")
        again = read_nir(tmp_path / "a.nir")
        assert again == graph
        assert list(again.nodes) == list(graph.nodes)
        write_nir(again, tmp_path / "b.nir")
        assert (tmp_path / "a.nir").read_bytes() == (tmp_path / "b.nir").read_bytes()


def test_the_integer_graph_survives_with_its_scales(tmp_path):
    graph, _ = quantize(fold_pool(paper_chain(real=False)))
    write_nir(graph, tmp_path / "q.nir")
    again = read_nir(tmp_path / "q.nir")
    assert again == graph
    assert again.scales == graph.scales
    assert again.arithmetic == "loihi"


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_without_our_notes_a_plain_reader_sees_the_same_spikes(seed):
    """Strip the metadata: what is left, read as NIR says (Euler, >, reset to v_reset), must spike alike."""
    rng = np.random.default_rng(seed)
    lif = random_lif(rng, (4,))
    if lif.reset == "subtract":
        return  # NIR cannot say it
    # dyadic weights put membranes on the threshold: the case where > and >= part
    weight = rng.integers(-8, 9, size=(4, 6)) / 8.0
    nodes = {"input": Input((6,), "binary"), "fc": Linear(weight, np.zeros(4)), "lif": lif, "output": Output()}
    graph = Graph(nodes, (("input", "fc"), ("fc", "lif"), ("lif", "output")), timesteps=8)
    x = random_input(graph, seed, samples=8, timesteps=8)
    plain = to_nir(graph)
    plain.metadata = {}
    for node in plain.nodes.values():
        node.metadata = {}
    foreign = from_nir(plain, ReadOptions(input_kind="binary"))
    ours = interpret(graph, x, "float32").spikes["lif"]
    theirs = interpret(foreign, x, "float32").spikes["lif"]
    np.testing.assert_array_equal(ours, theirs)


def lif_file(**changes):
    numbers = {"tau": 4e-4, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0, **changes}
    lif = nir.LIF(**{key: np.full(3, value) for key, value in numbers.items()})
    nodes = {
        "in": nir.Input({"input": np.array([3])}),
        "w": nir.Linear(np.eye(3)),
        "lif": lif,
        "out": nir.Output({"output": np.array([3])}),
    }
    return nir.NIRGraph(nodes, [("in", "w"), ("w", "lif"), ("lif", "out")])


def test_a_foreign_file_follows_the_equations_of_nir():
    """tau dv/dt = v_leak − v + r·x, dt = 1e-4, tau = 4e-4: decay 0.75, gain r/4, offset v_leak/4; >, to v_reset."""
    node = from_nir(lif_file(r=2.0, v_leak=0.5, v_reset=-1.0)).nodes["lif"]
    assert isinstance(node, LIF)
    assert (float(node.decay), float(node.gain), float(node.offset)) == (0.75, 0.5, 0.125)
    assert (float(node.v_reset), node.compare, node.reset) == (-1.0, "gt", "to")


def test_what_a_foreign_file_leaves_open_is_an_option():
    node = from_nir(lif_file(), ReadOptions(dt=2e-4, compare="ge", reset="subtract")).nodes["lif"]
    assert isinstance(node, LIF)
    assert (float(node.decay), node.compare, node.reset) == (0.5, "ge", "subtract")
    graph = from_nir(lif_file(v_reset=-1.0), ReadOptions(reset="zero", input_kind="binary"))
    assert float(graph.nodes["lif"].v_reset) == 0.0
    assert graph.nodes["in"].values == "binary"


def test_a_dt_longer_than_tau_is_refused_with_a_number_that_works():
    with pytest.raises(UsageError) as refusal:
        from_nir(lif_file(tau=2e-5))
    assert refusal.value.code == "ND114"
    assert "--dt 5e-06" in refusal.value.fix


def test_an_old_file_without_v_reset_resets_to_zero(tmp_path):
    nir.write(tmp_path / "old.nir", lif_file())
    with h5py.File(tmp_path / "old.nir", "a") as file:
        del file["node/nodes/lif/v_reset"]
    assert float(read_nir(tmp_path / "old.nir").nodes["lif"].v_reset) == 0.0


def test_an_unknown_node_is_refused_by_name_never_dropped():
    @dataclass
    class Adaptive(nir.NIRNode):
        def __post_init__(self):
            self.input_type = self.output_type = {"input": np.array([3])}

    graph = lif_file()
    graph.nodes["adaptive"] = Adaptive()
    graph.edges = [("in", "w"), ("w", "adaptive"), ("adaptive", "lif"), ("lif", "out")]
    with pytest.raises(UnsupportedError) as refusal:
        from_nir(graph)
    assert refusal.value.code == "ND201"
    assert "`adaptive` is Adaptive" in refusal.value.message
    assert "snnTorch, Norse, SpikingJelly, Sinabs, Rockpool and Spyx do not read" in refusal.value.fix


def test_broken_and_foreign_files_are_named(tmp_path):
    whole = tmp_path / "whole.nir"
    write_nir(paper_chain(), whole)
    cases = {"missing.nir": None, "text.nir": b"hello", "half.nir": whole.read_bytes()[:2000], "empty.nir": b""}
    for name, content in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UsageError) as refusal:
            read_nir(path)
        assert refusal.value.code in ("ND103", "ND104")
        assert name in refusal.value.where
    with h5py.File(tmp_path / "other.nir", "w") as file:
        file["data"] = np.ones(3)
    with pytest.raises(UsageError, match="not a whole NIR file"):
        read_nir(tmp_path / "other.nir")


def test_a_file_that_another_tool_changed_beside_our_notes_is_refused(tmp_path):
    write_nir(paper_chain(), tmp_path / "a.nir")
    with h5py.File(tmp_path / "a.nir", "a") as file:
        file["node/nodes/lif1/v_threshold"][...] = 0.9
    with pytest.raises(UsageError, match="v_threshold in the file is not what"):
        read_nir(tmp_path / "a.nir")


def test_a_newer_schema_is_refused(tmp_path):
    write_nir(paper_chain(), tmp_path / "a.nir")
    with h5py.File(tmp_path / "a.nir", "a") as file:
        file["node/metadata/neurodeploy/schema"][...] = 99
    with pytest.raises(UsageError, match="newer neurodeploy"):
        read_nir(tmp_path / "a.nir")


@pytest.mark.parametrize("decay", [0.25, 1.0])
def test_another_dt_changes_our_own_file_only_where_dt_does(decay):
    """Reset by subtraction and >= stay: a soft reset read as a hard one is the classic silent mistake."""
    lif = LIF((3,), decay, 0.5, compare="ge", reset="subtract")
    nodes = {"input": Input((3,), "binary"), "fc": Linear(np.eye(3), np.zeros(3)), "lif": lif, "output": Output()}
    graph = Graph(nodes, (("input", "fc"), ("fc", "lif"), ("lif", "output")), timesteps=4)
    other = from_nir(to_nir(graph), ReadOptions(dt=5e-5)).nodes["lif"]
    assert isinstance(other, LIF)
    assert (other.compare, other.reset, float(other.threshold)) == ("ge", "subtract", 0.5)
    # half the step: half the leak, half the input
    assert float(other.decay) == pytest.approx(1.0 if decay == 1.0 else 1 - 0.75 / 2)
    assert float(other.gain) == pytest.approx(0.5)


def test_flattening_the_last_two_of_three_axes_is_not_flattening_all():
    nodes = {
        "in": nir.Input({"input": np.array([2, 3, 4])}),
        "flat": nir.Flatten({"input": np.array([2, 3, 4])}, -2, -1),
        "out": nir.Output({"output": np.array([2, 12])}),
    }
    with pytest.raises(UnsupportedError, match="flattens only axes"):
        from_nir(nir.NIRGraph(nodes, [("in", "flat"), ("flat", "out")], type_check=False))
