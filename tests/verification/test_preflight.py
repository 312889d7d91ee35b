"""The preflight against the readers themselves: silent means the same bits, a finding means that they really differ."""

import importlib.util
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from graphs import conv, dyadic, skip_chain
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nir_io import write_nir
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
    Output,
    ReLU,
    Scale,
    SumPool2d,
    Threshold,
)
from neurodeploy.passes.exact_input import snap_input
from neurodeploy.passes.snap import snap
from neurodeploy.targets.artifact import Artifact
from neurodeploy.verification.preflight import TITLES, preflight, readable_by
from neurodeploy.verification.readers import READERS, Reader

READER_NAMES = sorted(TITLES)


@pytest.fixture(autouse=True)
def _readers_are_here():
    missing = [name for name in READERS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed (Python >= 3.11: pip install -e '.[peers]')")


def papers(*shape, **other):
    return LIF(shape, np.asarray(other.pop("decay", 0.25)), np.asarray(other.pop("threshold", 0.5)), **other)


def replayed(graph, reader, folder, x):
    """Spikes and output of the reader, and how many of both differ from the interpreter's; None where it fails."""
    write_nir(graph, folder / "network.nir")
    try:
        found = Reader(reader, Artifact(folder)).run(x)
    except Exception:
        return None
    meaning = interpret(graph, x, "float32")
    if any(found[key].shape != array.shape for key, array in meaning.arrays().items() if key in found):
        return None
    spikes = sum(np.count_nonzero(found[f"spikes/{name}"] != meaning.spikes[name]) for name in meaning.spikes)
    return int(spikes), int(np.count_nonzero(found["output"] != meaning.output))


def chain(*layers, shape=(2, 4, 4), values="binary", timesteps=4):
    """Input, the given (name, node) layers one after the other, Output."""
    nodes = {"input": Input(shape, values), **dict(layers), "output": Output()}
    return Graph(nodes, tuple(pairwise(nodes)), timesteps=timesteps)


def random_network(seed):
    """A small conv net of anything that at least one reader knows, on coefficients with few bits."""
    rng = np.random.default_rng(seed)
    shape = (2, int(rng.integers(4, 7)), int(rng.integers(4, 7)))
    nodes = {"input": Input(shape, str(rng.choice(["real", "binary"])))}
    edges, last = [], "input"

    def add(name, node, *sources):
        nodes[name] = node
        edges.extend((source, name) for source in sources)
        return name

    for depth in range(int(rng.integers(1, 4))):
        groups = int(rng.choice([1, 1, 1, 2]))
        out, kernel = 2 * int(rng.integers(1, 3)), (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        geometry = {"stride": (int(rng.integers(1, 3)), 1), "padding": (1, int(rng.integers(1, 3)))}
        layer = conv(rng, out, shape[0], kernel, groups, **geometry)
        branches = [add(f"conv.{depth}", layer, last)]
        shape_behind = layer.output_shape(shape)
        if rng.random() < 0.3:
            branches.append(add(f"skip{depth}", conv(rng, out, shape[0], kernel, 1, **geometry), last))
        elif rng.random() < 0.3 and shape_behind == shape and isinstance(nodes[last], LIF):
            branches.append(last)
        shape = shape_behind
        last = add(f"lif{depth}", random_neuron(rng, shape), *branches)
        if min(shape[1:]) >= 3 and rng.random() < 0.5:
            size = int(rng.choice([2, 3]))
            pool = rng.choice([SumPool2d, SumPool2d, AvgPool2d])((size, size), (size, size))
            last, shape = add(f"pool{depth}", pool, last), pool.output_shape(shape)
    last = add("flatten", Flatten(), last)
    last = add("fc", Linear(dyadic(rng, (3, int(np.prod(shape)))), dyadic(rng, 3)), last)
    if rng.random() < 0.5:
        last = add("readout", Integrator((3,)), last)
    add("output", Output(), last)
    return Graph(nodes, tuple(edges), timesteps=4)


def random_neuron(rng, shape):
    channels = (shape[0], 1, 1)
    if rng.random() < 0.6:
        return papers(*shape)
    return LIF(
        shape,
        np.asarray(rng.choice([0.0, 0.125, 0.25, 0.5, 0.75, 1.0])),
        rng.choice([0.5, 1.0], size=channels if rng.random() < 0.3 else ()),
        v_reset=np.asarray(rng.choice([0.0, 0.0, 0.0, 0.25])),
        compare=str(rng.choice(["ge", "gt"])),
    )


def samples(graph, seed, count=3):
    rng = np.random.default_rng(seed)
    node = graph.nodes[graph.input]
    shape = (count, graph.timesteps, *node.shape)
    if node.values == "real":
        return snap_input(graph, rng.normal(size=shape).astype(np.float32))[0]
    return (rng.random(shape) < 0.4).astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_silent_means_the_same_bits(seed, tmp_path_factory):
    """Random networks on their grids: float32 = float64 = every reader that preflight lets pass, bit for bit."""
    try:
        graph, _ = snap(random_network(seed))
    except UnsupportedError:
        return
    x = samples(graph, seed)
    single, double = interpret(graph, x, "float32"), interpret(graph, x, "float64")
    for key, array in double.arrays().items():
        np.testing.assert_array_equal(single.arrays()[key], array)
    folder = tmp_path_factory.mktemp("reader")
    for reader in READER_NAMES:
        if not preflight(graph, reader):
            assert replayed(graph, reader, folder, x) == (0, 0), (reader, seed)


# ---------------------------------------------------------------------------------------------------------------------
# the table, row by row: what preflight finds is really so


def neurons(**lif):
    """A dense layer and a population whose membranes meet thresholds on a grid of quarters."""
    rng = np.random.default_rng(3)
    layer = Linear(rng.integers(-4, 9, (6, 8)) / 8, np.full(6, 0.125))
    return chain(("fc", layer), ("lif", papers(6, **lif)), shape=(8,))


def image(*layers, channels=2, **other):
    return chain(*layers, ("flatten", Flatten()), ("fc", ones(layers, channels)), ("lif", papers(3)), **other)


def ones(layers, channels):
    shape = (channels, 4, 4)
    for _, node in layers:
        shape = node.output_shape(shape)
    rng = np.random.default_rng(1)
    return Linear(rng.integers(-2, 4, (3, int(np.prod(shape)))) / 8, np.zeros(3))


def looped(bias=0.0, *, own=False):
    graph = neurons()
    nodes = dict(graph.nodes)
    edges = [*graph.edges]
    late = ("lif", "lif") if own else ("lif", "rec")
    if not own:
        nodes["rec"] = Linear(np.random.default_rng(0).integers(-4, 5, (6, 6)) / 8, np.full(6, bias))
        edges.append(("rec", "lif"))
    return Graph(nodes, (*edges, late), timesteps=4, recurrent=frozenset({late}))


def convolved(channels=2, kernel=(3, 3), **geometry):
    layer = conv(np.random.default_rng(0), 2, channels, kernel, **geometry)
    return image(("conv", layer), channels=channels, shape=(channels, 4, 4))


def identity_skip():
    """conv → LIF → conv → LIF with the spikes of the first added to the second's current."""
    rng = np.random.default_rng(0)
    nodes = {
        "input": Input((2, 4, 4), "binary"),
        "conv1": conv(rng, 2, 2, padding=(1, 1)),
        "lif1": papers(2, 4, 4),
        "conv2": conv(rng, 2, 2, padding=(1, 1)),
        "lif2": papers(2, 4, 4),
        "output": Output(),
    }
    return Graph(nodes, (*pairwise(nodes), ("lif1", "lif2")), timesteps=4)


def two_outputs():
    graph = neurons()
    nodes = {**graph.nodes, "other": Linear(np.eye(6), np.zeros(6))}
    return Graph(nodes, (*graph.edges, ("lif", "other"), ("other", "output")), timesteps=4)


EVERYONE = set(READER_NAMES)
ROWS = {
    # name: (graph, readers that cannot)
    "the papers' neuron": (neurons(), set()),
    "IF": (neurons(decay=1.0), {"snntorch"}),
    "IF with a gain": (neurons(decay=1.0, gain=np.asarray(0.5)), EVERYONE),
    "another gain": (neurons(gain=np.asarray(0.5)), {"norse", "spikingjelly"}),
    "the gain of NIR's r = 1": (neurons(gain=np.asarray(0.75), threshold=0.375), set()),
    "an offset": (neurons(offset=np.asarray(-0.1), decay=0.9), EVERYONE),
    "v_reset": (neurons(v_reset=np.asarray(-4.0)), EVERYONE),
    "a reset that subtracts": (neurons(threshold=0.25, reset="subtract"), EVERYONE),
    "several spikes": (neurons(threshold=0.125, reset="subtract", spikes="multi"), EVERYONE),
    "only above the threshold": (neurons(compare="gt"), {"spikingjelly"}),
    "no memory": (neurons(decay=0.0), {"spikingjelly"}),
    "thresholds of their own": (neurons(threshold=np.arange(1, 7) / 8), {"snntorch", "spikingjelly"}),
    "decays of their own": (neurons(decay=np.asarray([0.25, 0.5] * 3)), {"snntorch", "spikingjelly"}),
    "a threshold of zero": (neurons(threshold=0.0), {"snntorch"}),
    "another dt": (replace(neurons(), dt=1e-3), {"snntorch"}),
    "CubaLIF": (
        chain(("fc", neurons().nodes["fc"]), ("lif", CubaLIF((6,), 0.5, 0.5, current_decay=0.25)), shape=(8,)),
        set(),
    ),
    "CubaLIF with gains": (
        chain(
            ("fc", neurons().nodes["fc"]),
            ("lif", CubaLIF((6,), 0.5, 0.5, gain=0.5, current_decay=0.25, current_gain=0.5)),
            shape=(8,),
        ),
        {"snntorch", "spikingjelly"},
    ),
    "two groups": (convolved(groups=2), EVERYONE),
    "two groups of two": (convolved(4, groups=2), {"spikingjelly"}),
    "a kernel that is not square": (convolved(kernel=(1, 3), padding=(0, 1)), set()),
    "SumPool2d": (image(("pool", SumPool2d((2, 2), (2, 2)))), set()),
    "SumPool2d with padding": (image(("pool", SumPool2d((2, 2), (2, 2), (1, 1)))), EVERYONE),
    "AvgPool2d": (image(("pool", AvgPool2d((2, 2), (2, 2)))), {"norse"}),
    "AvgPool2d with padding": (image(("pool", AvgPool2d((2, 2), (2, 2), (1, 1)))), {"norse"}),
    "Scale": (image(("scale", Scale((2, 4, 4), np.asarray(0.5)))), EVERYONE),
    "Delay": (image(("delay", Delay((2, 4, 4), np.asarray(1)))), EVERYONE),
    "Threshold": (image(("first", Threshold((2, 4, 4), np.asarray(-0.5)))), EVERYONE),
    "ReLU": (image(("relu", ReLU())), EVERYONE),
    "an integrator inside": (
        chain(("fc", neurons().nodes["fc"]), ("i", Integrator((6,))), ("lif", papers(6)), shape=(8,)),
        EVERYONE,
    ),
    "Conv1d": (
        chain(("conv", Conv1d(np.full((3, 2, 2), 0.25), np.zeros(3))), ("lif", papers(3, 4)), shape=(2, 5)),
        {"norse"},
    ),
    "an identity skip": (identity_skip(), set()),
    "a skip with weights": (skip_chain(), {"norse"}),
    "a neuron's edge to itself": (looped(own=True), set()),
    "a recurrent layer": (looped(), {"snntorch"}),
    "a recurrent layer with a bias": (looped(0.25), EVERYONE),
    "two layers at the Output": (two_outputs(), {"snntorch", "spikingjelly"}),
    "names that become one": (
        chain(("fc.1", neurons().nodes["fc"]), ("fc_1", papers(6)), shape=(8,)),
        EVERYONE,
    ),
}


@pytest.mark.parametrize("reader", READER_NAMES)
@pytest.mark.parametrize("row", ROWS)
def test_the_table_holds(row, reader, tmp_path):
    """Where preflight finds something the reader fails or differs; where it does not, every bit is the same."""
    graph, unable = ROWS[row]
    findings = preflight(graph, reader)
    assert bool(findings) == (reader in unable), findings
    found = replayed(graph, reader, tmp_path, samples(graph, 5, count=24))
    if findings:
        assert found is None or found != (0, 0), [finding.rule for finding in findings]
        assert all(f.code == "ND242" and f.rule.startswith(TITLES[reader]) for f in findings)
    else:
        assert found == (0, 0)


def test_decays_that_an_exact_graph_cannot_have_everywhere():
    """float32(8/7) is off by 1.5·2^-25: SpikingJelly's quotients round; 0.25 is off by 2^-25, which never shows."""
    for decay, unable in ((0.25, []), (0.5, []), (0.125, ["spikingjelly"])):
        exact, _ = snap(neurons(decay=decay))
        assert [reader for reader in READER_NAMES if preflight(exact, reader)] == unable


def test_spikingjellys_division_is_exact_for_a_quarter():
    """y/float32(4/3) = 0.75·y, rounded, for y whose 0.75·y is a float32: all significands of 22 bits, and near 2^24."""
    rng = np.random.default_rng(0)
    y = np.concatenate([np.arange(1, 2**20), rng.integers(1, 2**22, 10**6)]).astype(np.float32)
    np.testing.assert_array_equal(y / np.float32(4 / 3), np.float32(0.75) * y)
    eighth = y / np.float32(8 / 7)
    assert np.any(eighth != np.float32(0.875) * y)


def test_notes_for_export_name_every_reader():
    exact, _ = snap(neurons())
    (note,) = readable_by(exact)
    assert note.rule == "network.nir is read by Norse, snnTorch, SpikingJelly (the same bits)"
    notes = readable_by(neurons(threshold=np.arange(1, 7) / 8))
    assert notes[0].rule == "network.nir is read by Norse (the same network, up to float32 rounding)"
    assert [(n.node, n.rule) for n in notes[1:]] == [
        ("lif", "snnTorch has one threshold for a whole layer"),
        ("lif", "SpikingJelly has one v_threshold for a whole layer"),
    ]
    assert readable_by(ROWS["Scale"][0])[0].rule == "no reader of NIR that we know computes it"
