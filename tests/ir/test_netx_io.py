"""``.net`` files against recordings of lava-dl's netx, and every silent corruption as a refusal."""

import importlib.util
from pathlib import Path

import h5py
import numpy as np
import pytest

from neurodeploy.diagnostics import UnsupportedError, UsageError
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.netx_io import load_net, read_net
from neurodeploy.ir.netx_weights import fits_eight_bits, used_by_lava
from neurodeploy.ir.nir_io import ReadOptions
from neurodeploy.ir.nodes import LIF, CubaLIF, Delay, Integrator

GOLDEN = Path(__file__).parents[1] / "golden"
SPEC = importlib.util.spec_from_file_location("record_netx", GOLDEN / "record_netx.py")
record = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(record)
NAMES = sorted(path.stem for path in GOLDEN.glob("netx-*.net"))


def compared(graph, x, recorded) -> dict[str, int]:
    """Differences per recorded array; a population that the graph has no such array for must have recorded none."""
    arrays = interpret(graph, x.reshape(*x.shape[:2], *graph.shapes[graph.input]), "loihi").arrays()
    return {
        key: int(np.sum(value != arrays[key])) if key in arrays else int(np.count_nonzero(value))
        for key, value in recorded.items()
        if key in arrays or not key.startswith("current/")  # a LIF keeps no current
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_spike_and_state_of_netx_is_ours(name):
    """u, v and spikes of every layer, several samples, against what netx computed (record_netx.py)."""
    graph = read_net(GOLDEN / f"{name}.net")
    with np.load(GOLDEN / f"{name}.npz") as archive:
        recorded = {key: archive[key] for key in archive.files if key != "x"}
        differences = compared(graph, archive["x"], recorded)
    assert differences == dict.fromkeys(differences, 0)
    layers = {key.partition("/")[2] for key in recorded}
    assert {f"membrane/{layer}" for layer in layers} <= set(differences)
    assert layers == {n for n in graph.nodes if isinstance(graph.nodes[n], (LIF, Integrator))}
    assert sum(int(value.sum()) for key, value in recorded.items() if key.startswith("spikes/")) > 50


def test_the_recordings_cover_the_format():
    kinds = {type(node) for name in NAMES for node in read_net(GOLDEN / f"{name}.net").nodes.values()}
    assert {LIF, CubaLIF, Delay, Integrator} <= kinds
    assert read_net(GOLDEN / "netx-recurrent.net").recurrent == {("layer-1-recurrent", "layer-1")}


def test_names_kinds_and_arithmetic():
    graph, findings = load_net(GOLDEN / "netx-conv.net")
    assert list(graph.nodes)[:3] == ["input", "layer-1-synapse", "layer-1"]
    assert graph.nodes["input"].values == "binary"
    assert (graph.arithmetic, graph.timesteps, findings) == ("loihi", None, [])
    assert graph.nodes["layer-2"].current_decay == (4096 - 1024) / 4096
    assert read_net(GOLDEN / "netx-conv.net", ReadOptions(timesteps=9, input_kind="integer")).timesteps == 9


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_runs_the_file_as_netx_did(name):
    """``simulate`` on the file itself: every spike and membrane."""
    from neurodeploy.sim.run import simulate
    from neurodeploy.targets.artifact import load_runnable

    runnable = load_runnable(GOLDEN / f"{name}.net")
    assert not runnable.own
    with np.load(GOLDEN / f"{name}.npz") as archive:
        x = archive["x"]
        x = x.reshape(*x.shape[:2], *runnable.graph.shapes[runnable.graph.input])
        trace = simulate(runnable, x, keep_spikes=True, keep_membrane=True)
        found = trace.arrays()
        keys = [key for key in archive.files if key in found]
        assert {key: int(np.sum(archive[key] != found[key])) for key in keys} == dict.fromkeys(keys, 0)
        assert sum(key.startswith("membrane/") for key in keys) == len([k for k in archive.files if "membrane/" in k])


def test_options_that_a_net_file_does_not_leave_open(tmp_path):
    with pytest.raises(UsageError) as caught:
        read_net(GOLDEN / "netx-conv.net", ReadOptions(dt=1e-3))
    assert caught.value.code == "ND100"


def test_an_integer_file_is_not_compiled_again():
    from neurodeploy.targets.model import load_model

    with pytest.raises(UsageError) as caught:
        load_model(GOLDEN / "netx-conv.net")
    assert caught.value.code == "ND117"


def dense(weight=((2, 4), (-6, 8)), neuron=True, **more) -> dict:
    weight = np.array(weight)
    layer = {"type": "dense", "shape": np.array([len(weight)]), "weight": weight, **more}
    return {**layer, "neuron": record.cuba(4096, 3072, 10)} if neuron is True else {**layer, **(neuron or {})}


def conv(out=2, inputs=2, groups=1, **more) -> dict:
    layer = {
        "type": "conv",
        "shape": np.array([out, 4, 4]),
        "weight": np.full((out, inputs // groups, 3, 3), 2),
        "stride": 1,
        "padding": 1,
        "dilation": 1,
        "groups": groups,
        "neuron": record.cuba(4096, 3072, 10),
    }
    return {**layer, **more}


def image(channels=2) -> dict:
    return {"type": "input", "shape": np.array([channels, 4, 4])}


def recurrent(**more) -> dict:
    return {**dense(), "type": "dense_rec", "weight_rec": np.full((2, 2), 2), **more}


ODD = np.where(np.eye(3), 253, -1) * np.ones((2, 2, 1, 1))


def with_neuron(**changed) -> dict:
    return {"neuron": {**record.cuba(4096, 3072, 10), **changed}}


def without(layer: dict, key: str) -> dict:
    return {k: v for k, v in layer.items() if k != key}


REFUSED = {
    # what netx drops, ignores, or cannot build
    "pool": ([image(), conv(), {"type": "pool"}], "ND253", "layer-2", "`pool`"),
    "convT": ([image(), {"type": "convT"}], "ND253", "layer-1", "`convT`"),
    "average": ([dense(), {"type": "average"}], "ND253", "layer-1", "`average`"),
    "concat": ([dense(), {"type": "concat"}], "ND253", "layer-1", "`concat`"),
    "skipped add": ([dense(), {"type": "add"}, dense()], "ND253", "layer-1", "`add`"),
    "kwta": ([dense(), {"type": "kwta"}], "ND253", "layer-1", "skips such a layer"),
    "second input": ([dense(), image()], "ND253", "layer-1", "unconnected"),
    "conv delay": ([image(), conv(delay=np.ones(2))], "ND253", "layer-1", "ignores the delays"),
    "LIF": ([dense(neuron=with_neuron(type="LIF"))], "ND253", "layer-0", "`LIF`"),
    "sigma-delta": ([dense(neuron=with_neuron(type="SDNN"))], "ND253", "layer-0", "`SDNN`"),
    "graded": ([dense(neuron=with_neuron(gradedSpike=True))], "ND253", "layer-0", "gradedSpike"),
    "refractory": ([dense(neuron=with_neuron(refDelay=3))], "ND253", "layer-0", "refDelay 3"),
    "neuron exponent": ([dense(neuron=with_neuron(wgtExp=2))], "ND253", "layer-0", "wgtExp 2"),
    "weight exponent": ([dense(weight_exp=2)], "ND253", "layer-0", "weight_exp 2"),
    "message bits": ([dense(neuron=with_neuron(messageBits=8))], "ND253", "layer-0", "hangs"),
    "threshold per channel": ([dense(neuron=with_neuron(vThMant=[9, 10]))], "ND253", "layer-0", "vThMant of shape"),
    "decay per channel": ([dense(neuron=with_neuron(vDecay=[9, 10]))], "ND253", "layer-0", "one number per layer"),
    "conv without neuron": ([image(), without(conv(), "neuron")], "ND253", "layer-1", "netx needs one"),
    "conv without input": ([conv()], "ND253", "layer-0", "shape of the input"),
    "no stride": ([image(), without(conv(), "stride")], "ND253", "layer-1", "`stride` is missing"),
    "flatten before conv": ([image(), {"type": "flatten"}, conv()], "ND253", "layer-2", "leave the flatten out"),
    "dense on an image": ([image(), conv(), dense(np.full((2, 32), 2))], "ND253", "layer-2", "needs a flatten"),
    "wrong shape": ([image(), conv(shape=np.array([2, 5, 4]))], "ND253", "layer-1", "(2, 5, 4)"),
    "wrong channels": ([image(), conv(inputs=3)], "ND253", "layer-1", "takes (3, H, W)"),
    "wrong columns": ([dense(), dense(((1, 2, 3), (4, 5, 6)))], "ND253", "layer-1", "takes 3 values"),
    "bias per neuron": ([image(), conv(bias=np.ones((2, 4, 4)))], "ND253", "layer-1", "bias (2, 4, 4)"),
    "recurrent delay": ([recurrent(delay=np.ones(2))], "ND253", "layer-0", "one delay matrix"),
    "complex": ([{**without(dense(), "weight"), "weight/real": np.ones((2, 2))}], "ND253", "layer-0", "complex"),
    "nothing": ([image()], "ND253", "layer", "at least one"),
    # what netx or Lava changes
    "cut off": ([dense(((1.99, 4.0), (2.0, 2.0)))], "ND254", "layer-0", "1.99 becomes 1"),
    "not a number": ([dense(((np.nan, 4.0), (2.0, 2.0)))], "ND254", "layer-0", "nan"),
    "cut off threshold": ([dense(neuron=with_neuron(vThMant=10.5))], "ND254", "layer-0", "10.5 becomes 10"),
    "cut off bias": ([dense(bias=np.array([0.5, 1.0]))], "ND254", "layer-0", "0.5 becomes 0"),
    "cut off delay": ([dense(delay=np.array([0.5, 1.0]))], "ND254", "layer-0", "0.5 becomes 0"),
    "inhibitory with a zero": ([dense(((-199, 0), (-7, -1)))], "ND254", "layer-0", "zeros"),
    "inhibitory -256": ([dense(((-256, -2), (-7, -1)))], "ND254", "layer-0", "-256 becomes -255"),
    "inhibitory -128": ([dense(((-128, -2), (-7, -1)))], "ND254", "layer-0", "-128 becomes -127"),
    "all zero": ([dense(((0, 0), (0, 0)))], "ND254", "layer-0", "scaling fails"),
    "excitatory 300": ([dense(((300, 2), (7, 1)))], "ND254", "layer-0", "zeros"),
    "beyond 254": ([dense(((300, -2), (7, 1)))], "ND254", "layer-0", "300 becomes 254"),
    "odd beyond 127": ([dense(((253, -2), (7, 1)))], "ND254", "layer-0", "8 bits"),
    "conv odd beyond 127": ([image(), conv(weight=ODD)], "ND254", "layer-1", "8 bits"),
    "conv beyond 256": ([image(), conv(weight=np.full((2, 2, 3, 3), 300))], "ND254", "layer-1", "300"),
    "128 groups": ([image(128), conv(128, 128, 128)], "ND254", "layer-1", "zeros: 128"),
    "padding in int8": ([image(), conv(padding=200)], "ND254", "layer-1", "negative: 200"),
    "bias wraps": ([dense(bias=np.array([40000, 0]))], "ND254", "layer-0", "40000"),
    "delay 63": ([dense(delay=np.array([63, 0]))], "ND254", "layer-0", "63"),
    "negative delay": ([dense(delay=np.array([-1, 0]))], "ND254", "layer-0", "-1"),
    "decay beyond the state": ([dense(neuron=with_neuron(vDecay=5000))], "ND254", "layer-0", "5000"),
    "threshold overflows": ([dense(neuron=with_neuron(vThMant=2**25))], "ND254", "layer-0", "every neuron fires"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_netx_would_do_silently_is_refused(case, tmp_path):
    layers, code, node, words = REFUSED[case]
    record.write(tmp_path / "net.net", layers)
    with pytest.raises(UnsupportedError) as caught:
        read_net(tmp_path / "net.net")
    error = caught.value
    assert error.code == code, error
    assert f"{node}" in error.where
    assert words in f"{error.message} {error.fix}", error
    assert error.fix
    assert all(f.code in ("ND253", "ND254") and f.severity == "error" for f in error.findings)


def test_all_findings_at_once(tmp_path):
    layers = [image(), conv(delay=np.ones(2)), {"type": "pool"}, {"type": "flatten"}, dense(((1.5, 2.0), (2.0, 2.0)))]
    record.write(tmp_path / "net.net", layers)
    with pytest.raises(UnsupportedError) as caught:
        read_net(tmp_path / "net.net")
    assert [f.node for f in caught.value.findings] == ["layer-1", "layer-2", "layer-4"]


def test_harmless_values_are_read(tmp_path):
    """The twins of refused files: the ordinary value of an ignored entry, weights at the edge of what stays."""
    fine = [
        dense(((254, -256), (2, 4))),
        dense(((127, -128), (3, 5))),
        dense(((253, 0), (2, 255))),
        dense(((-254, -2), (-7, -1))),
        dense(delay=np.zeros(2), weight_exp=0, bias=np.array([-4095, 4095])),
        dense(neuron=with_neuron(refDelay=1, gradedSpike=False, wgtExp=0, theta=80, tauRho=1.0, scaleRho=1.0)),
        dense(neuron=with_neuron(vThMant=np.array([7.0]), iDecay=np.array([4096]))),
        dense(weight=((2, 4), (-6, 8)), inFeatures=2, outFeatures=2),
    ]
    for layer in fine:
        record.write(tmp_path / "net.net", [layer, dense()])
        graph, findings = load_net(tmp_path / "net.net")
        assert findings == []
        assert np.array_equal(graph.nodes["layer-0-synapse"].weight, layer["weight"])
    record.write(tmp_path / "net.net", [image(127), conv(127, 127, 127, delay=np.zeros(127))])
    assert read_net(tmp_path / "net.net").nodes["layer-1-synapse"].groups == 127


def test_what_the_file_leaves_to_its_reader_is_a_warning(tmp_path):
    record.write(tmp_path / "a.net", [dense(color=3), dense(neuron=None)])
    _, findings = load_net(tmp_path / "a.net")
    assert [(f.code, f.severity, f.node) for f in findings] == [
        ("ND255", "warning", "layer-0"),
        ("ND255", "warning", "layer-1"),
    ]
    # Row sums of magnitudes 6 and 14: 131071 // 8 = 16383 steps upward in the second row, whose inhibition is 6.
    assert "proven for 16383 timesteps" in findings[1].rule
    _, findings = load_net(tmp_path / "a.net", ReadOptions(timesteps=16383))
    assert [f.node for f in findings] == ["layer-0"]
    record.write(tmp_path / "b.net", [dense(), dense(neuron=with_neuron(iDecay=1000, vThMant=262143))])
    graph, findings = load_net(tmp_path / "b.net")
    assert "membrane/layer-1" in findings[0].fix
    assert graph.nodes["layer-1"].threshold == 2**17  # Lava's state never gets there, so it never fires in either


def test_a_readout_of_exactly_17_bits_fires_as_in_lava(tmp_path):
    """vThMant 131071 is an integrator, number for number, over the limit included."""
    layers = [dense(np.full((1, 1), 254), neuron=with_neuron(vDecay=0, vThMant=131071), bias=np.array([4000]))]
    record.write(tmp_path / "net.net", layers)
    graph = read_net(tmp_path / "net.net")
    assert isinstance(graph.nodes["layer-0"], Integrator)
    states = interpret(graph, np.ones((1, 40, 1), np.uint8), "loihi").membrane["layer-0"].reshape(-1)
    step = (254 + 4000) << 6
    expected, v = [], 0
    for _ in range(40):
        v = min(v + step, 2**23 - 1)
        v = 0 if v > 131071 << 6 else v
        expected.append(v)
    assert states.tolist() == expected
    assert 0 in expected


def test_delays_are_spread_as_netx_spreads_them(tmp_path):
    """O = I: a vector is one delay per output. One input spike through w = 2·I at t = 0."""
    record.write(tmp_path / "net.net", [dense(((2, 0), (0, 2)), delay=np.array([0, 2]), neuron=with_neuron(vThMant=1))])
    x = np.zeros((1, 4, 2), np.uint8)
    x[0, 0] = 1
    spikes = interpret(read_net(tmp_path / "net.net"), x, "loihi").spikes["layer-0"]
    assert spikes[0].tolist() == [[1, 0], [0, 0], [0, 1], [0, 0]]


BROKEN = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"no HDF5 at all"),
    "truncated": lambda path: path.write_bytes((GOLDEN / "netx-conv.net").read_bytes()[:3000]),
    "no layers": lambda path: h5py.File(path, "w").close(),
    "a gap": lambda path: edit(path, lambda f: f.move("layer/1", "layer/7")),
    "no type": lambda path: edit(path, lambda f: f.__delitem__("layer/1/type")),
    "type is a number": lambda path: edit(path, lambda f: put(f, "layer/1/type", 3)),
    "not ascii": lambda path: edit(path, lambda f: put(f, "layer/1/type", "c\u00f6nv".encode("latin-1"))),
    "layer is data": lambda path: edit(path, lambda f: put(f, "layer", 3)),
    "an empty dataset": lambda path: edit(path, lambda f: put(f, "layer/1/weight", h5py.Empty("f"))),
    "a huge claim": lambda path: edit(path, lambda f: claim(f, "layer/1/weight")),
}


def edit(path: Path, change) -> None:
    path.write_bytes((GOLDEN / "netx-conv.net").read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)


def put(file: h5py.File, name: str, value) -> None:
    del file[name]
    file.create_dataset(name, data=value)


def claim(file: h5py.File, name: str) -> None:
    del file[name]
    file.create_dataset(name, shape=(10**6, 10**6), chunks=(10, 10), dtype="i4")


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(case, tmp_path):
    BROKEN[case](tmp_path / "net.net")
    with pytest.raises(UsageError) as caught:
        read_net(tmp_path / "net.net")
    assert caught.value.code == "ND104"
    assert str(tmp_path) in caught.value.where


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError) as caught:
        read_net(tmp_path / "net.net")
    assert caught.value.code == "ND103"


def test_texts_where_numbers_belong_and_shapes_that_lie(tmp_path):
    for key, value in (("shape", "big"), ("shape", np.zeros((2, 2))), ("weight", "w"), ("stride", "s"), ("groups", 0)):
        record.write(tmp_path / "net.net", [image(), {**conv(), key: value}])
        with pytest.raises(UnsupportedError) as caught:
            read_net(tmp_path / "net.net")
        assert caught.value.code == "ND253"


def test_weights_used_by_lava_as_recorded():
    """600 matrices against what lava-dl's and lava-nc's own functions made of them."""
    with np.load(GOLDEN / "netx-weights.npz") as archive:
        given, used = archive["given"].astype(np.int64), archive["used"]
    undefined = np.isnan(used).any(axis=(1, 2))
    changed = ~undefined & (used != given).any(axis=(1, 2))
    assert min(undefined.sum(), changed.sum(), (~undefined & ~changed).sum()) > 50
    for weight, expected, gone in zip(given, used, undefined, strict=True):
        ours = used_by_lava(weight)
        assert (ours is None) == gone
        assert gone or np.array_equal(ours[0], expected)


def test_weights_used_by_lava():
    """Hand-worked from the sources, and the families that always stay."""
    assert used_by_lava(np.array([[-199, 0], [-7, -1]])) is None  # shift 0 bits, 8 − 8 + … < 0: zeros in NumPy
    assert used_by_lava(np.zeros((2, 2), int)) is None
    # Shifted by 1, -256 is clipped to -255 and, 2 being common, cut to a multiple of 4.
    assert used_by_lava(np.array([[-128, -2]]))[0].tolist() == [[-126, -2]]
    rng = np.random.default_rng(0)
    for _ in range(200):
        for low, high, step in ((-127, 127, 1), (-127, 127, 2), (0, 254, 1)):
            weight = step * rng.integers(low, high + 1, size=(3, 3))
            if weight.any() and weight.max() > 0:
                assert np.array_equal(used_by_lava(weight)[0], weight)
                assert fits_eight_bits(weight)
