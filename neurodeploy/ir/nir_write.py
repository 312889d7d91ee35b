"""Graph -> NIR (https://neuroir.org, nir 1.0.8): the only graph format on disk.

What NIR cannot say (timesteps, dt, comparison, reset, arithmetic, scales) travels in ``metadata["neurodeploy"]`` of the
graph and of its nodes, and ``from_nir(to_nir(g)) == g``. The numbers are written so that a plain NIR reader, forward
Euler at the stated dt, sees the same spikes:

* LIF: ``tau = dt/(1 − decay)`` in float64, ``r = 1``: the reader's membrane is ``(1 − decay)`` times ours, so
  thresholds and reset values are scaled by that factor. Readers that ignore ``r`` then agree with those that use it.
* CubaLIF: ``r = gain/(1 − decay)``, ``w_in = current_gain/(1 − current_decay)``: with both gains 1 these are
  ``tau_mem/dt`` and ``tau_syn/dt``, the only values that snnTorch and SpikingJelly take, and current and membrane are
  ours.
* NIR fires strictly above the threshold, the papers at it: for ``ge`` the threshold written (of LIF, IF, CubaLIF and
  Threshold) is the float32 just below. For integer graphs it lies half a unit of the state above the integer, where
  ``>`` and ``>=`` mean the same.
* Flatten counts its axes from the end, every synapse has a bias (``Affine``, ``Conv1d``, ``Conv2d``), and a plain
  accumulator before the Output is left out: the file ends in the last synapse, the host adds up. Other integrators are
  ``I`` and ``LI``.
* A recurrent edge is an edge of a cycle wherever the reading rule (:mod:`~neurodeploy.ir.nir_cycles`) finds it again; a
  Delay behind it is one step longer; any other late edge becomes a Delay node of one step.
* ReLU and MaxPool2d are no NIR nodes. They stand in the host's part under these types, which every plain reader
  refuses.

NIR's own shape inference is wrong for non-square and grouped kernels (nir 1.0.8), so graphs are built with
``type_check=False`` and shapes are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.files import write_atomic
from neurodeploy.ir import nodes as ours
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nir_cycles import late_edges
from neurodeploy.ir.nir_file import KEY, SCHEMA
from neurodeploy.ir.nir_neurons import CURRENT_NUMBERS, INTEGRATOR_NUMBERS, LIF_NUMBERS
from neurodeploy.ir.nir_timed import NUMBERS, is_longer, timed_numbers, unsayable
from neurodeploy.ir.nodes import LIF, AvgPool2d, CubaLIF, Delay, Input, Integrator, Node, SumPool2d, Threshold


@dataclass(eq=False)
class ReLU(nir.NIRNode):
    """``y = max(x, 0)``: not a node of NIR; ``nir.read`` refuses the type."""

    def __post_init__(self) -> None:
        self.input_type, self.output_type = {"input": None}, {"output": None}


@dataclass(eq=False)
class MaxPool2d(nir.NIRNode):
    """The largest value of each window: not a node of NIR; ``nir.read`` refuses the type."""

    kernel_size: np.ndarray
    stride: np.ndarray
    padding: np.ndarray

    def __post_init__(self) -> None:
        self.input_type, self.output_type = {"input": None}, {"output": None}


def to_nir(graph: Graph) -> nir.NIRGraph:
    """The portable NIR form of ``graph``.

    Raises:
        UnsupportedError: A node that NIR cannot say (ND201): an unfolded norm, a neuron that both leaks and does not.
    """
    readout = _readout(graph)
    written = graph.without(readout) if readout else graph
    inserted = _inserted_delays(written)
    names = [*written.nodes]
    nodes: dict[str, Any] = {}
    for index, name in enumerate(names):
        node = written.nodes[name]
        nodes[name] = write_node(written, name, node)
        nodes[name].metadata[KEY] = {"index": index, **_node_notes(node)}
    for index, ((source, _), name) in enumerate(inserted.items(), len(names)):
        nodes[name] = nir.Delay(np.full(written.shapes[source], graph.dt))
        nodes[name].metadata[KEY] = {"index": index, "inserted": 1, "steps": 1.0}
    edges: list[Edge] = []
    for edge in written.edges:
        middle = inserted.get(edge)
        edges += [edge] if middle is None else [(edge[0], middle), (middle, edge[1])]
    notes: dict[str, Any] = {"schema": SCHEMA, "dt": graph.dt, "arithmetic": graph.arithmetic}
    if graph.origin:
        notes["origin"] = graph.origin
    if graph.timesteps is not None:
        notes["timesteps"] = graph.timesteps
    if graph.scales:
        notes["scales"] = {name: float(scale) for name, scale in graph.scales.items()}
    if readout:
        notes["readout"] = {"name": readout, "kind": "integrator", "decay": 1.0}
    if written.recurrent:
        notes["recurrent"] = [list(edge) for edge in written.edges if edge in written.recurrent]
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata={KEY: notes}, type_check=False)


def write_nir(graph: Graph, path: Path) -> None:
    """Write ``graph`` to a ``.nir`` file, atomically. The same graph gives the same bytes."""
    written = to_nir(graph)
    write_atomic(path, lambda temporary: nir.write(temporary, written))


def write_node(graph: Graph, name: str, node: Node) -> Any:
    """The NIR node of ``name``, without notes."""
    writer = _WRITERS.get(type(node))
    if writer is None:
        raise unsayable(name, f"NIR has no node for {node.kind}", "fold it first (norms into weights)")
    return writer(graph, name, node)


def _readout(graph: Graph) -> str | None:
    """The accumulator (no leak, no gain, no offset) that alone feeds the Output and nothing else, if there is one."""
    sources = graph.sources(graph.output)
    if len(sources) != 1:
        return None
    name, node = sources[0], graph.nodes[sources[0]]
    if (
        not isinstance(node, Integrator)
        or graph.targets(name) != (graph.output,)
        or (name, graph.output) in graph.recurrent
    ):
        return None
    plain = np.all(node.decay == 1.0) and np.all(node.gain == 1.0) and np.all(node.offset == 0.0)
    return name if plain else None


# ---------------------------------------------------------------------------------------------------------------------
# late edges


def _inserted_delays(graph: Graph) -> dict[Edge, str]:
    """Late edges that a reader of the file would not find again -> the name of a Delay node that stands for each."""
    if not graph.recurrent:
        return {}
    longer = {name for name in graph.names(Delay) if is_longer(graph, name)}
    plain = [edge for edge in graph.edges if edge in graph.recurrent and edge[1] not in longer]
    kinds = {name: _nir_type(node) for name, node in graph.nodes.items()}
    steps = {name: graph.nodes[name].steps for name in graph.names(Delay)}  # type: ignore[attr-defined]
    delayed = [name for name, count in steps.items() if name in longer or np.all(count >= 1)]
    try:
        found = {edge for edge in late_edges(kinds, graph.edges, delayed) if edge[1] not in longer}
    except UnsupportedError:
        found = None
    if found == set(plain):
        return {}
    names: dict[Edge, str] = {}
    for source, target in plain:
        name = f"{source}_{target}_late"
        while name in graph.nodes or name in names.values():
            name += "_"
        names[source, target] = name
    return names


def _nir_type(node: Node) -> str:
    if isinstance(node, Integrator):
        return "LI"
    return "Affine" if isinstance(node, ours.Linear) else type(node).__name__


# ---------------------------------------------------------------------------------------------------------------------
# nodes


def _node_notes(node: Node) -> dict[str, Any]:
    if isinstance(node, Input):
        return {"values": node.values}
    keys: tuple[str, ...] = ()
    words: dict[str, Any] = {}
    if isinstance(node, LIF):
        keys = LIF_NUMBERS + (CURRENT_NUMBERS if isinstance(node, CubaLIF) else ())
        words = {"compare": node.compare, "reset": node.reset}
        if node.spikes != "single":
            words["spikes"] = node.spikes
    elif isinstance(node, Threshold):
        keys, words = ("threshold",), {"compare": node.compare}
    elif isinstance(node, Integrator):
        keys = INTEGRATOR_NUMBERS
    elif isinstance(node, Delay):
        keys = ("steps",)
    arrays = {name: np.asarray(getattr(node, name), np.float64) for name in keys}
    # h5py compresses arrays, not scalars: a 0-d array is written as a number.
    return {**words, **{name: array if array.ndim else float(array) for name, array in arrays.items()}}


def _write_timed(graph: Graph, name: str, node: Node) -> Any:
    kind, numbers = timed_numbers(graph, name, node)
    return getattr(nir, kind)(**numbers)


def _write_conv1d(graph: Graph, name: str, node: ours.Conv1d) -> Any:
    length = graph.input_shape(name)[1]
    return nir.Conv1d(length, node.weight, node.stride, node.padding, node.dilation, node.groups, node.bias)


def _write_conv2d(graph: Graph, name: str, node: ours.Conv2d) -> Any:
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
    kinds: Mapping[type, Any] = {AvgPool2d: nir.AvgPool2d, ours.MaxPool2d: MaxPool2d}
    kind = kinds.get(type(node), nir.SumPool2d)
    return kind(np.array(node.kernel), np.array(node.stride), np.array(node.padding))


def _write_flatten(graph: Graph, name: str, node: ours.Flatten) -> Any:
    shape = graph.input_shape(name)
    return nir.Flatten({"input": np.array(shape)}, -len(shape), -1)


_WRITERS: dict[type, Callable[[Graph, str, Any], Any]] = {
    Input: lambda graph, name, node: nir.Input({"input": np.array(node.shape)}),
    ours.Output: lambda graph, name, node: nir.Output({"output": np.array(graph.shapes[name])}),
    ours.Conv1d: _write_conv1d,
    ours.Conv2d: _write_conv2d,
    ours.Linear: lambda graph, name, node: nir.Affine(node.weight, node.bias),
    ours.Scale: lambda graph, name, node: nir.Scale(np.array(np.broadcast_to(node.scale, node.shape))),
    SumPool2d: _write_pool,
    AvgPool2d: _write_pool,
    ours.MaxPool2d: _write_pool,
    ours.Flatten: _write_flatten,
    ours.ReLU: lambda graph, name, node: ReLU(),
    **dict.fromkeys(NUMBERS, _write_timed),
}
