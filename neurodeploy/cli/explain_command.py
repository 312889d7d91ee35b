"""``neurodeploy explain``."""

from __future__ import annotations

import click

from neurodeploy.cli.output import emit, output_options


@click.command("explain")
@click.argument("code", required=False)
@output_options
def command(code: str | None, as_json: bool, quiet: bool) -> None:
    """Print the page behind a diagnostic CODE; without one, list all codes.

    Example: neurodeploy explain ND203
    """
    from neurodeploy.diagnostics import codes, page

    if code is None:
        emit("explain", {"codes": codes()}, as_json, lambda r: "\n".join(f"{c}  {t}" for c, t in r["codes"].items()))
        return
    emit("explain", {"code": code.upper(), "page": page(code)}, as_json, lambda result: result["page"].rstrip())
