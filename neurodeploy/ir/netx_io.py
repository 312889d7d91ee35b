"""lava-dl ``.net`` files -> Graph in loihi arithmetic, with the meaning that lava-dl's netx gives them.

Layer ``<i>`` of the file becomes the neurons ``layer-<i>`` behind the synapse ``layer-<i>-synapse``. Layers are
synchronous (Lava's step of delay per synapse is taken out), every state is zero at t = 0 of every sample. ``dense_rec``
adds ``layer-<i>-recurrent``, whose sums arrive one step later; delays of dense synapses become Delay nodes. The
arithmetic is :mod:`neurodeploy.ir.machine`'s. A dense layer without neuron is netx's default: u accumulates
(iDecay 0), v = u (vDecay 4096), and never fires.

Refused, all findings at once: what netx drops, ignores or cannot build (ND253), and numbers that netx or Lava would
change on the way (ND254). What the file leaves to the caller is a warning (ND255).

Sources: lava-dl 0.6.0 ``lib/dl/netx/hdf5.py``, ``netx/utils.py``, ``netx/blocks/process.py``; lava-nc 0.10.0
``proc/{lif,dense,conv}/models.py``. lava-dl is archived: the format does not change any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from neurodeploy.diagnostics import Finding, UnsupportedError, UsageError, first_error
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.machine import DECAY_UNITY, THRESHOLD_LIMIT
from neurodeploy.ir.netx_entries import DROPPED, LEFT_OPEN, Entries, Refused
from neurodeploy.ir.netx_file import Layer, read_layers
from neurodeploy.ir.nir_io import ReadOptions, apply_options
from neurodeploy.ir.nodes import (
    LIF,
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
    ShapeError,
)

#: netx: ``{"iDecay": 0, "vDecay": 4096, "vThMant": 1 << 18 - 1}``, which Python reads as 1 << 17.
DEFAULT_NEURON = (0, DECAY_UNITY, THRESHOLD_LIMIT + 1)
#: Larger ones overflow 32 bits when Lava shifts them by 6, and then every neuron fires.
OVERFLOW = 2**25
TYPES = ("input", "conv", "dense", "dense_rec", "flatten")


def read_net(path: Path, options: ReadOptions | None = None) -> Graph:
    """The graph of a ``.net`` file.

    Raises:
        UsageError: Not readable (ND103), not a whole ``.net`` file (ND104), ``options`` that restate time (ND100).
        UnsupportedError: Something that netx drops (ND253) or Lava changes (ND254); all findings.
    """
    return load_net(path, options)[0]


def load_net(path: Path, options: ReadOptions | None = None) -> tuple[Graph, list[Finding]]:
    """:func:`read_net`, with the warnings (ND255)."""
    options = options or ReadOptions()
    if options.restates_time:
        rule = "a .net file has decays per step and no time constants"
        raise UsageError("ND100", rule, where=str(path), fix="leave out --dt and --discretize")
    graph, findings = graph_of_layers(read_layers(path), origin=path.name, timesteps=options.timesteps)
    error = first_error(findings)
    if error is not None or graph is None:
        assert error is not None
        errors = [f for f in findings if f.severity == "error"]
        raise UnsupportedError(
            error.code, f"{error.rule}: {error.measured}", where=f"{path}: {error.node}", fix=error.fix, findings=errors
        )
    return apply_options(graph, options), findings


def graph_of_layers(
    layers: Sequence[Layer], *, origin: str = "", timesteps: int | None = None
) -> tuple[Graph | None, list[Finding]]:
    """The graph and all findings; None where a finding is an error."""
    reader = _Reader(len(layers), timesteps)
    for index, layer in enumerate(layers):
        reader.read(index, layer)
    if not reader.built and first_error(reader.findings) is None:
        rule = "a network needs at least one conv or dense layer"
        reader.findings.append(Finding(DROPPED, "error", "layer", rule, "none", fix="add one"))
    if first_error(reader.findings) is not None:
        return None, reader.findings
    return reader.graph(origin), reader.findings


@dataclass
class _Reader:
    """The graph as far as it is read: what put out last, and its shape (None: unknown, after a refused layer)."""

    count: int
    timesteps: int | None
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    recurrent: set[Edge] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)
    name: str | None = None
    shape: Shape | None = None
    flatten: str | None = None
    built: bool = False

    def read(self, index: int, layer: Layer) -> None:
        """Add layer ``index``; a refused one leaves the shape unknown, and the next are still checked."""
        name = f"layer-{index}"
        entries = Entries(name, layer, self.findings)
        errors = len(self.findings)
        try:
            if layer.type not in TYPES:
                known = "netx skips such a layer without a word, or stops; it reads " + ", ".join(TYPES)
                raise entries.refuse(f"layer type `{layer.type}`", known, "rewrite the network with those")
            if layer.type == "input":
                self._input(index, entries)
            elif layer.type == "flatten":
                self._flatten(name, entries)
            elif layer.type == "conv":
                self._conv(index, entries)
            else:
                self._dense(index, entries)
        except Refused:
            pass
        if any(f.severity == "error" for f in self.findings[errors:]):
            self.name, self.flatten, self.built = None, None, True
            self.shape = entries.declared_shape()

    def graph(self, origin: str) -> Graph:
        """The graph; nothing was refused."""
        assert self.name is not None
        self.nodes["output"] = Output()
        self.edges.append((self.name, "output"))
        return Graph(
            self.nodes,
            tuple(self.edges),
            timesteps=self.timesteps,
            arithmetic="loihi",
            origin=origin,
            recurrent=frozenset(self.recurrent),
        )

    def _add(self, name: str, node: Node) -> None:
        self.nodes[name] = node
        if self.name is not None:
            self.edges.append((self.name, name))
        self.name = name

    # -- layers

    def _input(self, index: int, entries: Entries) -> None:
        if index > 0:
            raise entries.refuse(
                "an input layer", "netx leaves an input behind other layers unconnected", "put it first"
            )
        entries.check_known("shape", "weight", "bias")
        if not entries.has("shape") and entries.neuron is None:
            return  # netx takes the shape from its caller
        shape = entries.shape()
        if len(shape) not in (1, 3):
            raise entries.refuse(f"shape {shape}", "an input is (C, H, W) or (N,)", "write C, H, W")
        self.shape = shape
        self._add("input", Input(shape, "binary" if entries.neuron is None else "integer"))
        if entries.neuron is None:
            return
        # netx: "the input must be handled through neuron's bias": v += (weight·x + bias) << 6, past the current.
        # Without current memory the same sum may take the way through the synapse.
        weight, bias = entries.number("weight", 64), entries.number("bias", 0)
        numbers = entries.neuron_numbers()
        assert numbers is not None
        biases = np.full(shape[0], bias, np.float32)
        one: Conv2d | Linear
        if len(shape) == 3:
            one = Conv2d(np.full((shape[0], 1, 1, 1), weight, np.float32), biases, groups=shape[0])
        else:
            one = Linear(weight * np.eye(shape[0], dtype=np.float32), biases)
        self._add("layer-0-synapse", one)
        self._neurons(index, entries, (DECAY_UNITY, *numbers[1:]), one)
        rule = (
            "netx's input neurons take what the caller writes into their bias; read as weight·x + bias, without current"
        )
        measured = f"weight {weight}, bias {bias}, iDecay {numbers[0]}"
        self._warn("layer-0", rule, measured, "give whole numbers x ≥ 0 as input, before this weight and bias")

    def _flatten(self, name: str, entries: Entries) -> None:
        if self.built and self.shape is not None and len(self.shape) != 3:
            raise entries.refuse(f"shape {self.shape}", "netx can flatten (C, H, W) only", "leave the layer out")
        self.flatten = name

    def _conv(self, index: int, entries: Entries) -> None:
        entries.check_known(
            "shape",
            "weight",
            "bias",
            "stride",
            "padding",
            "dilation",
            "groups",
            "inChannels",
            "outChannels",
            "kernelSize",
        )
        if self.flatten is not None:
            raise entries.refuse("it follows a flatten", "netx does not flatten before a conv", "leave the flatten out")
        if not self.built and self.shape is None:
            rule = "netx needs the shape of the input of a first conv"
            raise entries.refuse("no input layer with a shape", rule, "add a layer of type input")
        weight = entries.conv_weight()
        entries.check_bits(weight)
        geometry = {key: entries.pair(key) for key in ("stride", "padding", "dilation")}
        node = Conv2d(
            weight.astype(np.float32),
            entries.bias(weight.shape[0], any_size=False).astype(np.float32),
            **geometry,
            groups=entries.groups(weight),
        )
        numbers = entries.neuron_numbers()
        if numbers is None:
            raise entries.refuse("no neuron", "netx needs one in every conv layer", "add the group `neuron`")
        if self.shape is None:
            return
        try:
            made = node.output_shape(self.shape)
        except ShapeError as error:
            raise entries.refuse(str(error), "the layer must fit the one before it", "correct the file") from error
        if made != entries.shape():
            rule = f"weight, stride, padding and dilation give {made}"
            raise entries.refuse(f"shape {entries.shape()}", rule, "correct the shape")
        self.shape = made
        self._add(f"layer-{index}-synapse", node)
        self._neurons(index, entries, numbers, node)

    def _dense(self, index: int, entries: Entries) -> None:
        rec = entries.type == "dense_rec"
        entries.check_known(
            "shape", "weight", "bias", "delay", "inFeatures", "outFeatures", *(("weight_rec",) if rec else ())
        )
        out = int(np.prod(entries.shape()))
        matrices = [entries.matrix(key, out) for key in (("weight", "weight_rec") if rec else ("weight",))]
        if rec and matrices[1].shape != (out, out):
            raise entries.refuse(f"weight_rec {matrices[1].shape}", f"it must be {(out, out)}", "correct the file")
        entries.check_dense(matrices)
        delay = entries.delay(matrices[0].shape)
        if rec and delay is not None:
            rule = "netx gives both synapses of a recurrent layer one delay matrix and loses their exponent"
            raise entries.refuse("delay", rule, "remove the delay")
        bias = entries.bias(out, any_size=True).astype(np.float32)
        numbers = entries.neuron_numbers()
        self._vector(index, entries, matrices[0].shape[1])
        node = Linear(matrices[0].astype(np.float32), bias)
        if self.name is None:  # behind a refused layer: only the checks count
            self.shape = (out,)
            return
        self._synapses(f"layer-{index}", node, delay)
        self.shape = (out,)
        ends = [source for source in self.nodes if source.startswith(f"layer-{index}-synapse")]
        neuron = self._neurons(index, entries, numbers, node, sources=ends, last_may_integrate=not rec)
        if rec:
            back = f"layer-{index}-recurrent"
            self.nodes[back] = Linear(matrices[1].astype(np.float32), np.zeros(out, np.float32))
            self.edges += [(neuron, back), (back, neuron)]
            self.recurrent.add((back, neuron))

    def _vector(self, index: int, entries: Entries, size: int) -> None:
        """Make what was put out last a vector of ``size``, as netx does."""
        if not self.built and self.name is None:
            self._add("input", Input((size,), "binary"))
            self.shape = (size,)
        if self.shape is None:
            return
        if int(np.prod(self.shape)) != size:
            rule = f"the layer before it puts out {self.shape}"
            raise entries.refuse(f"weight takes {size} values", rule, "correct the file")
        if len(self.shape) == 3:
            if self.flatten is None and self.built:
                raise entries.refuse("a dense layer on (C, H, W)", "netx needs a flatten before it", "add one")
            if self.name is not None:
                # Without a layer before it, netx takes the samples flat: C, H, W order.
                self._add(self.flatten or f"layer-{index}-flatten", Flatten())
        self.flatten = None

    def _synapses(self, name: str, node: Linear, delay: np.ndarray | None) -> None:
        """The synapse, behind a Delay where delays depend on the input alone; else one synapse per delay."""
        before = self.name
        assert before is not None
        if delay is None or np.array_equal(delay, np.broadcast_to(delay[:1], delay.shape)):
            if delay is not None:
                self._add(f"{name}-delay", Delay((delay.shape[1],), delay[0]))
            self._add(f"{name}-synapse", node)
            return
        for position, steps in enumerate(np.unique(delay)):
            self.name = before
            ending = "" if position == 0 else f"-{steps}"
            if steps:
                self._add(f"{name}-delay-{steps}", Delay((delay.shape[1],), np.asarray(steps)))
            bias = node.bias if position == 0 else np.zeros_like(node.bias)
            self._add(f"{name}-synapse{ending}", Linear(np.where(delay == steps, node.weight, np.float32(0)), bias))

    def _neurons(
        self,
        index: int,
        entries: Entries,
        numbers: tuple[int, int, int] | None,
        synapse: Conv2d | Linear,
        *,
        sources: Sequence[str] = (),
        last_may_integrate: bool = True,
    ) -> str:
        """Add ``layer-<index>``: a last layer that cannot fire is a readout."""
        assert self.shape is not None
        name, last = f"layer-{index}", index == self.count - 1
        i_decay, v_decay, threshold = numbers or DEFAULT_NEURON
        if threshold >= OVERFLOW:
            rule = "Lava shifts vThMant by 6 in 32 bits: it overflows, and every neuron fires"
            entries.change("vThMant", rule, threshold, OVERFLOW - 1)
            raise Refused
        threshold = min(threshold, THRESHOLD_LIMIT + 1)
        decay = np.asarray((DECAY_UNITY - v_decay) / DECAY_UNITY)
        node: Node
        if last and last_may_integrate and threshold >= THRESHOLD_LIMIT and i_decay == DECAY_UNITY:
            node = Integrator(self.shape, decay)
            if threshold > THRESHOLD_LIMIT:
                self._check_range(name, synapse, float(decay))
        elif last and last_may_integrate and numbers is None and not np.any(synapse.bias):
            # u accumulates and v shows it: the same numbers as an integrator's while they fit into 24 bits.
            node = Integrator(self.shape)
            self._check_range(name, synapse, 1.0)
        elif i_decay == DECAY_UNITY:
            node = LIF(self.shape, decay, np.asarray(threshold), compare="gt")
        else:
            current = np.asarray((DECAY_UNITY - i_decay) / DECAY_UNITY)
            node = CubaLIF(self.shape, decay, np.asarray(threshold), compare="gt", current_decay=current)
        if last and isinstance(node, LIF) and threshold > THRESHOLD_LIMIT:
            rule = "the last layer never fires, so the network's output is zero; what it computes is its membrane"
            self._warn(name, rule, f"vThMant {threshold}", f"read membrane/{name} of --trace-membrane")
        self._add(name, node)
        self.edges += [(source, name) for source in sources if (source, name) not in self.edges]
        self.built = True
        return name

    def _check_range(self, name: str, synapse: Conv2d | Linear, decay: float) -> None:
        """The integrator and netx's neuron agree while the state stays below the limit: for how many steps?"""
        weight, bias = synapse.weight.reshape(synapse.weight.shape[0], -1), synapse.bias
        most = float(
            max((np.maximum(weight, 0).sum(1) + bias).max(), (np.maximum(-weight, 0).sum(1) - bias).max(), 1.0)
        )
        if decay < 1 and most / (1 - decay) <= THRESHOLD_LIMIT:
            return
        steps = int(THRESHOLD_LIMIT // most)
        if self.timesteps is None or self.timesteps > steps:
            rule = "this readout is netx's, number for number, as long as it stays within 17 bits"
            self._warn(name, f"{rule}; proven for {steps} timesteps", self.timesteps or "unknown T", "fewer timesteps")

    def _warn(self, node: str, rule: str, measured: object, fix: str) -> None:
        self.findings.append(Finding(LEFT_OPEN, "warning", node, rule, str(measured), None, "", fix))
