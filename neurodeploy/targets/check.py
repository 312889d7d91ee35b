"""``check``: whether a model fits a target, with everything that stands in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neurodeploy.diagnostics import Finding, UnsupportedError, first_error
from neurodeploy.ir.nir_io import to_nir
from neurodeploy.passes.pipeline import compile_graph
from neurodeploy.passes.place import CoreLimits, unchecked_limits
from neurodeploy.targets.base import Target, load_target
from neurodeploy.targets.model import load_model


def check(model: str | Path, target: str | Target, *, profile: str | None = None) -> dict[str, Any]:
    """Whether a model fits a target: all findings, resources, chips, bottleneck (``result`` of ``check --json``)."""
    target = load_target(target) if isinstance(target, str) else target
    loaded = load_model(model, samples=False)
    graph = loaded.graph
    limits = core_limits(target, profile)
    compilation = compile_graph(graph, target.spec, limits, collect=True)
    findings, placement = [*loaded.findings, *compilation.findings], compilation.placement
    if first_error(findings) is None:
        try:
            to_nir(compilation.graph)
        except UnsupportedError as error:  # what export would stop at when it writes network.nir
            findings.append(Finding(error.code, "error", error.where, error.message, fix=error.fix))
    return {
        "fits": first_error(findings) is None,
        "target": target.name,
        "profile": profile or target.spec.profile,
        "findings": [f.to_json() for f in findings],
        "resources": placement.to_json() if placement else None,
        "chips": placement.chips if placement else None,
        "bottleneck": placement.bottleneck if placement else None,
        "unchecked": unchecked_limits(limits) if profile or target.spec.profile else [],
    }


def core_limits(target: Target, profile: str | None = None) -> CoreLimits:
    """Core limits from the target's hardware profile (or another one); unknown numbers are not checked."""
    name = profile or target.spec.profile
    bits = target.spec.quantize.weight_bits if target.spec.quantize else 32
    if name is None:
        return CoreLimits(name=target.name, weight_bits=bits)
    from neurodeploy.config.profile import load_profile, profile_names

    limits = load_profile(name).limits

    def number(key: str, factor: int = 1) -> int | None:
        quantity = getattr(limits, key)
        known = quantity is not None and isinstance(quantity.value, (int, float))
        return int(quantity.value * factor) if known else None

    return CoreLimits(
        name=f"{name} (hardware_profiles/{name}.toml)" if name in profile_names() else name,
        neurons=number("neurons_per_core"),
        synaptic_memory_bytes=number("synapse_mem_per_core_kB", 1024),
        axons_in=number("fan_in_axons_per_core"),
        cores=number("cores"),
        weight_bits=bits,
    )
