"""``neurodeploy export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from neurodeploy.cli.options import data_root_option, file_option, foreign_options
from neurodeploy.cli.output import emit, notice, output_options

if TYPE_CHECKING:
    from neurodeploy.ir.read_options import ReadOptions


@click.command("export")
@click.argument("model")
@click.option("--target", required=True, help="Target to compile for; see `neurodeploy list targets`.")
@file_option("--out", help="Folder to write.  [default: <run>/export-<target>]")
@click.option("--exact", is_flag=True, help="Snap weights and inputs so that every reader computes the same bits.")
@click.option(
    "--fold",
    type=click.Choice(["weights", "threshold"]),
    default="weights",
    show_default=True,
    help="Where norms go: into weights, or into one threshold per channel (targets that can hold that: nir, onnx).",
)
@click.option(
    "--quantize",
    type=click.Choice(["proven", "minmax", "percentile", "mse"]),
    default="proven",
    show_default=True,
    help="How integer scales are chosen: the largest provable, or on training data, clipping outlier weights.",
)
@click.option(
    "--finetune",
    type=click.IntRange(0),
    metavar="EPOCHS",
    default=0,
    help="Train on for so many epochs with the chip's integers in the loop.  [default: 0, not at all]",
)
@click.option("--data", help="Data set for golden vectors and accuracies.  [default: the run's own, test split]")
@file_option("--input", "inputs", help="An .npz with x (and y) instead of a data set.")
@click.option("--timesteps", type=int, help="T of the artifact.  [default: that of the samples, else the model's]")
@foreign_options
@data_root_option
@click.option("--dry-run", is_flag=True, help="Compile and say what would be written, write nothing.")
@click.option("--dump-passes", is_flag=True, help="Also write the graph after each pass, under passes/.")
@output_options
def command(
    model: str,
    target: str,
    out: Path | None,
    exact: bool,
    fold: Literal["weights", "threshold"],
    quantize: Literal["proven", "minmax", "percentile", "mse"],
    finetune: int,
    data: str | None,
    inputs: Path | None,
    timesteps: int | None,
    options: ReadOptions,
    data_root: Path | None,
    dry_run: bool,
    dump_passes: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compile MODEL (a run or a .nir file) for a target and write an artifact with golden vectors.

    Example: neurodeploy export digits/conv-rmp --target loihi2
    """
    from neurodeploy.cli.render import export_text
    from neurodeploy.targets.export import export

    done = export(
        model,
        target,
        out,
        data_root=data_root,
        data=data,
        inputs=inputs,
        options=options,
        timesteps=timesteps,
        exact=exact,
        fold=fold,
        quantize=quantize,
        finetune=finetune,
        dry_run=dry_run,
        dump_passes=dump_passes,
        warn=lambda message: notice(message, quiet),
    )
    emit("export", done.result, as_json, export_text)
