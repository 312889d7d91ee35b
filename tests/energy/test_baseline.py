"""The ANN of the same topology: multiply-accumulates worked out by hand and edge by edge, at sourced prices."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from graphs import paper_chain, random_graph, random_input, skip_chain
from hypothesis import given, settings
from hypothesis import strategies as st
from priced import HELD, price, profile

from neurodeploy.energy import DenseMacs, ann_baseline, dense_macs
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, SYNAPSES, Conv1d, Conv2d, Input, Linear, Node, Output
from neurodeploy.passes.skip_synapses import identity


def chain(*nodes: Node, shape: tuple[int, ...]) -> Graph:
    named: dict[str, Node] = {"input": Input(shape), **{f"n{i}": node for i, node in enumerate(nodes)}}
    named["output"] = Output()
    return Graph(named, tuple(pairwise(named)), timesteps=4)


def conv(out: int, inputs: int, kernel: int = 3, **geometry: object) -> Conv2d:
    return Conv2d(np.ones((out, inputs, kernel, kernel)), np.zeros(out), **geometry)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("node", "shape", "macs"),
    [
        # 6x6, 3x3, padding 1: 16 inner outputs with 9 taps, 16 at edges with 6, 4 corners with 4
        (conv(2, 1, padding=(1, 1)), (1, 6, 6), (16 * 9 + 16 * 6 + 4 * 4) * 2),
        # stride 2 on 7x7 without padding: 9 outputs of 9 taps, 4 channels in 2 groups: 2 inputs for each of 6 outputs
        (conv(6, 2, stride=(2, 2), groups=2), (4, 7, 7), 9 * 9 * 2 * 6),
        # dilation 2, 3 taps reach over 5: on 5x5 one output of 9 taps; padding 2: per axis 3+ 2, 2, 3, 2, 2 taps
        (conv(1, 1, dilation=(2, 2)), (1, 5, 5), 9),
        (conv(1, 1, dilation=(2, 2), padding=(2, 2)), (1, 5, 5), (2 + 2 + 3 + 2 + 2) ** 2),
        (Conv1d(np.ones((3, 2, 3)), np.zeros(3), padding=1), (2, 4), (2 + 3 + 3 + 2) * 2 * 3),
        (Linear(np.ones((10, 7)), np.zeros(10)), (7,), 70),
    ],
)
def test_by_hand(node: Node, shape: tuple[int, ...], macs: int) -> None:
    assert dense_macs(chain(node, shape=shape)).total == macs


def test_zero_weights_are_multiplied_like_others() -> None:
    assert dense_macs(chain(Linear(np.zeros((3, 4)), np.zeros(3)), shape=(4,))).total == 12


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("shape", [(3, 4, 4), (3, 4), (5,)])
def test_identity_skips_and_relays_are_additions(shape: tuple[int, ...], dense: bool) -> None:
    found = dense_macs(chain(identity(shape, dense=dense), shape=shape))
    assert (found.total, found.additions) == (0, ("n0",))


def test_a_layer_that_looks_like_an_identity_and_is_none() -> None:
    """A bias, a missing channel, a wide kernel, a stride: each is a layer."""
    eye = np.eye(3).reshape(3, 3, 1, 1)
    layers = [
        Conv2d(eye, np.ones(3)),
        Conv2d(eye * [[[[1]]], [[[0]]], [[[1]]]], np.zeros(3)),
        Conv2d(np.ones((3, 1, 3, 3)), np.zeros(3), padding=(1, 1), groups=3),
        Conv2d(eye, np.zeros(3), stride=(2, 2)),
        Conv2d(np.ones((3, 3, 1, 1)), np.zeros(3)),
    ]
    assert all(dense_macs(chain(layer, shape=(3, 4, 4))).total > 0 for layer in layers)
    assert dense_macs(chain(Linear(np.asarray([[2.0]]), np.zeros(1)), shape=(1,))).total == 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_equals_the_gradient_of_a_forward_with_ones(seed: int) -> None:
    """Σ over outputs of what a layer of ones puts out on ones is the number of its products."""
    from neurodeploy.ir.interpret import _sums

    graph = random_graph(seed)
    found = dense_macs(graph).layers
    for name in graph.names(SYNAPSES):
        node = graph.nodes[name]
        assert isinstance(node, (Conv2d, Linear))
        ones = type(node)(np.ones_like(node.weight), np.zeros_like(node.bias), *list(vars(node).values())[2:])
        products = _sums(ones, np.ones((1, *graph.input_shape(name))), np.float64).sum()
        if name in found:
            assert found[name] == products, name


def test_several_graphs_are_one_network() -> None:
    """The host's encoder and the chip's network, whose layers have their own names."""
    encoder = chain(conv(2, 1), shape=(1, 5, 5))
    nodes = {"spikes": Input((3,), "binary"), "fc": Linear(np.ones((4, 3)), np.zeros(4)), "out": Output()}
    network = Graph(nodes, (("spikes", "fc"), ("fc", "out")), timesteps=4)
    assert dense_macs([encoder, network]).layers == {"n0": 9 * 9 * 2, "fc": 12}


def test_once_and_not_at_every_step() -> None:
    graph = skip_chain()
    macs = dense_macs(graph)
    assert graph.timesteps == 4
    # three 3x3 convolutions 2 -> 2 on 4x4 with padding 1: per axis 2+3+3+2 taps; a 1x1 skip 2 -> 2; fc 32 -> 3
    assert macs.total == 3 * 10 * 10 * 4 + 16 * 4 + 96


def test_conventional_lines_have_their_published_prices() -> None:
    """Horowitz 2014 at 45 nm: fp32 3.7 + 0.9, int8 0.2 + 0.03."""
    macs = dense_macs(skip_chain())
    lines = {line.label: line for line in ann_baseline(macs, "cmos45").lines}
    assert lines["fp32"].price.value == pytest.approx(4.6)
    assert lines["int8"].price.value == pytest.approx(0.23)
    assert lines["fp32"].energy.pj == pytest.approx(4.6 * macs.total)
    assert lines["int8"].price.basis in ("derived", "estimated")
    assert all(line.price.source for line in lines.values())


def test_a_weight_is_fetched_where_memory_is_priced_apart() -> None:
    """The same rule as for the spiking network: one access for the weight of each operation."""
    mac, access = price(3, 2, 4), price(10)
    held, apart, missing = (
        ann_baseline(skip_chain(), profile(f'scope = "per_term"\nmac = {mac}\n{memory}')).line()
        for memory in (HELD, f"mem_access = {access}", "")
    )
    assert held is not None
    assert apart is not None
    assert missing is not None
    macs = dense_macs(skip_chain()).total
    assert [line.energy.pj / macs for line in (held, apart, missing)] == [3, 13, 3]
    assert (apart.energy.low_pj / macs, apart.energy.high_pj) == (12, 14 * macs)
    assert [line.memory_missing for line in (held, apart, missing)] == [False, False, True]


def test_on_the_same_chip_where_it_multiplies() -> None:
    on_loihi = ann_baseline(skip_chain(), "loihi")
    assert on_loihi.lines == ()
    assert "no published price" in on_loihi.unpriced
    on_tianjic = ann_baseline(skip_chain(), "tianjic")
    assert [line.label for line in on_tianjic.lines] == ["mac"]


def test_a_recurrent_network_has_no_ann_that_runs_once() -> None:
    nodes: dict[str, Node] = {
        "input": Input((3,), "binary"),
        "fc": Linear(np.ones((3, 3)), np.ones(3)),
        "lif": LIF((3,), np.asarray(0.5), np.asarray(1.0)),
        "back": Linear(np.ones((3, 3)), np.ones(3)),
        "output": Output(),
    }
    edges = (("input", "fc"), ("fc", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output"))
    graph = Graph(nodes, edges, timesteps=4, recurrent=frozenset({("back", "lif")}))
    found = ann_baseline(graph, "cmos45")
    assert (found.lines, found.macs.total) == ((), 18)
    assert "recurrent" in found.unpriced


def test_an_export_keeps_those_of_the_network_as_trained(tmp_path: Path) -> None:
    """22·22 taps inside 8x8 with padding 1: conv1 1 -> 4, conv2 4 -> 4; a pool, then 64 -> 10.

    The artifact's own network has the pool folded into the last layer: four times its products.
    """
    from neurodeploy.ir.nir_io import write_nir
    from neurodeploy.passes.fold_pool import fold_pool
    from neurodeploy.targets.export import export

    chain = paper_chain(real=False)
    np.savez(tmp_path / "x.npz", x=random_input(chain, 0))
    write_nir(chain, tmp_path / "net.nir")
    done = export(tmp_path / "net.nir", "loihi2", tmp_path / "out", inputs=tmp_path / "x.npz")
    kept = DenseMacs.from_json(done.compile["dense_macs"])
    assert list(kept.layers.values()) == [484 * 4, 484 * 16, 640]
    assert DenseMacs.from_json(kept.to_json()) == kept
    assert dense_macs(fold_pool(chain)).total == kept.total + 3 * 640
