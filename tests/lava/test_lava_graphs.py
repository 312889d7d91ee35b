"""Every kind of integer graph in real Lava against the integer machine: 0 differences of spikes, v and u.

Several samples back to back, biases everywhere, six or more steps (beyond four the leak of the papers truncates).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import (
    LIF,
    Conv1d,
    Conv2d,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Integrator,
    Linear,
    Node,
    Output,
    Shape,
)

pytestmark = [pytest.mark.lava, pytest.mark.slow]
STEPS = 6


def lif(shape: Shape, threshold: int, decay: float = 0.25, current: float | None = None) -> LIF:
    """An integer neuron; with ``current`` its synaptic current keeps that part a step."""
    numbers = np.asarray(decay), np.asarray(float(threshold))
    if current is None:
        return LIF(shape, *numbers, compare="gt")
    return CubaLIF(shape, *numbers, compare="gt", current_decay=np.asarray(current))


def even(rng: np.random.Generator, *shape: int, most: int = 40) -> np.ndarray:
    return 2.0 * rng.integers(-most, most + 1, shape)


def conv(rng: np.random.Generator, out: int, inputs: int, kernel: tuple[int, int] = (3, 3), **rest: object) -> Conv2d:
    per_group = inputs // int(rest.get("groups", 1))  # type: ignore[call-overload]
    return Conv2d(even(rng, out, per_group, *kernel), rng.integers(-30, 60, out).astype(float), **rest)  # type: ignore[arg-type]


def linear(rng: np.random.Generator, out: int, inputs: int) -> Linear:
    return Linear(even(rng, out, inputs), rng.integers(-30, 60, out).astype(float))


def integers(nodes: dict[str, Node], edges: list[Edge] | tuple[Edge, ...] = (), **rest: object) -> Graph:
    """An integer graph; without edges a chain."""
    return Graph(nodes, tuple(edges or pairwise(nodes)), timesteps=STEPS, arithmetic="loihi", **rest)  # type: ignore[arg-type]


def spikes(graph: Graph, seed: int = 0, samples: int = 3, steps: int = STEPS, rate: float = 0.4) -> np.ndarray:
    shape = graph.shapes[graph.input]
    return (np.random.default_rng(seed).random((samples, steps, *shape)) < rate).astype(np.uint8)


def with_head(rng: np.random.Generator, nodes: dict[str, Node], last: str, shape: Shape) -> list[Edge]:
    """Adds Flatten, a readout and the Output behind ``last``."""
    size = int(np.prod(shape))
    nodes.update({"flat": Flatten(), "fc": linear(rng, 3, size), "read": Integrator((3,)), "output": Output()})
    return list(pairwise([last, "flat", "fc", "read", "output"]))


def one_conv(seed: int, shape: Shape, node: Conv1d | Conv2d, threshold: int = 90) -> Graph:
    rng = np.random.default_rng(seed)
    behind = node.output_shape(shape)
    nodes: dict[str, Node] = {"input": Input(shape, "binary"), "conv": node, "lif": lif(behind, threshold)}
    return integers(nodes, [*pairwise(["input", "conv", "lif"]), *with_head(rng, nodes, "lif", behind)])


def geometries() -> dict[str, Graph]:
    """Stride, padding, dilation, groups, kernels that are not square, rows of one."""
    rng = np.random.default_rng(1)
    found = {}
    for name, out, rest in (
        ("all", 6, {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}),
        ("dilated", 4, {"padding": (2, 1), "dilation": (2, 1)}),
        ("depthwise", 8, {"groups": 4, "stride": (1, 2)}),
    ):
        found[f"conv-{name}"] = one_conv(2, (4, 7, 6), conv(rng, out, 4, (3, 2), **rest))
    weight, bias = even(rng, 6, 2, 4), rng.integers(-30, 60, 6).astype(float)
    found["conv1d"] = one_conv(3, (4, 17), Conv1d(weight, bias, stride=2, padding=3, dilation=2, groups=2))
    # Lava keeps the number of groups in int8: 128 and 134 (2·67) groups would be zeros.
    found["groups-128"] = one_conv(4, (128, 3, 3), conv(rng, 128, 128, (2, 2), groups=128), 40)
    found["groups-134"] = one_conv(5, (268, 2, 2), conv(rng, 268, 268, (2, 1), groups=134), 40)
    return found


def odd_numbers() -> dict[str, Graph]:
    """Odd weights that 8 bits hold, matrices that Lava's guess of the sign mode would turn into zeros, integrators."""
    rng = np.random.default_rng(6)
    small = Linear(rng.integers(-128, 128, (6, 9)).astype(float), rng.integers(-30, 60, 6).astype(float))
    below = Linear(-even(rng, 6, 6).clip(0) - np.eye(6) * 174, np.full(6, 300.0))
    nothing = Linear(np.zeros((4, 6)), rng.integers(30, 90, 4).astype(float))
    nodes: dict[str, Node] = {"input": Input((9,), "binary"), "small": small, "a": lif((6,), 90), "below": below}
    nodes |= {"b": lif((6,), 150), "nothing": nothing, "c": lif((4,), 77, 0.5), "fc": linear(rng, 3, 4)}
    odd = integers({**nodes, "read": Integrator((3,)), "output": Output()})
    # Sums beyond 2^17 wrap in u, states beyond 2^23 saturate: the machine says what Lava does.
    huge = Conv2d(np.full((2, 24, 9, 9), 254.0), np.asarray([4095.0, -4095.0]))
    huge.weight[0] = 120.0
    nodes = {"input": Input((24, 9, 9), "binary"), "conv": huge, "sum": lif((2, 1, 1), 2**17 - 1, 1.0)}
    wrap = integers({**nodes, "flat": Flatten(), "fc": linear(rng, 2, 2), "last": lif((2,), 60), "output": Output()})
    return {"odd": odd, "wrap": wrap}


def currents_and_cycles() -> dict[str, Graph]:
    """CUBA neurons with odd decays, a recurrent layer, and a cycle of two layers with the delay that Lava needs."""
    rng = np.random.default_rng(7)

    def cuba(size: int, current: int, decay: int) -> LIF:
        return lif((size,), 400, decay / 4096, current / 4096)

    nodes: dict[str, Node] = {"input": Input((8,), "binary"), "in": linear(rng, 7, 8), "a": cuba(7, 3001, 2777)}
    nodes |= {"fc1": linear(rng, 5, 7), "b": cuba(5, 1, 4095), "fc2": linear(rng, 3, 5), "read": Integrator((3,))}
    chain = integers({**nodes, "output": Output()})
    nodes = {"input": Input((8,), "binary"), "in": linear(rng, 7, 8), "a": cuba(7, 3001, 2777)}
    nodes |= {"rec": linear(rng, 7, 7), "fc": linear(rng, 3, 7), "read": Integrator((3,)), "output": Output()}
    edges = [*pairwise(["input", "in", "a", "fc", "read", "output"]), ("a", "rec"), ("rec", "a")]
    recurrent = integers(nodes, edges, recurrent=frozenset([("a", "rec")]))
    nodes = {"input": Input((8,), "binary"), "in": linear(rng, 7, 8), "a": lif((7,), 80)}
    nodes |= {"ab": linear(rng, 5, 7), "b": lif((5,), 70), "later": Delay((5,), np.asarray(1))}
    nodes |= {"ba": linear(rng, 7, 5), "fc": linear(rng, 3, 5), "read": Integrator((3,)), "output": Output()}
    edges = [*pairwise(["input", "in", "a", "ab", "b", "fc", "read", "output"]), *pairwise(["b", "later", "ba", "a"])]
    return {
        "cuba": chain,
        "recurrent": recurrent,
        "cycle": integers(nodes, edges, recurrent=frozenset([("b", "later")])),
    }


def residual(kind: str) -> Graph:
    """A residual block whose skip is one synapse long: unbalanced, with a relay, or delayed in the network itself."""
    rng = np.random.default_rng(8)
    shape = (3, 5, 4)

    def same(inputs: int = 3) -> Conv2d:
        return conv(rng, 3, inputs, padding=(1, 1))

    one = np.ones((3, 1, 1, 1))
    nodes: dict[str, Node] = {"input": Input(shape, "binary"), "conv1": same(), "a": lif(shape, 90)}
    nodes |= {"conv2": same(), "b": lif(shape, 90), "conv3": same(), "c": lif(shape, 120)}
    # The skip needs 300, more than a weight holds: two parallel synapses.
    nodes |= {f"skip{n}": Conv2d(150.0 * one, np.zeros(3), groups=3) for n in (1, 2)}
    edges = [*pairwise(["input", "conv1", "a", "conv2", "b", "conv3", "c"]), ("skip1", "c"), ("skip2", "c")]
    first = "a"
    if kind == "relayed":
        nodes |= {"relay-synapse": Conv2d(2.0 * one, np.zeros(3), groups=3), "relay": lif(shape, 1, 0.0)}
        edges += pairwise(["a", "relay-synapse", "relay"])
        first = "relay"
    if kind == "delayed":
        nodes["late"] = Delay(shape, rng.integers(0, 4, shape))
        edges.append(("a", "late"))
        first = "late"
    edges += [(first, "skip1"), (first, "skip2")]
    return integers(nodes, [*edges, *with_head(rng, nodes, "c", shape)])


def random_net(seed: int) -> Graph:
    """Populations on one shape; each reads one to three earlier ones, now and then itself or a delayed one."""
    rng = np.random.default_rng(seed)
    shape: Shape = tuple(int(n) for n in rng.integers(2, 5, int(rng.integers(1, 4))))
    nodes: dict[str, Node] = {"input": Input(shape, "binary")}
    edges: list[Edge] = []
    late: set[Edge] = set()
    spiking = ["input"]
    size = 3 if len(shape) > 1 else shape[0]

    def synapse() -> Node:
        if len(shape) == 1:
            return linear(rng, size, size)
        if len(shape) == 2:
            weight, bias = even(rng, shape[0], shape[0], 3), rng.integers(-30, 60, shape[0]).astype(float)
            return Conv1d(weight, bias, padding=1)
        return conv(rng, shape[0], shape[0], padding=(1, 1))

    for index in range(int(rng.integers(2, 5))):
        name = f"n{index}"
        current = None if rng.random() < 0.5 else int(rng.integers(0, 4096)) / 4096
        sources = list(rng.choice(spiking, size=int(rng.integers(1, min(len(spiking), 3) + 1)), replace=False))
        sources += [name] if rng.random() < 0.3 else []
        for source in sources:
            key, before = f"{source}>{name}", str(source)
            if rng.random() < 0.3:
                nodes[f"{key}-late"] = Delay(
                    shape, rng.integers(0, 3, shape if source != name and rng.random() < 0.5 else ())
                )
                edges.append((before, f"{key}-late"))
                before = f"{key}-late"
            nodes[key] = synapse()
            edges += [(before, key), (key, name)]
            if source == name:
                late.add(next(edge for edge in edges if edge[0] == name and edge[1].startswith(key)))
        nodes[name] = lif(shape, int(rng.integers(30, 200)), int(rng.integers(0, 4096)) / 4096, current)
        spiking.append(name)
    if len(shape) == 1:
        nodes |= {"fc": linear(rng, 3, shape[0]), "read": Integrator((3,)), "output": Output()}
        edges += pairwise([spiking[-1], "fc", "read", "output"])
    else:
        edges += with_head(rng, nodes, spiking[-1], shape)
    return integers(nodes, edges, recurrent=frozenset(late))


GRAPHS = {
    **geometries(),
    **odd_numbers(),
    **currents_and_cycles(),
    **{kind: residual(kind) for kind in ("unbalanced", "relayed", "delayed")},
    **{f"random-{seed}": random_net(seed) for seed in range(8)},
}


@pytest.fixture(scope="module")
def replayed(in_lava: Callable) -> dict:
    return in_lava({name: (graph, spikes(graph)) for name, graph in GRAPHS.items()})


@pytest.mark.parametrize("name", GRAPHS)
def test_lava_and_the_machine_agree(replayed, same, name):
    graph = GRAPHS[name]
    meaning = same(graph, spikes(graph), replayed[name])
    firing = [float(array.mean()) for array in meaning.spikes.values()]
    assert max(firing) > 0.02, "nothing fires: the comparison would be empty"


def test_u_wraps_and_v_saturates_in_the_network_made_for_it(replayed):
    """24 bits: positive weights drive u below zero, v stops at 2^23 − 1 and still lies above the largest threshold."""
    found = replayed["wrap"]
    assert found["current/sum"][:, :, 1].min() < 0
    largest = found["membrane/sum"][:, :, 0].max()
    assert largest < 2**23 - 64
    assert found["spikes/sum"][:, 1:, 0].any(), "only a saturated v lies above 131071"
