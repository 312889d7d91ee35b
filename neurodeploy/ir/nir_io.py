"""Graph <-> NIR (https://neuroir.org, nir 1.0.8): the only graph format on disk.

What NIR cannot say (timesteps, dt, comparison, reset, arithmetic, scales) travels in ``metadata["neurodeploy"]`` of the
graph and of its nodes, and ``from_nir(to_nir(g)) == g``. The numbers are written so that a plain NIR reader, forward
Euler at the stated dt, sees the same spikes:

* ``tau = dt/(1 − decay)`` in float64, ``r = 1``: the reader's membrane is ``(1 − decay)`` times ours, so thresholds and
  reset values are scaled by that factor. Readers that ignore ``r`` then agree with those that use it.
* NIR fires strictly above the threshold, the papers at it: for ``ge`` the threshold written is the float32 just below.
  For integer graphs it lies half a unit of the state above the integer, where ``>`` and ``>=`` mean the same.
* ``Flatten(-3, -1)``, every synapse with a bias (``Affine``, ``Conv2d``), and an integrator before the Output left out:
  the file ends in the last synapse, the host adds up.

NIR's own shape inference is wrong for non-square and grouped kernels (nir 1.0.8), so graphs are built with
``type_check=False`` and shapes are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np

from neurodeploy.diagnostics import UnsupportedError, UsageError
from neurodeploy.files import write_atomic
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Integrator,
    Linear,
    Node,
    Output,
    Shape,
    SumPool2d,
)

#: Version of ``metadata["neurodeploy"]``; a reader refuses a newer one.
SCHEMA = 1
KEY = "neurodeploy"
DEFAULT_DT = 1e-4
LIF_NUMBERS = ("decay", "threshold", "gain", "offset", "v_reset")


@dataclass(frozen=True)
class ReadOptions:
    """What a foreign file leaves open, with the defaults of the contract; None: as the file says.

    Attributes:
        dt: Seconds per step; foreign files: 1e-4.
        reset: ``zero``, ``subtract`` or ``v_reset`` (foreign files: ``v_reset``).
        compare: ``ge`` or ``gt`` (foreign files: ``gt``).
        input_kind: ``binary``, ``integer`` or ``real`` (foreign files: ``real``).
        timesteps: T, where the file does not say.
    """

    dt: float | None = None
    reset: str | None = None
    compare: str | None = None
    input_kind: str | None = None
    timesteps: int | None = None


# ---------------------------------------------------------------------------------------------------------------------
# writing


def to_nir(graph: Graph) -> nir.NIRGraph:
    """The portable NIR form of ``graph``.

    Raises:
        UnsupportedError: A node that NIR cannot say (ND201): an unfolded norm, an integrator inside the network.
    """
    readout = _readout(graph)
    written = graph.without(readout) if readout else graph
    nodes: dict[str, Any] = {}
    for index, (name, node) in enumerate(written.nodes.items()):
        writer = _WRITERS.get(type(node))
        if writer is None:
            raise UnsupportedError(
                "ND201",
                f"NIR has no node for {node.kind}",
                where=name,
                fix="fold it first (norms into weights), or move it to the end of the network (integrators)",
            )
        nodes[name] = writer(graph, name, node)
        nodes[name].metadata[KEY] = {"index": index, **_node_notes(node)}
    notes: dict[str, Any] = {"schema": SCHEMA, "dt": graph.dt, "arithmetic": graph.arithmetic}
    if graph.origin:
        notes["origin"] = graph.origin
    if graph.timesteps is not None:
        notes["timesteps"] = graph.timesteps
    if graph.scales:
        notes["scales"] = {name: float(scale) for name, scale in graph.scales.items()}
    if readout:
        node = graph.nodes[readout]
        assert isinstance(node, Integrator)
        notes["readout"] = {"name": readout, "kind": "integrator", "decay": float(node.decay)}
    return nir.NIRGraph(nodes=nodes, edges=list(written.edges), metadata={KEY: notes}, type_check=False)


def write_nir(graph: Graph, path: Path) -> None:
    """Write ``graph`` to a ``.nir`` file, atomically. The same graph gives the same bytes."""
    written = to_nir(graph)
    write_atomic(path, lambda temporary: nir.write(temporary, written))


def _readout(graph: Graph) -> str | None:
    """The integrator that alone feeds the Output and nothing else, if there is one."""
    sources = graph.sources(graph.output)
    if len(sources) == 1 and isinstance(graph.nodes[sources[0]], Integrator):
        name = sources[0]
        if graph.targets(name) == (graph.output,):
            return name
    return None


def _node_notes(node: Node) -> dict[str, Any]:
    if isinstance(node, Input):
        return {"values": node.values}
    if isinstance(node, LIF):
        arrays = {name: getattr(node, name) for name in LIF_NUMBERS}
        # h5py compresses arrays, not scalars: a 0-d array is written as a number.
        numbers = {name: array if array.ndim else float(array) for name, array in arrays.items()}
        return {"compare": node.compare, "reset": node.reset, **numbers}
    return {}


def _write_lif(graph: Graph, name: str, node: LIF) -> Any:
    shape = node.shape
    notes = {k: np.broadcast_to(getattr(node, k), shape) for k in LIF_NUMBERS}
    if np.any(node.decay >= 1.0):
        if np.any(node.decay != 1.0) or np.any(node.offset != 0.0):
            raise UnsupportedError(
                "ND201",
                "NIR cannot say a decay above 1 or an IF neuron with an offset",
                where=name,
                fix="set decay < 1",
            )
        threshold = _portable_threshold(notes["threshold"], np.ones(shape), node.compare, graph.arithmetic)
        return nir.IF(r=notes["gain"] / graph.dt, v_threshold=threshold, v_reset=notes["v_reset"].astype(np.float32))
    leak = 1.0 - notes["decay"]
    tau = graph.dt / leak
    if np.all(node.gain == 1.0):  # r = 1: the reader's membrane is leak times ours
        unit: np.ndarray = leak
        r: np.ndarray = np.ones(shape, np.float32)
    else:
        unit, r = np.ones(shape), notes["gain"] / leak
    return nir.LIF(
        tau=tau,
        r=r,
        v_leak=(notes["offset"] * unit / leak).astype(np.float32),
        v_threshold=_portable_threshold(notes["threshold"], unit, node.compare, graph.arithmetic),
        v_reset=(notes["v_reset"] * unit).astype(np.float32),
    )


def _portable_threshold(threshold: np.ndarray, unit: np.ndarray, compare: str, arithmetic: str) -> np.ndarray:
    """The threshold for readers that compare with ``>``; see the module's docstring."""
    if arithmetic == "loihi":
        return ((threshold + 2.0**-7) * unit).astype(np.float32)
    scaled = (threshold * unit).astype(np.float32)
    return np.nextafter(scaled, np.float32(-np.inf)) if compare == "ge" else scaled


def _write_conv(graph: Graph, name: str, node: Conv2d) -> Any:
    shape = graph.input_shape(name)
    return nir.Conv2d(
        input_shape=(shape[1], shape[2]),
        weight=node.weight,
        stride=node.stride,
        padding=node.padding,
        dilation=node.dilation,
        groups=node.groups,
        bias=node.bias,
    )


def _write_pool(graph: Graph, name: str, node: SumPool2d) -> Any:
    kind = nir.AvgPool2d if isinstance(node, AvgPool2d) else nir.SumPool2d
    return kind(np.array(node.kernel), np.array(node.stride), np.array(node.padding))


_WRITERS: dict[type, Callable[[Graph, str, Any], Any]] = {
    Input: lambda graph, name, node: nir.Input({"input": np.array(node.shape)}),
    Output: lambda graph, name, node: nir.Output({"output": np.array(graph.shapes[name])}),
    Conv2d: _write_conv,
    Linear: lambda graph, name, node: nir.Affine(node.weight, node.bias),
    SumPool2d: _write_pool,
    AvgPool2d: _write_pool,
    Flatten: lambda graph, name, node: nir.Flatten({"input": np.array(graph.input_shape(name))}, -3, -1),
    LIF: _write_lif,
}


# ---------------------------------------------------------------------------------------------------------------------
# reading


def read_nir(path: Path, options: ReadOptions | None = None) -> Graph:
    """Read a ``.nir`` file, ours or foreign.

    Raises:
        UsageError: Not readable (ND103), not a NIR file (ND104), shapes that do not meet (ND105).
        UnsupportedError: A node kind this version does not read (ND201), naming it.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(8)
    except OSError as error:
        raise UsageError("ND103", f"cannot be read: {error.strerror}", where=str(path), fix="check the path") from error
    if magic != b"\x89HDF\r\n\x1a\n":
        raise UsageError(
            "ND104", "not a NIR file: it does not begin as HDF5 does", where=str(path), fix="write it with nir.write"
        )
    try:
        read = nir.read(path, type_check=False)
    except Exception as error:  # nir and h5py raise whatever a broken file leads them to
        raise UsageError(
            "ND104",
            f"not a whole NIR file: {type(error).__name__}: {error}",
            where=str(path),
            fix="copy it again (truncated?), or write it with nir >= 1.0.8",
        ) from error
    try:
        return from_nir(read, options, where=str(path))
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            "ND104",
            f"something in this NIR file is not of the kind that NIR says: {type(error).__name__}: {error}",
            where=str(path),
            fix="write it again with nir >= 1.0.8",
        ) from error


def is_ours(path: Path) -> bool:
    """Whether neurodeploy wrote a ``.nir`` file: its notes are in the metadata."""
    with h5py.File(path, "r") as file:
        return f"node/metadata/{KEY}" in file


def from_nir(read: nir.NIRGraph, options: ReadOptions | None = None, *, where: str = "NIR graph") -> Graph:
    """The graph of a NIR graph; what the file leaves open comes from ``options``."""
    options = options or ReadOptions()
    notes = _plain(read.metadata.get(KEY, {}))
    if notes and int(notes.get("schema", 0)) > SCHEMA:
        raise UsageError(
            "ND104",
            f"written by a newer neurodeploy (metadata schema {notes['schema']}, this one reads {SCHEMA})",
            where=where,
            fix="update neurodeploy",
        )
    own_dt = float(notes.get("dt", DEFAULT_DT))
    dt = own_dt if options.dt is None else options.dt
    reader = _Reader(dt, str(notes.get("arithmetic", "float32")), trust=bool(notes) and dt == own_dt)
    known = {name: _plain(node.metadata.get(KEY, {})) for name, node in read.nodes.items()}
    names = sorted(read.nodes, key=lambda n: (int(known[n].get("index", 1 << 30)), n))
    edges: list[Edge] = [(str(a), str(b)) for a, b in read.edges]
    unread = [name for name in names if type(read.nodes[name]).__name__ not in _READERS]
    if unread:
        kinds = ", ".join(f"`{n}` is {type(read.nodes[n]).__name__}" for n in unread)
        raise UnsupportedError(
            "ND201",
            f"this version cannot read these NIR nodes: {kinds}",
            where=where,
            fix="readable: " + ", ".join(sorted(_READERS)) + "; rewrite the network with those",
        )
    nodes = {
        name: _READERS[type(read.nodes[name]).__name__](reader, name, read.nodes[name], known[name]) for name in names
    }
    graph = Graph(
        nodes=nodes,
        edges=tuple(edges),
        timesteps=int(notes["timesteps"]) if "timesteps" in notes else None,
        dt=dt,
        arithmetic=str(notes.get("arithmetic", "float32")),
        scales={str(k): float(v) for k, v in notes.get("scales", {}).items()},
        origin=str(notes.get("origin", "")),
    )
    _ = graph.input, graph.output  # exactly one each, or ND212
    _check_numbers(graph, where)
    if reader.trust:
        _check_notes(graph, read, where)
    if "readout" in notes:
        graph = _with_readout(graph, notes["readout"])
    return apply_options(graph, options)


def apply_options(graph: Graph, options: ReadOptions) -> Graph:
    """The graph with the options that were given; a flag wins over what the file says."""
    changed: dict[str, Node] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, Input) and options.input_kind is not None:
            changed[name] = replace(node, values=options.input_kind)  # type: ignore[arg-type]
        if isinstance(node, LIF):
            new = node
            if options.compare is not None:
                new = replace(new, compare=options.compare)  # type: ignore[arg-type]
            if options.reset is not None:
                new = replace(new, reset="subtract" if options.reset == "subtract" else "to")
            if options.reset == "zero":
                new = replace(new, v_reset=np.asarray(0.0))
            changed[name] = new
    timesteps = graph.timesteps if options.timesteps is None else options.timesteps
    return replace(graph.with_nodes(changed), timesteps=timesteps)


def _plain(value: Any) -> Any:
    """Metadata as it was written: bytes to str, nested."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return value.decode() if isinstance(value, bytes) else value


@dataclass(frozen=True)
class _Reader:
    """dt and arithmetic of the file; ``trust``: neuron parameters come from our notes, not from NIR's rounded ones."""

    dt: float
    arithmetic: str
    trust: bool

    def input(self, name: str, node: Any, notes: dict[str, Any]) -> Input:
        shape = tuple(int(n) for n in np.atleast_1d(next(iter(node.input_type.values()))))
        return Input(shape, str(notes.get("values", "real")))  # type: ignore[arg-type]

    def output(self, name: str, node: Any, notes: dict[str, Any]) -> Output:
        return Output()

    def conv(self, name: str, node: Any, notes: dict[str, Any]) -> Conv2d:
        weight = np.asarray(node.weight)
        dilation = _steps(name, "dilation", node.dilation)
        return Conv2d(
            weight,
            np.broadcast_to(np.asarray(node.bias), weight.shape[:1]).astype(weight.dtype),
            _steps(name, "stride", node.stride),
            _padding(name, node.padding, weight.shape[2:], dilation),
            dilation,
            int(node.groups),
        )

    def linear(self, name: str, node: Any, notes: dict[str, Any]) -> Linear:
        weight = np.asarray(node.weight)
        bias = getattr(node, "bias", None)
        full = np.zeros(weight.shape[0]) if bias is None else np.broadcast_to(np.asarray(bias), weight.shape[:1])
        return Linear(weight, full.astype(weight.dtype))

    def pool(self, name: str, node: Any, notes: dict[str, Any]) -> SumPool2d:
        kind = AvgPool2d if type(node).__name__ == "AvgPool2d" else SumPool2d
        window = _steps(name, "kernel_size", node.kernel_size)
        return kind(window, _steps(name, "stride", node.stride), _pair(node.padding))

    def flatten(self, name: str, node: Any, notes: dict[str, Any]) -> Flatten:
        shape = np.atleast_1d(next(iter(node.input_type.values())))
        start, end = int(node.start_dim), int(node.end_dim)
        # Shapes have no batch axis in NIR, but several writers count one and mean "everything" by start_dim = 1.
        if (start != 1 and start % len(shape) != 0) or end % len(shape) != len(shape) - 1:
            raise UnsupportedError(
                "ND201", f"flattens only axes {start}…{end} of {shape.tolist()}", where=name, fix="flatten all axes"
            )
        return Flatten()

    def lif(self, name: str, node: Any, notes: dict[str, Any]) -> LIF:
        shape = tuple(np.shape(node.v_threshold))
        if self.trust and "decay" in notes:
            numbers = {k: np.asarray(notes[k]) for k in LIF_NUMBERS}
            return LIF(shape, **numbers, compare=str(notes["compare"]), reset=str(notes["reset"]))  # type: ignore[arg-type]
        v_reset = np.zeros(shape) if node.v_reset is None else np.asarray(node.v_reset)
        threshold = np.asarray(node.v_threshold)
        if type(node).__name__ == "IF":
            gain = np.asarray(node.r) * self.dt
            if "decay" not in notes:
                return LIF(shape, np.asarray(1.0), threshold, gain=gain, v_reset=v_reset, compare="gt")
            said = {key: str(notes[key]) for key in ("compare", "reset")}
            threshold, v_reset = np.asarray(notes["threshold"]), np.asarray(notes["v_reset"])
            return LIF(shape, np.asarray(1.0), threshold, gain=gain, v_reset=v_reset, **said)  # type: ignore[arg-type]
        tau = np.asarray(node.tau, np.float64)
        if not np.all(tau > 0):
            bad = float(tau[~(tau > 0)].flat[0])
            raise UsageError("ND114", f"tau is {bad:g} s", where=name, fix="a time constant is a positive number")
        rate = self.dt / tau
        if np.any(rate > 1.0):
            raise UsageError(
                "ND114",
                f"dt = {self.dt:g} s is longer than tau = {float(np.min(tau)):g} s: forward Euler diverges",
                where=name,
                fix=f"pass --dt {float(np.min(tau)) / 4:g} or smaller; the file may count time in other units",
            )
        if "decay" not in notes:
            return LIF(
                shape,
                1.0 - rate,
                threshold,
                gain=np.asarray(node.r) * rate,
                offset=np.asarray(node.v_leak) * rate,
                v_reset=v_reset,
                compare="gt",
            )
        # Our own file at another dt: only what depends on dt changes. The file's membrane is `unit` times ours.
        unit = 1.0 - np.asarray(notes["decay"]) if np.all(np.asarray(notes["gain"]) == 1.0) else np.asarray(1.0)
        return LIF(
            shape,
            1.0 - rate,
            np.asarray(notes["threshold"]),
            gain=np.asarray(node.r) * rate / unit,
            offset=np.asarray(node.v_leak) * rate / unit,
            v_reset=np.asarray(notes["v_reset"]),
            compare=str(notes["compare"]),  # type: ignore[arg-type]
            reset=str(notes["reset"]),  # type: ignore[arg-type]
        )


_READERS: dict[str, Callable[[_Reader, str, Any, dict[str, Any]], Node]] = {
    "Input": _Reader.input,
    "Output": _Reader.output,
    "Conv2d": _Reader.conv,
    "Linear": _Reader.linear,
    "Affine": _Reader.linear,
    "SumPool2d": _Reader.pool,
    "AvgPool2d": _Reader.pool,
    "Flatten": _Reader.flatten,
    "LIF": _Reader.lif,
    "IF": _Reader.lif,
}


def _pair(value: Any) -> tuple[int, int]:
    array = np.broadcast_to(np.atleast_1d(value), (2,))
    return int(array[0]), int(array[1])


def _steps(name: str, what: str, value: Any) -> tuple[int, int]:
    """A stride, dilation or window: at least 1 (ND104)."""
    pair = _pair(value)
    if min(pair) < 1:
        raise UsageError("ND104", f"`{name}`: {what} is {pair}", where=name, fix="at least 1")
    return pair


def _padding(name: str, value: Any, kernel: Shape, dilation: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(value, (str, bytes)):
        return _pair(value)
    word = value if isinstance(value, str) else value.decode()
    if word == "valid":
        return 0, 0
    total = [dilation[axis] * (kernel[axis] - 1) for axis in (0, 1)]
    if word != "same" or any(t % 2 for t in total):
        raise UnsupportedError(
            "ND201", f"padding {word!r} is not symmetric for kernel {kernel}", where=name, fix="give numbers"
        )
    return total[0] // 2, total[1] // 2


def _with_readout(graph: Graph, notes: dict[str, Any]) -> Graph:
    """Put the integrator back that the file left to the host."""
    name, output = str(notes["name"]), graph.output
    node = Integrator(graph.shapes[output], np.asarray(float(notes["decay"])))
    edges = tuple((a, name) if b == output else (a, b) for a, b in graph.edges)
    nodes: dict[str, Node] = {}
    for key, value in graph.nodes.items():
        if key == output:
            nodes[name] = node
        nodes[key] = value
    return replace(graph, nodes=nodes, edges=(*edges, (name, output)))


def _check_numbers(graph: Graph, where: str) -> None:
    """Every parameter is a finite number (ND104)."""
    for name, node in graph.nodes.items():
        for field in fields(node):
            value = getattr(node, field.name)
            if isinstance(value, np.ndarray) and not np.all(np.isfinite(value)):
                raise UsageError(
                    "ND104",
                    f"`{name}`: {field.name} holds nan or infinity",
                    where=where,
                    fix="write the file again from a network whose training did not diverge",
                )


def _check_notes(graph: Graph, read: nir.NIRGraph, where: str) -> None:
    """Our notes and the file's own numbers must agree: another tool may have changed one and not the other."""
    for name in graph.names(LIF):
        node = graph.nodes[name]
        assert isinstance(node, LIF)
        again, found = _write_lif(graph, name, node), read.nodes[name]
        for key in ("tau", "r", "v_leak", "v_threshold", "v_reset"):
            if hasattr(again, key) and not np.array_equal(getattr(again, key), getattr(found, key)):
                raise UsageError(
                    "ND104",
                    f"`{name}`: {key} in the file is not what neurodeploy's notes in the same file say",
                    where=where,
                    fix='another tool changed it: delete metadata["neurodeploy"] to read it as a plain NIR file',
                )
