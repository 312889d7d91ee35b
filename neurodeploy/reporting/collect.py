"""From run folders to everything a report needs; what is missing is exported and simulated on demand, then kept.

A run holds ``manifest.json``, ``recipe.toml``, ``metrics.jsonl``, ``evaluation.json`` and ``model.safetensors``. A
folder of ``seed-*`` runs is one group. The artifact for the report's target is ``<run>/export-<target>/``, made when it
is missing, was changed, or was made from other weights or for other timesteps. The simulation of the whole test split
is kept beside it, in ``<run>/simulate-<target>.json``, under all that its counts depend on: a second report is instant.
So are the output features of a group's first run, in ``<run>/features-<target>.json``, and what it takes on every
other chip, in ``<run>/fits.json``.
A run that the target cannot take is reported with what training measured, and with the compiler's reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurodeploy.diagnostics import UnsupportedError, UsageError
from neurodeploy.files import MANIFEST, find_in_runs, sha256
from neurodeploy.manifest import version
from neurodeploy.reporting.comparable import (
    refuse_mixed_seeds,
    refuse_other_datasets,
    refuse_other_test_sets,
    refuse_twice,
)
from neurodeploy.reporting.features import SAMPLES, Features, from_json, output_features, principal
from neurodeploy.reporting.fits import Fit, fits, limits_digest
from neurodeploy.reporting.fits import from_json as fits_from_json
from neurodeploy.reporting.kept import CACHE_FORMAT, is_simulation, keep, read_kept
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

_GRAPHS = ("network.nir", "encoder.nir", "tail.nir")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class RunData:
    """One run: what training wrote, what the compiler said, what the simulation counted.

    ``not_exported`` is the compiler's code and reason where the target does not take the network; ``compiled`` and
    ``simulation`` are empty then, ``correct`` (which test samples the target has right) and ``features`` None.
    ``data_sha256`` is of the test samples, there as training recorded it.
    """

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
    not_exported: str = ""
    correct: np.ndarray | None = field(default=None, compare=False)
    features: Features | None = None
    fits: tuple[Fit, ...] = ()


@dataclass(frozen=True)
class GroupData:
    """Runs of one recipe with different seeds; a single run is a group of one."""

    name: str
    path: Path
    runs: tuple[RunData, ...]

    @property
    def not_exported(self) -> str:
        """Why there are no figures of the target: the reason of the first run that has one. Empty when all have them.

        Seeds of one recipe are one network; where only some fit, a mean over those would be a choice of seeds.
        """
        return next((run.not_exported for run in self.runs if run.not_exported), "")


#: Why a run has no figures of the target where the caller wants none.
NOT_ASKED = "--no-export"


def collect(
    runs: Sequence[str | Path],
    *,
    target: str = "loihi2",
    data_root: str | Path | None = None,
    export: bool = True,
    progress: Progress = lambda _: None,
) -> tuple[GroupData, ...]:
    """Gather every group, exporting and simulating where needed; without ``export`` what training measured alone.

    Raises:
        UsageError: ND101 for an unknown run, ND103 for one that is not there or unfinished, ND107 for one that cannot
            be read, ND113 for runs that cannot be compared.
    """
    groups_of = [(folder, _runs_of(folder)) for folder in (find_in_runs(run, what="run") for run in runs)]
    refuse_twice(groups_of)
    # Everything is read and compared before the first minute is spent on an export.
    found = [_read_group(folder, paths) for folder, paths in groups_of]
    refuse_other_datasets(found)

    def compiled(run: RunData, first: bool) -> RunData:
        if not export:
            return replace(run, not_exported=NOT_ASKED)
        run = _with_simulation(run, target, data_root, progress, with_features=first)
        return replace(run, fits=_kept_fits(run, progress)) if first else run

    groups = [
        replace(group, runs=tuple(compiled(run, first=run is group.runs[0]) for run in group.runs)) for group in found
    ]
    refuse_other_test_sets(groups)
    return tuple(groups)


def read_group(run: str | Path) -> GroupData:
    """What training wrote of a run or of a folder of seeds; nothing is exported or simulated.

    Raises:
        UsageError: As :func:`collect`.
    """
    folder = find_in_runs(run, what="run")
    return _read_group(folder, _runs_of(folder))


def _read_group(folder: Path, paths: Sequence[Path]) -> GroupData:
    group = GroupData(_name(folder), folder, tuple(_read_run(path) for path in paths))
    refuse_mixed_seeds(group)
    return group


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
    manifest = read_manifest(path)
    return RunData(
        name=_name(path),
        path=path,
        recipe=load_recipe(path / "recipe.toml"),
        manifest=manifest,
        metrics=read_metrics(path),
        evaluation=read_evaluation(path),
        compiled={},
        simulation={},
        spikes_per_step={},
        data_sha256=manifest.get("data", {}).get("test", ""),
    )


def _with_simulation(
    run: RunData, target: str, data_root: str | Path | None, progress: Progress, *, with_features: bool
) -> RunData:
    from neurodeploy import data

    folder = run.path / f"export-{target}"
    asked = _asked_for(Artifact(folder), run.recipe.timesteps) if is_artifact(folder) else ""
    if asked:  # the user's own: neither compared as the plain export nor replaced by it
        progress(f"{run.name}: export-{target} was made with {asked}; the report makes a plain export of its own")
        folder = run.path / f"report-{target}"
    cache = run.path / f"simulate-{target}.json"
    weights = sha256(run.path / "model.safetensors")
    outdated = _outdated(Artifact(folder), weights) if is_artifact(folder) else None
    if outdated is None or outdated:
        progress(f"exporting {run.name} for {target}" + (f" again: {outdated}" if outdated else ""))
        try:
            _export(run.path, target, data_root, folder)
        except UnsupportedError as error:  # what training measured is reported all the same
            progress(f"{run.name} is not exported for {target}: {error.code} {error.message}")
            return replace(run, not_exported=f"{error.code} {error.message}")
    compiled = Artifact(folder).compile
    kept = read_kept(cache, "trace", "spikes_per_step")
    split = data.load(run.recipe.data, "test", timesteps=run.recipe.timesteps, root=data_root)
    key = {
        "format": CACHE_FORMAT,
        "neurodeploy": version("neurodeploy"),
        "weights": weights,
        "data": split.sha256,
        "resources": hashlib.sha256(json.dumps(compiled["resources"], sort_keys=True).encode()).hexdigest(),
        **{name: sha256(folder / name) for name in _GRAPHS if (folder / name).is_file()},
    }
    if kept is None or kept["key"] != key or not is_simulation(kept["trace"], len(split.y)):
        progress(f"simulating {run.name} on {len(split.y)} samples")
        trace = _simulate(folder, split.x, split.y)
        kept = {"key": key, "trace": trace.to_json(), "spikes_per_step": _spikes_per_step(trace)}
        keep(cache, kept, progress)
    return replace(
        run,
        compiled=compiled,
        simulation=kept["trace"],
        spikes_per_step=kept["spikes_per_step"],
        data_sha256=split.sha256,
        correct=np.asarray(kept["trace"]["predictions"]) == np.asarray(split.y),
        features=_kept_features(run, target, folder, split, key, progress) if with_features else None,
    )


def _kept_features(
    run: RunData, target: str, folder: Path, split: Any, key: dict[str, Any], progress: Progress
) -> Features | None:
    """The features of the exported network, from their cache or from a run of the first samples."""
    cache = run.path / f"features-{target}.json"
    key = {**key, "samples": SAMPLES}
    kept = read_kept(cache, "features")
    if kept is not None and kept["key"] == key:
        return from_json(kept["features"])
    progress(f"output features of {run.name}")
    features = _features(folder, split.x[:SAMPLES], split.y[:SAMPLES])
    keep(cache, {"key": key, "features": None if features is None else asdict(features)}, progress)
    return features


def _kept_fits(run: RunData, progress: Progress) -> tuple[Fit, ...]:
    """What the run takes on every chip, from its cache or from ``check``; nothing where that needs a torch we lack."""
    cache = run.path / "fits.json"
    key = {
        "format": CACHE_FORMAT,
        "neurodeploy": version("neurodeploy"),
        "weights": sha256(run.path / "model.safetensors"),
        "recipe": sha256(run.path / "recipe.toml"),
        "limits": limits_digest(),
    }
    kept = read_kept(cache, "fits")
    if kept is not None and kept["key"] == key and (found := fits_from_json(kept["fits"])) is not None:
        return found
    progress(f"checking {run.name} against every chip")
    made = _fits(run.path)
    if made is None:
        return ()
    keep(cache, {"key": key, "fits": [asdict(fit) for fit in made]}, progress)
    return made


def _fits(run: Path) -> tuple[Fit, ...] | None:
    return fits(run)


def _asked_for(artifact: Artifact, timesteps: int) -> str:
    """The options that an artifact was made with beside those of a plain export of the run."""
    try:
        said = artifact.compile
    except UsageError:  # damaged: it is made again
        return ""
    options = [
        ("--finetune", said.get("finetune")),
        ("--fold threshold", said.get("fold", "weights") != "weights"),
        (f"--quantize {said.get('quantize')}", said.get("quantize") not in (None, "proven")),
        ("--exact", said.get("arithmetic") == "float32" and said.get("scales")),
        (f"--timesteps {said.get('timesteps')}", said.get("timesteps") != timesteps),
    ]
    return ", ".join(name for name, given in options if given)


def _outdated(artifact: Artifact, weights: str) -> str:
    """Why an artifact is not what an export of the run would give now; empty when it is."""
    try:
        source, changed = artifact.manifest.get("source"), artifact.changed_files()
    except UsageError as error:  # it is made again, so a damaged one is no error
        return error.message
    if not isinstance(source, dict) or weights not in source.values():
        return "the one there was made from other weights"
    return f"changed since: {', '.join(changed)}" if changed else ""


def _export(run: Path, target: str, data_root: str | Path | None, out: Path) -> None:
    from neurodeploy.targets.export import export

    root = None if data_root is None else Path(data_root)
    export(model=run, target=target, out=out, data_root=root, exact=False)


def _simulate(artifact: Path, x: Any, labels: Any) -> Trace:
    from neurodeploy.sim import simulate

    return simulate(artifact, x, labels=labels)


def _features(artifact: Path, x: Any, labels: Any) -> Features | None:
    """None where the network has no last weights of their own, or the target's rules stop a run that ends there."""
    try:
        features = output_features(artifact, x)
    except UnsupportedError:
        return None
    return None if features is None else principal(features, labels)


def _spikes_per_step(trace: Trace) -> dict[str, list[int]]:
    """Spikes of each neuron layer at each timestep, summed over samples."""
    steps = {layer.name: layer.per_step["spikes_out"] for layer in trace.layers}
    return {name: [int(count) for count in counts] for name, counts in steps.items() if counts is not None}
