"""``check``: whether a model fits a target, with everything that stands in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neurodeploy.diagnostics import Finding, UnsupportedError, first_error
from neurodeploy.ir.machine import STATE_BITS
from neurodeploy.ir.nir_io import ReadOptions, to_nir
from neurodeploy.ir.nodes import Input, Output
from neurodeploy.passes.pipeline import Compilation, compile_graph
from neurodeploy.passes.place import CoreLimits, unchecked_limits
from neurodeploy.targets.base import Target, load_target
from neurodeploy.targets.model import load_model, with_timesteps
from neurodeploy.targets.onnx_model import onnx_findings


def check(
    model: str | Path,
    target: str | Target,
    *,
    profile: str | None = None,
    timesteps: int | None = None,
    options: ReadOptions | None = None,
) -> dict[str, Any]:
    """Whether a model fits a target: all findings, resources, chips, bottleneck (``result`` of ``check --json``)."""
    target = load_target(target) if isinstance(target, str) else target
    name = profile or target.spec.profile
    loaded, told = with_timesteps(load_model(model, samples=False, options=options), timesteps)
    graph = loaded.graph
    limits = core_limits(target, profile)
    compilation = compile_graph(graph, target.spec, limits, collect=True)
    findings, placement = [*loaded.findings, *told, *compilation.findings], compilation.placement
    if first_error(findings) is None:
        for part in (compilation.graph, compilation.encoder, compilation.tail):
            try:
                if part is not None:
                    to_nir(part)
            except UnsupportedError as error:  # what export would stop at when it writes the files
                findings.append(Finding(error.code, "error", error.where, error.message, fix=error.fix))
        if "onnx" in target.spec.emitters:
            findings += onnx_findings(compilation.graph)
    return {
        "fits": first_error(findings) is None,
        "target": target.name,
        "profile": name,
        "findings": [f.to_json() for f in findings],
        "resources": placement.to_json() if placement else None,
        "chips": placement.chips if placement else None,
        "chips_limited_by": placement.chips_limited_by if placement else None,
        "bottleneck": placement.bottleneck if placement else None,
        "host": host_parts(compilation),
        "unchecked": _unchecked(target, limits, name) if name else [],
    }


def host_parts(compilation: Compilation) -> dict[str, list[dict[str, str]]]:
    """What the host computes: ``{encoder, tail}`` -> ``{name, kind}`` of each node, without Input and Output."""
    return {
        part: [
            {"name": name, "kind": node.kind}
            for name, node in (graph.nodes.items() if graph else ())
            if not isinstance(node, (Input, Output))
        ]
        for part, graph in (("encoder", compilation.encoder), ("tail", compilation.tail))
    }


#: Limits that a profile can state and that the placement does not model.
NOT_MODELED = {"max_fan_out": "fan-out per neuron", "fan_out_edges_per_core": "fan-out edges per core"}


def core_limits(target: Target, profile: str | None = None) -> CoreLimits:
    """Limits from the target's hardware profile (or another one); unknown numbers are not checked."""
    name = profile or target.spec.profile
    weight_bits: int = target.spec.quantize.weight_bits if target.spec.quantize else 32
    state_bits = STATE_BITS if target.spec.arithmetic == "loihi" else None
    if name is None:
        return CoreLimits(name=target.name, needed_weight_bits=weight_bits, needed_state_bits=state_bits)
    from neurodeploy.config.profile import load_profile, profile_names

    limits = load_profile(name).limits
    if target.spec.chip is not None and target.spec.chip.weights is not None:
        # What needs more bits than that is said for each layer (ND261).
        stored = target.spec.chip.weights.bits
        weight_bits = min(stored, _number(limits.weight_bits) or stored)
    return CoreLimits(
        name=f"{name} (hardware_profiles/{name}.toml)" if name in profile_names() else name,
        neurons=_number(limits.neurons_per_core),
        synaptic_memory_bytes=_number(limits.synapse_mem_per_core_kB, 1024),
        axons_in=_number(limits.fan_in_axons_per_core),
        cores=_number(limits.cores),
        fan_in=_number(limits.max_fan_in),
        synapses=_number(limits.synapses_per_chip),
        weight_bits=_number(limits.weight_bits),
        state_bits=_number(limits.membrane_bits),
        needed_weight_bits=weight_bits,
        needed_state_bits=state_bits,
    )


def _number(quantity: Any, factor: int = 1) -> int | None:
    """The nominal number: where a source gives a range, its high end is not promised."""
    known = quantity is not None and isinstance(quantity.value, (int, float))
    return int(quantity.value * factor) if known else None


def _unchecked(target: Target, limits: CoreLimits, profile: str) -> list[str]:
    """Limits that nobody published, or that nothing here models; without those that the target's own rules check."""
    chip, checked = target.spec.chip, set()
    if chip is not None and chip.cores is not None:
        checked |= {"neurons per core", "synaptic memory per core", "input axons per core", "synapses per chip"}
    if chip is not None and chip.wiring is not None and chip.wiring.fan_out is not None:
        checked.add(NOT_MODELED["max_fan_out"])
    return [text for text in (*unchecked_limits(limits), *_not_modeled(profile)) if text not in checked]


def _not_modeled(profile: str) -> list[str]:
    from neurodeploy.config.profile import load_profile

    limits = load_profile(profile).limits
    return [text for key, text in NOT_MODELED.items() if getattr(limits, key) is not None]
