"""Neurons of a NIR file as neurons of the graph: one step of the differential equation.

``tau dv/dt = (v_leak − v) + r·x`` becomes ``v[t] = decay·v[t−1] + drive·r·x[t] + drive·v_leak`` with, per time
constant, ``decay = 1 − dt/tau, drive = dt/tau`` (forward Euler) or ``decay = exp(−dt/tau), drive = 1 − decay``
(``exp``: exact for an input held during the step). IF and I integrate: ``v[t] = v[t−1] + dt·r·x[t]``. The current of
CubaLIF and CubaLI is the same equation with ``w_in``, and the membrane sees the updated current.

Every state starts at 0. SpikingJelly starts at ``v_reset`` and Norse at ``v_leak``, which no file says: where these are
not 0, the first steps differ until the first reset.

In a file of ours the numbers stand in the notes, exactly; they are taken from there unless dt or the rule is another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.diagnostics import UsageError
from neurodeploy.ir.nir_fields import Fields
from neurodeploy.ir.nodes import LIF, CubaLIF, Delay, Integrator, Shape, Threshold

LIF_NUMBERS = ("decay", "threshold", "gain", "offset", "v_reset")
CURRENT_NUMBERS = ("current_decay", "current_gain")
INTEGRATOR_NUMBERS = ("decay", "gain", "offset")
#: How far, relative to the steps, a delay may be from a whole number of them: float32 seconds.
WHOLE = 1e-6


@dataclass(frozen=True)
class Clock:
    """How time becomes steps.

    Attributes:
        dt: Seconds per step.
        exact: Discretize by ``exp`` instead of forward Euler.
        trust: Our notes hold for this dt and this rule.
    """

    dt: float
    exact: bool
    trust: bool

    def step(self, node: Fields, key: str, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
        """``decay`` and ``drive`` of a time constant.

        Raises:
            UsageError: It is not positive, or shorter than dt under forward Euler (ND114).
        """
        said = np.asarray(node.values.get(key, 1.0))
        bad = said[~(np.isfinite(said) & (said > 0))] if said.dtype.kind in "iuf" else said[:0]
        if bad.size:
            fix = "a time constant is a positive number"
            raise UsageError("ND114", f"`{node.name}`: {key} is {bad.flat[0]:g} s", where=node.name, fix=fix)
        tau = node.spread(key, shape)
        shortest = float(np.min(tau))
        rate = self.dt / tau
        if self.exact:
            return np.exp(-rate), -np.expm1(-rate)
        if np.any(rate > 1.0):
            raise UsageError(
                "ND114",
                f"dt = {self.dt:g} s is longer than {key} = {shortest:g} s: forward Euler diverges",
                where=node.name,
                fix=f"pass --dt {shortest / 4:g} or smaller; the file may count time in other units. Norse's "
                "exporter multiplies every tau by its dt: for its files pass the square of that dt, 1e-6 for its 1e-3",
            )
        return 1.0 - rate, rate


def _said(node: Fields) -> dict[str, Any]:
    """What our notes say of firing; what a foreign file means."""
    if not node.notes:
        return {"compare": "gt", "reset": "to"}
    words = {"compare": ("ge", "gt"), "reset": ("to", "subtract"), "spikes": ("single", "multi")}
    return {key: node.word(key, said) for key, said in words.items()}


def _exactly(node: Fields, keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: Fields(node.name, "its notes", node.notes, {}).array(key) for key in keys}


def _firing(node: Fields, shape: Shape) -> dict[str, Any]:
    """Threshold and reset, in the unit of our membrane."""
    if "threshold" in node.notes:
        return {**_exactly(node, ("threshold", "v_reset")), **_said(node)}
    return {
        "threshold": node.spread("v_threshold", shape),
        "v_reset": node.spread("v_reset", shape, 0.0),  # files before nir 1.0.6 have none
        **_said(node),
    }


def integrate_and_fire(node: Fields, shape: Shape, clock: Clock) -> LIF:
    """IF."""
    if clock.trust and node.notes:
        return LIF(shape, **_exactly(node, LIF_NUMBERS), **_said(node))
    gain = node.spread("r", shape) * clock.dt
    return LIF(shape, np.asarray(1.0), gain=gain, **_firing(node, shape))


def leaky(node: Fields, shape: Shape, clock: Clock) -> LIF:
    """LIF. With ``r = 1`` our files hold ``1 − decay`` times our membrane (see the writer)."""
    if clock.trust and node.notes:
        return LIF(shape, **_exactly(node, LIF_NUMBERS), **_said(node))
    decay, drive = clock.step(node, "tau", shape)
    unit = np.asarray(1.0)
    if node.notes:
        noted = _exactly(node, ("decay", "gain"))
        unit = 1.0 - noted["decay"] if np.all(noted["gain"] == 1.0) else unit
    gain, offset = node.spread("r", shape) * drive / unit, node.spread("v_leak", shape, 0.0) * drive / unit
    return LIF(shape, decay, gain=gain, offset=offset, **_firing(node, shape))


def current_based(node: Fields, shape: Shape, clock: Clock) -> CubaLIF:
    """CubaLIF."""
    if clock.trust and node.notes:
        return CubaLIF(shape, **_exactly(node, (*LIF_NUMBERS, *CURRENT_NUMBERS)), **_said(node))
    current_decay, current_drive = clock.step(node, "tau_syn", shape)
    decay, drive = clock.step(node, "tau_mem", shape)
    return CubaLIF(
        shape,
        decay,
        gain=node.spread("r", shape) * drive,
        offset=node.spread("v_leak", shape, 0.0) * drive,
        current_decay=current_decay,
        current_gain=node.spread("w_in", shape, 1.0) * current_drive,
        **_firing(node, shape),
    )


def integrator(node: Fields, shape: Shape, clock: Clock) -> Integrator:
    """I and LI."""
    if clock.trust and node.notes:
        return Integrator(shape, **_exactly(node, INTEGRATOR_NUMBERS))
    if node.kind == "I":
        return Integrator(shape, gain=node.spread("r", shape) * clock.dt)
    return _leaky_integrator(node, shape, clock, "tau")


def _leaky_integrator(node: Fields, shape: Shape, clock: Clock, tau: str) -> Integrator:
    decay, drive = clock.step(node, tau, shape)
    return Integrator(shape, decay, node.spread("r", shape) * drive, node.spread("v_leak", shape, 0.0) * drive)


def current_based_integrator(node: Fields, shape: Shape, clock: Clock) -> tuple[Integrator, Integrator]:
    """CubaLI: the current, and the membrane that reads it."""
    decay, drive = clock.step(node, "tau_syn", shape)
    current = Integrator(shape, decay, node.spread("w_in", shape, 1.0) * drive)
    return current, _leaky_integrator(node, shape, clock, "tau_mem")


def threshold(node: Fields, shape: Shape, clock: Clock) -> Threshold:
    """Threshold."""
    if node.notes:
        return Threshold(shape, **_exactly(node, ("threshold",)), compare=node.word("compare", ("gt", "ge")))  # type: ignore[arg-type]
    return Threshold(shape, node.spread("threshold", shape))


def delay(node: Fields, shape: Shape, clock: Clock) -> Delay:
    """Delay, in whole steps (ND114 otherwise)."""
    seconds = node.spread("delay", shape)
    steps = np.rint(seconds / clock.dt)
    off = np.abs(seconds / clock.dt - steps) > WHOLE * np.maximum(steps, 1.0)
    if np.any(off) or np.any(steps < 0):
        bad = float(seconds[off | (steps < 0)].flat[0])
        raise UsageError(
            "ND114",
            f"`{node.name}` delays by {bad:g} s, which is {bad / clock.dt:g} steps of dt = {clock.dt:g} s",
            where=node.name,
            fix="pass a --dt of which every delay is a whole multiple",
        )
    return Delay(shape, steps)
