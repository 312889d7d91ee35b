"""``neurodeploy verify``."""

from __future__ import annotations

import click

from neurodeploy.cli.output import emit, notice, output_options

ORACLES = "interpreter|engine|onnxruntime|lava|norse|snntorch|spikingjelly"


@click.command("verify")
@click.argument("artifact")
@click.option(
    "--with",
    "oracles",
    multiple=True,
    metavar=f"[{ORACLES}]",
    help="Where to replay; may be given several times.  [default: interpreter, engine]",
)
@click.option("--samples", type=int, help="Only the first N golden samples.")
@output_options
def command(artifact: str, oracles: tuple[str, ...], samples: int | None, as_json: bool, quiet: bool) -> int:
    """Replay the golden vectors of ARTIFACT elsewhere and count differences; exit 4 if there are any.

    Example: neurodeploy verify runs/digits-conv-rmp/export-loihi2 --with engine --with lava
    """
    from neurodeploy.cli.render import verify_text
    from neurodeploy.diagnostics import UsageError
    from neurodeploy.reporting.text import error_text
    from neurodeploy.verification.verify import DEFAULT, verify

    result = verify(artifact, oracles or DEFAULT, samples)
    missing = {name: row.why for name, row in result.items() if row.skipped}
    for name, reason in missing.items():
        notice(f"{name} was SKIPPED: {reason}", quiet)
    emit("verify", {name: row.to_json() for name, row in result.items()}, as_json, verify_text)
    if len(missing) == len(result):  # a verification that ran nowhere must not look like one that passed
        nothing = UsageError("ND122", "nothing was verified", where=artifact, fix="--with engine runs everywhere")
        click.echo(error_text(nothing), err=True)
        return nothing.exit_code
    return 0 if all(row.equal or row.skipped for row in result.values()) else 4
