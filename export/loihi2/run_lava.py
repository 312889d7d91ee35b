"""Run this artifact in Lava's fixed-point CPU simulation of Loihi 2.

    python run_lava.py [ARTIFACT] --input golden.npz --trace out.npz [--samples N]

Needs Python 3.10 with ``pip install lava-nc==0.10.0 nir h5py``, and nothing of neurodeploy: everything is read from
``network.nir`` in the artifact's folder (default: the folder of this file).

``--input`` holds ``input`` (as in golden.npz) or ``x``: binary spikes ``(B, T, *shape)`` as they enter the chip.
``--trace`` receives ``spikes/<node>`` ``(B, T, *shape)`` uint8, ``membrane/<node>`` after reset and ``output``, both
the raw integers, under the node names of network.nir.

How the graph becomes Lava processes. In Lava every synapse process hands over its sums one step later, so the neuron
population on level L (its distance from the input in synapses) sees step t of a sample L steps later. All samples run
back to back; each population is reset to zero when the first step of a sample reaches it, and what is recorded is
shifted back by L. All paths into a population must have the same length.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

try:
    import nir
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.conv.process import Conv
    from lava.proc.dense.process import Dense
    from lava.proc.io.source import RingBuffer
    from lava.proc.lif.process import LIFReset
    from lava.proc.monitor.process import Monitor
    from lava.utils.weightutils import SignMode
except ImportError as error:
    sys.exit(f"error: {error}\n  try    Python 3.10 with: pip install lava-nc==0.10.0 nir h5py")

KEY = "neurodeploy"
DECAY_UNITY = 4096
#: A neuron that never fires within a sample: the readout.
READOUT_THRESHOLD = 2**17 - 1
#: No current memory: Lava computes u·(4096 − du − 1) >> 12.
NO_CURRENT = 4095
BIAS_EXPONENT = 6


class Refused(Exception):
    """Something that this runner, or Lava, cannot do; the message is for people."""


class Network:
    """The graph of network.nir with shapes ``(C, H, W)``, levels, and the integer parameters."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise Refused(f"{path} is not there; give the artifact's folder")
        graph = nir.read(path, type_check=False)
        self.notes = graph.metadata.get(KEY, {})
        if _text(self.notes.get("arithmetic", "")) != "loihi":
            raise Refused(f"{path} is not an integer network: export it with --target loihi2")
        self.timesteps = int(self.notes["timesteps"])
        self.nodes = dict(graph.nodes)
        self.sources = {name: [a for a, b in graph.edges if b == name] for name in self.nodes}
        self.order = self._sorted()
        self.readout = self.notes.get("readout")
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.levels: dict[str, int] = {}
        for name in self.order:
            self._place(name)

    def _sorted(self) -> list[str]:
        waiting, order = dict(self.sources), []
        while waiting:
            free = [n for n, sources in waiting.items() if all(s not in waiting for s in sources)]
            if not free:
                raise Refused("the graph has a cycle")
            order.extend(free)
            for name in free:
                del waiting[name]
        return order

    def kind(self, name: str) -> str:
        return type(self.nodes[name]).__name__

    def _place(self, name: str) -> None:
        node, kind = self.nodes[name], self.kind(name)
        if kind == "Input":
            self.shapes[name] = tuple(int(n) for n in np.atleast_1d(next(iter(node.input_type.values()))))
            self.levels[name] = 0
            return
        levels = {self.levels[s] for s in self.sources[name]}
        if len(levels) != 1:
            raise Refused(f"paths of different length meet at `{name}`: Lava would add different timesteps")
        before = self.shapes[self.sources[name][0]]
        self.levels[name] = levels.pop() + (kind in ("Conv2d", "Affine"))
        if kind == "Conv2d":
            kernel, padding, dilation, stride = node.weight.shape[2:], *map(_pair, _geometry(node))
            size = [
                (before[1 + a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in (0, 1)
            ]
            self.shapes[name] = (node.weight.shape[0], *size)
        elif kind == "Affine":
            self.shapes[name] = (node.weight.shape[0],)
        elif kind == "Flatten":
            self.shapes[name] = (int(np.prod(before)),)
        elif kind in ("LIF", "Output"):
            self.shapes[name] = before
        else:
            raise Refused(f"`{name}` is {kind}: this runner builds Conv2d, Affine, Flatten and LIF")

    def bias(self, name: str) -> np.ndarray:
        """Integer bias per output channel of a neuron: the sum over its synapses."""
        total = sum(_integers(self.nodes[s].bias, f"bias of `{s}`") for s in self.sources[name])
        if np.max(np.abs(total)) > 4095:
            raise Refused(f"bias of `{name}` exceeds 13 bits: Lava would wrap it silently")
        return np.asarray(total)


def build(network: Network, spikes: np.ndarray) -> tuple[dict[str, LIFReset], RingBuffer, int]:
    """Lava processes per neuron population, the source, and the number of steps to run."""
    samples, steps = spikes.shape[:2]
    depth = max(network.levels.values())
    total = samples * steps + depth
    stream = spikes.reshape(samples * steps, *spikes.shape[2:])
    stream = np.concatenate([stream, np.zeros((depth, *stream.shape[1:]), stream.dtype)])
    source = RingBuffer(data=np.moveaxis(_to_lava(stream), 0, -1).astype(np.int32))
    ports = {}
    neurons: dict[str, LIFReset] = {}
    for name in network.order:
        kind, node = network.kind(name), network.nodes[name]
        if kind == "Input":
            ports[name] = source.s_out
        elif kind == "Flatten":
            port = _only(network, name, ports)
            image = len(network.shapes[network.sources[name][0]]) == 3
            ports[name] = port.transpose([2, 1, 0]).flatten() if image else port
        elif kind in ("Conv2d", "Affine"):
            process = _conv(network, name, node) if kind == "Conv2d" else _dense(name, node)
            _only(network, name, ports).connect(process.s_in)
            ports[name] = process.a_out
        elif kind == "LIF":
            number = node.metadata[KEY]
            decay = DECAY_UNITY * (1.0 - float(number["decay"]))
            neurons[name] = _neuron(network, name, int(decay), int(number["threshold"]), steps)
            for s in network.sources[name]:
                ports[s].connect(neurons[name].a_in)
            ports[name] = neurons[name].s_out
        elif kind == "Output" and network.readout is not None:
            readout = _text(network.readout["name"])
            neurons[readout] = _neuron(network, name, 0, READOUT_THRESHOLD, steps)
            network.levels[readout], network.shapes[readout] = network.levels[name], network.shapes[name]
            for s in network.sources[name]:
                ports[s].connect(neurons[readout].a_in)
    return neurons, source, total


def _only(network: Network, name: str, ports: dict):
    sources = network.sources[name]
    if len(sources) != 1:
        raise Refused(f"{len(sources)} edges meet before `{name}`: spikes cannot be added in Lava")
    return ports[sources[0]]


def _conv(network: Network, name: str, node) -> Conv:
    if int(node.groups) > 127:
        raise Refused(f"`{name}` has {int(node.groups)} groups: Lava keeps them in int8 and would compute zeros")
    weight = _integers(node.weight, f"weights of `{name}`")
    before = network.shapes[network.sources[name][0]]
    return Conv(
        # Lava convolves, torch and NIR correlate: flip the kernel; Lava's order is (O, W, H, C).
        weight=weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1).copy(),
        input_shape=before[::-1],
        stride=_pair(node.stride)[::-1],
        padding=_pair(node.padding)[::-1],
        dilation=_pair(node.dilation)[::-1],
        groups=int(node.groups),
    )


def _dense(name: str, node) -> Dense:
    weight = _integers(node.weight, f"weights of `{name}`")
    if np.any(weight % 2) or np.max(np.abs(weight)) > 254:
        raise Refused(f"weights of `{name}` are not even numbers in -254…254: Lava would change them silently")
    # The sign mode is given, not guessed: Lava's guess shifts matrices without positive weights to zero.
    return Dense(weights=weight, num_weight_bits=8, sign_mode=SignMode.MIXED)


def _neuron(network: Network, name: str, decay: int, threshold: int, steps: int) -> LIFReset:
    shape = network.shapes[name]
    bias = network.bias(name)
    full = np.broadcast_to(bias.reshape(-1, *(1,) * (len(shape) - 1)), shape)
    return LIFReset(
        shape=shape[::-1] if len(shape) == 3 else shape,
        du=NO_CURRENT,
        dv=decay,
        vth=threshold,
        bias_mant=_to_lava(full[None])[0].astype(np.int32).copy(),
        bias_exp=BIAS_EXPONENT,
        reset_interval=steps,
        # Step 1 sends the first step of sample 0; it reaches level L at step 1 + L.
        reset_offset=(1 + network.levels[name]) % steps,
    )


def run(network: Network, spikes: np.ndarray) -> dict[str, np.ndarray]:
    """Simulate ``(B, T, *shape)`` spikes; the arrays of ``--trace``."""
    samples, steps = spikes.shape[:2]
    neurons, source, total = build(network, spikes)
    probes = {}
    for name, process in neurons.items():
        probes[name] = Monitor(), Monitor()
        probes[name][0].probe(process.v, total)
        probes[name][1].probe(process.s_out, total)
    config = Loihi2SimCfg(select_tag="fixed_pt")
    try:
        source.run(condition=RunSteps(num_steps=total), run_cfg=config)
        found = {name: [_recorded(probe) for probe in pair] for name, pair in probes.items()}
    finally:
        source.stop()  # Lava keeps one operating-system process per Lava process alive otherwise
    arrays: dict[str, np.ndarray] = {}
    readout = None if network.readout is None else _text(network.readout["name"])
    for name, (state, fired) in found.items():
        first = network.levels[name]
        state, fired = (
            _from_lava(a[first : first + samples * steps]).reshape(samples, steps, *network.shapes[name])
            for a in (state, fired)
        )
        arrays[f"membrane/{name}"] = state.astype(np.int64)
        if name == readout:
            arrays["output"] = arrays[f"membrane/{name}"]
            if np.any(fired):
                raise Refused("the readout fired: its sum left the range that was proven")
        else:
            arrays[f"spikes/{name}"] = fired.astype(np.uint8)
    if readout is None:
        last = network.sources[next(n for n in network.order if network.kind(n) == "Output")][0]
        arrays["output"] = arrays[f"spikes/{last}"]
    return arrays


def _recorded(monitor: Monitor) -> np.ndarray:
    """``(steps, *shape)`` of a monitor."""
    (by_port,) = monitor.get_data().values()
    (values,) = by_port.values()
    return np.asarray(values)


def _to_lava(x: np.ndarray) -> np.ndarray:
    """``(N, C, H, W)`` as ``(N, W, H, C)``; vectors as they are."""
    return x.transpose(0, 3, 2, 1) if x.ndim == 4 else x


_from_lava = _to_lava  # the same exchange of axes back


def _geometry(node) -> tuple:
    return node.padding, node.dilation, node.stride


def _pair(value) -> tuple[int, int]:
    array = np.broadcast_to(np.atleast_1d(value), (2,))
    return int(array[0]), int(array[1])


def _integers(array, what: str) -> np.ndarray:
    array = np.asarray(array)
    whole = np.rint(array).astype(np.int64)
    if not np.array_equal(whole, array):
        raise Refused(f"{what} are not integers: Lava would cut them off")
    return whole


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _read_input(path: Path, shape: tuple[int, ...], limit: int | None) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            key = "input" if "input" in archive.files else "x"
            spikes = archive[key]
    except Exception as error:
        raise Refused(f"{path} cannot be read: {error}") from error
    if spikes.ndim < 2 or spikes.shape[2:] != shape:
        raise Refused(
            f"`{key}` in {path} has shape {spikes.shape}; the chip takes (B, T, {', '.join(map(str, shape))})"
        )
    if not np.all((spikes == 0) | (spikes == 1)):
        raise Refused(f"`{key}` in {path} is not binary: the chip takes spikes (golden.npz has them as `input`)")
    return spikes[:limit]


def main() -> None:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", nargs="?", type=Path, default=here, help="folder with network.nir")
    parser.add_argument("--input", type=Path, required=True, help=".npz with `input` or `x`")
    parser.add_argument("--trace", type=Path, required=True, help=".npz to write")
    parser.add_argument("--samples", type=int, default=None, help="only the first N samples")
    options = parser.parse_args()
    try:
        network = Network(options.artifact / "network.nir")
        entry = next(n for n in network.order if network.kind(n) == "Input")
        spikes = _read_input(options.input, network.shapes[entry], options.samples)
        arrays = run(network, spikes)
    except Refused as refusal:
        sys.exit(f"error: {refusal}")
    np.savez_compressed(options.trace, **arrays)
    print(f"{spikes.shape[0]} samples, {spikes.shape[1]} timesteps, {len(arrays)} arrays -> {options.trace}")


if __name__ == "__main__":
    main()
