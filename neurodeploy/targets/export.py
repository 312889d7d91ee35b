"""``export``: from a trained run or a ``.nir`` file to an artifact for a target, with golden vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from neurodeploy.diagnostics import Finding, UnsupportedError, UsageError, first_error
from neurodeploy.files import (
    MANIFEST,
    folder_in_place,
    refuse_foreign_folder,
    sha256,
    sha256_arrays,
    write_json,
    write_npz,
)
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nir_io import ReadOptions, write_nir
from neurodeploy.ir.nodes import Input
from neurodeploy.passes.dense_macs import dense_macs
from neurodeploy.passes.exact_input import snap_input
from neurodeploy.passes.pipeline import Compilation, Context, compile_graph
from neurodeploy.passes.place import CoreLimits
from neurodeploy.passes.tail import as_tail_input
from neurodeploy.sim.inputs import check_inputs
from neurodeploy.targets.artifact import COMPILE, ENCODER, GOLDEN, NETWORK, TAIL, Artifact, Runnable, is_artifact
from neurodeploy.targets.base import Target, load_target, refuse_check_only
from neurodeploy.targets.check import core_limits, host_parts
from neurodeploy.targets.model import DEFAULT_TIMESTEPS, Model, load_model, with_timesteps
from neurodeploy.targets.training_data import calibration_samples, training_data
from neurodeploy.verification.preflight import readable_by

#: Warnings that are also said while the export runs.
_SAID = ("ND118", "ND119", "ND123", "ND126", "ND236", "ND237")
#: Samples in the golden vectors.
GOLDEN_SAMPLES = 32


#: Share of the samples that --exact may cost without a warning.
EXACT_COST = 0.002


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
    fold: Literal["weights", "threshold"] = "weights",
    quantize: Literal["proven", "minmax", "percentile", "mse"] = "proven",
    finetune: int = 0,
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
        exact: Snap weights, biases, thresholds and inputs to grids on which every reader computes the same bits.
        fold: Norms into ``weights``, or into one ``threshold`` per channel where the target can hold that.
        quantize: How a population's integer scale is chosen (:mod:`neurodeploy.passes.quantize`).
        finetune: Epochs of quantization-aware fine-tuning on training data; 0: none.
        dry_run: Compile, write nothing.
        dump_passes: Write the graph after each pass under ``passes/``.
        warn: Called with notices for people.

    Raises:
        UnsupportedError: The network does not fit the target; all findings of the pass that refused.
        UsageError: Something given cannot be read.
    """
    target = load_target(target) if isinstance(target, str) else target
    refuse_check_only(target)
    loaded = load_model(model, data=data, inputs=inputs, data_root=data_root, options=options)
    folder = out if out is not None else loaded.folder / f"{loaded.prefix}export-{target.name}"
    refuse_foreign_folder(folder, replaces=is_artifact)  # before the work; again when it is done
    loaded, findings = with_timesteps(loaded, timesteps)
    findings = [*loaded.findings, *findings]
    context, calibration, told = _context(loaded, target, data, inputs, data_root, exact, fold, quantize, finetune)
    findings += told
    compilation = compile_graph(loaded.graph, target.spec, core_limits(target), context=context, dump=dump_passes)
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
        if finding.severity == "warning" and finding.code in _SAID:
            warn(finding.rule)
    checked = check_inputs(x, y, _entry(compilation), timesteps, compilation.graph.timesteps)
    fed, clipped = snap_input(compilation.graph, checked.x)  # as it is, unless the graph is exact
    if clipped:
        rule = "values of the samples were clipped to what the proof allows"
        fix = "the calibration samples must hold the largest values"
        findings.append(Finding("ND241", "warning", compilation.graph.input, rule, clipped, 0, "values", fix))
    if target.name == "nir":
        findings += readable_by(compilation.graph)
    accuracies = _accuracies(loaded, compilation, target, checked.x, checked.timesteps)
    findings += _costs(accuracies) if exact else []
    golden = golden_vectors(compilation, fed[:GOLDEN_SAMPLES], checked.timesteps)
    options_taken = {"fold": fold, "quantize": quantize if target.spec.quantize else None, "calibration": calibration}
    dense = {"dense_macs": dense_macs(loaded.graph).to_json()}  # of the network as trained, before passes change it
    compiled = {**compile_document(compilation, target, findings, accuracies), **options_taken, **dense}

    def emit(into: Path) -> None:
        notes = target.emit(compilation.graph, into)
        compiled["findings"] += [note.to_json() for note in notes]

    if dry_run:
        with TemporaryDirectory() as scratch:  # what it would leave out is part of the answer
            emit(Path(scratch))
        return Export(None, _result(None, compiled, {}))
    from neurodeploy.manifest import collect

    with folder_in_place(folder, replaces=is_artifact) as building:
        emit(building)
        write_nir(compilation.graph, building / NETWORK)
        for part, file in ((compilation.encoder, ENCODER), (compilation.tail, TAIL)):
            if part is not None:
                write_nir(part, building / file)
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
    ``membrane/<node>`` (after reset; integers in loihi arithmetic) and ``output``; ``host_output`` is what the host's
    tail makes of ``output``, where there is one.
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
    golden = {"host_input": host_input, "input": full, **meaning.arrays()}
    if compilation.tail is not None:
        entered = as_tail_input(compilation.tail, graph, graph.arithmetic, meaning.output)
        golden["host_output"] = interpret(compilation.tail, entered, "float32").output
    return golden


def _context(
    loaded: Model,
    target: Target,
    data: str | None,
    inputs: Path | None,
    data_root: Path | None,
    exact: bool,
    fold: Literal["weights", "threshold"],
    quantize: Literal["proven", "minmax", "percentile", "mse"],
    finetune: int,
) -> tuple[Context, str, list[Finding]]:
    """What the passes are told, with the data they may look at (never a run's test split), and what data that is."""
    context = Context(target.spec, core_limits(target), exact=exact, fold=fold, quantize=quantize)
    if exact and "snap" not in target.spec.passes:
        whole = target.spec.arithmetic == "loihi"
        raise UsageError(
            "ND243",
            f"{target.name} " + ("computes with integers, which are exact" if whole else "does not snap its weights"),
            where="--exact",
            fix="leave it out" if whole else "leave it out, or --target nir",
        )
    if target.spec.quantize is None and (quantize != "proven" or finetune):
        raise UsageError(
            "ND239",
            f"{target.name} keeps float weights: there is nothing to quantize",
            where="--finetune" if finetune else "--quantize",
            fix="leave it out, or --target loihi2",
        )
    findings: list[Finding] = []
    label = ""
    if quantize != "proven" or exact:
        x, label, findings = calibration_samples(loaded, data, inputs, data_root)
        context = replace(context, calibration=x)
    if finetune:
        from neurodeploy.training.finetune import FineTuning, finetuner

        tuner = finetuner(training_data(loaded, data, data_root), FineTuning(epochs=finetune))
        context = replace(context, finetune=tuner)
    return context, label, findings


def _costs(accuracies: dict[str, float | None]) -> list[Finding]:
    """A warning (ND244) where the grids of an exact graph cost more accuracy than flips would."""
    before, after = accuracies["accuracy_float"], accuracies["accuracy_target"]
    if before is None or after is None or before - after <= EXACT_COST:
        return []
    points, fix = round(100 * (before - after), 2), "--fold weights, fewer timesteps, or leave out --exact"
    rule = "--exact costs accuracy on these samples"
    return [Finding("ND244", "warning", "", rule, points, 100 * EXACT_COST, "points", fix)]


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
        "host": host_parts(compilation),
        "scales": dict(graph.scales),
        "bounds": list(compilation.bounds),
        "finetune": dict(compilation.training),
        "placement_model": "whole output channels per core, kernels stored once per core; not the vendor's compiler",
        "resources": placement.to_json() if placement else {"nodes": {}, "total": {}},
        "chips": placement.chips if placement else None,
        "chips_limited_by": placement.chips_limited_by if placement else None,
        "bottleneck": placement.bottleneck if placement else None,
        **accuracies,
    }


def _result(folder: Path | None, compiled: dict[str, Any], files: dict[str, str]) -> dict[str, Any]:
    keys = (
        "passes",
        "findings",
        "accuracy_float",
        "accuracy_target",
        "resources",
        "chips",
        "chips_limited_by",
        "bottleneck",
        "host",
    )
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

    reference = load_target("onnx")  # the whole network in float32, whatever it is made of
    floating = compile_graph(loaded.graph, reference.spec, CoreLimits(reference.name))
    static = x[:, 0] if x.shape[1] == 1 else x

    def accuracy(done: Compilation) -> float | None:
        graph = replace(done.graph, timesteps=done.graph.timesteps or timesteps)
        fed, _ = snap_input(graph, static)
        return simulate(Runnable(graph, done.encoder, {}, True, "", tail=done.tail), fed, loaded.y).accuracy

    return {
        "accuracy_float": accuracy(floating),
        "accuracy_target": accuracy(compilation),
        "accuracy_samples": int(x.shape[0]),
    }
