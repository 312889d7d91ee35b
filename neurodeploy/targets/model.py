"""What is compiled: a trained run, lowered, or a ``.nir`` file, with the samples that it is tried on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurodeploy.diagnostics import Finding, UsageError
from neurodeploy.files import find_in_runs, sha256
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.netx_io import read_net
from neurodeploy.ir.nir_io import ReadOptions, is_ours, read_nir
from neurodeploy.ir.nodes import Input
from neurodeploy.targets.artifact import Runnable, is_artifact, overruled

if TYPE_CHECKING:
    from neurodeploy.config.recipe_sections import Data

#: T where neither the model nor the samples nor the user says one.
DEFAULT_TIMESTEPS = 8


@dataclass(frozen=True)
class Model:
    """A network to compile: its float graph, and the data it is tried on.

    Attributes:
        graph: Lowered or read.
        folder: Where ``<prefix>export-<target>/`` goes by default.
        x: ``(B, *shape)`` or ``(B, T, *shape)`` samples, or None.
        y: Their labels, or None.
        data: What the samples are, for the manifest.
        source: Path -> sha256 of the files it came from.
        findings: What a user should know about it already.
        prefix: Of the default folder's name; a file's artifacts carry its name.
        dataset: The ``[data]`` table of the run's recipe: how its samples are cut and scaled.
    """

    graph: Graph
    folder: Path
    x: np.ndarray | None
    y: np.ndarray | None
    data: str
    source: dict[str, str]
    findings: tuple[Finding, ...] = ()
    prefix: str = ""
    dataset: dict[str, Any] | None = None


def load_model(
    name: str | Path,
    *,
    data: str | None = None,
    inputs: Path | None = None,
    data_root: Path | None = None,
    samples: bool = True,
    options: ReadOptions | None = None,
) -> Model:
    """A run (by path or by name under ``runs/``) or a ``.nir`` file, with the samples for golden vectors.

    A run brings the test split of its own data set; ``data`` or ``inputs`` overrides it, and is what a foreign file
    needs. Without ``samples`` no data set is read. ``options`` say what a foreign file leaves open.
    """
    path = find_in_runs(name)
    if path.is_file():
        if path.suffix not in (".nir", ".net"):
            raise UsageError(
                "ND104", "not a model: neither a run nor a .nir file", where=str(path), fix="give a run or a .nir file"
            )
        graph = read_net(path, options) if path.suffix == ".net" else read_nir(path, options)
        if graph.arithmetic == "loihi":
            raise UsageError(
                "ND117",
                "this network is already compiled: its weights are the integers of a chip",
                where=str(path),
                fix="give the run or the float file that it was made from",
            )
        x, y, label = _samples(data, inputs, data_root, graph.timesteps)
        said = _reading(path, graph, options or ReadOptions())
        return Model(graph, path.parent, x, y, label, {str(path): sha256(path)}, said, prefix=f"{path.stem}-")
    if is_artifact(path):
        raise UsageError(
            "ND117", "this is an artifact, already compiled", where=str(path), fix="give the run it was made from"
        )
    if options not in (None, ReadOptions()):
        raise UsageError(
            "ND100",
            "--dt, --reset, --compare, --discretize, --spikes and --input-kind are about a file; this is a run",
            where=str(path),
            fix="leave them out: the run's recipe says them",
        )
    from neurodeploy.lowering import lower
    from neurodeploy.training.checkpoint import MODEL, load_checkpoint

    seeds = sorted(str(folder) for folder in path.glob("seed-*"))
    if seeds:
        raise UsageError(
            "ND107", "this folder holds runs of several seeds", where=str(path), fix="name one: " + ", ".join(seeds)
        )
    checkpoint = load_checkpoint(path)
    findings: list[Finding] = []
    if not checkpoint.finished:
        rule = "this run has not finished its epochs: the network is the one of the last finished epoch"
        findings.append(Finding("ND123", "warning", "", rule, fix="run the same `neurodeploy train` again: it resumes"))
    recipe = checkpoint.recipe
    given: str | Data | None = data
    if data == recipe.data.name or (data is None and inputs is None and samples):
        given = recipe.data
    x, y, label = _samples(given, inputs, data_root, recipe.timesteps)
    return Model(
        lower(checkpoint),
        path,
        x,
        y,
        label,
        {str(path / MODEL): sha256(path / MODEL)},
        tuple(findings),
        dataset=recipe.data.model_dump(),
    )


def _reading(path: Path, graph: Graph, options: ReadOptions) -> tuple[Finding, ...]:
    """What a user should know of how a file was read (ND126): options that overrule it, time in doubtful units."""
    own = path.suffix == ".nir" and is_ours(path)
    lines = overruled(Runnable(graph, None, {}, own, str(path)), options)
    return tuple(Finding("ND126", "warning", "", line, fix="no action if that is meant") for line in lines)


def _samples(
    data: str | Data | None, inputs: Path | None, root: Path | None, timesteps: int | None
) -> tuple[np.ndarray | None, np.ndarray | None, str]:
    if data and inputs:
        raise UsageError("ND100", "both --data and --input are given", where="--data, --input", fix="give one of them")
    if inputs is not None:
        from neurodeploy.sim.inputs import load_inputs

        x, y = load_inputs(inputs)
        return x, y, str(inputs)
    if data is not None:
        from neurodeploy.data import load

        dataset = load(data, "test", timesteps=timesteps, root=root)
        return dataset.x, dataset.y, f"{dataset.name} test"
    return None, None, ""


def with_timesteps(loaded: Model, timesteps: int | None) -> tuple[Model, list[Finding]]:
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
