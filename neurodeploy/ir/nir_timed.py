"""The numbers of neurons, thresholds and delays as a NIR file says them, in NIR's words and without NIR's classes.

The writer makes nodes of them; the reader compares a file of ours with them, so that another tool's change to the
numbers or to our notes does not go unseen. :mod:`~neurodeploy.ir.nir_write` says why they are what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nir_neurons import CURRENT_NUMBERS, INTEGRATOR_NUMBERS, LIF_NUMBERS
from neurodeploy.ir.nodes import LIF, CubaLIF, Delay, Integrator, Node, Shape, Threshold

Numbers = dict[str, np.ndarray]


def timed_numbers(graph: Graph, name: str, node: Node) -> tuple[str, Numbers]:
    """The NIR type of a node of :data:`NUMBERS`, and its fields by their NIR names.

    Raises:
        UnsupportedError: A neuron that both leaks and does not, or whose decay is above 1 (ND201).
    """
    return NUMBERS[type(node)](graph, name, node)


def unsayable(name: str, what: str, fix: str) -> UnsupportedError:
    """What NIR has no word for (ND201)."""
    return UnsupportedError("ND201", what, where=name, fix=fix)


def is_longer(graph: Graph, name: str) -> bool:
    """Whether a Delay is written one step longer: every edge into it is late."""
    return all((source, name) in graph.recurrent for source in graph.sources(name))


def _full(node: Node, shape: Shape, keys: tuple[str, ...]) -> Numbers:
    return {key: np.array(np.broadcast_to(getattr(node, key), shape)) for key in keys}


def _leak(name: str, decay: np.ndarray) -> np.ndarray:
    """``1 − decay``, for neurons that all leak (ND201 otherwise)."""
    if np.any(decay >= 1.0):
        raise unsayable(
            name,
            f"NIR cannot say a decay of {float(np.max(decay)):g} here: neurons that leak beside others that do not, "
            "an integrating neuron with an offset or a current, or a decay above 1",
            "set every decay of this layer below 1, or leave its offset and current out",
        )
    return 1.0 - decay


def _lif(graph: Graph, name: str, node: LIF) -> tuple[str, Numbers]:
    shape = node.shape
    notes = _full(node, shape, LIF_NUMBERS)
    if np.all(node.decay == 1.0) and np.all(node.offset == 0.0):
        return "IF", {
            "r": notes["gain"] / graph.dt,
            "v_threshold": _portable(notes["threshold"], np.ones(shape), node.compare, graph.arithmetic),
            "v_reset": notes["v_reset"].astype(np.float32),
        }
    leak = _leak(name, notes["decay"])
    tau = graph.dt / leak
    if np.all(node.gain == 1.0):  # r = 1: the reader's membrane is leak times ours
        unit: np.ndarray = leak
        r: np.ndarray = np.ones(shape, np.float32)
    else:
        unit, r = np.ones(shape), notes["gain"] / leak
    return "LIF", {
        "tau": tau,
        "r": r,
        "v_leak": (notes["offset"] * unit / leak).astype(np.float32),
        "v_threshold": _portable(notes["threshold"], unit, node.compare, graph.arithmetic),
        "v_reset": (notes["v_reset"] * unit).astype(np.float32),
    }


def _cuba(graph: Graph, name: str, node: CubaLIF) -> tuple[str, Numbers]:
    shape = node.shape
    notes = _full(node, shape, (*LIF_NUMBERS, *CURRENT_NUMBERS))
    leak, current_leak = _leak(name, notes["decay"]), _leak(name, notes["current_decay"])
    return "CubaLIF", {
        "tau_syn": graph.dt / current_leak,
        "tau_mem": graph.dt / leak,
        "r": notes["gain"] / leak,
        "v_leak": notes["offset"] / leak,
        "v_threshold": _portable(notes["threshold"], np.ones(shape), node.compare, graph.arithmetic),
        "v_reset": notes["v_reset"].astype(np.float32),
        "w_in": notes["current_gain"] / current_leak,
    }


def _portable(threshold: np.ndarray, unit: np.ndarray, compare: str, arithmetic: str) -> np.ndarray:
    """The threshold for readers that compare with ``>``; see :mod:`~neurodeploy.ir.nir_write`."""
    if arithmetic == "loihi":
        return ((threshold + 2.0**-7) * unit).astype(np.float32)
    scaled = (threshold * unit).astype(np.float32)
    return np.nextafter(scaled, np.float32(-np.inf)) if compare == "ge" else scaled


def _integrator(graph: Graph, name: str, node: Integrator) -> tuple[str, Numbers]:
    notes = _full(node, node.shape, INTEGRATOR_NUMBERS)
    if np.all(node.decay == 1.0) and np.all(node.offset == 0.0):
        return "I", {"r": notes["gain"] / graph.dt}
    leak = _leak(name, notes["decay"])
    return "LI", {"tau": graph.dt / leak, "r": notes["gain"] / leak, "v_leak": notes["offset"] / leak}


def _threshold(graph: Graph, name: str, node: Threshold) -> tuple[str, Numbers]:
    threshold = np.array(np.broadcast_to(node.threshold, node.shape))
    return "Threshold", {"threshold": _portable(threshold, np.ones(node.shape), node.compare, "float32")}


def _delay(graph: Graph, name: str, node: Delay) -> tuple[str, Numbers]:
    steps = np.broadcast_to(node.steps, node.shape) + is_longer(graph, name)
    return "Delay", {"delay": steps * graph.dt}


#: Node kinds whose numbers depend on dt or on how a neuron compares.
NUMBERS: Mapping[type, Callable[[Graph, str, Any], tuple[str, Numbers]]] = {
    Delay: _delay,
    Threshold: _threshold,
    LIF: _lif,
    CubaLIF: _cuba,
    Integrator: _integrator,
}
