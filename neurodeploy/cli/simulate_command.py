"""``neurodeploy simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neurodeploy.cli.options import data_root_option, file_option, foreign_options, refuse_existing_folder
from neurodeploy.cli.output import emit, notice, output_options

if TYPE_CHECKING:
    from neurodeploy.ir.read_options import ReadOptions
    from neurodeploy.sim.shards import Shards
    from neurodeploy.sim.sources import Source
    from neurodeploy.sim.stream import Place
    from neurodeploy.targets.artifact import Runnable

#: Added to the name of a trace: the folder of a run that is not over.
PARTIAL = ".partial"


@click.command("simulate")
@click.argument("model")
@file_option("--input", "inputs", help="An .npz with x: (B, T, *shape) or (B, *shape); optional labels y.")
@click.option("--data", help="A data set instead of --input; see `neurodeploy list datasets`.")
@click.option("--split", help="Split of --data.  [default: test]")
@click.option("--limit", type=click.IntRange(1), help="Only the first N samples.")
@data_root_option
@click.option("--timesteps", type=int, help="T of a static input.  [default: as the file says]")
@click.option(
    "--arithmetic",
    type=click.Choice(["float32", "float64", "loihi"]),
    help="Number format of the run.  [default: as the file says]",
)
@foreign_options
@file_option("--trace", help="Write spikes, output and counts to this .npz; a killed run goes on from TRACE.partial.")
@click.option("--trace-membrane", is_flag=True, help="Also keep membranes after reset in the trace.")
@file_option("--checkpoint", help="Folder for the state of a long run without --trace: a killed run goes on from it.")
@click.option("--fresh", is_flag=True, help="Start over: forget the run that was interrupted.")
@click.option("--batch", type=int, default=32, show_default=True, help="Samples in flight per thread.")
@click.option("--threads", type=int, default=1, show_default=True, help="Threads; results do not depend on it.")
@output_options
def command(
    model: str,
    inputs: Path | None,
    data: str | None,
    split: str | None,
    limit: int | None,
    data_root: Path | None,
    timesteps: int | None,
    arithmetic: str | None,
    options: ReadOptions,
    trace: Path | None,
    trace_membrane: bool,
    checkpoint: Path | None,
    fresh: bool,
    batch: int,
    threads: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run MODEL (an artifact, a .nir or a lava-dl .net file) event by event, with exact counts.

    Samples stream through, so their number is not limited by memory. A run that was interrupted goes on where it
    stopped if it has --trace or --checkpoint and the command is the same.

    Example: neurodeploy simulate runs/digits-conv-rmp/export-loihi2 --data digits

    Several processes share the samples under torchrun: torchrun --nproc-per-node 2 -m neurodeploy simulate MODEL …
    """
    from neurodeploy.cli.progress import sample_progress
    from neurodeploy.cli.render import simulate_text
    from neurodeploy.sim.job import prepare
    from neurodeploy.sim.shards import OtherProcessFailed, together
    from neurodeploy.sim.stream import simulate_stream
    from neurodeploy.targets.artifact import load_runnable, other_parts, overruled

    def stage(shards: Shards) -> tuple[Runnable, Source]:
        _refuse(inputs, data, split, timesteps, trace, trace_membrane, checkpoint, fresh)
        runnable = load_runnable(model, options)
        for finding in runnable.findings:
            say(f"{finding.node}: {finding.rule} ({finding.measured}); {finding.fix} [{finding.code}]", shards)
        for line in overruled(runnable, options, timesteps=timesteps, arithmetic=arithmetic):
            say(line, shards)
        if other_parts(runnable):
            say(other_parts(runnable), shards)
        return runnable, _source(inputs, data, split, limit, timesteps, runnable, data_root)

    def say(line: str, shards: Shards) -> None:
        notice(line, quiet or not shards.main)

    try:
        with together() as shards:
            runnable, source = shards.each(lambda: stage(shards))
            job = shards.each(
                lambda: prepare(
                    runnable,
                    source,
                    timesteps=timesteps,
                    arithmetic=arithmetic,
                    keep_spikes=trace is not None,
                    keep_membrane=trace_membrane,
                    keep_output=trace is not None,
                    batch=batch,
                    threads=threads,
                )
            )
            if timesteps is None and runnable.graph.timesteps not in (None, job.timesteps):
                made_for = runnable.graph.timesteps
                say(f"the input has {job.timesteps} timesteps, the file was made for {made_for}", shards)
            what = "samples" if shards.size == 1 else f"samples of the first of {shards.size} processes"
            given = {"timesteps": job.timesteps, "arithmetic": job.arithmetic, "--trace-membrane": trace_membrane}
            result = simulate_stream(
                job,
                source,
                _place(trace, checkpoint, fresh, runnable, source, {**given, "processes": shards.size}, options),
                shards=shards,
                watch=lambda total, done: sample_progress(total, quiet or as_json or not shards.main, done, what),
                notice=lambda line: say(line, shards),
            )
            source.close()
            if shards.main:
                emit("simulate", result.to_json(), as_json, simulate_text)
    except OtherProcessFailed as failed:
        raise click.exceptions.Exit(failed.exit_code) from failed


def _refuse(
    inputs: Path | None,
    data: str | None,
    split: str | None,
    timesteps: int | None,
    trace: Path | None,
    trace_membrane: bool,
    checkpoint: Path | None,
    fresh: bool,
) -> None:
    """Options that do not go together, and places that must not be written to."""
    from neurodeploy.diagnostics import UsageError
    from neurodeploy.targets.artifact import is_artifact

    if (inputs is None) == (data is None):
        raise UsageError("ND100", "give either --input or --data", where="simulate", fix="--data digits, for example")
    if inputs is not None and split is not None:
        rule = f"--split {split} is about a data set, and --input is a file"
        raise UsageError("ND100", rule, where="--split", fix="leave it out, or give --data instead of --input")
    if timesteps is not None and timesteps < 1:
        raise UsageError("ND118", f"--timesteps is {timesteps}", where="--timesteps", fix="at least 1")
    if trace_membrane and trace is None:
        raise UsageError("ND100", "--trace-membrane needs --trace", where="--trace-membrane", fix="--trace out.npz")
    if trace is not None and checkpoint is not None:
        rule = f"a run with --trace keeps its state in {trace}{PARTIAL}"
        raise UsageError("ND100", rule, where="--checkpoint", fix="leave --checkpoint out")
    if fresh and trace is None and checkpoint is None:
        rule = "--fresh forgets the state of a run, and this one keeps none"
        raise UsageError("ND100", rule, where="--fresh", fix="leave it out, or add --checkpoint FOLDER")
    refuse_existing_folder(trace, "--trace")
    if trace is not None:
        place = trace.resolve()
        if is_artifact(place.parent) or (inputs is not None and place == inputs.resolve()):
            rule = "the trace would replace the input, or a file of an artifact"
            raise UsageError("ND110", rule, where=str(trace), fix="choose another name")
        if trace.exists() and not _is_archive(trace):
            rule = "the trace would replace what is no .npz: another file of yours, or a device"
            raise UsageError("ND110", rule, where=str(trace), fix="choose another name")


def _is_archive(path: Path) -> bool:
    """Whether ``path`` is a file that begins as an ``.npz`` does, or an empty one."""
    try:
        if not path.is_file():  # never open a pipe: that waits for its writer
            return False
        with path.open("rb") as stream:
            return stream.read(2) in (b"", b"PK")
    except OSError:
        return False


def _source(
    inputs: Path | None,
    data: str | None,
    split: str | None,
    limit: int | None,
    timesteps: int | None,
    runnable: Runnable,
    root: Path | None,
) -> Source:
    """The samples; of a dataset cut and scaled as the artifact's own recipe does where it is the same dataset."""
    from neurodeploy.sim.sources import DatasetSource, FileSource

    if inputs is not None:
        return FileSource(inputs, limit)

    from neurodeploy.config.recipe_sections import Data
    from neurodeploy.data import load

    own = runnable.dataset
    section = Data.model_validate(own) if own is not None and own.get("name") == data else str(data)
    dataset = load(section, split or "test", timesteps=timesteps or runnable.graph.timesteps, root=root)
    return DatasetSource(dataset, limit)


def _place(
    trace: Path | None,
    checkpoint: Path | None,
    fresh: bool,
    runnable: Runnable,
    source: Source,
    given: dict[str, Any],
    options: ReadOptions,
) -> Place | None:
    """Where the state and the trace go, and what makes two runs the same; ``--batch`` and ``--threads`` do not."""
    from dataclasses import asdict
    from importlib.metadata import version

    from neurodeploy.sim.stream import Place
    from neurodeploy.targets.artifact import digest

    folder = checkpoint if trace is None else trace.with_name(trace.name + PARTIAL)
    if folder is None:
        return None

    def identity() -> dict[str, Any]:
        said = {f"--{key.replace('_', '-')}": value for key, value in asdict(options).items() if value is not None}
        known = {"neurodeploy": version("neurodeploy"), "model": digest(runnable), **source.identity()}
        return {**known, **given, **said}

    return Place(folder, trace, identity, fresh)
