"""Run this artifact in Lava's fixed-point CPU simulation of Loihi.

    python run_lava.py [ARTIFACT] --input golden.npz --trace out.npz [--samples N]

Needs Python 3.10 with ``pip install lava-nc==0.10.0 nir h5py``, and nothing of neurodeploy: everything is read from
``network.nir`` in the artifact's folder (default: the folder of this file) by ``lava_network.py`` beside this file.

``--input`` holds ``input`` (as in golden.npz) or ``x``: binary spikes ``(B, T, *shape)`` as they enter the chip.
``--trace`` receives, under the node names of network.nir, ``spikes/<node>`` ``(B, T, *shape)`` uint8,
``membrane/<node>`` after reset, ``current/<node>`` (the synaptic current u, of every population) and ``output``, all
raw integers.

How the graph becomes Lava processes. In Lava every synapse process hands over its sums one step later, so a population
on level L sees step t of a sample L steps later (see ``lava_network.py``); what is recorded is shifted back by L. Paths
that are too short get an identity ``DelaySparse`` in front. All samples run back to back: each population's u and v are
set to zero when the first step of a sample reaches it (``LIFReset``).

That is not enough where spikes are delayed on their way (recurrent edges, Delay nodes): the last spikes of a sample
would reach the next one. Then some steps are left between the samples, and a ``RingBuffer`` sends every population a
large negative sum in them so that no bias makes it fire. The records are checked: a spike in between is refused.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

try:
    from lava.magma.core.decorator import implements, requires, tag
    from lava.magma.core.model.py.model import PyLoihiProcessModel
    from lava.magma.core.model.py.ports import PyInPort, PyRefPort
    from lava.magma.core.model.py.type import LavaPyType
    from lava.magma.core.process.ports.ports import InPort, RefPort
    from lava.magma.core.process.process import AbstractProcess
    from lava.magma.core.resources import CPU
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
    from lava.proc.conv.process import Conv
    from lava.proc.dense.process import Dense
    from lava.proc.io.source import RingBuffer
    from lava.proc.lif.process import LIFReset
    from lava.proc.sparse.process import DelaySparse
    from lava.utils.weightutils import SignMode
    from lava_network import (
        DECAY_UNITY,
        Network,
        Population,
        Projection,
        Refused,
        conv_weights,
        dense_weights,
        geometry,
        image,
    )
    from scipy.sparse import csr_matrix
except ImportError as error:
    sys.exit(f"error: {error}\n  try    Python 3.10 with: pip install lava-nc==0.10.0 nir h5py")

BIAS_EXPONENT = 6
#: |Σ w·s| beyond this wraps u at 24 bits.
LARGEST_SUM = 2**17 - 1


class Recorder(AbstractProcess):
    """Keeps u, v and the spikes of a population and writes them to a file at the last step.

    Lava's Monitor would need a process for each, and gives its data back one number at a time.
    """

    def __init__(self, neurons: LIFReset, file: Path, steps: int) -> None:
        shape = neurons.s_out.shape
        super().__init__(file=str(file), steps=steps, shape=shape)
        self.s, self.u, self.v = InPort(shape=shape), RefPort(shape=shape), RefPort(shape=shape)
        neurons.s_out.connect(self.s)
        self.u.connect_var(neurons.u)
        self.v.connect_var(neurons.v)


@implements(proc=Recorder, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRecorder(PyLoihiProcessModel):
    s: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    u: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)
    v: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.steps = proc_params["steps"]
        size = (self.steps, *proc_params["shape"])
        self.kept = {"s": np.zeros(size, np.uint8), "u": np.zeros(size, np.int32), "v": np.zeros(size, np.int32)}

    def post_guard(self) -> bool:
        return True

    def run_spk(self) -> None:
        self.kept["s"][self.time_step - 1] = self.s.recv()

    def run_post_mgmt(self) -> None:
        self.kept["u"][self.time_step - 1] = self.u.read()
        self.kept["v"][self.time_step - 1] = self.v.read()
        if self.time_step == self.steps:
            np.savez(self.proc_params["file"], **self.kept)


class Simulation:
    """The Lava processes of a network, for ``samples`` samples of ``steps`` steps."""

    def __init__(self, network: Network, samples: int, steps: int) -> None:
        self.network, self.samples, self.steps = network, samples, steps
        self.period = steps + network.gap
        depth = max(p.level for p in network.populations.values())
        self.total = samples * self.period + depth

    def run(self, spikes: np.ndarray) -> dict[str, np.ndarray]:
        """Simulate ``(B, T, *shape)`` spikes; the arrays of ``--trace``."""
        source = RingBuffer(data=self._stream(spikes))
        neurons = {name: self._neurons(name) for name in self.network.populations}
        outlets = {self.network.entry[0]: source, **neurons}
        for path in self.network.paths:
            self._connect(path, outlets[path.source].s_out, neurons[path.target].a_in)
        with tempfile.TemporaryDirectory() as folder:
            files = {name: Path(folder) / f"{index}.npz" for index, name in enumerate(neurons)}
            for name, process in neurons.items():
                Recorder(process, files[name], self.total)
            try:
                source.run(condition=RunSteps(num_steps=self.total), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
            finally:
                source.stop()  # Lava keeps one operating-system process per Lava process alive otherwise
            return self._arrays({name: dict(np.load(file)) for name, file in files.items()})

    def _neurons(self, name: str) -> LIFReset:
        population = self.network.populations[name]
        shape, bias = image(population.shape), np.asarray(population.bias)
        full = np.broadcast_to(bias.reshape(-1, *(1,) * (len(shape) - 1)), shape)
        process = LIFReset(
            shape=shape[::-1] if len(shape) == 3 else shape,
            # Lava computes u·(4096 − du − 1) >> 12 and v·(4096 − dv) >> 12.
            du=population.current - 1,
            dv=population.decay,
            vth=population.threshold,
            bias_mant=_to_lava(full[None])[0].astype(np.int32).copy(),
            bias_exp=BIAS_EXPONENT,
            reset_interval=self.period,
            # Step 1 sends the first step of sample 0; it reaches level L at step 1 + L.
            reset_offset=(1 + population.level) % self.period,
        )
        if self.network.gap:
            RingBuffer(data=self._silence(population, process.a_in.shape)).s_out.connect(process.a_in)
        return process

    def _silence(self, population: Population, shape: tuple[int, ...]) -> np.ndarray:
        """A sum that keeps a population silent before the first sample and between samples, ``(*shape, steps)``.

        As negative as it can be without wrapping u at 24 bits, for a current that keeps a part of it each step.
        """
        kept = 1.0 - population.current / DECAY_UNITY
        longest = max(population.level, self.network.gap)
        grows = sum(kept**n for n in range(longest))
        step = np.arange(self.total) - population.level
        between = (step < 0) | (step % self.period >= self.steps)
        least = LARGEST_SUM - self._most_negative(population, kept)
        return np.broadcast_to(between * -int(max(least, 0) / grows), (*shape, self.total)).astype(np.int32)

    def _most_negative(self, population: Population, kept: float) -> float:
        """How far below zero the synapses can drive u, in weight units."""
        into = [p.synapse for p in self.network.paths if self.network.populations[p.target] is population]
        weights = (np.asarray(self.network.nodes[s].weight) for s in into)
        most = sum(float(np.maximum(-w, 0).reshape(w.shape[0], -1).sum(axis=1).max()) for w in weights)
        return most * sum(kept**n for n in range(self.steps))

    def _connect(self, path: Projection, outlet, target) -> None:
        kind, node = self.network.kind(path.synapse), self.network.nodes[path.synapse]
        # The order of Flatten is C, H, W; Lava's is W, H, C.
        before = image(path.shape)
        if len(outlet.shape) == 3 and len(before) == 1:
            outlet = outlet.transpose([2, 1, 0]).flatten()
        if path.extra.max() > 0:
            outlet = _delayed(outlet, path.extra, before)
        if kind in ("Affine", "Linear"):
            weights, exponent = dense_weights(node, path.synapse)
            # The sign mode is given, not guessed: Lava's guess shifts matrices without positive weights to zero.
            synapse = Dense(weights=weights, weight_exp=exponent, num_weight_bits=8, sign_mode=SignMode.MIXED)
        else:
            weights, groups = conv_weights(node, path.synapse)
            stride, padding, dilation = (pair[::-1] for pair in geometry(node, kind))
            synapse = Conv(
                # Lava convolves, torch and NIR correlate: flip the kernel; Lava's order is (O, W, H, C).
                weight=weights[:, :, ::-1, ::-1].transpose(0, 3, 2, 1).copy(),
                input_shape=before[::-1],
                stride=stride,
                padding=padding,
                dilation=dilation,
                groups=groups,
            )
        outlet.connect(synapse.s_in)
        synapse.a_out.connect(target)

    def _stream(self, spikes: np.ndarray) -> np.ndarray:
        """``(*shape, steps)``: sample after sample, with the gaps."""
        padded = np.zeros((self.samples, self.period, *image(spikes.shape[2:])), np.int32)
        padded[:, : self.steps] = spikes.reshape(*spikes.shape[:2], *padded.shape[2:])
        rest = np.zeros((self.total - self.samples * self.period, *padded.shape[2:]), np.int32)
        stream = np.concatenate([padded.reshape(-1, *padded.shape[2:]), rest])
        return np.moveaxis(_to_lava(stream), 0, -1).copy()

    def _arrays(self, kept: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        for name, population in self.network.populations.items():
            first = population.level
            if self.network.gap and np.any(kept[name]["s"][:first]):
                raise Refused(f"`{name}` fires before the first sample: its bias cannot be kept down")
            cut = {
                key: _from_lava(array)[first : first + self.samples * self.period].reshape(
                    self.samples, self.period, *population.shape
                )
                for key, array in kept[name].items()
            }
            if np.any(cut["s"][:, self.steps :]):
                raise Refused(f"`{name}` fires between samples, where nothing can keep it down: run one --samples")
            cut = {key: array[:, : self.steps] for key, array in cut.items()}
            arrays[f"membrane/{name}"] = cut["v"].astype(np.int64)
            arrays[f"current/{name}"] = cut["u"].astype(np.int64)
            if population.fires:
                arrays[f"spikes/{name}"] = cut["s"]
            elif np.any(cut["s"]):
                raise Refused(f"`{name}` fired: its sum left the range that was proven")
        kind = "spikes" if self.network.populations[self.network.output].fires else "membrane"
        arrays["output"] = arrays[f"{kind}/{self.network.output}"]
        return arrays


def _delayed(outlet, extra: np.ndarray, shape: tuple[int, ...]):
    """The spikes of ``outlet`` ``extra`` steps later; the identity's own step is one of them."""
    size = int(np.prod(shape))
    steps = _to_lava(extra.reshape(1, *shape)).reshape(-1) - 1
    identity = csr_matrix((np.ones(size, np.int64), (np.arange(size), np.arange(size))), (size, size))
    delays = csr_matrix((steps, (np.arange(size), np.arange(size))), (size, size))
    delays.eliminate_zeros()
    process = DelaySparse(
        weights=identity, delays=delays, max_delay=int(steps.max()), num_weight_bits=8, sign_mode=SignMode.EXCITATORY
    )
    (outlet if len(shape) == 1 else outlet.flatten()).connect(process.s_in)
    return process.a_out if len(shape) == 1 else process.a_out.reshape(shape[::-1])


def _to_lava(x: np.ndarray) -> np.ndarray:
    """``(N, C, H, W)`` as ``(N, W, H, C)``; vectors as they are."""
    return x.transpose(0, 3, 2, 1) if x.ndim == 4 else x


_from_lava = _to_lava  # the same exchange of axes back


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
        spikes = _read_input(options.input, network.entry[1], options.samples)
        arrays = Simulation(network, *spikes.shape[:2]).run(spikes)
    except Refused as refusal:
        sys.exit(f"error: {refusal}")
    np.savez_compressed(options.trace, **arrays)
    print(f"{spikes.shape[0]} samples, {spikes.shape[1]} timesteps, {len(arrays)} arrays -> {options.trace}")


if __name__ == "__main__":
    main()
