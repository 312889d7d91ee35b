"""``neurodeploy check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from neurodeploy.cli.options import foreign_options
from neurodeploy.cli.output import emit, output_options

if TYPE_CHECKING:
    from neurodeploy.ir.read_options import ReadOptions


@click.command("check")
@click.argument("model")
@click.option("--target", required=True, help="Target to check against; see `neurodeploy list targets`.")
@click.option("--profile", help="Hardware profile whose limits count; default: the target's own.")
@click.option("--timesteps", type=int, help="T that ranges are proven for.  [default: the model's, else 8]")
@foreign_options
@output_options
def command(
    model: str,
    target: str,
    profile: str | None,
    timesteps: int | None,
    options: ReadOptions,
    as_json: bool,
    quiet: bool,
) -> int:
    """Say whether MODEL (a run or a .nir file) fits a target: all findings, cores, chips, memory.

    Exit 3 if anything is an error.  Example: neurodeploy check digits/conv-rmp --target loihi2
    """
    from neurodeploy.cli.render import check_text
    from neurodeploy.targets.check import check

    result = check(model, target, profile=profile, timesteps=timesteps, options=options)
    emit("check", result, as_json, check_text)
    return 0 if result["fits"] else 3
