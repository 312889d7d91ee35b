"""Random graphs of every node kind that a ``.nir`` file can hold, with late edges of any form."""

from __future__ import annotations

import itertools

import numpy as np
from graphs import conv, dyadic

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv1d,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Integrator,
    Linear,
    MaxPool2d,
    Output,
    ReLU,
    Scale,
    SumPool2d,
    Threshold,
)


def parameter(rng, shape, values):
    """Scalar, per channel or full, by chance."""
    sizes = [(), (shape[0], *(1,) * (len(shape) - 1)), shape]
    return rng.choice(values, size=sizes[int(rng.integers(3))])


def random_neuron(rng, shape, *, plain=False):
    """LIF, IF or CubaLIF; ``plain``: only what NIR itself says (hard reset, one spike a step)."""
    numbers = {
        "threshold": parameter(rng, shape, [0.25, 0.5, 1.0]),
        "gain": parameter(rng, shape, [0.5, 1.0]) if rng.random() < 0.5 else 1.0,
        "v_reset": parameter(rng, shape, [0.0, -0.25]),
        "compare": str(rng.choice(["ge", "gt"])),
        "reset": "to" if plain else str(rng.choice(["to", "subtract"])),
    }
    if not plain and rng.random() < 0.25:
        numbers |= {"spikes": "multi", "compare": "ge", "reset": "subtract"}
    kind = rng.integers(3)
    if kind == 0:
        return LIF(shape, 1.0, **numbers)
    numbers |= {"decay": parameter(rng, shape, [0.0, 0.25, 0.5]), "offset": parameter(rng, shape, [0.0, 0.125])}
    if kind == 1:
        return LIF(shape, **numbers)
    current = {"current_decay": parameter(rng, shape, [0.0, 0.5]), "current_gain": parameter(rng, shape, [0.5, 1.0])}
    return CubaLIF(shape, **numbers, **current)


def random_elementwise(rng, shape, *, plain=False):
    kind = int(rng.integers(6 if plain else 7))
    if kind == 0:
        return Scale(shape, parameter(rng, shape, [0.5, 1.0, -2.0]))
    if kind == 1:
        return Delay(shape, parameter(rng, shape, [0, 1, 3]))
    if kind == 2:
        return Threshold(shape, parameter(rng, shape, [0.0, 0.5]), str(rng.choice(["ge", "gt"])))
    if kind == 3:
        return Integrator(shape, 1.0, parameter(rng, shape, [0.5, 1.0]))
    if kind == 4:
        rest = parameter(rng, shape, [0.5, 1.0]), parameter(rng, shape, [0.0, 0.25])
        return Integrator(shape, parameter(rng, shape, [0.25, 0.5]), *rest)
    return random_neuron(rng, shape, plain=plain) if kind == 5 else ReLU()


def random_net(seed, *, plain=False):
    """An image or sequence stage, elementwise nodes of any kind, then vector layers with late edges of any form."""
    rng = np.random.default_rng(seed)
    nodes, edges, late = {}, [], set()

    def add(name, node, *sources):
        nodes[name] = node
        edges.extend((s, name) for s in sources)
        return name

    if rng.random() < 0.5:
        shape = (2, int(rng.integers(4, 7)), int(rng.integers(4, 7)))
        last = add("input", Input(shape, "binary"))
        kernel, groups = (int(rng.integers(1, 4)), int(rng.integers(1, 4))), int(rng.choice([1, 2]))
        rest = {"padding": (1, int(rng.integers(0, 2))), "stride": (int(rng.integers(1, 3)), 1), "dilation": (1, 1)}
        node = conv(rng, 4, 2, kernel, groups, **rest)
        last, shape = add("conv", node, last), node.output_shape(shape)
        kinds = [SumPool2d, AvgPool2d] if plain else [SumPool2d, AvgPool2d, MaxPool2d]
        pool = kinds[int(rng.integers(len(kinds)))]((2, 1), (1, 1), (int(rng.integers(0, 2)), 0))
        last, shape = add("pool", pool, last), pool.output_shape(shape)
    else:
        shape = (2, int(rng.integers(5, 9)))
        last = add("input", Input(shape, "binary"))
        groups = int(rng.choice([1, 2]))
        sides = {"stride": int(rng.integers(1, 3)), "padding": 1, "dilation": int(rng.integers(1, 3)), "groups": groups}
        node = Conv1d(dyadic(rng, (4, 2 // groups, 2)), dyadic(rng, 4), **sides)
        last, shape = add("conv", node, last), node.output_shape(shape)
    for index in range(int(rng.integers(1, 4))):
        last = add(f"point{index}", random_elementwise(rng, shape, plain=plain), last)
    last = add("flatten", Flatten(), last)
    size = int(np.prod(shape))
    for index in range(int(rng.integers(1, 3))):
        last = add(f"fc{index}", Linear(dyadic(rng, (3, size)), dyadic(rng, 3)), last)
        last, size = add(f"lif{index}", random_neuron(rng, (3,), plain=plain), last), 3
        back = rng.random()
        if back < 0.6:  # a recurrent layer
            rec = add(f"rec{index}", Linear(dyadic(rng, (3, 3)), dyadic(rng, 3)))
            middle = [f"lif{index}"]
            if rng.random() < 0.4:
                middle.append(add(f"delay{index}", Delay((3,), parameter(rng, (3,), [0, 2]))))
            path = [*middle, rec, f"lif{index}"]
            edges.extend(itertools.pairwise(path))
            # mostly where the reading rule puts it, sometimes elsewhere
            choices = [*itertools.pairwise(path)]
            late.add(choices[0] if rng.random() < 0.6 else choices[int(rng.integers(len(choices)))])
        elif back < 0.7:  # the neuron's own spikes, or a late edge that is on no cycle
            edge = (f"lif{index}", f"lif{index}") if rng.random() < 0.5 else (f"fc{index}", f"lif{index}")
            edges.extend([edge] if edge not in edges else [])
            late.add(edge)
    last = add("head", Linear(dyadic(rng, (2, size)), dyadic(rng, 2)), last)
    if rng.random() < 0.7:
        decay = 1.0 if rng.random() < 0.5 else 0.5
        last = add("readout", Integrator((2,), decay), last)
    add("output", Output(), last)
    return Graph(nodes, tuple(edges), timesteps=6, origin="random", recurrent=frozenset(late))
