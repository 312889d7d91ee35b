"""``neurodeploy check``."""

from __future__ import annotations

import click

from neurodeploy.cli.options import foreign_options
from neurodeploy.cli.output import emit, output_options


@click.command("check")
@click.argument("model")
@click.option("--target", required=True, help="Target to check against; see `neurodeploy list targets`.")
@click.option("--profile", help="Hardware profile whose limits count; default: the target's own.")
@foreign_options
@output_options
def command(
    model: str,
    target: str,
    profile: str | None,
    input_kind: str | None,
    dt: float | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Say whether MODEL (a run or a .nir file) fits a target: all findings, cores, chips, memory.

    Exit 3 if anything is an error.  Example: neurodeploy check digits/conv-rmp --target loihi2
    """
    from neurodeploy.cli.render import check_text
    from neurodeploy.ir.nir_io import ReadOptions
    from neurodeploy.targets.check import check

    result = check(model, target, profile=profile, options=ReadOptions(dt=dt, input_kind=input_kind))
    emit("check", result, as_json, check_text)
    return 0 if result["fits"] else 3
