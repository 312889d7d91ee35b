"""``neurodeploy simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from neurodeploy.cli.options import data_root_option, file_option, foreign_options, refuse_existing_folder
from neurodeploy.cli.output import emit, notice, output_options

if TYPE_CHECKING:
    import numpy as np

    from neurodeploy.ir.read_options import ReadOptions
    from neurodeploy.targets.artifact import Runnable


@click.command("simulate")
@click.argument("model")
@file_option("--input", "inputs", help="An .npz with x: (B, T, *shape) or (B, *shape); optional labels y.")
@click.option("--data", help="A data set instead of --input; see `neurodeploy list datasets`.")
@click.option("--split", default="test", show_default=True, help="Split of --data.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N samples.")
@data_root_option
@click.option("--timesteps", type=int, help="T of a static input.  [default: as the file says]")
@click.option(
    "--arithmetic",
    type=click.Choice(["float32", "float64", "loihi"]),
    help="Number format of the run.  [default: as the file says]",
)
@foreign_options
@file_option("--trace", help="Write spikes, output and counts to this .npz.")
@click.option("--trace-membrane", is_flag=True, help="Also keep membranes after reset in the trace.")
@click.option("--batch", type=int, default=32, show_default=True, help="Samples in flight per thread.")
@click.option("--threads", type=int, default=1, show_default=True, help="Threads; results do not depend on it.")
@output_options
def command(
    model: str,
    inputs: Path | None,
    data: str | None,
    split: str,
    limit: int | None,
    data_root: Path | None,
    timesteps: int | None,
    arithmetic: str | None,
    options: ReadOptions,
    trace: Path | None,
    trace_membrane: bool,
    batch: int,
    threads: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run MODEL (an artifact, a .nir or a lava-dl .net file) event by event, with exact counts.

    Example: neurodeploy simulate runs/digits-conv-rmp/export-loihi2 --data digits
    """
    from neurodeploy.cli.progress import sample_progress
    from neurodeploy.cli.render import simulate_text
    from neurodeploy.diagnostics import UsageError
    from neurodeploy.files import write_npz
    from neurodeploy.sim.inputs import load_inputs
    from neurodeploy.sim.run import simulate
    from neurodeploy.targets.artifact import is_artifact, load_runnable, overruled

    if (inputs is None) == (data is None):
        raise UsageError("ND100", "give either --input or --data", where="simulate", fix="--data digits, for example")
    if trace_membrane and trace is None:
        raise UsageError("ND100", "--trace-membrane needs --trace", where="--trace-membrane", fix="--trace out.npz")
    refuse_existing_folder(trace, "--trace")
    if trace is not None:
        place = trace.resolve()
        if is_artifact(place.parent) or (inputs is not None and place == inputs.resolve()):
            rule = "the trace would replace the input, or a file of an artifact"
            raise UsageError("ND110", rule, where=str(trace), fix="choose another name")
    runnable = load_runnable(model, options)
    for finding in runnable.findings:
        notice(f"{finding.node}: {finding.rule} ({finding.measured}); {finding.fix} [{finding.code}]", quiet)
    for line in overruled(runnable, options, timesteps=timesteps, arithmetic=arithmetic):
        notice(line, quiet)
    if inputs is not None:
        x, y = load_inputs(inputs)
    else:
        x, y = _dataset(str(data), split, limit, timesteps, runnable, data_root)
    x, y = x[:limit], None if y is None else y[:limit]
    with sample_progress(len(x), quiet or as_json) as progress:
        result = simulate(
            runnable,
            x,
            y,
            timesteps=timesteps,
            arithmetic=arithmetic,
            keep_spikes=trace is not None,
            keep_membrane=trace_membrane,
            batch=batch,
            threads=threads,
            progress=progress,
        )
    made_for = runnable.graph.timesteps
    if timesteps is None and made_for not in (None, result.timesteps):
        notice(f"the input has {result.timesteps} timesteps, the file was made for {made_for}", quiet)
    if trace is not None:
        write_npz(trace, result.arrays())
    emit("simulate", result.to_json(), as_json, simulate_text)


def _dataset(
    name: str, split: str, limit: int | None, timesteps: int | None, runnable: Runnable, root: Path | None
) -> tuple[np.ndarray, np.ndarray]:
    """The first samples of a split, cut and scaled as the artifact's own recipe does where it is the same dataset."""
    import numpy as np

    from neurodeploy.config.recipe_sections import Data
    from neurodeploy.data import load

    own = runnable.dataset
    data = Data.model_validate(own) if own is not None and own.get("name") == name else name
    dataset = load(data, split, timesteps=timesteps or runnable.graph.timesteps, root=root)
    if limit is None or limit >= len(dataset):
        return dataset.x, dataset.y
    return dataset.batch(np.arange(limit)), dataset.y[:limit]
