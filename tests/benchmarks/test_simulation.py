"""``benchmarks/simulate.py``: its networks fire as asked, its contenders compute the same, its clock takes turns."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from simulation import measure
from simulation.contenders import PEERS, Contender, ours, peers
from simulation.contest import with_stem
from simulation.layer import straight_line
from simulation.measure import Times, interleaved, peak_bytes
from simulation.nets import Network, T, calibrated, lif, random_network
from simulation.pooled import unfold_pools
from simulation.torch_nets import joined, last_silent, least_firing
from simulation.with_lava import conv_network

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.machine import machine_findings
from neurodeploy.ir.nodes import LIF, Conv2d, Linear, SumPool2d

COMMAND = Path(__file__).parents[2] / "benchmarks" / "simulate.py"


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "TURN_SECONDS", 0.0)


@pytest.fixture(scope="module")
def tiny() -> Network:
    return random_network("tiny", 0.15, 2)


def meaning(network: Network) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Output in weight units and spikes, by the interpreter: the encoder in float64, the chip in integers."""
    assert network.encoder is not None
    x = np.repeat(network.x, T, axis=1) if network.x.shape[1] == 1 else network.x
    host = interpret(network.encoder, x, "float64")
    chip = interpret(network.chip, host.output.astype(np.uint8), "loihi")
    return chip.output / 64, {**host.spikes, **chip.spikes}


def assert_same(contender: Contender, network: Network) -> None:
    output, spikes = contender.outcome()
    expected, reference = meaning(network)
    np.testing.assert_array_equal(output, expected, err_msg=contender.name)
    assert spikes.keys() == reference.keys()
    for name, found in spikes.items():
        np.testing.assert_array_equal(found, reference[name], err_msg=f"{contender.name}, {name}")


def test_hand_worked_neuron_and_its_threshold() -> None:
    # 4, then 4/4 + 4 = 5 (fires at > 4), back to zero, 4, 5
    sums = torch.full((T, 1), 4.0)
    assert lif(sums, 4).flatten().tolist() == [0, 1, 0, 1]
    assert lif(sums, 5).flatten().tolist() == [0, 0, 1, 0]  # 4, 5, 5.25
    assert calibrated(sums, 0.5) == 4
    assert calibrated(sums, 0.25) == 5


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_networks_fire_at_the_rate_and_run_on_the_machine(rate: float) -> None:
    network = random_network("tiny", rate, 4)
    assert list(machine_findings(network.chip)) == []
    fired = np.concatenate([spikes.reshape(-1) for spikes in meaning(network)[1].values()])
    assert fired.mean() == pytest.approx(rate, rel=0.35)  # a few images of 8x8, others than the calibration's


def test_pools_come_out_of_the_kernels(tiny: Network) -> None:
    small = unfold_pools(tiny.chip)
    assert [small.nodes[name].kernel for name in small.names(SumPool2d)] == [(2, 2), (2, 2)]
    conv, linear = small.nodes["conv4"], small.nodes["fc"]
    assert isinstance(conv, Conv2d)
    assert isinstance(linear, Linear)
    assert conv.weight.shape[2:] == (3, 3)
    assert (conv.stride, conv.padding) == ((2, 2), (1, 1))
    assert linear.weight.shape == (10, 12)
    x = (np.random.default_rng(0).random((2, T, 6, 8, 8)) < 0.3).astype(np.uint8)
    before, after = interpret(tiny.chip, x, "float64"), interpret(small, x, "float64")
    np.testing.assert_array_equal(before.output, after.output)
    for name, spikes in before.spikes.items():
        np.testing.assert_array_equal(spikes, after.spikes[name])


def test_kernels_that_only_look_composed_stay(tiny: Network) -> None:
    node = tiny.chip.nodes["conv4"]
    assert isinstance(node, Conv2d)
    weight = node.weight.copy()
    weight[0, 0, 0, 0] += 2
    other = unfold_pools(tiny.chip.with_nodes({"conv4": replace(node, weight=weight)}))
    assert other.nodes["conv4"].weight.shape == weight.shape  # type: ignore[attr-defined]


@pytest.mark.parametrize("stem", ["once", "every", "spikes"])
def test_ours_is_the_interpreter(tiny: Network, stem: str) -> None:
    network = with_stem(tiny, stem)
    if network.encoder is None:
        _, spikes = meaning(tiny)
        np.testing.assert_array_equal(network.x, spikes["lif1"])
        return
    for contender in ours(network, 1, "on"):
        assert_same(contender, network)


@pytest.mark.parametrize("name", ["eager", "spikingjelly", "snntorch", "norse"])
def test_peers_are_the_interpreter(tiny: Network, name: str) -> None:
    if name != "eager" and importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed (the peers extra)")
    for stem in ("once", "every") if name in ("eager", "snntorch") else ("once",):  # one of each way over the steps
        network = with_stem(tiny, stem)
        (contender,), missing = peers(network, [name])
        assert contender.name == PEERS[name]
        assert not missing
        assert_same(contender, network)


def test_a_wrong_threshold_is_seen(tiny: Network) -> None:
    node = tiny.chip.nodes["lif2"]
    assert isinstance(node, LIF)
    lower = tiny.chip.with_nodes({"lif2": replace(node, threshold=np.asarray(float(node.threshold) - 40))})
    (contender,), _ = peers(replace(tiny, chip=lower), ["eager"])
    with pytest.raises(AssertionError):
        assert_same(contender, tiny)


def test_thresholds_of_both_comparisons() -> None:
    strict = LIF((1,), np.asarray(0.25), np.asarray(3.0), compare="gt")
    weak = LIF((1,), np.asarray(0.25), np.asarray(3.0), compare="ge")
    after, before = np.nextafter(np.float32(3), np.float32(4)), np.nextafter(np.float32(3), np.float32(2))
    assert (least_firing(strict), last_silent(strict)) == (after, 3.0)
    assert (least_firing(weak), last_silent(weak)) == (3.0, before)


def test_what_peers_cannot_say_is_left_out(tiny: Network) -> None:
    node = tiny.chip.nodes["lif2"]
    assert isinstance(node, LIF)
    softer = tiny.chip.with_nodes({"lif2": replace(node, reset="subtract")})
    found, missing = peers(replace(tiny, chip=softer), ["eager"])
    assert found == []
    assert missing == ["PyTorch eager: neurons with another reset than to zero"]


def test_encoder_and_chip_join_where_both_have_an_input_and_an_output(tiny: Network) -> None:
    assert tiny.encoder is not None
    names = {"image": "input", "spikes": "output"}
    nodes = {names.get(n, n): node for n, node in tiny.encoder.nodes.items()}
    edges = tuple((names.get(a, a), names.get(b, b)) for a, b in tiny.encoder.edges)
    whole = joined(replace(tiny, encoder=Graph(nodes, edges, timesteps=T)))
    assert whole.input == "host-input"
    assert whole.sources("conv2") == ("lif1",)


def test_the_lava_network_has_the_neurons_that_are_asked_for() -> None:
    graph, x = conv_network("large")
    assert sum(int(np.prod(graph.shapes[name])) for name in graph.names(LIF)) >= 100_000
    assert list(machine_findings(graph)) == []
    assert x.shape == (1, T, 2, 32, 32)


def test_contenders_take_turns() -> None:
    calls: list[str] = []
    clock = iter(range(1000))
    runs = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = interleaved(runs, 2, lambda: float(next(clock)))
    assert "".join(calls) == "aabb" + "aabb" * 2  # warm-up and calibration, then turns of one uncounted and one counted
    assert times["a"].seconds == (1.0, 1.0)


def test_ratios_and_their_quartiles() -> None:
    ratio, low, high = Times((2.0, 4.0, 6.0, 8.0)).over(Times((1.0, 1.0, 1.0, 2.0)))
    assert (ratio, low, high) == (5.0, 4.0, 4.0)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_peak_memory_sees_what_a_run_takes() -> None:
    def build() -> Callable[[], object]:
        weights = np.ones(32 * 2**20, np.uint8)
        return lambda: (weights, np.ones(64 * 2**20, np.uint8).sum())

    found = peak_bytes(build)
    assert found is None or 92 * 2**20 < found < 120 * 2**20


def test_a_straight_line() -> None:
    fit = straight_line([0, 1, 2, 3], [2.0, 5.0, 8.0, 11.0])
    assert fit["slope"] == pytest.approx(3)
    assert fit["intercept"] == pytest.approx(2)
    assert fit["r2"] == pytest.approx(1)
    assert straight_line([0, 1, 2, 3], [0.0, 1.0, 0.0, 1.0])["r2"] == pytest.approx(0.2)


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [
        "nets",
        "--net",
        "tiny",
        "--batch",
        "2",
        "--repeats",
        "1",
        "--peers",
        "eager",
        "--dense",
        "on",
        "--json",
        str(file),
    ]
    done = subprocess.run([sys.executable, str(COMMAND), *command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "PyTorch eager" in done.stdout
    (result,) = json.loads(file.read_text())["results"]
    assert {row["contender"]: row["different"] for row in result["rows"]}.items() >= {
        "ours, integer": 0,
        "ours, float32": 0,
        "PyTorch eager": 0,
    }.items()
