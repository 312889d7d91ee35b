"""Calibration: what a population saw, and scales that look at it; the proofs hold whatever was chosen."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from graphs import conv, dyadic, paper_chain, random_input, skip_chain
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.diagnostics import UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.machine import machine_findings
from neurodeploy.ir.nodes import LIF, SYNAPSES, Conv1d, CubaLIF, Delay, Flatten, Input, Integrator, Linear, Output
from neurodeploy.passes.calibrate import Calibration, calibrate
from neurodeploy.passes.fold_pool import fold_pool
from neurodeploy.passes.partition import partition
from neurodeploy.passes.quantizable import synapses_into
from neurodeploy.passes.quantize import Limits, quantized


def grouped(seed: int) -> Graph:
    """Strides, dilation, groups, padding, a recurrent synapse, a delay, a 1-D convolution, Flatten and Linear."""
    rng = np.random.default_rng(seed)
    nodes = {
        "input": Input((2, 7, 6), "binary"),
        "conv": conv(rng, 4, 2, (3, 2), groups=2, stride=(2, 1), padding=(1, 1), dilation=(1, 2)),
        "back": conv(rng, 4, 4, (1, 1)),
        "lif": LIF((4, 4, 6), 0.25, 0.5),
        "flat": Flatten(),
        "fc": Linear(dyadic(rng, (12, 96)), dyadic(rng, 12)),
        "lif2": LIF((12,), 0.25, 0.5),
        "readout": Integrator((12,)),
        "delay": Delay((12,), 1),
        "last": Linear(dyadic(rng, (12, 12)), dyadic(rng, 12)),
        "output": Output(),
    }
    edges = [*pairwise(["input", "conv", "lif", "flat", "fc", "lif2", "delay", "last", "readout", "output"])]
    edges += [("lif", "back"), ("back", "lif")]
    return Graph(nodes, tuple(edges), timesteps=4, recurrent=frozenset({("lif", "back")}))


def one_dimensional() -> Graph:
    rng = np.random.default_rng(0)
    weight = dyadic(rng, (3, 1, 3))
    nodes = {
        "input": Input((3, 9), "binary"),
        "conv": Conv1d(weight, np.zeros(3), stride=2, padding=1, groups=3),
        "lif": CubaLIF((3, 5), 0.25, 0.5, current_decay=0.5),
        "output": Output(),
    }
    return Graph(nodes, tuple(pairwise(nodes)), timesteps=4)


@pytest.mark.parametrize("graph", [grouped(0), grouped(1), skip_chain(0), one_dimensional()])
def test_observed_potentials_are_the_interpreters(graph):
    """Every position is looked at (few samples), so potentials and spikes must be those of the interpreter, exactly."""
    x = random_input(graph, 0, samples=2)
    expected = interpret(graph, x)
    calibration = Calibration(graph, x)
    for name in (n for n in graph.names((LIF, Integrator))):
        node, synapses = graph.nodes[name], synapses_into(graph, name)
        u, fired = calibration.observed(name, synapses).potentials(node, synapses, 1.0, None)
        channels = node.shape[0]
        wanted = expected.potential[name] if isinstance(node, LIF) else expected.membrane[name]
        np.testing.assert_array_equal(u, as_positions(wanted, channels))
        if isinstance(node, LIF):
            np.testing.assert_array_equal(fired, as_positions(expected.spikes[name], channels))


def as_positions(array: np.ndarray, channels: int) -> np.ndarray:
    """``(B, T, C, …)`` as ``(P, T, C)``, the sample outside, then the position."""
    flat = array.reshape(*array.shape[:2], channels, -1)
    return flat.transpose(0, 3, 1, 2).reshape(-1, array.shape[1], channels)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6), method=st.sampled_from(["minmax", "percentile", "mse"]), bits=st.sampled_from([17, 12])
)
def test_whatever_the_method_the_proofs_hold(seed, method, bits):
    chain = fold_pool(paper_chain(seed, real=False))
    x = random_input(chain, seed, samples=6)
    done = quantized(chain, Limits(2**bits - 1), method, Calibration(chain, x))
    assert not list(machine_findings(done.graph))
    rows = {row["node"]: row for row in done.rows}
    for name in done.graph.names(SYNAPSES):
        assert np.abs(done.graph.nodes[name].weight).max() <= 254
    for name, row in rows.items():
        low = done.graph.nodes[done.graph.sources(name)[0]].weight
        flat = low.reshape(low.shape[0], -1).astype(np.int64)
        assert row["accumulator_high"] == np.maximum(flat, 0).sum(1).max() <= 2**bits - 1
        assert row["method"] == method
    found = interpret(done.graph, x, "loihi")
    assert max(np.abs(v).max() for v in found.membrane.values()) < 2**23 - 1


def outlier(dead: bool) -> Graph:
    """One weight of 8 among weights of at most 1/2; its input never fires if ``dead``."""
    weight = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 20))
    weight[0, 0] = 8.0
    nodes = {"input": Input((20,), "binary"), "fc": Linear(weight, np.zeros(6)), "lif": LIF((6,), 0.25, 0.5)}
    return Graph({**nodes, "output": Output()}, (("input", "fc"), ("fc", "lif"), ("lif", "output")), timesteps=4)


def test_methods_clip_what_does_not_matter():
    """Proven: 254/8·0.5 = 15. minmax clips the weight that no spike reaches; percentile one that few spikes reach."""
    graph = outlier(dead=True)
    x = (np.random.default_rng(1).random((64, 4, 20)) < 0.3).astype(np.uint8)
    x[:, :, 0] = 0
    silent = Calibration(graph, x)
    thresholds = {
        m: quantized(graph, None, m, silent).rows[0]["threshold"] for m in ("proven", "minmax", "percentile", "mse")
    }
    assert thresholds["proven"] == 15
    assert thresholds["minmax"] == int(254 / np.sort(np.abs(graph.nodes["fc"].weight).ravel())[-2] * 0.5 - 1 / 64)
    assert thresholds["percentile"] >= thresholds["minmax"]
    assert thresholds["mse"] > 8 * 15 / 2
    assert quantized(graph, None, "minmax", silent).rows[0]["clipped_weights"] == 1
    x[0, 0, 0] = 1
    rare = Calibration(graph, x)
    assert quantized(graph, None, "minmax", rare).rows[0]["threshold"] == 15
    assert quantized(graph, None, "percentile", rare).rows[0]["clipped_weights"] >= 1
    x[:, :, 0] = 1
    often = Calibration(graph, x)
    assert quantized(graph, None, "percentile", often).rows[0]["threshold"] == 15


def test_mse_takes_the_smallest_error_of_its_grid():
    graph = outlier(dead=True)
    x = (np.random.default_rng(1).random((64, 4, 20)) < 0.3).astype(np.uint8)
    calibration = Calibration(graph, x)
    synapses = synapses_into(graph, "lif")
    observed = calibration.observed("lif", synapses)

    def error(method: str) -> float:
        done = quantized(graph, None, method, calibration)
        return observed.error(graph.nodes["lif"], synapses, synapses_into(done.graph, "lif"), done.graph.scales["lif"])

    assert error("mse") <= min(error("proven"), error("minmax"), error("percentile"))
    # by hand: the error of no rounding at all is 0, that of the proven scale is not
    exact = observed.error(graph.nodes["lif"], synapses, synapses, 1.0)
    assert exact == 0.0 < error("mse")


def test_calibration_goes_through_the_encoder():
    graph = fold_pool(paper_chain(0))
    encoder, chip = partition(graph)
    assert encoder is not None
    x = random_input(graph, 0, samples=3)
    found = calibrate(chip, encoder, x[:, :1])
    static = np.repeat(x[:, :1], 4, axis=1).astype(np.float32)
    np.testing.assert_array_equal(found.x, interpret(encoder, static, "float32").output)
    spikes = interpret(replace(graph), static, "float32").spikes["lif2"]
    np.testing.assert_array_equal(found.spikes["lif2"], spikes)


def test_no_data_is_said():
    with pytest.raises(UsageError) as refusal:
        calibrate(skip_chain(), None, None)
    assert refusal.value.code == "ND237"
