"""One layer per core, on cores whose memories differ (DYNAP-CNN, Speck): which layer goes where.

A layer fits a core when its words of kernel, neuron and bias memory do (:meth:`LayerForm.memory`). A largest matching
of layers and cores (augmenting paths: Kuhn 1955) finds a place for all layers whenever there is one.

Pre: one synapse per population (rules of the chip). Post: every population has one core, or ND264 says which memory,
or how many cores, it lacks.
"""

from __future__ import annotations

from neurodeploy.config.chip import CoreMemories
from neurodeploy.diagnostics import Finding
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import NEURONS, SYNAPSES
from neurodeploy.passes.layer_form import layer_form
from neurodeploy.passes.place import CoreLimits, Placement, place

KINDS = ("kernel", "neuron", "bias")


def layer_cores(graph: Graph, memories: CoreMemories, limits: CoreLimits, chip: str) -> Placement:
    """Neurons, synapses and the core of every layer; chips is 1 where all found one, else None."""
    counted = place(graph, limits)
    rows = {name: dict(row) for name, row in counted.nodes.items()}
    cores = list(zip(memories.kernel, memories.neuron, memories.bias, strict=True))
    needs = {name: _needs(graph, name) for name in graph.names(NEURONS)}
    fitting: dict[str, list[int]] = {}
    findings = list(counted.findings)
    for name, need in needs.items():
        fitting[name] = [i for i, core in enumerate(cores) if all(n <= c for n, c in zip(need, core, strict=True))]
        if not fitting[name]:
            findings.append(_too_large(name, need, cores, chip))
    placed = matching({name: found for name, found in fitting.items() if found})
    left = [name for name, found in fitting.items() if found and name not in placed]
    if left:
        rule = f"{chip} has no core left for this layer: one layer per core, and cores of its size are taken"
        fix = "use fewer layers, or make this one small enough for another core"
        limit = len(cores)
        findings.extend(Finding("ND264", "error", name, rule, len(needs), limit, "layers", fix) for name in left)
    for name in placed:
        rows[name] |= {"cores": 1, "limited_by": "layers"}
    whole = len(placed) == len(rows)
    total = dict(counted.total) | {"cores": len(placed) if whole else None}
    if not whole:
        return Placement(rows, total, None, None, findings)
    bottleneck = None
    if placed:
        # Every layer has one core: the largest is the one that fills its core most.
        fullest = max(placed, key=lambda name: max(_shares(needs[name], cores[placed[name]])))
        shares = _shares(needs[fullest], cores[placed[fullest]])
        bottleneck = {"node": fullest, "resource": f"{KINDS[shares.index(max(shares))]} memory", "cores": 1}
    return Placement(rows, total, 1, bottleneck, findings, "layers")


def _needs(graph: Graph, name: str) -> tuple[int, ...]:
    """Words of each kind; of the largest synapse where there are several (the wiring rules refuse that)."""
    forms = [layer_form(graph, s).memory() for s in graph.sources(name) if isinstance(graph.nodes[s], SYNAPSES)]
    return tuple(max((form[kind] for form in forms), default=0) for kind in KINDS)


def _shares(need: tuple[int, ...], core: tuple[int, ...]) -> list[float]:
    return [n / c for n, c in zip(need, core, strict=True)]


def _too_large(name: str, need: tuple[int, ...], cores: list[tuple[int, int, int]], chip: str) -> Finding:
    """ND264 about one memory that is too small everywhere, or about the two that no core has together."""
    largest = [max(core[i] for core in cores) for i in range(len(KINDS))]
    over = [i for i in range(len(KINDS)) if need[i] > largest[i]]
    fix = "use fewer channels, or pool or stride before this layer"
    if over:
        kind = KINDS[over[0]]
        rule = f"this layer needs more {kind} memory than any core of {chip} has"
        return Finding("ND264", "error", name, rule, need[over[0]], largest[over[0]], "words", fix)
    beside = max(core[1] for core in cores if core[0] >= need[0])
    rule = f"this layer needs more neuron memory than the cores of {chip} have whose kernel memory ({need[0]}) suffices"
    return Finding("ND264", "error", name, rule, need[1], beside, "words", fix)


def matching(fitting: dict[str, list[int]]) -> dict[str, int]:
    """A largest assignment of one core to each name, from the cores that it fits."""
    taken: dict[int, str] = {}

    def find(name: str, seen: set[int]) -> bool:
        for core in fitting[name]:
            if core not in seen:
                seen.add(core)
                if core not in taken or find(taken[core], seen):
                    taken[core] = name
                    return True
        return False

    for name in fitting:
        find(name, set())
    return {name: core for core, name in taken.items()}
