"""``export``: from a trained run or a ``.nir`` file to an artifact for a target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.diagnostics import Finding, UnsupportedError, UsageError, first_error, not_built
from neurodeploy.files import (
    MANIFEST,
    folder_in_place,
    refuse_foreign_folder,
    sha256,
    sha256_arrays,
    write_json,
    write_npz,
)
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nir_io import read_nir, to_nir, write_nir
from neurodeploy.ir.nodes import Input
from neurodeploy.passes.pipeline import Compilation, compile_graph
from neurodeploy.passes.place import CoreLimits
from neurodeploy.passes.quantize import accumulator_table
from neurodeploy.sim.inputs import check_inputs
from neurodeploy.targets.artifact import COMPILE, ENCODER, GOLDEN, NETWORK, Artifact, Runnable, find, is_artifact
from neurodeploy.targets.base import Target, load_target

#: Samples in the golden vectors.
GOLDEN_SAMPLES = 32
#: T where neither the model nor the samples nor the user says one.
DEFAULT_TIMESTEPS = 8


@dataclass(frozen=True)
class Model:
    """A network to compile: its float graph, and the data it is tried on.

    Attributes:
        graph: Lowered or read.
        folder: Where ``export-<target>/`` goes by default.
        x: ``(B, *shape)`` or ``(B, T, *shape)`` samples, or None.
        y: Their labels, or None.
        data: What the samples are, for the manifest.
        source: Path -> sha256 of the files it came from.
    """

    graph: Graph
    folder: Path
    x: np.ndarray | None
    y: np.ndarray | None
    data: str
    source: dict[str, str]


@dataclass(frozen=True)
class Export:
    """What :func:`export` did: the artifact (None for a dry run) and the ``result`` of ``export --json``."""

    artifact: Artifact | None
    result: dict[str, Any]

    @property
    def folder(self) -> Path:
        """The artifact's folder."""
        assert self.artifact is not None
        return self.artifact.folder

    @property
    def compile(self) -> dict[str, Any]:
        """``compile.json``."""
        assert self.artifact is not None
        return self.artifact.compile


def load_model(
    name: str | Path,
    *,
    data: str | None = None,
    inputs: Path | None = None,
    data_root: Path | None = None,
) -> Model:
    """A run (by path or by name under ``runs/``) or a ``.nir`` file, with the samples for golden vectors.

    A run brings the test split of its own data set; ``data`` or ``inputs`` overrides it, and is what a foreign file
    needs.
    """
    path = find(name)
    if path.is_file():
        if path.suffix != ".nir":
            if path.suffix == ".net":
                raise not_built("reading lava-dl .net files", where=str(path), fix="export the network as .nir")
            raise UsageError(
                "ND104", "not a model: neither a run nor a .nir file", where=str(path), fix="give a run or a .nir file"
            )
        graph = read_nir(path)
        if graph.arithmetic == "loihi":
            raise UsageError(
                "ND117",
                "this network is already compiled: its weights are the integers of a chip",
                where=str(path),
                fix="give the run or the float file that it was made from",
            )
        x, y, label = _samples(data, inputs, data_root)
        return Model(graph, path.parent, x, y, label, {str(path): sha256(path)})
    if is_artifact(path):
        raise UsageError(
            "ND117", "this is an artifact, already compiled", where=str(path), fix="give the run it was made from"
        )
    from neurodeploy.lowering import lower
    from neurodeploy.training.checkpoint import MODEL, load_checkpoint

    checkpoint = load_checkpoint(path)
    x, y, label = _samples(data or (None if inputs else checkpoint.recipe.data.name), inputs, data_root)
    return Model(lower(checkpoint), path, x, y, label, {str(path / MODEL): sha256(path / MODEL)})


def _samples(
    data: str | None, inputs: Path | None, root: Path | None
) -> tuple[np.ndarray | None, np.ndarray | None, str]:
    if data and inputs:
        raise UsageError("ND100", "both --data and --input are given", where="--data, --input", fix="give one of them")
    if inputs is not None:
        from neurodeploy.sim.inputs import load_inputs

        x, y = load_inputs(inputs)
        return x, y, str(inputs)
    if data is not None:
        from neurodeploy.data import load

        dataset = load(data, "test", root=root)
        return dataset.x, dataset.y, f"{data} test"
    return None, None, ""


def export(
    model: str | Path,
    target: str | Target,
    out: Path | None = None,
    *,
    data_root: Path | None = None,
    data: str | None = None,
    inputs: Path | None = None,
    timesteps: int | None = None,
    exact: bool = False,
    fold: str = "weights",
    dry_run: bool = False,
    dump_passes: bool = False,
    warn: Callable[[str], None] = lambda message: None,
) -> Export:
    """Compile ``model`` for ``target`` and write an artifact with golden vectors.

    The folder is built beside its place and renamed; an older artifact there is replaced, anything else refused.

    Args:
        model: A run (path or name) or a ``.nir`` file.
        target: Name, or a loaded target.
        out: The artifact's folder; default ``<run>/export-<target>``.
        data_root: Root of the data sets.
        data: Data set for golden vectors and accuracies; default: the run's own.
        inputs: ``.npz`` with ``x`` (and ``y``) instead.
        timesteps: T; default: that of the samples, else the model's.
        exact: Snap weights so that every reader computes the same bits. Not built yet.
        fold: Norms into ``weights``; ``threshold`` is not built yet.
        dry_run: Compile, write nothing.
        dump_passes: Write the graph after each pass under ``passes/``.
        warn: Called with notices for people.

    Raises:
        UnsupportedError: The network does not fit the target; all findings of the pass that refused.
        UsageError: Something given cannot be read.
    """
    if exact:
        raise not_built("--exact", where="--exact", fix="leave it out: flips are then counted, not excluded")
    if fold != "weights":
        raise not_built(f"--fold {fold}", where="--fold", fix="--fold weights")
    target = load_target(target) if isinstance(target, str) else target
    loaded = load_model(model, data=data, inputs=inputs, data_root=data_root)
    folder = out if out is not None else loaded.folder / f"export-{target.name}"
    refuse_foreign_folder(folder, replaces=is_artifact)  # before the work; again when it is done
    loaded, findings = _with_timesteps(loaded, timesteps)
    compilation = compile_graph(loaded.graph, target.spec, core_limits(target), dump=dump_passes)
    error = first_error(compilation.findings)
    if error is not None:
        errors = [f for f in compilation.findings if f.severity == "error"]
        raise UnsupportedError(error.code, error.rule, where=error.node, fix=error.fix, findings=errors)
    x, y = loaded.x, loaded.y
    findings += compilation.findings
    if x is None:
        x, warning = _random_input(compilation)
        findings.append(warning)
    for finding in findings:
        if finding.code in ("ND118", "ND119"):
            warn(finding.rule)
    checked = check_inputs(x, y, _entry(compilation), timesteps, compilation.graph.timesteps)
    accuracies = _accuracies(loaded, compilation, target, checked.x, checked.timesteps)
    golden = golden_vectors(compilation, checked.x[:GOLDEN_SAMPLES], checked.timesteps)
    compiled = compile_document(compilation, target, findings, accuracies)
    if dry_run:
        return Export(None, _result(None, compiled, {}))
    from neurodeploy.manifest import collect

    with folder_in_place(folder, replaces=is_artifact) as building:
        target.emit(compilation.graph, building)
        write_nir(compilation.graph, building / NETWORK)
        if compilation.encoder is not None:
            write_nir(compilation.encoder, building / ENCODER)
        for index, (name, graph) in enumerate(compilation.dumps, 1):
            write_nir(graph, building / "passes" / f"{index:02d}-{name}.nir")
        write_npz(building / GOLDEN, golden)
        write_json(building / COMPILE, compiled)
        files = {str(p.relative_to(building)): sha256(p) for p in sorted(building.rglob("*")) if p.is_file()}
        manifest = collect(
            "export",
            kind="artifact",
            target=target.name,
            model=str(model),
            source=loaded.source,
            data=loaded.data or "seeded random input",
            data_sha256=sha256_arrays(checked.x),
            files=files,
        )
        write_json(building / MANIFEST, manifest)
    return Export(Artifact(folder), _result(folder, compiled, files))


def check(model: str | Path, target: str | Target, *, profile: str | None = None) -> dict[str, Any]:
    """Whether a model fits a target: all findings, resources, chips, bottleneck (``result`` of ``check --json``)."""
    target = load_target(target) if isinstance(target, str) else target
    path = find(model)
    graph = read_nir(path) if path.is_file() and path.suffix == ".nir" else load_model(model).graph
    compilation = compile_graph(graph, target.spec, core_limits(target, profile), collect=True)
    findings, placement = list(compilation.findings), compilation.placement
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


def golden_vectors(compilation: Compilation, x: np.ndarray, timesteps: int) -> dict[str, np.ndarray]:
    """What the interpreter says for ``x`` ``(B, T or 1, *shape)``: the meaning, to be met by everyone else.

    ``host_input`` is ``x`` as given, ``input`` ``(B, T, *shape)`` what enters the chip, then ``spikes/<node>``,
    ``membrane/<node>`` (after reset; integers in loihi arithmetic) and ``output``.
    """
    graph = compilation.graph
    static = x.shape[1] == 1 and timesteps != 1
    full = np.repeat(x, timesteps, axis=1) if static else x
    host_input = x[:, 0] if x.shape[1] == 1 else x
    if compilation.encoder is not None:
        full = interpret(compilation.encoder, full, "float32").output.astype(np.uint8)
    elif _entry(compilation).values == "real":
        full = full.astype(np.float32)
    meaning = interpret(graph, full, graph.arithmetic)
    arrays = {"host_input": host_input, "input": full, "output": meaning.output}
    arrays.update({f"spikes/{name}": spikes for name, spikes in meaning.spikes.items()})
    arrays.update({f"membrane/{name}": state for name, state in meaning.membrane.items()})
    return arrays


def compile_document(
    compilation: Compilation, target: Target, findings: list[Finding], accuracies: dict[str, float | None]
) -> dict[str, Any]:
    """``compile.json``."""
    graph, placement = compilation.graph, compilation.placement
    return {
        "schema": "neurodeploy.compile/1",
        "target": target.name,
        "arithmetic": graph.arithmetic,
        "timesteps": graph.timesteps,
        "passes": list(compilation.passes),
        "findings": [f.to_json() for f in findings],
        "scales": dict(graph.scales),
        "bounds": accumulator_table(graph) if graph.arithmetic == "loihi" else [],
        "placement_model": "whole output channels per core, kernels stored once per core; not the vendor's compiler",
        "resources": placement.to_json() if placement else {"nodes": {}, "total": {}},
        "chips": placement.chips if placement else None,
        "bottleneck": placement.bottleneck if placement else None,
        **accuracies,
    }


def _result(folder: Path | None, compiled: dict[str, Any], files: dict[str, str]) -> dict[str, Any]:
    keys = ("passes", "findings", "accuracy_float", "accuracy_target", "resources", "chips", "bottleneck")
    return {"artifact": str(folder) if folder else None, "files": files, **{key: compiled[key] for key in keys}}


def _entry(compilation: Compilation) -> Input:
    graph = compilation.encoder or compilation.graph
    node = graph.nodes[graph.input]
    assert isinstance(node, Input)
    return node


def _with_timesteps(loaded: Model, timesteps: int | None) -> tuple[Model, list[Finding]]:
    """The model with a known T, on which the readout's proven range depends.

    What was asked for, else what the samples have, else what the model says, else 8; a warning (ND118) where the
    model says something else, or nothing does.
    """
    entry, says = loaded.graph.nodes[loaded.graph.input], loaded.graph.timesteps
    assert isinstance(entry, Input)
    if timesteps is not None and timesteps < 1:
        raise UsageError("ND118", f"{timesteps} timesteps", where="--timesteps", fix="at least 1")
    shape = np.shape(loaded.x) if loaded.x is not None else ()
    if timesteps is None and shape[2:] == entry.shape and shape[1:] != entry.shape and 0 not in shape:
        timesteps = int(shape[1])
    findings = []
    if timesteps is None and says is None:
        timesteps = DEFAULT_TIMESTEPS
        rule = f"nothing says the number of timesteps: the artifact is made for {timesteps}"
        findings.append(Finding("ND118", "warning", "", rule, fix="pass --timesteps T"))
    elif timesteps is not None and says is not None and timesteps != says:
        rule = "the artifact is made for another number of timesteps than the model says"
        fix = "no action if that is meant"
        findings.append(Finding("ND118", "warning", "", rule, timesteps, says, "timesteps", fix))
    return replace(loaded, graph=replace(loaded.graph, timesteps=timesteps or says)), findings


def _random_input(compilation: Compilation) -> tuple[np.ndarray, Finding]:
    """Seeded random samples for a foreign file without data, and the warning that says so."""
    entry = _entry(compilation)
    rng = np.random.default_rng(0)
    shape = (GOLDEN_SAMPLES, compilation.graph.timesteps or DEFAULT_TIMESTEPS, *entry.shape)
    x = rng.standard_normal(shape).astype(np.float32) if entry.values == "real" else rng.random(shape) < 0.2
    rule = "no data were given: golden vectors come from seeded random input, and there is no accuracy"
    fix = "pass --data NAME or --input FILE.npz with x (and y)"
    return np.asarray(x, np.float32 if entry.values == "real" else np.uint8), Finding(
        "ND119", "warning", "", rule, fix=fix
    )


def _accuracies(
    loaded: Model, compilation: Compilation, target: Target, x: np.ndarray, timesteps: int
) -> dict[str, float | None]:
    """Accuracy of the float graph and of the emitted one on the samples; None without labels."""
    if loaded.y is None:
        return {"accuracy_float": None, "accuracy_target": None, "accuracy_samples": None}
    from neurodeploy.sim.run import simulate

    reference = load_target("nir")
    floating = compile_graph(loaded.graph, reference.spec, CoreLimits("nir")).graph
    static = x[:, 0] if x.shape[1] == 1 else x

    def accuracy(graph: Graph, encoder: Graph | None) -> float | None:
        graph = replace(graph, timesteps=graph.timesteps or timesteps)
        return simulate(Runnable(graph, encoder, {}, True, ""), static, loaded.y).accuracy

    return {
        "accuracy_float": accuracy(floating, None),
        "accuracy_target": accuracy(compilation.graph, compilation.encoder),
        "accuracy_samples": int(x.shape[0]),
    }
