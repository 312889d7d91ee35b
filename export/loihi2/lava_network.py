"""What ``network.nir`` says, as Lava needs it: populations, synapses, and by how many steps each path must be delayed.

A *population* is a layer of neurons (LIF, CubaLIF, or an integrator) with one decay and one threshold; a *projection*
leads from a population (or the input) through Flatten and Delay nodes and one synapse to a population. In Lava every
synapse hands over its sums one step later, so population p sees step t of a sample at Lava's step
``1 + t + level(p)``, and a projection of d steps in the network (Delay nodes, recurrent edges) is given

    extra = d + level(target) − level(source) − 1        steps more, 0…62

Levels are the smallest ones for which no extra is negative (longest paths). A cycle that has fewer steps of delay than
synapses has no levels and is refused.

Needs numpy and nir. Everything that Lava would drop, cut off or wrap without a word is refused here, by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nir
import numpy as np

KEY = "neurodeploy"
DECAY_UNITY = 4096
#: A neuron that never fires within its proven range: readouts and accumulators.
SILENT_THRESHOLD = 2**17 - 1
BIAS_LIMIT = 4095
MOST_DELAY = 62
#: Lava keeps the number of groups in int8.
MOST_GROUPS = 127

NEURONS = ("LIF", "IF", "CubaLIF", "LI", "I")
SYNAPSES = ("Conv1d", "Conv2d", "Affine", "Linear")


class Refused(Exception):
    """Something that this runner, or Lava, cannot do; the message is for people."""


@dataclass
class Population:
    """Neurons of one layer: ``u·(4096 − current) >> 12``, ``v·(4096 − decay) >> 12``, fires above ``threshold``."""

    shape: tuple[int, ...]
    decay: int
    current: int
    threshold: int
    fires: bool
    bias: np.ndarray | int = 0
    level: int = 0


@dataclass
class Projection:
    """``source -> synapse -> target``; ``steps`` of delay in the network and ``extra`` in Lava, per source element."""

    source: str
    synapse: str
    target: str
    shape: tuple[int, ...]
    steps: np.ndarray
    extra: np.ndarray


class Network:
    """Populations and paths of an integer network.

    Attributes:
        entry: Name and shape of the input.
        populations: Neuron node -> population, with its level.
        paths: One per synapse and population that it feeds.
        nodes: The nodes of the file, for weights.
        output: The population whose state (or, if it fires, whose spikes) is the output.
        gap: Silent steps between samples, so that nothing delayed reaches the next sample.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise Refused(f"{path} is not there; give the artifact's folder")
        try:
            graph = nir.read(path, type_check=False)
        except Exception as error:  # nir and h5py raise whatever a file leads them to
            raise Refused(f"{path} cannot be read: {type(error).__name__}: {error}") from error
        self.notes = graph.metadata.get(KEY, {})
        if _text(self.notes.get("arithmetic", "")) != "loihi":
            raise Refused(f"{path} is not an integer network: export it with --target loihi2 or loihi")
        self.nodes = dict(graph.nodes)
        self.edges = [(str(a), str(b)) for a, b in graph.edges]
        # Edges that deliver one step late; an edge into a Delay is written as a longer delay.
        pairs = np.asarray(self.notes.get("recurrent", [])).reshape(-1, 2)
        late = {(_text(a), _text(b)) for a, b in pairs}
        self.late = {(a, b) for a, b in late if (a, b) in self.edges and self.kind(b) != "Delay"}
        known = ("Input", "Output", "Flatten", "Delay", *NEURONS, *SYNAPSES)
        unknown = [f"`{name}` is {self.kind(name)}" for name in self.nodes if self.kind(name) not in known]
        if unknown:
            raise Refused(f"{', '.join(unknown)}: this runner builds {', '.join(known)}")
        inputs, outputs = ([n for n in self.nodes if self.kind(n) == k] for k in ("Input", "Output"))
        if len(inputs) != 1 or len(outputs) != 1:
            raise Refused(f"{len(inputs)} inputs and {len(outputs)} outputs: this runner takes one of each")
        self.entry = inputs[0], _declared(self.nodes[inputs[0]].input_type)
        self.populations = {n: self._population(n) for n in self.nodes if self.kind(n) in NEURONS}
        self.output = self._output(outputs[0])
        self.paths = [p for name in self.nodes if self.kind(name) in SYNAPSES for p in self._paths(name)]
        self.gap = max((int(path.steps.max()) for path in self.paths), default=0)
        self._set_levels()
        for name, population in self.populations.items():
            population.bias = self._bias(name)

    def kind(self, name: str) -> str:
        return type(self.nodes[name]).__name__

    def _population(self, name: str) -> Population:
        node = self.nodes[name]
        numbers = {key: _number(name, key, value) for key, value in node.metadata.get(KEY, {}).items()}
        if "decay" not in numbers:
            raise Refused(f"`{name}` has no integer parameters of neurodeploy: export the network again")
        fires = self.kind(name) not in ("LI", "I")
        wanted = {"gain": 1.0, "offset": 0.0, "v_reset": 0.0, "current_gain": 1.0}
        wanted |= {"compare": "gt", "reset": "to", "spikes": "single"} if fires else {}
        for key, value in wanted.items():
            if numbers.get(key, value) != value:
                raise Refused(f"`{name}` has {key} = {numbers[key]}: Lava's neuron has {value}")
        threshold = numbers["threshold"] if fires else SILENT_THRESHOLD
        # 2^17 is what lava-dl gives a layer that shall never fire.
        if not 0 <= threshold <= SILENT_THRESHOLD + 1 or threshold != int(threshold):
            raise Refused(f"the threshold of `{name}` is {threshold:g}: an integer in 0…{SILENT_THRESHOLD}")
        shape = tuple(np.shape(node.v_threshold if fires else node.r))
        current = _decay(name, numbers.get("current_decay", 0.0))
        return Population(shape, _decay(name, numbers["decay"]), current, int(threshold), fires)

    def _output(self, output: str) -> str:
        """The population that is read; the integrator that the file leaves to the reader becomes one."""
        sources = [a for a, b in self.edges if b == output]
        readout = self.notes.get("readout")
        if readout is not None:
            name, shape = _text(readout["name"]), _declared(self.nodes[output].output_type)
            decay = _decay(name, float(readout["decay"]))
            self.populations[name] = Population(shape, decay, DECAY_UNITY, SILENT_THRESHOLD, fires=False)
            self.edges = [(a, name if b == output else b) for a, b in self.edges]
            return name
        while len(sources) == 1 and self.kind(sources[0]) == "Flatten":
            sources = [a for a, b in self.edges if b == sources[0]]
        if len(sources) != 1 or sources[0] not in self.populations:
            raise Refused(f"the output reads {' + '.join(sources)}: this runner reads one population")
        return sources[0]

    def _paths(self, synapse: str) -> list[Projection]:
        """The path into a synapse, for each population that it feeds."""
        source, shape, steps = self._origin(synapse)
        targets = [b for a, b in self.edges if a == synapse]
        for target in targets:
            if target not in self.populations:
                raise Refused(f"`{synapse}` leads to `{target}`: in Lava synapses lead to neurons")
            found, expected = _behind(self.nodes[synapse], self.kind(synapse), shape), self.populations[target].shape
            if found != expected:
                raise Refused(f"`{synapse}` puts out {found}, `{target}` has shape {expected}")
        return [Projection(source, synapse, t, shape, steps + ((synapse, t) in self.late), steps) for t in targets]

    def _origin(self, name: str) -> tuple[str, tuple[int, ...], np.ndarray]:
        """Where the spikes that enter ``name`` come from, their shape, and the delay of each on the way."""
        sources = [a for a, b in self.edges if b == name]
        if len(sources) != 1:
            raise Refused(f"{len(sources)} edges meet before `{name}`: spikes cannot be added in Lava")
        source, late = sources[0], int((sources[0], name) in self.late)
        kind = self.kind(source) if source in self.nodes else ""
        if source == self.entry[0]:
            return source, self.entry[1], np.full(self.entry[1], late)
        if source in self.populations and self.populations[source].fires:
            shape = self.populations[source].shape
            return source, shape, np.full(shape, late)
        if kind not in ("Flatten", "Delay"):
            raise Refused(f"`{source}` ({kind or 'a readout'}) leads to `{name}`: in Lava synapses are fed by spikes")
        origin, shape, steps = self._origin(source)
        if kind == "Flatten":
            return origin, (int(np.prod(shape)),), steps.reshape(-1) + late
        own = np.asarray(self.nodes[source].delay, np.float64) / float(self.notes["dt"])
        whole = np.rint(own)
        if np.max(np.abs(own - whole)) > 1e-6:
            raise Refused(f"`{source}` delays by {float(own.reshape(-1)[0]):g} steps: Lava has whole steps")
        return origin, shape, steps + np.broadcast_to(whole.astype(np.int64), shape) + late

    def _set_levels(self) -> None:
        """Longest paths; a round more than there are populations still raises a level only in a cycle."""
        levels = dict.fromkeys(self.populations, 1) | {self.entry[0]: 0}
        for _ in range(len(levels) + 1):
            changed = False
            for path in self.paths:
                least, most = int(path.steps.min()), int(path.steps.max())
                # Where delays differ, an identity with delays stands before the synapse and takes a step of its own.
                needed = levels[path.source] + 1 + (least != most) - least
                if needed > levels[path.target]:
                    levels[path.target], changed = needed, True
            if not changed:
                break
        else:
            raise Refused("a cycle has fewer steps of delay than synapses: in Lava each synapse takes a step")
        for name, population in self.populations.items():
            population.level = levels[name]
        for path in self.paths:
            path.extra = path.steps + levels[path.target] - levels[path.source] - 1
            if path.extra.max() > MOST_DELAY:
                raise Refused(
                    f"`{path.synapse}` would need a delay of {path.extra.max()} steps: the chip has {MOST_DELAY}"
                )

    def _bias(self, name: str) -> np.ndarray | int:
        """Integer bias per output channel of a neuron: the sum over its synapses."""
        biases = [
            _integers(getattr(self.nodes[p.synapse], "bias", 0), f"bias of `{p.synapse}`")
            for p in self.paths
            if p.target == name
        ]
        if not biases:
            raise Refused(f"no synapse leads to `{name}`")
        total = sum(biases[1:], biases[0])
        if np.max(np.abs(total)) > BIAS_LIMIT:
            raise Refused(f"the bias of `{name}` is {np.max(np.abs(total))}, beyond 13 bits: Lava would wrap it")
        return total


def dense_weights(node, name: str) -> tuple[np.ndarray, int]:
    """Weights of 8 bits as Lava's Dense keeps them, even numbers, and the exponent that gives the real ones."""
    weight = _eight_bits(node, name)
    return (2 * weight, -1) if np.any(weight % 2) else (weight, 0)


def conv_weights(node, name: str) -> tuple[np.ndarray, int]:
    """Weights ``(O, I/groups, kH, kW)`` and at most 127 groups.

    More groups are joined to blocks that are zero off the diagonal: the same sums, and Lava can count them.
    """
    weight, groups = _eight_bits(node, name), int(node.groups)
    weight = weight[:, :, None] if weight.ndim == 3 else weight
    if groups <= MOST_GROUPS:
        return weight, groups
    blocks = max(n for n in range(1, MOST_GROUPS + 1) if groups % n == 0)
    joined, inputs, outputs = groups // blocks, weight.shape[1], weight.shape[0] // groups
    wide = np.zeros((weight.shape[0], inputs * joined, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        rows, at = slice(group * outputs, (group + 1) * outputs), group % joined * inputs
        wide[rows, at : at + inputs] = weight[rows]
    return wide, blocks


def geometry(node, kind: str) -> list[tuple[int, int]]:
    """Stride, padding, dilation as ``(y, x)``; a Conv1d has one row."""
    found = []
    for key, rest in (("stride", 1), ("padding", 0), ("dilation", 1)):
        value = getattr(node, key)
        if isinstance(value, (str, bytes)):
            raise Refused(f"padding {_text(value)!r} is not a number: export the network again")
        numbers = [int(n) for n in np.broadcast_to(np.atleast_1d(value), (1 if kind == "Conv1d" else 2,))]
        found.append((rest, *numbers) if kind == "Conv1d" else tuple(numbers))
    return found


def image(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``(C, L)`` as ``(C, 1, L)``; other shapes as they are."""
    return (shape[0], 1, shape[1]) if len(shape) == 2 else shape


def _behind(node, kind: str, before: tuple[int, ...]) -> tuple[int, ...]:
    """Shape that a synapse puts out; inferred here, nir's is wrong for grouped and non-square kernels."""
    if kind in ("Affine", "Linear"):
        return (node.weight.shape[0],) if before == node.weight.shape[1:] else ()
    stride, padding, dilation = geometry(node, kind)
    kernel, size = (1, *node.weight.shape[2:])[-2:], image(before)[1:]
    if before[0] != node.weight.shape[1] * int(node.groups):
        return ()
    behind = [(size[a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in (0, 1)]
    return (node.weight.shape[0], *behind[-1:]) if kind == "Conv1d" else (node.weight.shape[0], *behind)


def _eight_bits(node, name: str) -> np.ndarray:
    """Integers that a signed 8-bit weight can be: -128…127, or even numbers in -256…254 (w = 2q)."""
    weight = _integers(node.weight, f"weights of `{name}`")
    low, high = int(weight.min()), int(weight.max())
    if (np.any(weight % 2) and (low < -128 or high > 127)) or low < -256 or high > 254:
        raise Refused(
            f"weights of `{name}` ({low}…{high}) are neither in -128…127 nor even numbers in -256…254: "
            "8 bits cannot hold them and Lava would change them"
        )
    return weight


def _decay(name: str, kept: float) -> int:
    """``4096·(1 − kept)``, a whole number in 0…4096."""
    decay = DECAY_UNITY * (1.0 - kept)
    if decay != int(decay) or not 0 <= decay <= DECAY_UNITY:
        raise Refused(f"`{name}` keeps {kept:g} of its state a step: Lava has multiples of 1/4096")
    return int(decay)


def _number(name: str, key: str, value):
    """A note as text or one number; Lava has one threshold and one decay per population."""
    if isinstance(value, (str, bytes)):
        return _text(value)
    values = np.unique(np.asarray(value, np.float64))
    if values.size != 1:
        raise Refused(f"`{name}` has several values of {key}: Lava's neurons share one")
    return float(values[0])


def _integers(array, what: str) -> np.ndarray:
    array = np.asarray(array)
    whole = np.rint(array).astype(np.int64)
    if not np.array_equal(whole, array):
        raise Refused(f"{what} are not integers: Lava would cut them off")
    return whole


def _declared(types: dict) -> tuple[int, ...]:
    """Shape of an Input or Output node."""
    return tuple(int(n) for n in np.atleast_1d(next(iter(types.values()))))


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
