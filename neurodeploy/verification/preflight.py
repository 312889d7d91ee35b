"""What a NIR reader cannot express, or would get wrong without saying so: asked before it runs.

Written for norse 1.1.0, snntorch 1.0.0, spikingjelly 2.0.0 over nirtorch 2.6: ``import_nir.py`` of Norse and
snnTorch, ``nir_exchange/from_nir.py`` of SpikingJelly, ``graph_executor.py`` and ``nir_interpreter.py`` of nirtorch.
The rules look at the nodes as the file holds them (:func:`~neurodeploy.ir.nir_io.to_nir`):

=====================  ============================  ============================  =================================
.                      Norse                         snnTorch                      SpikingJelly
=====================  ============================  ============================  =================================
nodes                  drops what it does not know   refuses what it does not      refuses what it does not know
dt                     given                         always 1e-4                   given
LIF                    ignores r: r must be 1        one threshold, one ``r/tau``  one value of each parameter, r = 1
                                                     a layer; v_leak 0             or tau/dt, v_leak = v_reset,
                                                                                   tau > dt
IF                     ignores r: r·dt must be 1     made a Leaky(0.9): refused    r·dt must be 1, one threshold
v_reset                ignored: must be 0            ignored: must be 0            also the start: must be 0
comparison             >                             >                             ≥
grouped convolution    inputs per group must be a    the same                      refused
                       multiple of the groups
SumPool2d              padding ignored               padding ignored               padding ignored
edges that add         only where its depth-first    yes                           yes
                       order runs every source first
recurrent edge         neuron → synapse without      a neuron's edge to itself     as Norse
                       bias → neuron
=====================  ============================  ============================  =================================

In an exact graph (``export --exact``) the coefficients that a reader makes of dt and tau must be exact too; elsewhere a
silent preflight means: the same network up to the rounding of float32.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from neurodeploy.diagnostics import Finding, UnsupportedError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.kinds import incoming_kind, value_kinds
from neurodeploy.ir.nir_io import to_nir
from neurodeploy.ir.nodes import LIF, SYNAPSES, CubaLIF
from neurodeploy.passes.exact_input import is_exact
from neurodeploy.passes.quantizable import exact_steps

#: Name for ``--with`` -> name for people.
TITLES = {"norse": "Norse", "snntorch": "snnTorch", "spikingjelly": "SpikingJelly"}
_EVERYWHERE = {"Input", "Output", "Affine", "Conv2d", "Flatten", "LIF", "CubaLIF", "SumPool2d"}
#: NIR nodes that each reader has.
NODES = {
    "norse": _EVERYWHERE | {"IF"},
    "snntorch": _EVERYWHERE | {"Conv1d", "AvgPool2d"},
    "spikingjelly": _EVERYWHERE | {"IF", "Conv1d", "AvgPool2d"},
}
SNNTORCH_DT = 1e-4
#: Nodes that a note names.
NAMED = 3
#: SpikingJelly divides by the float32 of tau/dt. A quotient that float32 holds comes out exactly if that is off by a
#: relative 2^-25 at most: the error then stays below half a unit in the last place.
DIVISOR_ERROR = Fraction(1, 2**25)

_Rule = tuple[str, object, object, str]  # rule, measured, limit, fix


def preflight(graph: Graph, reader: str) -> list[Finding]:
    """Why ``reader`` would not compute what ``graph`` means (ND242); empty if it does.

    Args:
        graph: The network as it is, or would be, written to ``network.nir``.
        reader: A key of :data:`TITLES`.
    """
    try:
        written = to_nir(graph)
    except UnsupportedError as error:
        return [_finding(reader, error.where, (error.message, "", "", error.fix))]
    found = [_finding(reader, "", rule) for rule in _file_rules(graph, reader, written)]
    kinds = {name: type(node).__name__ for name, node in written.nodes.items()}
    for name, node in written.nodes.items():
        if kinds[name] not in NODES[reader]:
            drops = {"norse": "leaves this node out without saying so", "snntorch": "refuses this node"}
            if reader == "snntorch" and kinds[name] == "IF":
                drops["snntorch"] = "makes a leaky neuron (beta = 0.9) of an IF"
            verb = drops.get(reader, "refuses this node")
            fix = "its nodes: " + ", ".join(sorted(NODES[reader]))
            found.append(_finding(reader, name, (verb, kinds[name], "", fix)))
        elif rules := _NODE_RULES.get(kinds[name]):
            found += [_finding(reader, name, rule) for rule in rules(graph, reader, name, node)]
    found += [_finding(reader, name, rule) for name, rule in _edge_rules(graph, reader, written)]
    return found


def readable_by(graph: Graph) -> list[Finding]:
    """One note that names the readers of ``graph``, and one for every kind of obstacle in the others (ND242)."""
    obstacles = {reader: preflight(graph, reader) for reader in TITLES}
    able = [TITLES[reader] for reader, findings in obstacles.items() if not findings]
    how = "the same bits" if is_exact(graph) else "the same network, up to float32 rounding"
    rule = f"network.nir is read by {', '.join(able)} ({how})" if able else "no reader of NIR that we know computes it"
    notes = [Finding("ND242", "note", "", rule, fix="neurodeploy verify ARTIFACT --with norse|snntorch|spikingjelly")]
    for findings in obstacles.values():
        for rule in dict.fromkeys(finding.rule for finding in findings):  # one line for all nodes of a rule
            same = [finding for finding in findings if finding.rule == rule]
            named = [finding.node for finding in same]
            where = ", ".join(named[:NAMED]) + (f" and {len(named) - NAMED} more" if len(named) > NAMED else "")
            notes.append(replace(same[0], node=where))
    return notes


def _finding(reader: str, node: str, rule: _Rule) -> Finding:
    what, measured, limit, fix = rule
    numbers = [value if isinstance(value, (int, float, str)) else str(value) for value in (measured, limit)]
    return Finding("ND242", "note", node, f"{TITLES[reader]} {what}", numbers[0], numbers[1], "", fix)


# ---------------------------------------------------------------------------------------------------------------------
# the file


def _file_rules(graph: Graph, reader: str, written: Any) -> Iterator[_Rule]:
    if reader == "snntorch" and graph.dt != SNNTORCH_DT:
        yield "reads every file at its own dt", f"{graph.dt:g} s", f"{SNNTORCH_DT:g} s", "write the file for dt = 1e-4"
    names = [module_name(name) for name in written.nodes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield "gives two nodes one name (dots become _)", ", ".join(twice), "", "rename one of them"


def module_name(node: str) -> str:
    """What nirtorch calls the module of a node."""
    name = node.replace(".", "_")
    return f"nir_node_{name}" if keyword.iskeyword(name) else name


# ---------------------------------------------------------------------------------------------------------------------
# nodes


def _conv_rules(graph: Graph, reader: str, name: str, node: Any) -> Iterator[_Rule]:
    groups, inputs = int(node.groups), node.weight.shape[1]
    if groups == 1:
        return
    if reader == "spikingjelly":
        yield "has no grouped convolution", f"{groups} groups", 1, "train without groups"
    elif inputs % groups:
        rule = "takes the inputs of one group for those of all, and that is no multiple of the groups"
        yield rule, f"{inputs} inputs, {groups} groups", "", "train without groups"


def _pool_rules(graph: Graph, reader: str, name: str, node: Any) -> Iterator[_Rule]:
    if np.any(np.asarray(node.padding) != 0):
        yield "ignores the padding of a SumPool2d", str(tuple(node.padding)), 0, "pad in the convolution instead"
    area = int(np.prod(node.kernel_size))
    if is_exact(graph) and not _divides_exactly(graph, name, area):
        rule = f"divides the sum by {area} and multiplies again, which rounds"
        yield rule, area, "", "a window of 2x2, 3x3, 4x4 or 6x6"


def _divides_exactly(graph: Graph, name: str, area: int) -> bool:
    """Whether ``(n/area)·area = n`` in float32 for every n that the window can hold.

    True for an area of at most two one-bits (Kahan's theorem; Goldberg 1991, Theorem 7); for others, and spikes, tried.
    """
    if bin(area).count("1") <= 2:
        return True
    kind = incoming_kind(graph, name, value_kinds(graph))
    if kind.most is None:
        return False
    sums = np.arange(area * kind.most + 1, dtype=np.float32)
    return bool(np.all(sums / np.float32(area) * np.float32(area) == sums))


def _neuron_rules(graph: Graph, reader: str, name: str, node: Any) -> Iterator[_Rule]:
    """IF, LIF and CubaLIF: first what all readers share, then each one's own."""
    ours = graph.nodes[name]
    assert isinstance(ours, LIF)
    if ours.reset != "to" or ours.spikes != "single":
        fix = "use a reset to zero and one spike a step"
        yield "resets to a value and fires one spike a step", f"{ours.reset}, {ours.spikes}", "to, single", fix
    if np.any(ours.v_reset != 0.0):
        why = "starts at the reset value" if reader == "spikingjelly" else "resets to zero whatever the file says"
        yield why, f"v_reset {np.max(np.abs(ours.v_reset)):g}", 0, "use a reset to zero"
    if graph.arithmetic == "loihi":
        yield from _truncation(graph, ours)
    yield from _OWN_RULES[reader](graph, node, ours)
    if is_exact(graph) and hasattr(node, "tau"):
        yield from _coefficient(graph, reader, np.asarray(node.tau, np.float64), ours)


def _truncation(graph: Graph, node: LIF) -> Iterator[_Rule]:
    """Readers do not truncate as the integer machine does; where there is nothing to truncate they need not."""
    steps = min(exact_steps(float(decay)) for decay in np.unique(node.decay))
    if isinstance(node, CubaLIF) or graph.timesteps is None or steps < graph.timesteps:
        measured = "unknown" if graph.timesteps is None else graph.timesteps
        yield "does not truncate the leak as the chip does", measured, steps, "fewer timesteps"


def _norse(graph: Graph, node: Any, ours: LIF) -> Iterator[_Rule]:
    kind = type(node).__name__
    if kind == "IF" and np.any(ours.gain != 1.0):
        yield "ignores r", f"r·dt {_some(ours.gain)}", 1, "put the gain into the weights"
    if kind == "LIF" and np.any(node.r != 1.0):
        yield "ignores r", f"r {_some(node.r)}", 1, "put the gain into the weights"
    if kind == "LIF" and np.any(node.v_leak != 0.0):
        yield "starts its membranes at v_leak", f"v_leak {_some(node.v_leak)}", 0, "put it into a bias"
    if kind == "CubaLIF" and np.any(node.v_leak != 0.0):
        yield "adds v_leak to the current too", f"v_leak {_some(node.v_leak)}", 0, "put it into a bias"


def _snntorch(graph: Graph, node: Any, ours: LIF) -> Iterator[_Rule]:
    kind = type(node).__name__
    if np.unique(node.v_threshold).size > 1:
        yield _uniform("threshold", node.v_threshold)
    if np.any(node.v_threshold <= 0.0):
        rule = "takes a membrane above the threshold for one that has fired: zero must lie below it"
        yield rule, f"threshold {_some(node.v_threshold)}", "above 0", "use a positive threshold"
    if np.any(node.v_leak != 0.0):
        yield "has no v_leak", f"v_leak {_some(node.v_leak)}", 0, "put it into a bias"
    if np.any(ours.decay < 0.0) or (isinstance(ours, CubaLIF) and np.any(ours.current_decay < 0.0)):
        yield "clamps a decay to 0 … 1", _some(ours.decay), 0, "use a dt below tau"
    if kind == "LIF":
        scale = np.asarray(node.r * (graph.dt / node.tau))
        if np.unique(scale).size > 1 and not np.allclose(scale, 1.0):
            yield _uniform("r·dt/tau", scale)
        elif np.any(scale <= 0.0):
            yield "divides the threshold by r·dt/tau", _some(scale), "above 0", "use a positive gain"
    else:
        if np.any(np.abs(ours.gain - 1.0) > 1e-5):
            yield "takes only r = tau_mem/dt", f"r·dt/tau_mem {_some(ours.gain)}", 1, "put the gain into the weights"
        assert isinstance(ours, CubaLIF)
        if np.unique(ours.current_gain).size > 1 and not np.allclose(ours.current_gain, 1.0):
            yield _uniform("w_in·dt/tau_syn", ours.current_gain)
        elif np.any(ours.current_gain <= 0.0):
            yield "divides the threshold by w_in·dt/tau_syn", _some(ours.current_gain), "above 0", "a positive gain"


def _spikingjelly(graph: Graph, node: Any, ours: LIF) -> Iterator[_Rule]:
    kind = type(node).__name__
    parameters = {"IF": ("r",), "LIF": ("tau", "r", "v_leak"), "CubaLIF": ("tau_syn", "tau_mem", "r", "w_in", "v_leak")}
    for key in (*parameters[kind], "v_threshold", "v_reset"):
        if np.unique(getattr(node, key)).size > 1:
            yield _uniform(key, getattr(node, key))
    if ours.compare == "gt" and graph.arithmetic != "loihi" and not is_exact(graph):
        rule = "fires at the threshold, this layer only above it"
        yield rule, "gt", "ge", "export --exact, which leaves no membrane on it"
    if kind == "IF":
        if not np.allclose(ours.gain, 1.0, rtol=1e-6, atol=0.0):
            yield "takes only r = 1/dt", f"r·dt {_some(ours.gain)}", 1, "put the gain into the weights"
        return
    if np.any(node.v_leak != 0.0):
        yield "takes only v_leak = v_reset = 0", f"v_leak {_some(node.v_leak)}", 0, "put it into a bias"
    if kind == "LIF":
        if np.any(node.tau / graph.dt <= 1.0):
            yield "takes only tau > dt", f"decay {_some(ours.decay)}", "above 0", "use a decay above 0"
        elif not any(np.allclose(node.r, r, rtol=1e-6, atol=0.0) for r in (1.0, node.tau / graph.dt)):
            yield "takes only r = 1 or tau/dt", f"r {_some(node.r)}", 1, "put the gain into the weights"
        return
    assert isinstance(ours, CubaLIF)
    for key, gain in (("r = tau_mem/dt", ours.gain), ("w_in = tau_syn/dt", ours.current_gain)):
        if not np.allclose(gain, 1.0, rtol=1e-6, atol=0.0):
            yield f"takes only {key}", f"{_some(gain)} of it", 1, "put the gain into the weights"
    if np.any(node.tau_syn < graph.dt) or np.any(node.tau_mem < graph.dt):
        yield "takes only time constants of at least dt", _some(ours.decay), 0, "use a decay of at least 0"


def _coefficient(graph: Graph, reader: str, tau: np.ndarray, ours: LIF) -> Iterator[_Rule]:
    """Exact graphs: what the reader makes of dt and tau, computed as it does."""
    tau, decay = (np.broadcast_to(a, ours.shape).reshape(-1) for a in (tau, ours.decay))
    tau, decay = np.unique(np.stack([tau, decay]), axis=1)
    if reader == "norse":  # dt · (1/float32(tau)), in float32
        made = np.float32(graph.dt) * (np.float32(1.0) / tau.astype(np.float32))
        wrong = made.astype(np.float64) != 1.0 - decay
    elif reader == "snntorch":  # beta = float32(1 − dt/tau)
        wrong = (1.0 - graph.dt / tau).astype(np.float32).astype(np.float64) != decay
    else:
        divisors = [Fraction(float(np.float32(t / graph.dt))) for t in tau]
        off = [abs(d * (1 - Fraction(float(k))) - 1) > DIVISOR_ERROR for d, k in zip(divisors, decay, strict=True)]
        wrong = np.asarray(off)
    if np.any(wrong):
        rule = "rounds dt/tau for this decay: its membranes are not exact"
        yield rule, f"decay {decay[wrong][0]:g}", "", "a decay of 0.25 or 0.5 is exact in every reader"


_OWN_RULES = {"norse": _norse, "snntorch": _snntorch, "spikingjelly": _spikingjelly}
_NODE_RULES: dict[str, Callable[[Graph, str, str, Any], Iterator[_Rule]]] = {
    "Conv1d": _conv_rules,
    "Conv2d": _conv_rules,
    "SumPool2d": _pool_rules,
    "IF": _neuron_rules,
    "LIF": _neuron_rules,
    "CubaLIF": _neuron_rules,
}


def _uniform(what: str, values: np.ndarray) -> _Rule:
    fix = "export with --fold weights" if "threshold" in what else "give the whole layer one value"
    return f"has one {what} for a whole layer", f"{values.min():g} … {values.max():g}", "one value", fix


def _some(array: np.ndarray) -> str:
    """The value of an array for a message: the one, or the ends."""
    low, high = float(np.min(array)), float(np.max(array))
    return f"{low:g}" if low == high else f"{low:g} … {high:g}"


# ---------------------------------------------------------------------------------------------------------------------
# edges


def _edge_rules(graph: Graph, reader: str, written: Any) -> Iterator[tuple[str, _Rule]]:
    edges = [(str(a), str(b)) for a, b in written.edges]
    (output,) = (name for name, node in written.nodes.items() if type(node).__name__ == "Output")
    reads = [a for a, b in edges if b == output]
    if reader != "norse" and len(reads) > 1:
        fix = "let one layer lead to the Output"
        yield output, ("puts out what meets at the Output one by one, not its sum", ", ".join(reads), 1, fix)
    closing: set[Edge] = set()
    for late in sorted(graph.recurrent):
        rule = _loop(graph, reader, late, closing)
        if rule:
            yield late[0], rule
    if reader == "norse":
        yield from _depth_first(edges, output, closing)


def _loop(graph: Graph, reader: str, late: Edge, closing: set[Edge]) -> _Rule | None:
    """A late edge: a neuron's own, or the first of neuron → synapse → neuron; ``closing`` collects the edge that the
    reader takes for the late one."""
    neuron, target = late
    node = graph.nodes[target]
    if neuron == target:
        closing.add(late)
        return None
    fix = "write the network for another reader"
    if not (
        isinstance(graph.nodes[neuron], LIF)
        and isinstance(node, SYNAPSES)
        and graph.sources(target) == (neuron,)
        and graph.targets(target) == (neuron,)
    ):
        return "runs only cycles of a neuron and one synapse as they are meant", f"`{neuron}` → `{target}`", "", fix
    if reader == "snntorch":
        return "cannot run this cycle (its RLeaky is not reached)", f"`{neuron}` → `{target}`", "", fix
    if np.any(node.bias != 0.0):
        fix = "put the bias into the synapse before the neuron"
        return "leaves the bias of a recurrent synapse out at the first step", _some(node.bias), 0, fix
    closing.add((target, neuron))
    return None


def _depth_first(edges: list[Edge], output: str, closing: set[Edge]) -> Iterator[tuple[str, _Rule]]:
    """nirtorch's ``trace_execution``: a node, then each of its readers with all behind it, in the order of the file.

    A node that runs before one of its sources gets that source's value of the step before; what ran last is the output.
    """
    readers: dict[str, list[str]] = {}
    for source, target in edges:
        readers.setdefault(source, []).append(target)
    order: dict[str, int] = {}
    waiting = sorted({a for a, _ in edges} - {b for _, b in edges})[:1]
    while waiting:
        name = waiting.pop()
        if name not in order:
            order[name] = len(order)
            waiting += reversed(readers.get(name, []))
    fix = "write it for snnTorch or SpikingJelly; Norse runs an add only where the other branch is an edge"
    late = {b for a, b in edges if (a, b) not in closing and order.get(a, 0) >= order.get(b, 0)}
    late |= {b for a, b in closing if a != b and order.get(a, 0) <= order.get(b, 0)}
    for name in sorted(late, key=lambda n: order.get(n, 0)):
        yield name, ("runs this node before one of the branches that meet there", name, "", fix)
    if max(order, key=lambda n: order[n]) != output and not late:
        yield output, ("takes what ran last for the output, and that is another node", output, "", fix)
