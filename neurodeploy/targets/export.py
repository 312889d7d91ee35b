"""``export``: from a trained run or a ``.nir`` file to an artifact for a target, with golden vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.diagnostics import Finding, UnsupportedError, first_error, not_built
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
from neurodeploy.ir.nir_io import ReadOptions, write_nir
from neurodeploy.ir.nodes import Input
from neurodeploy.passes.pipeline import Compilation, compile_graph
from neurodeploy.passes.place import CoreLimits
from neurodeploy.passes.quantize import accumulator_table
from neurodeploy.sim.inputs import check_inputs
from neurodeploy.targets.artifact import COMPILE, ENCODER, GOLDEN, NETWORK, Artifact, Runnable, is_artifact
from neurodeploy.targets.base import Target, load_target
from neurodeploy.targets.check import core_limits
from neurodeploy.targets.model import DEFAULT_TIMESTEPS, Model, load_model, with_timesteps

#: Samples in the golden vectors.
GOLDEN_SAMPLES = 32


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


def export(
    model: str | Path,
    target: str | Target,
    out: Path | None = None,
    *,
    data_root: Path | None = None,
    data: str | None = None,
    inputs: Path | None = None,
    timesteps: int | None = None,
    options: ReadOptions | None = None,
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
        out: The artifact's folder; ``<run>/export-<target>`` by default, ``<name>-export-<target>`` beside a file.
        data_root: Root of the data sets.
        data: Data set for golden vectors and accuracies; default: the run's own.
        inputs: ``.npz`` with ``x`` (and ``y``) instead.
        timesteps: T; default: that of the samples, else the model's.
        options: What a foreign file leaves open: dt, reset, comparison, kind of input.
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
    loaded = load_model(model, data=data, inputs=inputs, data_root=data_root, options=options)
    folder = out if out is not None else loaded.folder / f"{loaded.prefix}export-{target.name}"
    refuse_foreign_folder(folder, replaces=is_artifact)  # before the work; again when it is done
    loaded, findings = with_timesteps(loaded, timesteps)
    findings = [*loaded.findings, *findings]
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
        if finding.code in ("ND118", "ND119", "ND123"):
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
            dataset=loaded.dataset,
            files=files,
        )
        write_json(building / MANIFEST, manifest)
    return Export(Artifact(folder), _result(folder, compiled, files))


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
    return {"host_input": host_input, "input": full, **meaning.arrays()}


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
