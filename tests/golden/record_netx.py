"""Record what lava-dl's netx computes: the oracle of the ``.net`` reader and writer.

    python record_netx.py                       the files of this folder anew (netx-*.net and netx-*.npz)
    python record_netx.py NET INPUT.npz OUT.npz [--alone]     one file on `x` (B, T, *shape)

Needs Python 3.10 with ``pip install lava-nc==0.10.0 h5py`` and ``pip install --no-deps lava-dl==0.6.0``. Of lava-dl
only netx is imported; torch, which the rest of it needs, is not.

For each layer with neurons ``spikes/layer-<i>``, ``membrane/layer-<i>`` (after reset) and ``current/layer-<i>``,
``(B, T, *shape)``, shifted back by the layer's pipeline delay. Samples run back to back in one network whose neurons
are reset by netx (``reset_interval``); with ``--alone`` in a network of their own each, because netx clears neither
delay lines nor what travels along recurrent synapses. ``netx-weights.npz``: dense matrices as netx and Lava use them.
"""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from pathlib import Path

import h5py
import numpy as np

HERE = Path(__file__).parent


def load_netx():
    """netx without ``lava.lib.dl.netx.__init__`` and without slayer, which import torch for things not used here."""
    import lava.lib.dl

    name = "lava.lib.dl.netx"
    if name in sys.modules:
        return sys.modules[f"{name}.hdf5"]
    folder = next(Path(p) / "netx" for p in lava.lib.dl.__path__ if (Path(p) / "netx").is_dir())
    # Lava looks for models in every module beside a process, so the one that needs torch must look like a file.
    for module in (name, f"{name}.sequential_modules", "lava.lib.dl.slayer", "lava.lib.dl.slayer.neuron.rf"):
        sys.modules[module] = types.ModuleType(module)
        sys.modules[module].__file__ = str(folder / (module.rpartition(".")[2] + ".py"))
    sys.modules[name].__path__ = [str(folder)]
    sys.modules["lava.lib.dl.slayer"].__path__ = []
    sys.modules["lava.lib.dl.slayer.neuron"] = types.ModuleType("lava.lib.dl.slayer.neuron")
    sys.modules["lava.lib.dl.slayer.neuron.rf"].neuron_params = None  # resonate and fire
    return importlib.import_module(f"{name}.hdf5")


def layers_of(path: Path) -> tuple[list[int], bool]:
    """Indices of the layers that netx builds neurons for, and whether the first is an input with neurons."""
    with h5py.File(path, "r") as file:
        kinds = [np.asarray(file[f"layer/{i}/type"]).reshape(-1)[0].decode() for i in range(len(file["layer"]))]
        first = kinds[0] == "input" and "neuron" in file["layer/0"]
    return [i for i, kind in enumerate(kinds) if kind in ("conv", "dense", "dense_rec") or (i == 0 and first)], first


def run(path: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    """All samples of ``x`` back to back."""
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.source import RingBuffer
    from lava.proc.monitor.process import Monitor

    indices, neurons_first = layers_of(path)
    samples, steps = x.shape[:2]
    net = load_netx().Network(str(path), reset_interval=steps, reset_offset=0 if neurons_first else 1)
    total = samples * steps + len(indices)
    stream = x.reshape(samples * steps, *x.shape[2:])
    stream = np.concatenate([stream, np.zeros((len(indices), *stream.shape[1:]), stream.dtype)])
    if len(net.inp.shape) == 1:  # a dense layer first: flat samples
        stream = stream.reshape(len(stream), -1)
    if not neurons_first:
        source = RingBuffer(data=np.moveaxis(swap(stream), 0, -1).astype(np.int32))
        source.s_out.connect(net.inp)
    probes = {}
    for index, layer in zip(indices, net.layers, strict=True):
        variables = {"current": layer.neuron.u, "membrane": layer.neuron.v, "spikes": layer.neuron.s_out}
        for what, variable in variables.items():
            probes[f"{what}/layer-{index}"] = monitor = Monitor()
            monitor.probe(variable, total)
    net._log_config.level = 50
    try:
        config = Loihi2SimCfg(select_tag="fixed_pt")
        if neurons_first:  # netx's input neurons take their input through their bias, set before every step
            transform, biases = net.in_layer.transform, net.in_layer.neuron.bias_mant
            values = (transform["weight"] * swap(stream).astype(int) + transform["bias"]).astype(np.int32)
            biases.init = values[0]
            for step in range(total):
                if step:
                    biases.set(values[step])
                net.run(condition=RunSteps(num_steps=1), run_cfg=config)
        else:
            net.run(condition=RunSteps(num_steps=total), run_cfg=config)
        found = {}
        for key, monitor in probes.items():
            (by_port,) = monitor.get_data().values()
            (values,) = by_port.values()
            # The first layer behind synapses sees the first step at Lava's second.
            level = indices.index(int(key.rpartition("-")[2])) + (not neurons_first)
            values = swap(np.asarray(values)[level : level + samples * steps])
            kind = np.uint8 if key.startswith("spikes") else np.int32
            found[key] = values.reshape(samples, steps, *values.shape[1:]).astype(kind)
        return found
    finally:
        net.stop()


def alone(path: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    """Each sample in a network of its own."""
    found = [run(path, x[i : i + 1]) for i in range(len(x))]
    return {key: np.concatenate([one[key] for one in found]) for key in found[0]}


def swap(x: np.ndarray) -> np.ndarray:
    """``(N, C, H, W)`` as ``(N, W, H, C)`` and back; vectors as they are."""
    return x.transpose(0, 3, 2, 1) if x.ndim == 4 else x


# ---------------------------------------------------------------------------------------------------------------------
# the files, as a stranger's program would write them


def cuba(i_decay: int, v_decay: int, threshold: int) -> dict:
    return {
        "type": "CUBA",
        "iDecay": i_decay,
        "vDecay": v_decay,
        "vThMant": threshold,
        "refDelay": 1,
        "gradedSpike": False,
    }


def write(path: Path, layers: list[dict]) -> None:
    with h5py.File(path, "w") as file:
        for index, layer in enumerate(layers):
            group = file.create_group(f"layer/{index}")
            for key, value in layer.items():
                if key == "type":
                    group.create_dataset(key, (1,), "S10", [value.encode()])
                elif key == "neuron":
                    for name, number in value.items():
                        group.create_dataset(f"neuron/{name}", data=number)
                else:
                    group.create_dataset(key, data=value)


def files(rng: np.random.Generator) -> dict[str, tuple[list[dict], tuple[int, ...], float, bool]]:
    """Name -> layers, ``(B, T, *shape)`` of the input, density of its spikes (negative: integers), run alone."""

    def even(*shape: int, most: int = 60) -> np.ndarray:
        return 2 * rng.integers(-most, most + 1, size=shape)

    def conv(out, inputs, kernel, shape, neuron, *, stride=(1, 1), pad=(0, 0), dilation=(1, 1), groups=1, bias=True):
        layer = {
            "type": "conv",
            "shape": np.array(shape),
            "weight": even(out, inputs // groups, *kernel, 1).astype(np.float32),
            "stride": np.array(stride),
            "padding": np.array(pad),
            "dilation": np.array(dilation),
            "groups": groups,
            "inChannels": inputs,
            "outChannels": out,
            "neuron": neuron,
        }
        return {**layer, "bias": rng.integers(-40, 60, size=out)} if bias else layer

    def dense(out, inputs, neuron=None, kind="dense", **more):
        layer = {"type": kind, "shape": np.array([out]), "weight": even(out, inputs), **more}
        return {**layer, "neuron": neuron} if neuron else layer

    images = {"type": "input", "shape": np.array([2, 7, 6])}
    return {
        "netx-conv": (
            [
                images,
                conv(4, 2, (3, 3), (4, 7, 6), cuba(4096, 3072, 127), pad=(1, 1)),
                conv(
                    4, 4, (3, 2), (4, 4, 4), cuba(1024, 301, 90), stride=(2, 1), pad=(1, 0), dilation=(1, 2), groups=2
                ),
                conv(4, 4, (1, 3), (4, 4, 2), cuba(4096, 0, 40), groups=4, bias=False),
                {"type": "flatten", "shape": np.array([32])},
                dense(12, 32, cuba(777, 1234, 80), bias=rng.integers(-20, 30, size=12)),
                dense(5, 12, cuba(4096, 0, 131071), bias=rng.integers(-20, 30, size=5)),
            ],
            (3, 7, 2, 7, 6),
            0.3,
            False,
        ),
        "netx-recurrent": (
            [
                dense(10, 8, cuba(2048, 512, 120)),
                dense(
                    9, 10, cuba(1500, 200, 100), "dense_rec", weight_rec=even(9, 9), bias=rng.integers(0, 30, size=9)
                ),
                dense(4, 9),
            ],
            (2, 14, 8),
            0.4,
            True,
        ),
        "netx-delay": (
            [
                dense(10, 8, cuba(4096, 512, 120), delay=rng.integers(0, 5, size=8)),
                dense(9, 10, cuba(1500, 200, 100), delay=rng.integers(0, 4, size=9)),
                dense(4, 9, cuba(4096, 100, 300), delay=rng.integers(0, 4, size=(4, 9))),
            ],
            (2, 12, 8),
            0.5,
            True,
        ),
        "netx-input": (
            [
                {**images, "weight": 5, "bias": -3, "neuron": cuba(900, 1000, 19)},
                conv(3, 2, (2, 2), (3, 3, 3), cuba(4096, 3072, 60), stride=(2, 2)),
                {"type": "flatten", "shape": np.array([27])},
                # Odd weights within ±127; a threshold of slayer's Affine, (1 << 18) − 1.
                {**dense(4, 27, cuba(4096, 0, 262143)), "weight": rng.integers(-127, 128, size=(4, 27))},
            ],
            (2, 5, 2, 7, 6),
            -3.0,
            False,
        ),
    }


def record_weights(rng: np.random.Generator, count: int = 600) -> None:
    """Random 3 by 3 matrices of every sign and size, and the weights that Lava multiplies with.

    NaN: netx fails, or Lava shifts by a negative number of bits, which is undefined.
    """
    load_netx()
    optimize = sys.modules["lava.lib.dl.netx.utils"].optimize_weight_bits
    wu = importlib.import_module("lava.utils.weightutils")
    given, used = [], []
    for index in range(count):
        most = int(rng.choice([1, 5, 16, 64, 127, 128, 200, 254, 256, 300]))
        low, high = ((-most, most), (0, most), (-most, 0), (-most, most // 4), (-most // 4, most))[index % 5]
        weight = rng.integers(low, high + 1, size=(3, 3)) * int(rng.choice([1, 1, 2]))
        given.append(weight)
        used.append(np.full((3, 3), np.nan))
        if weight.any():
            shifted, bits, exponent, _ = optimize(weight)
            mode = wu.determine_sign_mode(shifted)
            if exponent <= 0 and 8 - bits + (mode == wu.SignMode.MIXED) >= 0:
                cut = wu.truncate_weights(wu.clip_weights(shifted, mode, num_bits=8), mode, bits)
                used[-1] = cut * 2.0**exponent
    np.savez_compressed(HERE / "netx-weights.npz", given=np.stack(given).astype(np.int16), used=np.stack(used))


def record_all() -> None:
    rng = np.random.default_rng(20)
    for name, (layers, shape, density, separate) in files(rng).items():
        path = HERE / f"{name}.net"
        write(path, layers)
        x = rng.random(shape) < density if density > 0 else rng.integers(0, int(-density) + 1, size=shape)
        x = x.astype(np.uint8)
        arrays = (alone if separate else run)(path, x)
        np.savez_compressed(HERE / f"{name}.npz", x=x, **arrays)
        print(name, {key: int(value.sum()) for key, value in arrays.items() if key.startswith("spikes")})
    record_weights(rng)


def main() -> None:
    warnings.simplefilter("ignore")
    if len(sys.argv) == 1:
        record_all()
        return
    net, inputs, out = map(Path, sys.argv[1:4])
    with np.load(inputs, allow_pickle=False) as archive:
        x = archive["x"]
    np.savez_compressed(out, **(alone if "--alone" in sys.argv else run)(net, x))


if __name__ == "__main__":
    main()
