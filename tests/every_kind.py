"""Random graphs of every node kind but Norm, with late edges and cycles: for engines, files and counters."""

from __future__ import annotations

import numpy as np

from neurodeploy.ir.graph import Edge, Graph
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
    Shape,
    ShapeError,
    SumPool2d,
    Threshold,
)


def every_kind(seed: int, *, size: int = 9, late: int = 3) -> Graph:
    """About ``size`` nodes of any kind and shape, each reading one to three others, and up to ``late`` more late edges.

    Numbers are not dyadic: sums round, so their order shows. The given order of the nodes is random.
    """
    rng = np.random.default_rng(seed)
    shape = _shape(rng)
    nodes: dict[str, Node] = {"input": Input(shape, str(rng.choice(["binary", "integer", "real"])))}  # type: ignore[arg-type]
    shapes: dict[str, Shape] = {"input": shape}
    edges: list[Edge] = []
    recurrent: set[Edge] = set()

    def alike(shape: Shape) -> list[str]:
        return [name for name in shapes if shapes[name] == shape and name != "output"]

    while len(nodes) < size:
        last = str(rng.choice(list(nodes)[-3:]))
        node = random_node(rng, shapes[last])
        name = f"{node.kind}{len(nodes)}"
        more = [n for n in alike(shapes[last]) if n != last]
        sources = [last, *rng.permutation(more)[: rng.choice([0, 0, 1, 2])]]
        nodes[name], shapes[name] = node, node.output_shape(shapes[last])
        edges += [(str(source), name) for source in rng.permutation(sources)]
    end = list(nodes)[-1]
    read = [end, *(n for n in alike(shapes[end]) if n != end and rng.random() < 0.3)]
    nodes["output"], shapes["output"] = Output(), shapes[end]
    edges += [(name, "output") for name in read]
    recurrent.update(edge for edge in edges if rng.random() < 0.1)
    for _ in range(int(rng.integers(0, late + 1))):
        source, target = edges[int(rng.integers(len(edges)))]
        found = [name for name in alike(shapes[source]) if (name, target) not in edges]
        if found:
            new = (str(rng.choice(found)), target)
            edges.insert(int(rng.integers(len(edges) + 1)), new)
            recurrent.add(new)
    order = [str(name) for name in rng.permutation(list(nodes))]
    return Graph({n: nodes[n] for n in order}, tuple(edges), 5, recurrent=frozenset(recurrent), origin="every kind")


def random_node(rng: np.random.Generator, shape: Shape) -> Node:
    """A node that takes ``shape``."""
    layered = {1: ["linear"], 2: ["conv1d", "flatten"], 3: ["conv2d", "conv2d", "sum", "avg", "max", "flatten"]}
    anywhere = ["lif", "multi", "cuba", "integrator", "scale", "delay", "threshold", "relu"]
    while True:
        kind = str(rng.choice(layered[len(shape)] if rng.random() < 0.5 else anywhere))
        node = _make(rng, kind, shape)
        try:
            node.output_shape(shape)
        except ShapeError:
            continue  # a window larger than the image
        return node


def any_input(graph: Graph, seed: int, samples: int = 3, timesteps: int = 5) -> np.ndarray:
    """``(B, T, *shape)``: normal numbers, small integers or spikes, as the graph's Input says."""
    rng = np.random.default_rng(seed)
    node = graph.nodes[graph.input]
    assert isinstance(node, Input)
    shape = (samples, timesteps, *node.shape)
    if node.values == "real":
        return rng.normal(size=shape)
    spikes = rng.random(shape) < 0.3
    return spikes.astype(np.uint8) if node.values == "binary" else spikes * rng.integers(1, 4, shape)


def _shape(rng: np.random.Generator) -> Shape:
    sizes = [int(n) for n in rng.integers(3, 7, size=2)]
    return ((2, *sizes), (2, sizes[0] + 2), (sizes[0],))[int(rng.integers(3))]


def _make(rng: np.random.Generator, kind: str, shape: Shape) -> Node:
    if kind in ("sum", "avg", "max"):
        pool = {"sum": SumPool2d, "avg": AvgPool2d, "max": MaxPool2d}[kind]
        return pool(_pair(rng, 2, 4), _pair(rng, 1, 3), _pair(rng, 0, 2))
    if kind == "flatten":
        return Flatten()
    if kind == "linear":
        out = int(rng.choice([shape[0], 3, 6]))
        return Linear(_weights(rng, (out, shape[0]), shape[0]), _bias(rng, out))
    if kind.startswith("conv"):
        groups = int(rng.choice([1, 2])) if shape[0] % 2 == 0 else 1
        out, inside = groups * int(rng.integers(1, 3)), shape[0] // groups
        if kind == "conv1d":
            kernel = int(rng.integers(1, 4))
            weight = _weights(rng, (out, inside, kernel), inside * kernel)
            stride, padding, dilation = (int(rng.integers(low, high)) for low, high in ((1, 3), (0, 2), (1, 3)))
            return Conv1d(weight, _bias(rng, out), stride, padding, dilation, groups)
        kernels = _pair(rng, 1, 4)
        weight = _weights(rng, (out, inside, *kernels), inside * kernels[0] * kernels[1])
        return Conv2d(weight, _bias(rng, out), _pair(rng, 1, 3), _pair(rng, 0, 2), _pair(rng, 1, 3), groups)
    return _elementwise(rng, kind, shape)


def _elementwise(rng: np.random.Generator, kind: str, shape: Shape) -> Node:
    def some(low: float, high: float) -> np.ndarray:
        """One number, one per channel, or one per element."""
        size = [(), (shape[0], *(1,) * (len(shape) - 1)), shape][int(rng.integers(3))]
        return np.asarray(rng.uniform(low, high, size=size))

    if kind == "relu":
        return ReLU()
    if kind == "scale":
        return Scale(shape, np.asarray(1.0) if rng.random() < 0.2 else some(-1.0, 1.0))
    if kind == "delay":
        return Delay(shape, np.floor(some(0.0, 7.0)))  # some of them longer than the run
    if kind == "threshold":
        return Threshold(shape, some(-0.2, 0.6), compare=str(rng.choice(["ge", "gt"])))  # type: ignore[arg-type]
    offset = some(-0.1, 0.2) if rng.random() < 0.3 else np.asarray(0.0)
    common = {"decay": some(0.0, 1.0), "gain": some(0.3, 1.0), "offset": offset}
    if kind == "integrator":
        return Integrator(shape, **common)
    common |= {"threshold": some(0.3, 1.0), "v_reset": some(-0.2, 0.1)}
    if kind == "multi":
        return LIF(shape, **common, reset="subtract", spikes="multi")
    common |= {"compare": str(rng.choice(["ge", "gt"])), "reset": str(rng.choice(["to", "subtract"]))}
    if kind == "cuba":
        if rng.random() < 0.3:
            common |= {"compare": "ge", "reset": "subtract", "spikes": "multi"}  # type: ignore[dict-item]
        return CubaLIF(shape, **common, current_decay=some(0.0, 0.9), current_gain=some(0.3, 1.0))  # type: ignore[arg-type]
    return LIF(shape, **common)  # type: ignore[arg-type]


def _pair(rng: np.random.Generator, low: int, high: int) -> tuple[int, int]:
    return int(rng.integers(low, high)), int(rng.integers(low, high))


def _weights(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
    """Normal, a fifth of them zero."""
    return rng.normal(size=shape) * (rng.random(shape) < 0.8) / np.sqrt(fan_in) * 1.5


def _bias(rng: np.random.Generator, size: int) -> np.ndarray:
    """Normal, or zero for most channels, so that updates can be idle."""
    return rng.normal(size=size) / 4 * (rng.random(size) < rng.choice([0.0, 0.3, 1.0]))


def every_kind_of_machine(seed: int, *, populations: int = 4, late: int = 2) -> Graph:
    """A graph for the integer machine: LIFs, CubaLIFs and Integrators, each fed by one to three synapses that read
    earlier populations, some through a Delay or a Flatten, and synapses that read later populations one step late."""
    rng = np.random.default_rng(seed)
    shape = _shape(rng)
    nodes: dict[str, Node] = {"input": Input(shape, str(rng.choice(["binary", "integer"])))}  # type: ignore[arg-type]
    shapes: dict[str, Shape] = {"input": shape}
    edges: list[Edge] = []
    recurrent: set[Edge] = set()
    spiking = ["input"]

    def add(name: str, node: Node, *sources: str) -> str:
        nodes[name], shapes[name] = node, node.output_shape(shapes[sources[0]])
        edges.extend((source, name) for source in sources)
        return name

    def integers(size: tuple[int, ...] | int, span: int = 20) -> np.ndarray:
        return rng.integers(-span, span + 1, size=size).astype(np.float64)

    def between(source: str, target: Shape, name: str) -> str:
        """A synapse from ``source`` to a population of shape ``target``."""
        if rng.random() < 0.3:
            delays = rng.integers(0, 4, size=shapes[source]).astype(np.float64)
            source = add(f"delay-{name}", Delay(shapes[source], delays), source)
        if len(target) > 1 and shapes[source] == target:
            if len(target) == 2:
                return add(name, Conv1d(integers((target[0], target[0], 3)), integers(target[0]), padding=1), source)
            weight = integers((target[0], target[0], 3, 3))
            return add(name, Conv2d(weight, integers(target[0]), padding=(1, 1)), source)
        if len(shapes[source]) > 1:
            source = add(f"flat-{name}", Flatten(), source)
        return add(name, Linear(integers((target[0], shapes[source][0])), integers(target[0])), source)

    for index in range(populations):
        source = str(rng.choice(spiking[-2:]))
        same = shapes[source] if rng.random() < 0.6 and len(shapes[source]) > 1 else (int(rng.integers(3, 6)),)
        found = [between(source, same, f"synapse{index}")]
        more = [s for s in spiking if s != source and (len(same) == 1 or shapes[s] == same)]
        found += [between(str(s), same, f"more{index}-{s}") for s in rng.permutation(more)[: rng.integers(0, 3)]]
        name = f"population{index}"
        add(name, _machine_neuron(rng, same), *found)
        if not isinstance(nodes[name], Integrator):
            spiking.append(name)
    for index in range(int(rng.integers(0, late + 1))):
        target = f"population{rng.integers(populations)}"
        alike = [s for s in spiking if s != "input" and (len(shapes[target]) == 1 or shapes[s] == shapes[target])]
        if alike:
            synapse = between(str(rng.choice(alike)), shapes[target], f"back{index}")
            edges.append((synapse, target))
            recurrent.add(edges[-1] if rng.random() < 0.5 else next(e for e in edges if e[1] == synapse))
    add("output", Output(), f"population{populations - 1}")
    order = [str(name) for name in rng.permutation(list(nodes))]
    return Graph(
        {n: nodes[n] for n in order},
        tuple(edges),
        6,
        arithmetic="loihi",
        recurrent=frozenset(recurrent),
        origin="loihi",
    )


def _machine_neuron(rng: np.random.Generator, shape: Shape) -> Node:
    decay = float(rng.integers(0, 4097)) / 4096
    if rng.random() < 0.2:
        return Integrator(shape, np.asarray(rng.choice([1.0, decay])))
    threshold = np.asarray(float(rng.integers(10, 60)))
    if rng.random() < 0.5:
        return LIF(shape, np.asarray(decay), threshold, compare="gt")
    current = np.asarray(float(rng.integers(0, 4097)) / 4096)
    return CubaLIF(shape, np.asarray(decay), threshold, compare="gt", current_decay=current)
