"""Whether a network fits every chip that we know, with cores and memory: ``check`` against each target with limits."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from neurodeploy.diagnostics import UnsupportedError


@dataclass(frozen=True)
class Fit:
    """One network on one chip, by our model of the chip; a number is None where the chip's profile does not say.

    Attributes:
        target: Name of the target.
        fits: Whether nothing stands in the way.
        neurons: On the chip.
        synaptic_memory_bytes: Of the weights as the chip holds them.
        cores: That the network takes.
        chips: That the network takes.
        bottleneck: The layer that limits the number of cores.
        why: The first thing that stands in the way, code and rule, and how many more; empty where it fits.
    """

    target: str
    fits: bool
    neurons: int | None
    synaptic_memory_bytes: int | None
    cores: int | None
    chips: int | None
    bottleneck: str | None
    why: str


def targets_with_limits() -> list[str]:
    """Targets that stand for a chip: those with a hardware profile."""
    from neurodeploy.targets.base import load_target, target_names

    return [name for name in target_names() if load_target(name).spec.profile is not None]


@cache
def limits_digest() -> str:
    """Hex digest over what :func:`fits` depends on beside the network: the rules and limits of every target."""
    from neurodeploy.targets.base import load_target
    from neurodeploy.targets.check import core_limits

    parts = [f"{load_target(name).spec!r} {core_limits(load_target(name))!r}" for name in targets_with_limits()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def fits(run: Path) -> tuple[Fit, ...] | None:
    """``run`` checked against every target with limits; None where torch, which reads a run's weights, is missing."""
    if importlib.util.find_spec("torch") is None:
        return None
    return tuple(_fit(run, target) for target in targets_with_limits())


def _fit(run: Path, target: str) -> Fit:
    from neurodeploy.targets.check import check

    try:
        said = check(run, target)
    except UnsupportedError as error:
        return Fit(target, False, None, None, None, None, None, f"{error.code} {error.message}")
    total = (said["resources"] or {}).get("total", {})
    errors = [finding for finding in said["findings"] if finding["severity"] == "error"]
    why = f"{errors[0]['code']} {errors[0]['rule']}" if errors else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Fit(
        target,
        bool(said["fits"]),
        total.get("neurons"),
        total.get("synaptic_memory_bytes"),
        total.get("cores"),
        said["chips"],
        (said["bottleneck"] or {}).get("node"),
        why + more,
    )


def from_json(kept: Any) -> tuple[Fit, ...] | None:
    """What :func:`dataclasses.asdict` gave of each; None where it is something else."""
    try:
        return tuple(Fit(**row) for row in kept)
    except TypeError:
        return None
