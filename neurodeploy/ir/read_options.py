"""What a foreign file leaves open, and how an option overrules what a graph says."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from neurodeploy.diagnostics import UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import LIF, CubaLIF, Input, Integrator, Node, Threshold


@dataclass(frozen=True)
class ReadOptions:
    """What a foreign file leaves open, with the defaults of the contract; None: as the file says.

    Attributes:
        dt: Seconds per step; foreign files: 1e-4.
        reset: ``zero``, ``subtract`` or ``v_reset`` (foreign files: ``v_reset``).
        compare: ``ge`` or ``gt`` (foreign files: ``gt``), of neurons and of Threshold nodes.
        input_kind: ``binary``, ``integer`` or ``real`` (foreign files: ``real``).
        timesteps: T, where the file does not say.
        discretize: From a time constant to one step. ``euler`` (foreign files): ``decay = 1 − dt/tau``, the input times
            ``r·dt/tau``. ``exp``: the exact solution for an input held during the step, ``decay = exp(−dt/tau)``, the
            input times ``r·(1 − decay)``; a CubaLIF's membrane holds the updated current likewise.
        spikes: ``single`` (foreign files) or ``multi``: ``⌊u/threshold⌋`` spikes a step, with ``ge`` and ``subtract``.

    Sinabs computes ``--dt 1 --discretize exp --spikes multi`` (its tau counts steps) where its layers have ``norm_input
    = True``; with False, its importer's choice, the input is not multiplied by ``1 − decay``. Rockpool's LIF is ``i =
    b·(i + x)``, ``v = a·v + i`` with ``a = exp(−dt/tau_mem)``, ``b = exp(−dt/tau_syn)``: its gains are in no file, and
    no option gives them.

    Raises:
        UsageError: A dt that is no positive number; ``multi`` with another comparison or reset (ND100).
    """

    dt: float | None = None
    reset: str | None = None
    compare: str | None = None
    input_kind: str | None = None
    timesteps: int | None = None
    discretize: str | None = None
    spikes: str | None = None

    def __post_init__(self) -> None:
        if self.dt is not None and not 0 < self.dt < float("inf"):
            raise UsageError("ND100", f"--dt is {self.dt:g}", where="--dt", fix="a positive number of seconds")
        if self.spikes == "multi":
            for flag, given, needed in (("--compare", self.compare, "ge"), ("--reset", self.reset, "subtract")):
                if given not in (None, needed):
                    raise UsageError(
                        "ND100",
                        f"--spikes multi fires floor(u/threshold) spikes a step, which contradicts {flag} {given}",
                        where=flag,
                        fix=f"leave {flag} out (it is {needed}), or --spikes single",
                    )

    @property
    def restates_time(self) -> bool:
        """Whether the neurons must be computed anew from the file's time constants."""
        return self.dt is not None or self.discretize is not None


def apply_options(graph: Graph, options: ReadOptions) -> Graph:
    """The graph with the options that were given; a flag wins over what the file says.

    Raises:
        UsageError: A neuron that fires several spikes a step cannot take the comparison or reset asked for (ND100).
    """
    changed: dict[str, Node] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, Input) and options.input_kind is not None:
            changed[name] = replace(node, values=options.input_kind)  # type: ignore[arg-type]
        elif isinstance(node, LIF):
            changed[name] = _firing(name, node, options)
        elif isinstance(node, Threshold) and options.compare is not None:
            changed[name] = replace(node, compare=options.compare)  # type: ignore[arg-type]
    timesteps = graph.timesteps if options.timesteps is None else options.timesteps
    other = any((options.dt, options.discretize, options.reset, options.compare, options.spikes))
    # The grids of an exact graph were proven for the neurons in the file, not for others.
    scales = {} if other and graph.arithmetic != "loihi" else graph.scales
    return replace(graph.with_nodes(changed), timesteps=timesteps, scales=scales)


def _firing(name: str, node: LIF, options: ReadOptions) -> LIF:
    """The neuron with the comparison, the reset and the number of spikes that the options say."""
    spikes = options.spikes or node.spikes
    compare, reset = options.compare, options.reset
    if options.spikes == "multi":
        compare, reset = "ge", "subtract"
    if spikes == "multi":
        if (compare or node.compare, reset or node.reset) != ("ge", "subtract"):
            given = f"--compare {compare}" if compare not in (None, "ge") else f"--reset {reset}"
            raise UsageError(
                "ND100",
                f"`{name}` fires several spikes a step, which contradicts {given}",
                where=given,
                fix="add --spikes single",
            )
        lowest = float(np.min(node.threshold))
        if lowest <= 0:
            raise UsageError(
                "ND104",
                f"`{name}` has a threshold of {lowest:g}: floor(u/threshold) spikes need one above 0",
                where=name,
                fix="--spikes single",
            )
    new = {
        "spikes": spikes,
        "compare": compare or node.compare,
        "reset": {None: node.reset, "subtract": "subtract"}.get(reset, "to"),
        "v_reset": np.asarray(0.0) if reset == "zero" else node.v_reset,
    }
    return replace(node, **new)  # type: ignore[arg-type]


def doubtful_time(graph: Graph, options: ReadOptions) -> str:
    """A notice for a foreign file whose slowest and fastest neuron hardly move at the default dt; else empty.

    A step that changes no membrane by more than a thousandth is what a file in other units gives: tau in steps (Sinabs)
    or in milliseconds, read as seconds.
    """
    if options.dt is not None:
        return ""
    leaks = []
    for name in graph.names((LIF, Integrator)):
        node = graph.nodes[name]
        assert isinstance(node, (LIF, Integrator))
        decays = [node.decay, *([node.current_decay] if isinstance(node, CubaLIF) else [])]
        leaks += [float(np.max(1.0 - decay)) for decay in decays]
    leaking = [leak for leak in leaks if leak > 0]
    if not leaking or max(leaking) >= 1e-3:
        return ""
    tau = graph.dt / max(leaking)
    return (
        f"the shortest time constant is {tau:g} s, {tau / graph.dt:.0f} steps of the default dt = {graph.dt:g} s: if "
        "the file counts time in steps (Sinabs) pass --dt 1, if in milliseconds the dt in milliseconds"
    )
