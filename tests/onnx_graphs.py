"""Random graphs of every node kind for the ONNX tests; parameters are dyadic: float32 sums are exact in any order."""

from __future__ import annotations

import numpy as np
from graphs import conv, dyadic, norm

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv1d,
    Conv2d,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Integrator,
    Linear,
    MaxPool2d,
    Node,
    Output,
    ReLU,
    Scale,
    SumPool2d,
    Threshold,
)


def any_neuron(rng: np.random.Generator, shape: tuple[int, ...], *, multi: bool = True) -> Node:
    """A neuron of any kind, dyadic parameters: scalar, per channel or full; ``multi``: also several spikes at once."""

    def draw(*values: float) -> np.ndarray:
        sizes = [(), (shape[0], *(1,) * (len(shape) - 1)), shape]
        return rng.choice(values, size=sizes[int(rng.integers(3))])

    kind = rng.choice(["lif", "multi", "cuba", "integrator"], p=[0.5, 0.15 * multi, 0.25, 0.25 - 0.15 * multi])
    decay, gain, offset = draw(0.0, 0.25, 0.5, 1.0), draw(0.5, 1.0), draw(0.0, 0.125)
    if kind == "integrator":
        return Integrator(shape, decay, gain, offset)
    threshold = draw(0.25, 0.5, 1.0)
    if kind == "multi":
        return LIF(shape, decay, threshold, gain, offset, compare="ge", reset="subtract", spikes="multi")
    compare, reset, v_reset = rng.choice(["ge", "gt"]), rng.choice(["to", "subtract"]), draw(0.0, -0.25)
    if kind == "cuba":
        current = {"current_decay": draw(0.0, 0.25, 0.5), "current_gain": draw(0.5, 1.0)}
        return CubaLIF(shape, decay, threshold, gain, offset, v_reset, compare, reset, **current)
    return LIF(shape, decay, threshold, gain, offset, v_reset, compare, reset)


def any_graph(seed: int) -> Graph:
    """An image part or a ``(C, L)`` part, then vectors with a recurrent layer: every node kind turns up."""
    rng = np.random.default_rng(seed)
    nodes: dict[str, Node] = {}
    edges: list[tuple[str, str]] = []
    late: set[tuple[str, str]] = set()

    def add(name: str, node: Node, *sources: str) -> str:
        nodes[name] = node
        edges.extend((s, name) for s in sources)
        return name

    if rng.random() < 0.7:
        shape = (2, int(rng.integers(5, 8)), int(rng.integers(5, 8)))
        last = add("input", Input(shape))
        for depth in range(int(rng.integers(1, 3))):
            groups = int(rng.choice([1, 2]))
            twins = [conv(rng, 4, shape[0], (3, 2), groups, padding=(1, 1), stride=(1, 2)) for _ in "ab"]
            if rng.random() < 0.3:
                twins = [conv(rng, 4, shape[0], (2, 2), 1, padding=(1, 2), dilation=(2, 1)) for _ in "ab"]
            sources = [add(f"conv{depth}", twins[0], last)]
            if rng.random() < 0.5:
                sources.append(add(f"skip{depth}", twins[1], last))
                if rng.random() < 0.3:
                    late.add((last, f"skip{depth}"))
                if rng.random() < 0.3:
                    late.add((f"skip{depth}", f"neuron{depth}"))
            if rng.random() < 0.3:
                sources[0] = add(f"norm{depth}", norm(rng, 4), sources[0])
            shape = twins[0].output_shape(shape)
            last = add(f"neuron{depth}", any_neuron(rng, shape), *sources)
            if rng.random() < 0.6 and min(shape[1:]) >= 3:
                kind = rng.choice([SumPool2d, AvgPool2d, MaxPool2d])
                window = (2, int(rng.choice([2, 4]))) if kind is AvgPool2d else (3, 2)
                pool = kind(window, (int(rng.integers(1, 3)), 2), (1, int(rng.integers(0, 2))))
                try:
                    shape = pool.output_shape(shape)
                    last = add(f"pool{depth}", pool, last)
                except ValueError:
                    pass
    else:
        shape = (3, int(rng.integers(6, 10)))
        last = add("input", Input(shape))
        node = Conv1d(dyadic(rng, (6, 1, 3)), dyadic(rng, 6), stride=2, padding=1, dilation=2, groups=3)
        shape = node.output_shape(shape)
        last = add("neuron", any_neuron(rng, shape), add("conv", node, last))
    if rng.random() < 0.4:
        channels = (shape[0], *(1,) * (len(shape) - 1))
        steps = rng.integers(0, 4, size=channels if rng.random() < 0.5 else ())
        last = add("delay", Delay(shape, steps), last)
    if rng.random() < 0.3:
        last = add("scale", Scale(shape, rng.choice([0.5, 1.0, 2.0], size=shape)), last)
    if rng.random() < 0.2:
        last = add("relu", ReLU(), last)
    last = add("flatten", Flatten(), last)
    width = int(np.prod(shape))
    hidden = add("hidden", Linear(dyadic(rng, (5, width)), dyadic(rng, 5)), last)
    recurrent = rng.choice(["none", "self", "loop", "threshold"])
    sources = [hidden]
    if recurrent == "self":
        sources.append("cell")
        late.add(("cell", "cell"))
    elif recurrent != "none":
        sources.append("back")
        late.add(("cell", "back"))
    # Several spikes at once that come back as several more would grow beyond the uint8 of a trace.
    add("cell", any_neuron(rng, (5,), multi=recurrent == "none"), *sources)
    if recurrent == "loop":
        behind = add("behind", Delay((5,), rng.integers(0, 3, size=5)), "cell") if rng.random() < 0.5 else "cell"
        late = (late - {("cell", "back")}) | {(behind, "back")}
        add("back", Linear(dyadic(rng, (5, 5)), dyadic(rng, 5)), behind)
    elif recurrent == "threshold":
        gate = Threshold((5,), rng.choice([0.0, 0.25], size=5), str(rng.choice(["ge", "gt"])))
        add("back", gate, "cell")
    last = add("fc", Linear(dyadic(rng, (3, 5)), dyadic(rng, 3)), "cell")
    if rng.random() < 0.7:
        last = add("readout", Integrator((3,), np.asarray(rng.choice([1.0, 0.5]))), last)
    add("output", Output(), last)
    return Graph(nodes, tuple(edges), timesteps=int(rng.integers(1, 6)), recurrent=frozenset(late))


def integer_graph(seed: int, *, wide: bool = False, timesteps: int = 4) -> Graph:
    """A residual net of the integer machine with a recurrent layer and a readout.

    With ``wide``: decays that are no shift, currents, large weights that wrap sums and currents and saturate membranes.
    """
    rng = np.random.default_rng(seed)
    largest = 2**13 if wide else 127

    def weights(*shape: int) -> np.ndarray:
        return 2.0 * rng.integers(-largest, largest + 1, size=shape)

    def biases(size: int) -> np.ndarray:
        return rng.integers(-4000, 4001, size=size).astype(np.float64)

    def neuron(*shape: int) -> LIF:
        decay = np.asarray(rng.integers(1, 4096) / 4096 if wide else rng.choice([0.0, 0.25, 1.0]))
        threshold = np.asarray(float(rng.integers(0, 131072 if wide else 600)))
        if wide and rng.random() < 0.7:
            return CubaLIF(
                shape, decay, threshold, compare="gt", current_decay=np.asarray(rng.integers(0, 4096) / 4096)
            )
        return LIF(shape, decay, threshold, compare="gt")

    def image(out: int, inputs: int, groups: int = 1) -> Conv2d:
        return Conv2d(weights(out, inputs // groups, 3, 3), biases(out), (1, 1), (1, 1), (1, 1), groups)

    nodes: dict[str, Node] = {
        "input": Input((2, 6, 5), "binary"),
        "conv1": image(4, 2),
        "lif1": neuron(4, 6, 5),
        "conv2": image(4, 4, groups=2),
        "skip": Conv2d(weights(4, 4, 1, 1), biases(4)),
        "lif2": neuron(4, 6, 5),
        "wait": Delay((4, 6, 5), rng.integers(0, 3, size=(4, 1, 1))),
        "flatten": Flatten(),
        "fc1": Linear(weights(6, 120) // 16 * 2, biases(6)),
        "back": Linear(weights(6, 6) // 16 * 2, biases(6)),
        "cell": neuron(6),
        "fc2": Linear(weights(3, 6), biases(3)),
        "readout": Integrator((3,)),
        "output": Output(),
    }
    edges = [("input", "conv1"), ("conv1", "lif1"), ("lif1", "conv2"), ("lif1", "skip"), ("conv2", "lif2")]
    edges += [("skip", "lif2"), ("lif2", "wait"), ("wait", "flatten"), ("flatten", "fc1"), ("fc1", "cell")]
    edges += [("cell", "back"), ("back", "cell"), ("cell", "fc2"), ("fc2", "readout"), ("readout", "output")]
    return Graph(nodes, tuple(edges), timesteps, arithmetic="loihi", recurrent=frozenset({("cell", "back")}))
