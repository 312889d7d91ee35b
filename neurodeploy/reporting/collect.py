"""From run folders to everything a report needs; what is missing is exported and simulated on demand, then kept.

A run holds ``manifest.json``, ``recipe.toml``, ``metrics.jsonl``, ``evaluation.json`` and ``model.safetensors``. A
folder of ``seed-*`` runs is one group. The artifact for the report's target is ``<run>/export-<target>/``, made when it
is missing, was changed, or was made from other weights or for other timesteps. The simulation of the whole test split
is kept beside it, in ``<run>/simulate-<target>.json``, under all that its counts depend on: a second report is instant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurodeploy.diagnostics import Finding, UsageError
from neurodeploy.files import MANIFEST, find_in_runs, sha256, write_json
from neurodeploy.manifest import version
from neurodeploy.targets.artifact import Artifact, is_artifact
from neurodeploy.training.run_files import (
    EVALUATION,
    METRICS,
    Epoch,
    Result,
    read_evaluation,
    read_manifest,
    read_metrics,
)

if TYPE_CHECKING:
    from neurodeploy.config.recipe import Recipe
    from neurodeploy.sim.trace import Trace

#: Form of the cache file; raise it when what is kept changes.
CACHE_FORMAT = 1
_GRAPHS = ("network.nir", "encoder.nir", "tail.nir")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class RunData:
    """One run: what training wrote, what the compiler said, what the simulation counted."""

    name: str
    path: Path
    recipe: Recipe
    manifest: dict[str, Any]
    metrics: tuple[Epoch, ...]
    evaluation: Result
    compiled: dict[str, Any]
    simulation: dict[str, Any]
    spikes_per_step: dict[str, list[int]]
    data_sha256: str


@dataclass(frozen=True)
class GroupData:
    """Runs of one recipe with different seeds; a single run is a group of one."""

    name: str
    path: Path
    runs: tuple[RunData, ...]


def collect(
    runs: Sequence[str | Path],
    *,
    target: str = "loihi2",
    data_root: str | Path | None = None,
    progress: Progress = lambda _: None,
) -> tuple[GroupData, ...]:
    """Gather every group, exporting and simulating where needed.

    Raises:
        UsageError: ND101 for an unknown run, ND103 for one that is not there or unfinished, ND107 for one that cannot
            be read, ND113 for runs that cannot be compared.
    """
    groups_of = [(folder, _runs_of(folder)) for folder in (find_in_runs(run, what="run") for run in runs)]
    _refuse_twice(groups_of)
    # Everything is read and compared before the first minute is spent on an export.
    found = [(folder, [_read_run(path) for path in paths]) for folder, paths in groups_of]
    _refuse_incomparable(found)
    groups = []
    for folder, read in found:
        done = tuple(_with_simulation(run, target, data_root, progress) for run in read)
        groups.append(GroupData(_name(folder), folder, done))
    _refuse_other_test_sets(groups)
    return tuple(groups)


def _name(folder: Path) -> str:
    """The folder's name; a seed is named with its group."""
    resolved = folder.resolve()
    return f"{resolved.parent.name}/{resolved.name}" if resolved.name.startswith("seed-") else resolved.name


def _runs_of(folder: Path) -> list[Path]:
    if (folder / "recipe.toml").is_file():
        return [folder]
    seeds = [entry for entry in folder.glob("seed-*") if entry.is_dir()]
    if not seeds:
        raise UsageError(
            "ND103",
            "neither a run (recipe.toml) nor a folder with runs of several seeds (seed-*)",
            where=str(folder),
            fix="name a folder that `neurodeploy train` wrote",
        )
    return sorted(seeds, key=_seed_of)


def _seed_of(folder: Path) -> tuple[int, str]:
    digits = folder.name.removeprefix("seed-")
    return (int(digits), "") if digits.isdigit() else (2**63, digits)


def _read_run(path: Path) -> RunData:
    from neurodeploy.config.recipe import load_recipe

    needed = (MANIFEST, "recipe.toml", METRICS, EVALUATION, "model.safetensors")
    missing = [name for name in needed if not (path / name).is_file()]
    if missing:
        raise UsageError(
            "ND103",
            f"the run is not finished: {', '.join(missing)} missing",
            where=str(path),
            fix="run the same `neurodeploy train` again; it resumes",
        )
    return RunData(
        name=_name(path),
        path=path,
        recipe=load_recipe(path / "recipe.toml"),
        manifest=read_manifest(path),
        metrics=read_metrics(path),
        evaluation=read_evaluation(path),
        compiled={},
        simulation={},
        spikes_per_step={},
        data_sha256="",
    )


def _with_simulation(run: RunData, target: str, data_root: str | Path | None, progress: Progress) -> RunData:
    from neurodeploy import data

    folder = run.path / f"export-{target}"
    cache = run.path / f"simulate-{target}.json"
    weights = sha256(run.path / "model.safetensors")
    if not is_artifact(folder):
        progress(f"exporting {run.name} for {target}")
        _export(run.path, target, data_root)
    elif outdated := _outdated(Artifact(folder), weights, run.recipe.timesteps):
        progress(f"exporting {run.name} for {target} again: {outdated}")
        _export(run.path, target, data_root)
    compiled = Artifact(folder).compile
    kept = _read_cache(cache)
    split = data.load(run.recipe.data.name, "test", root=data_root)
    key = {
        "format": CACHE_FORMAT,
        "neurodeploy": version("neurodeploy"),
        "weights": weights,
        "data": split.sha256,
        "resources": hashlib.sha256(json.dumps(compiled["resources"], sort_keys=True).encode()).hexdigest(),
        **{name: sha256(folder / name) for name in _GRAPHS if (folder / name).is_file()},
    }
    if kept is None or kept["key"] != key:
        progress(f"simulating {run.name} on {len(split.y)} samples")
        trace = _simulate(folder, split.x, split.y)
        kept = {"key": key, "trace": trace.to_json(), "spikes_per_step": _spikes_per_step(trace)}
        _keep(cache, kept, progress)
    return RunData(
        **{
            **vars(run),
            "compiled": compiled,
            "simulation": kept["trace"],
            "spikes_per_step": kept["spikes_per_step"],
            "data_sha256": split.sha256,
        }
    )


def _outdated(artifact: Artifact, weights: str, timesteps: int) -> str:
    """Why an artifact is not what an export of the run would give now; empty when it is."""
    try:
        source, made_for = artifact.manifest.get("source"), artifact.compile.get("timesteps")
        changed = artifact.changed_files()
    except UsageError as error:  # it is made again, so a damaged one is no error
        return error.message
    if not isinstance(source, dict) or weights not in source.values():
        return "the one there was made from other weights"
    if made_for != timesteps:
        return f"the one there was made for {made_for} timesteps, the recipe says {timesteps}"
    return f"changed since: {', '.join(changed)}" if changed else ""


def _keep(cache: Path, kept: dict[str, Any], progress: Progress) -> None:
    """Write the cache; where that is refused (a run that is read-only) the report goes on without it."""
    try:
        write_json(cache, kept)
    except UsageError as error:
        progress(f"the simulation is not kept for the next report: {cache} {error.message}")


def _read_cache(path: Path) -> dict[str, Any] | None:
    """What was kept, None when there is nothing usable: a cache that cannot be read is made again, not an error."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or set(kept) != {"key", "trace", "spikes_per_step"}:
        return None
    return kept if isinstance(kept["key"], dict) and kept["key"].get("format") == CACHE_FORMAT else None


def _export(run: Path, target: str, data_root: str | Path | None) -> None:
    from neurodeploy.targets.export import export

    root = None if data_root is None else Path(data_root)
    export(model=run, target=target, out=None, data_root=root, exact=False)


def _simulate(artifact: Path, x: Any, labels: Any) -> Trace:
    from neurodeploy.sim import simulate

    return simulate(artifact, x, labels=labels)


def _spikes_per_step(trace: Trace) -> dict[str, list[int]]:
    """Spikes of each neuron layer at each timestep, summed over samples."""
    steps = {layer.name: layer.per_step["spikes_out"] for layer in trace.layers}
    return {name: [int(count) for count in counts] for name, counts in steps.items() if counts is not None}


def _refuse_twice(groups: Sequence[tuple[Path, list[Path]]]) -> None:
    """ND113 for a run that is counted twice, on its own, in two groups or under two names."""
    seen: dict[Path, Path] = {}
    for folder, runs in groups:
        for run in runs:
            first = seen.get(run.resolve())
            if first is not None:
                what, where = f"the same run is given twice: {run}", f"{first} and {folder}"
                raise UsageError("ND113", what, where=where, fix="name each run once")
            seen[run.resolve()] = folder


def _refuse_incomparable(groups: Sequence[tuple[Path, list[RunData]]]) -> None:
    """ND113 with every reason: seeds of one group that differ in more than the seed, groups on different data."""
    findings = []
    for folder, runs in groups:
        for run in runs[1:]:
            keys = [key for key, _, _ in runs[0].recipe.diff(run.recipe) if key != "seed"]
            if keys:
                pair = f"{runs[0].path.name} and {run.path.name}"
                rule = f"seeds of one group share one recipe; {pair} differ in {', '.join(keys)}"
                findings.append(Finding("ND113", "error", str(folder), rule, fix="give them as runs of their own"))
    first = groups[0][1][0]
    for folder, runs in groups[1:]:
        if runs[0].recipe.data.name != first.recipe.data.name:
            findings.append(
                Finding(
                    "ND113",
                    "error",
                    str(folder),
                    "runs are compared on one dataset",
                    measured=runs[0].recipe.data.name,
                    limit=first.recipe.data.name,
                    fix="make one report for each dataset",
                )
            )
    _raise(findings)


def _refuse_other_test_sets(groups: Sequence[GroupData]) -> None:
    first = groups[0].runs[0]
    findings = []
    for run in (run for group in groups for run in group.runs):
        here, there = run.evaluation.samples, run.simulation["samples"]
        if here != there:
            rule = "training and simulation are measured on the same test samples"
            findings.append(Finding("ND113", "error", run.name, rule, here, there, "samples", "train the run again"))
        trained_on = run.manifest.get("data", {}).get("test")
        if trained_on is not None and trained_on != run.data_sha256:
            rule = "the run was evaluated on other bytes of the test split than are there now"
            findings.append(Finding("ND113", "error", run.name, rule, fix="restore the data, or train the run again"))
        if run.simulation["samples"] != first.simulation["samples"] or run.data_sha256 != first.data_sha256:
            rule = "runs are compared on the same test samples"
            findings.append(Finding("ND113", "error", run.name, rule, fix="simulate them on the same data"))
    _raise(findings)


def _raise(findings: Sequence[Finding]) -> None:
    if findings:
        raise UsageError(
            "ND113",
            "these runs cannot be compared",
            where=findings[0].node,
            fix=findings[0].fix,
            findings=findings,
        )
