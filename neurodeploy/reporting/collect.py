"""From run folders to everything a report needs; what is missing is exported and simulated on demand, then kept.

A run holds ``manifest.json``, ``recipe.toml``, ``metrics.jsonl``, ``evaluation.json`` and ``model.safetensors``. A
folder of ``seed-*`` runs is one group. The artifact for the report's target is ``<run>/export-<target>/``, made when it
is missing or was made from other weights. The simulation of the whole test split is kept beside it, in
``<run>/simulate-<target>.json``, under the sha256 of the emitted graphs and of the data: a second report is instant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurodeploy.diagnostics import Finding, UsageError, nearest
from neurodeploy.files import MANIFEST, read_json, sha256, write_json

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
    metrics: tuple[dict[str, Any], ...]
    evaluation: dict[str, Any]
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
        UsageError: ND101 for an unknown run, ND103 for one that is unfinished or unreadable, ND113 for runs that
            cannot be compared.
    """
    folders = [find_run(run) for run in runs]
    _refuse_twice(folders)
    # Everything is read and compared before the first minute is spent on an export.
    found = [(folder, [_read_run(path) for path in _runs_of(folder)]) for folder in folders]
    _refuse_incomparable(found)
    groups = []
    for folder, read in found:
        done = tuple(_with_simulation(run, target, data_root, progress) for run in read)
        groups.append(GroupData(_name(folder), folder, done))
    _refuse_other_test_sets(groups)
    return tuple(groups)


def find_run(run: str | Path) -> Path:
    """An existing path, else ``runs/<name>`` (``digits/conv-rmp`` is ``runs/digits-conv-rmp``)."""
    for candidate in (Path(run).expanduser(), Path("runs") / str(run), Path("runs") / str(run).replace("/", "-")):
        if candidate.is_dir():
            return candidate
    known = sorted(entry.name for entry in Path("runs").glob("*") if entry.is_dir()) if Path("runs").is_dir() else []
    hint = nearest(Path(run).name, known) if known else "train a recipe first: neurodeploy train digits/conv-vanilla"
    raise UsageError("ND101", f"no such run: {run}", where="report", fix=hint)


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
            "the folder holds neither a run (recipe.toml) nor runs of several seeds (seed-*)",
            where=str(folder),
            fix="name a folder that `neurodeploy train` wrote",
        )
    return sorted(seeds, key=_seed_of)


def _seed_of(folder: Path) -> tuple[int, str]:
    digits = folder.name.removeprefix("seed-")
    return (int(digits), "") if digits.isdigit() else (2**63, digits)


def _read_run(path: Path) -> RunData:
    from neurodeploy.config.recipe import load_recipe

    needed = (MANIFEST, "recipe.toml", "metrics.jsonl", "evaluation.json", "model.safetensors")
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
        manifest=read_json(path / MANIFEST, what="the run's manifest"),
        metrics=_read_lines(path / "metrics.jsonl"),
        evaluation=read_json(path / "evaluation.json", what="the run's evaluation"),
        compiled={},
        simulation={},
        spikes_per_step={},
        data_sha256="",
    )


def _read_lines(path: Path) -> tuple[dict[str, Any], ...]:
    try:
        return tuple(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        fix = "run the same `neurodeploy train` again"
        raise UsageError("ND103", f"the metrics cannot be read: {error}", where=str(path), fix=fix) from error


def _with_simulation(run: RunData, target: str, data_root: str | Path | None, progress: Progress) -> RunData:
    from neurodeploy import data

    artifact = run.path / f"export-{target}"
    cache = run.path / f"simulate-{target}.json"
    weights = sha256(run.path / "model.safetensors")
    if not _is_current(artifact, weights):
        progress(f"exporting {run.name} for {target}")
        _export(run.path, target, data_root)
    kept = _read_cache(cache)
    split = data.load(run.recipe.data.name, "test", root=data_root)
    key = {
        "format": CACHE_FORMAT,
        "weights": weights,
        "data": split.sha256,
        **{name: sha256(artifact / name) for name in _GRAPHS if (artifact / name).is_file()},
    }
    if kept is None or kept["key"] != key:
        progress(f"simulating {run.name} on {len(split.y)} samples")
        trace = _simulate(artifact, split.x, split.y)
        kept = {"key": key, "trace": trace.to_json(), "spikes_per_step": _spikes_per_step(trace)}
        write_json(cache, kept)
    return RunData(
        **{
            **vars(run),
            "compiled": read_json(artifact / "compile.json", what="the artifact's compile.json"),
            "simulation": kept["trace"],
            "spikes_per_step": kept["spikes_per_step"],
            "data_sha256": split.sha256,
        }
    )


def _is_current(artifact: Path, weights: str) -> bool:
    """Whether the artifact is whole and its manifest names the weights that stand in the run now."""
    if not all((artifact / name).is_file() for name in ("network.nir", "compile.json", MANIFEST)):
        return False
    manifest = read_json(artifact / MANIFEST, what="the artifact's manifest")
    return weights in (manifest.get("source") or {}).values()


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


def _refuse_twice(folders: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise UsageError("ND113", "the same run is given twice", where=str(folder), fix="name each run once")
        seen.add(folder.resolve())


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
        here, there = run.evaluation.get("samples"), run.simulation["samples"]
        if here is not None and here != there:
            rule = "training and simulation are measured on the same test samples"
            findings.append(Finding("ND113", "error", run.name, rule, here, there, "samples", "train the run again"))
        trained_on = (run.manifest.get("data") or {}).get("test")
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
